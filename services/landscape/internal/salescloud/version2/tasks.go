package version2

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Task is one task with its notes.
type Task struct {
	ID          string `json:"id"`
	DisplayID   string `json:"displayId"`
	Description string `json:"description"`
	Status      string `json:"status"`
	Priority    string `json:"priority"`
	Category    string `json:"taskCategory,omitempty"`
	// References are the UUIDs of parties, by the name of the reference: owner, organizer, account.
	References map[string]string `json:"references"`
	// Start and Due are as they were sent.
	Start string `json:"startDateTime,omitempty"`
	Due   string `json:"dueDateTime,omitempty"`
	Notes []Note `json:"notes"`
	// Version counts changes.
	Version int `json:"version"`
}

// Note is a text at a task.
type Note struct {
	ID      string `json:"id"`
	Content string `json:"content"`
}

// json is the task as the API shows it.
func (t Task) json() map[string]any {
	shown := map[string]any{"id": t.ID, "displayId": t.DisplayID, "description": t.Description, "status": t.Status, "priority": t.Priority}
	for name, value := range map[string]string{"taskCategory": t.Category, "startDateTime": t.Start, "dueDateTime": t.Due} {
		if value != "" {
			shown[name] = value
		}
	}
	for name, id := range t.References {
		shown[name] = map[string]string{"id": id}
	}
	return shown
}

func (t Task) etag() string { return fmt.Sprintf(`"%d"`, t.Version) }

// The form of times: ISO in UTC, without milliseconds (sap-sales-cloud.md §4).
const timeForm = "2006-01-02T15:04:05Z"

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// create makes a task of the fields of the published example.
func (s *Simulator) create(r *http.Request) (answer, error) {
	body, err := readBody(r, "application/json")
	if err != nil {
		return answer{}, err
	}
	task := Task{ID: uuid.NewString(), Status: "OPEN", Priority: "NORMAL", References: map[string]string{}, Version: 1}
	notes, sent := body["notes"]
	delete(body, "notes")
	if sent && s.settings.RefuseNotes {
		return answer{}, refuse(http.StatusBadRequest, "Subnodes must not be present: notes")
	}
	if sent {
		if task.Notes, err = readNotes(notes); err != nil {
			return answer{}, err
		}
	}
	if err := s.apply(&task, body); err != nil {
		return answer{}, err
	}
	if task.Description == "" {
		return answer{}, refuse(http.StatusBadRequest, "description is required")
	}
	task.DisplayID = fmt.Sprint(1000 + s.nextTask())
	if err := s.tasks.Put(task.ID, task); err != nil {
		return answer{}, err
	}
	s.tell(r.Context(), "create", nil, task)
	return answer{status: http.StatusCreated, etag: task.etag(), body: task.json()}, nil
}

// apply takes fields over, and refuses what is not known or not as it must be.
func (s *Simulator) apply(t *Task, body map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(body)) {
		var err error
		switch name {
		case "description":
			err = setText(&t.Description, name, body[name])
		case "taskCategory":
			err = setText(&t.Category, name, body[name])
		case "status":
			err = setOne(&t.Status, name, body[name], s.settings.Statuses)
		case "priority":
			err = setOne(&t.Priority, name, body[name], s.settings.Priorities)
		case "startDateTime":
			err = setTime(&t.Start, name, body[name])
		case "dueDateTime":
			err = setTime(&t.Due, name, body[name])
		default:
			err = s.setReference(t, name, body[name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func setText(into *string, name string, value any) error {
	text, ok := value.(string)
	if !ok {
		return refuse(http.StatusBadRequest, "%s must be a text", name)
	}
	*into = text
	return nil
}

func setOne(into *string, name string, value any, of []string) error {
	if err := setText(into, name, value); err != nil {
		return err
	}
	if !slices.Contains(of, *into) {
		return refuse(http.StatusBadRequest, "%s must be one of %s", name, strings.Join(of, ", "))
	}
	return nil
}

func setTime(into *string, name string, value any) error {
	if err := setText(into, name, value); err != nil {
		return err
	}
	if t, err := time.Parse(timeForm, *into); err != nil || t.Format(timeForm) != *into {
		return refuse(http.StatusBadRequest, "%s must be a time in UTC without milliseconds", name)
	}
	return nil
}

func (s *Simulator) setReference(t *Task, name string, value any) error {
	known := map[string]func(string) bool{
		"owner": s.directory.HasEmployee, "organizer": s.directory.HasEmployee, "account": s.directory.HasAccount,
	}
	if s.settings.ContactField != "" {
		known[s.settings.ContactField] = s.directory.HasContact
	}
	exists, ok := known[name]
	if !ok {
		return refuse(http.StatusBadRequest, "%s is not known", name)
	}
	object, _ := value.(map[string]any)
	id, _ := object["id"].(string)
	switch {
	case len(object) != 1 || !uuidForm.MatchString(id):
		return refuse(http.StatusBadRequest, "%s.id must be a UUID", name)
	case !exists(strings.ToLower(id)) && !s.settings.AcceptUnknownParties:
		return refuse(http.StatusBadRequest, "%s: no entity with id %s", name, id)
	}
	t.References[name] = strings.ToLower(id)
	return nil
}

func readNotes(value any) ([]Note, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, refuse(http.StatusBadRequest, "notes must be a list")
	}
	var notes []Note
	for _, one := range list {
		object, _ := one.(map[string]any)
		note, err := readNote(object)
		if err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	return notes, nil
}

func readNote(object map[string]any) (Note, error) {
	content, ok := object["content"].(string)
	if !ok || content == "" || len(object) != 1 {
		return Note{}, refuse(http.StatusBadRequest, "a note has content, and nothing else")
	}
	return Note{uuid.NewString(), content}, nil
}

func (s *Simulator) task(r *http.Request) (Task, error) {
	t, ok := s.tasks.Get(r.PathValue("id"))
	if !ok {
		return Task{}, refuse(http.StatusNotFound, "There is no such task")
	}
	return t, nil
}

func (s *Simulator) read(r *http.Request) (answer, error) {
	t, err := s.task(r)
	return answer{status: http.StatusOK, etag: t.etag(), body: t.json()}, err
}

var filterForm = regexp.MustCompile(`^description (eq|sw|ew|ct) '((?:[^']|'')*)'$`)

// list gives tasks; see [Settings.Search] for what a $filter does.
func (s *Simulator) list(r *http.Request) (answer, error) {
	keep := func(Task) bool { return true }
	filter := r.URL.Query().Get("$filter")
	switch {
	case filter == "" || s.settings.Search == SearchIgnored:
	case s.settings.Search == SearchRefused:
		return answer{}, refuse(http.StatusBadRequest, "$filter is not known")
	default:
		m := filterForm.FindStringSubmatch(filter)
		if m == nil {
			return answer{}, refuse(http.StatusBadRequest, "$filter is not understood")
		}
		matches := map[string]func(string, string) bool{
			"eq": func(a, b string) bool { return a == b }, "sw": strings.HasPrefix, "ew": strings.HasSuffix, "ct": strings.Contains,
		}[m[1]]
		keep = func(t Task) bool { return matches(t.Description, strings.ReplaceAll(m[2], "''", "'")) }
	}
	shown := []any{}
	for _, t := range s.tasks.Find(keep) {
		shown = append(shown, t.json())
	}
	return answer{status: http.StatusOK, body: shown}, nil
}

// patch needs the etag and a merge patch without sub-nodes (sap-sales-cloud.md §4).
func (s *Simulator) patch(r *http.Request) (answer, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	before, err := s.task(r)
	if err != nil {
		return answer{}, err
	}
	switch r.Header.Get("If-Match") {
	case "":
		return answer{}, refuse(http.StatusPreconditionRequired, "If-Match is required")
	case before.etag():
	default:
		return answer{}, refuse(http.StatusPreconditionFailed, "The task was changed in the meantime")
	}
	body, err := readBody(r, "application/merge-patch+json")
	if err != nil {
		return answer{}, err
	}
	if _, sent := body["notes"]; sent {
		return answer{}, refuse(http.StatusBadRequest, "Subnodes must not be present")
	}
	changed := before
	changed.References = maps.Clone(before.References)
	if err := s.apply(&changed, body); err != nil {
		return answer{}, err
	}
	changed.Version++
	if err := s.tasks.Put(changed.ID, changed); err != nil {
		return answer{}, err
	}
	s.tell(r.Context(), "update", &before, changed)
	return answer{status: http.StatusOK, etag: changed.etag(), body: changed.json()}, nil
}

func (s *Simulator) addNote(r *http.Request) (answer, error) {
	body, err := readBody(r, "application/json")
	if err != nil {
		return answer{}, err
	}
	note, err := readNote(body)
	if err != nil {
		return answer{}, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.task(r)
	if err != nil {
		return answer{}, err
	}
	t.Notes, t.Version = append(slices.Clone(t.Notes), note), t.Version+1
	if err := s.tasks.Put(t.ID, t); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: note}, nil
}

func (s *Simulator) notes(r *http.Request) (answer, error) {
	t, err := s.task(r)
	if err != nil {
		return answer{}, err
	}
	notes := t.Notes
	if notes == nil {
		notes = []Note{}
	}
	return answer{status: http.StatusOK, body: notes}, nil
}
