package salescloud

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

const etagField = "ETag"

func (s *Simulator) taskSet() *odatasim.Set {
	return &odatasim.Set{
		Name:   "TasksCollection",
		Type:   taskType(s.settings.ExtensionFields),
		List:   func(*odatasim.Filter) []odatasim.Row { return s.tasks.All() },
		Get:    s.tasks.Get,
		Create: s.createTask,
		Update: s.updateTask,
		Delete: s.deleteTask,
	}
}

func (s *Simulator) childSet(c childType) *odatasim.Set {
	return &odatasim.Set{
		Name: c.set,
		Type: c.entity,
		List: func(*odatasim.Filter) []odatasim.Row {
			var rows []odatasim.Row
			for _, task := range s.tasks.All() {
				rows = append(rows, task.Children[c.navigation]...)
			}
			return rows
		},
		Create: func(ctx context.Context, row odatasim.Row) (odatasim.Row, error) {
			return s.createChild(ctx, c, row)
		},
		Update: func(ctx context.Context, row odatasim.Row) error { return s.updateChild(ctx, c, row) },
		Delete: func(ctx context.Context, row odatasim.Row) error { return s.deleteChild(ctx, c, row) },
	}
}

// createTask completes a task as the server does and stores it. Only root properties are in the answer.
func (s *Simulator) createTask(ctx context.Context, row odatasim.Row) (odatasim.Row, error) {
	if err := s.lockConflict(); err != nil {
		return row, err
	}
	if s.settings.RefuseInlineTexts && len(row.Children[textNavigation]) > 0 {
		return row, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeNotAllowed, "Navigation %s cannot be created with its parent", textNavigation)
	}
	id, now := uuid.New(), odatasim.FormatDate(s.now())
	v := row.Values
	setDefault(v, "Status", "1")
	setDefault(v, "PriorityCode", "3")
	setDefault(v, "DocumentType", "0006")
	setDefault(v, "LastChangeDateTime", now)
	v["ObjectID"], v["UUID"], v["ReportedDateTime"] = hexUpper(id), id.String(), now
	if err := s.complete(v, ""); err != nil {
		return row, err
	}
	v["ID"] = fmt.Sprint(40000 + s.nextTask())
	if err := s.completeChildren(row); err != nil {
		return row, err
	}
	return row, odatasim.Commit(ctx, func() error { return s.tasks.Put(v["ObjectID"], row) })
}

func setDefault(values map[string]string, name, value string) {
	if values[name] == "" {
		values[name] = value
	}
}

// complete checks codes and parties of a task and stamps the change.
func (s *Simulator) complete(v map[string]string, oldETag string) error {
	if err := s.describeCodes(v, taskCodes); err != nil {
		return err
	}
	if err := s.describeParties(v); err != nil {
		return err
	}
	v["ChangedBy"] = s.settings.Username
	v[etagField] = s.newETag(oldETag)
	return nil
}

// newETag is the time of the change, and always later than the one before it.
func (s *Simulator) newETag(old string) string {
	now := s.now()
	if before, err := time.Parse(time.RFC3339, old); err == nil && !now.After(before) {
		now = before.Add(100 * time.Nanosecond)
	}
	return odatasim.FormatDate(now)
}

func (s *Simulator) completeChildren(task odatasim.Row) error {
	for _, c := range childTypes {
		list := slices.Clone(task.Children[c.navigation])
		for n := range list {
			var err error
			if list[n], err = s.completeChild(c, list[n], task); err != nil {
				return err
			}
		}
		task.Children[c.navigation] = list
	}
	return nil
}

func (s *Simulator) completeChild(c childType, row, task odatasim.Row) (odatasim.Row, error) {
	row = row.Clone()
	v, now := row.Values, odatasim.FormatDate(s.now())
	if err := s.describeCodes(v, c.codes); err != nil {
		return row, err
	}
	v["ObjectID"], v["ParentObjectID"], v["TaskID"] = hexUpper(uuid.New()), task.Values["ObjectID"], task.Values["ID"]
	v[etagField] = now
	if c.navigation == textNavigation {
		v["CreatedOn"], v["UpdatedOn"], v["CreatedBy"], v["LastUpdatedBy"] = now, now, s.settings.Username, s.settings.Username
	}
	return row, nil
}

func (s *Simulator) updateTask(ctx context.Context, row odatasim.Row) error {
	if err := s.lockConflict(); err != nil {
		return err
	}
	if err := s.complete(row.Values, row.Values[etagField]); err != nil {
		return err
	}
	row.Values["LastChangeDateTime"] = row.Values[etagField]
	return odatasim.Commit(ctx, func() error {
		return s.change(row.Values["ObjectID"], func(task *odatasim.Row) { task.Values = row.Values })
	})
}

func (s *Simulator) deleteTask(ctx context.Context, row odatasim.Row) error {
	if err := s.lockConflict(); err != nil {
		return err
	}
	return odatasim.Commit(ctx, func() error { return s.tasks.Delete(row.Values["ObjectID"]) })
}

// createChild attaches a child by ParentObjectID or by the human number TaskID (sap-sales-cloud.md §2).
func (s *Simulator) createChild(ctx context.Context, c childType, row odatasim.Row) (odatasim.Row, error) {
	if err := s.lockConflict(); err != nil {
		return row, err
	}
	task, ok := s.tasks.Get(row.Values["ParentObjectID"])
	if number := row.Values["TaskID"]; !ok && number != "" {
		found := s.tasks.Find(func(t odatasim.Row) bool { return t.Values["ID"] == number })
		if ok = len(found) == 1; ok {
			task = found[0]
		}
	}
	if !ok {
		return row, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Neither ParentObjectID nor TaskID names a task")
	}
	row, err := s.completeChild(c, row, task)
	if err != nil {
		return row, err
	}
	return row, odatasim.Commit(ctx, func() error {
		return s.changeChildren(task.Values["ObjectID"], c, func(list []odatasim.Row) []odatasim.Row { return append(list, row) })
	})
}

func (s *Simulator) updateChild(ctx context.Context, c childType, row odatasim.Row) error {
	if err := s.lockConflict(); err != nil {
		return err
	}
	if err := s.describeCodes(row.Values, c.codes); err != nil {
		return err
	}
	row.Values[etagField] = s.newETag(row.Values[etagField])
	if c.navigation == textNavigation {
		row.Values["UpdatedOn"], row.Values["LastUpdatedBy"] = row.Values[etagField], s.settings.Username
	}
	return odatasim.Commit(ctx, func() error {
		return s.changeChildren(row.Values["ParentObjectID"], c, func(list []odatasim.Row) []odatasim.Row {
			for i := range list {
				if sameObject(list[i], row) {
					list[i] = row
				}
			}
			return list
		})
	})
}

func (s *Simulator) deleteChild(ctx context.Context, c childType, row odatasim.Row) error {
	if err := s.lockConflict(); err != nil {
		return err
	}
	return odatasim.Commit(ctx, func() error {
		return s.changeChildren(row.Values["ParentObjectID"], c, func(list []odatasim.Row) []odatasim.Row {
			return slices.DeleteFunc(list, func(other odatasim.Row) bool { return sameObject(other, row) })
		})
	})
}

func sameObject(a, b odatasim.Row) bool { return a.Values["ObjectID"] == b.Values["ObjectID"] }

// changeChildren changes a copy of a task's children; the task counts as changed.
func (s *Simulator) changeChildren(task string, c childType, f func([]odatasim.Row) []odatasim.Row) error {
	return s.change(task, func(t *odatasim.Row) {
		t.Children[c.navigation] = f(slices.Clone(t.Children[c.navigation]))
		t.Values[etagField] = s.newETag(t.Values[etagField])
	})
}

// change applies f to a copy of the task as it is at this moment. A task that is gone stays gone.
func (s *Simulator) change(task string, f func(*odatasim.Row)) error {
	_, err := s.tasks.Update(task, func(old odatasim.Row, found bool) (odatasim.Row, bool) {
		changed := old.Clone()
		if found {
			f(&changed)
		}
		return changed, found
	})
	return err
}
