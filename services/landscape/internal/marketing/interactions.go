package marketing

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Names of properties that the simulator itself looks at.
const (
	keyField        = "InteractionUUID"
	typeField       = "InteractionType"
	sourceTypeField = "InteractionSourceObjectType"
	sourceField     = "InteractionSourceObject"
	linkField       = "InteractionSourceDataURL"
)

// Values with a meaning to the simulator (sap-marketing-cloud.md §2.3).
const (
	linkCreated      = "SURVEY_LINK_CREATED"
	distributed      = "SURVEY_DISTRIBUTION"
	campaignOutbound = "CUAN_CAMPAIGN_OUTBOUND"
)

// interaction is a row of the interaction set. Nobody can read it before Visible.
type interaction struct {
	Row     odatasim.Row `json:"row"`
	Created time.Time    `json:"created"`
	Visible time.Time    `json:"visible"`
}

func (s *Simulator) interactionSet(entity *odatasim.EntityType) *odatasim.Set {
	set := &odatasim.Set{
		Name:           "Interactions",
		Type:           entity,
		RequiresFilter: true,
		List:           s.listInteractions,
		Get:            s.getInteraction,
		Create:         s.createInteraction,
		Update:         s.updateInteraction,
	}
	if s.settings.AllowDelete {
		set.Delete = s.deleteInteraction
	}
	return set
}

// deepInsertSet is the set of the published flow, which no metadata has: a root with nothing but interactions below
// (sap-marketing-cloud.md §2.1).
func (s *Simulator) deepInsertSet() *odatasim.Set {
	return &odatasim.Set{
		Name:     "InteractionsDeepInsert",
		Unlisted: true,
		Type: &odatasim.EntityType{
			Name:        "InteractionsDeepInsert",
			Navigations: []odatasim.Navigation{{Name: "Interactions", Set: "Interactions"}},
		},
		CreateStatus: s.settings.DeepInsertStatus,
		Create:       s.deepInsert,
	}
}

func (s *Simulator) childSet(c childType) *odatasim.Set {
	return &odatasim.Set{
		Name:           c.set,
		Type:           c.entity,
		RequiresFilter: true,
		List: func(f *odatasim.Filter) []odatasim.Row {
			var rows []odatasim.Row
			for _, parent := range s.candidates(f) {
				rows = append(rows, parent.Children[c.set]...)
			}
			return rows
		},
		Create: func(ctx context.Context, row odatasim.Row) (odatasim.Row, error) {
			return s.createChild(ctx, c, row)
		},
	}
}

func (s *Simulator) getInteraction(key string) (odatasim.Row, bool) {
	i, ok := s.interactions.Get(key)
	return i.Row, ok && !i.Visible.After(s.now())
}

func (s *Simulator) listInteractions(f *odatasim.Filter) []odatasim.Row { return s.candidates(f) }

// candidates gives the visible interactions that can match, found by source object or key where the filter has one.
func (s *Simulator) candidates(f *odatasim.Filter) []odatasim.Row {
	keys, ok := f.Values(keyField)
	if sources, bySource := f.Values(sourceField); bySource {
		keys, ok = s.keysOf(sources), true
	}
	if !ok {
		return s.visible(s.interactions.All())
	}
	var found []interaction
	seen := map[string]bool{}
	for _, key := range keys {
		if i, known := s.interactions.Get(key); known && !seen[key] {
			seen[key] = true
			found = append(found, i)
		}
	}
	return s.visible(found)
}

func (s *Simulator) keysOf(sources []string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var keys []string
	for _, source := range sources {
		keys = append(keys, s.bySource[source]...)
	}
	return keys
}

func (s *Simulator) visible(all []interaction) []odatasim.Row {
	now := s.now()
	rows := make([]odatasim.Row, 0, len(all))
	for _, i := range all {
		if !i.Visible.After(now) {
			rows = append(rows, i.Row)
		}
	}
	return rows
}

func (s *Simulator) createInteraction(ctx context.Context, row odatasim.Row) (odatasim.Row, error) {
	row, err := s.prepare(row)
	if err != nil {
		return row, err
	}
	return row, odatasim.Commit(ctx, func() error { return s.accept(ctx, row) })
}

func (s *Simulator) deepInsert(ctx context.Context, envelope odatasim.Row) (odatasim.Row, error) {
	var prepared []odatasim.Row
	for _, row := range envelope.Children["Interactions"] {
		row, err := s.prepare(row)
		if err != nil {
			return envelope, err
		}
		prepared = append(prepared, row)
	}
	envelope.Children["Interactions"] = prepared
	return envelope, odatasim.Commit(ctx, func() error {
		for _, row := range prepared {
			if err := s.accept(ctx, row); err != nil {
				return err
			}
		}
		return nil
	})
}

// prepare completes a new interaction as the server does: key, contact of the outbound id, change stamp, keys of the
// children. Every interaction is a new one, whatever it holds: there is no check for duplicates unless switched on.
func (s *Simulator) prepare(row odatasim.Row) (odatasim.Row, error) {
	row = row.Clone()
	if key := row.Values[keyField]; key == "" || key == uuid.Nil.String() {
		row.Values[keyField] = uuid.NewString()
	} else if _, exists := s.interactions.Get(key); exists {
		return row, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeConflict, "Instance with the same key already exists")
	}
	if s.settings.RefuseDuplicates && s.hasTwin(row) {
		return row, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeConflict, "Instance with the same key already exists")
	}
	if err := s.deriveContact(row); err != nil {
		return row, err
	}
	s.stamp(row)
	for _, c := range childTypes {
		row.Children[c.set] = slices.Clone(row.Children[c.set])
		for n, childRow := range row.Children[c.set] {
			row.Children[c.set][n] = newChild(c, childRow, row.Values[keyField])
		}
		if len(row.Children[c.set]) == 0 {
			delete(row.Children, c.set)
		}
	}
	return row, nil
}

func (s *Simulator) hasTwin(row odatasim.Row) bool {
	for _, key := range s.keysOf([]string{row.Values[sourceField]}) {
		if twin, _ := s.interactions.Get(key); twin.Row.Values[typeField] == row.Values[typeField] {
			return true
		}
	}
	return false
}

// deriveContact fills in the contact behind an outbound id, since clients send none (sap-marketing-cloud.md §2.3).
func (s *Simulator) deriveContact(row odatasim.Row) error {
	if row.Values[sourceTypeField] != campaignOutbound {
		return nil
	}
	o, known := s.outbounds.Get(row.Values[sourceField])
	if !known && s.settings.RefuseUnknownSource && row.Values[typeField] == linkCreated {
		return odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Source object of property %s does not exist", sourceField)
	}
	if known && row.Values["InteractionContactId"] == "" {
		row.Values["InteractionContactId"] = o.Member.ContactID
		row.Values["InteractionContactOrigin"] = s.settings.ContactOrigin
	}
	return nil
}

func (s *Simulator) stamp(row odatasim.Row) {
	user := []rune(s.settings.Username)
	row.Values["InteractionLastChangedDateTime"] = odatasim.FormatDate(s.now())
	row.Values["InteractionLastChangedByUser"] = string(user[:min(12, len(user))])
}

func newChild(c childType, row odatasim.Row, parent string) odatasim.Row {
	row = row.Clone()
	row.Values[c.entity.Properties[0].Name] = uuid.NewString()
	row.Values[keyField] = parent
	return row
}

// accept stores a new interaction that came through the API and lets the trigger campaign look at it.
func (s *Simulator) accept(ctx context.Context, row odatasim.Row) error {
	now := s.now()
	if err := s.keep(interaction{Row: row, Created: now, Visible: now.Add(s.settings.WrittenVisibleAfter)}); err != nil {
		return err
	}
	return s.trigger(ctx, row)
}

func (s *Simulator) keep(i interaction) error {
	if err := s.interactions.Put(i.Row.Values[keyField], i); err != nil {
		return err
	}
	s.index(i)
	return nil
}

func (s *Simulator) index(i interaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, key := i.Row.Values[sourceField], i.Row.Values[keyField]
	if source != "" && !slices.Contains(s.bySource[source], key) {
		s.bySource[source] = append(s.bySource[source], key)
	}
}

func (s *Simulator) updateInteraction(ctx context.Context, row odatasim.Row) error {
	s.stamp(row)
	return odatasim.Commit(ctx, func() error {
		changed, err := s.interactions.Update(row.Values[keyField], func(i interaction, found bool) (interaction, bool) {
			i.Row = odatasim.Row{Values: row.Values, Children: i.Row.Children}
			return i, found
		})
		s.index(changed)
		return err
	})
}

func (s *Simulator) deleteInteraction(ctx context.Context, row odatasim.Row) error {
	return odatasim.Commit(ctx, func() error { return s.interactions.Delete(row.Values[keyField]) })
}

func (s *Simulator) createChild(ctx context.Context, c childType, row odatasim.Row) (odatasim.Row, error) {
	parent := row.Values[keyField]
	if _, ok := s.getInteraction(parent); !ok {
		return row, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Property %s names no interaction", keyField)
	}
	row = newChild(c, row, parent)
	return row, odatasim.Commit(ctx, func() error {
		_, err := s.interactions.Update(parent, func(i interaction, found bool) (interaction, bool) {
			i.Row = i.Row.Clone()
			i.Row.Children[c.set] = append(slices.Clone(i.Row.Children[c.set]), row)
			return i, found
		})
		return err
	})
}
