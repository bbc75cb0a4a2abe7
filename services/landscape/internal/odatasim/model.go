package odatasim

import (
	"maps"
	"strings"
)

// Edm is a primitive type of OData v2.
type Edm string

// The primitive types that the simulated services use (odata-v2.md §5).
const (
	String         Edm = "Edm.String"
	Guid           Edm = "Edm.Guid"
	DateTime       Edm = "Edm.DateTime"
	DateTimeOffset Edm = "Edm.DateTimeOffset"
	Decimal        Edm = "Edm.Decimal"
	Int16          Edm = "Edm.Int16"
	Int32          Edm = "Edm.Int32"
	Boolean        Edm = "Edm.Boolean"
	Binary         Edm = "Edm.Binary"
)

// Property is one property of an entity type. Without any flag it can be created, changed, filtered and sorted.
type Property struct {
	Name      string
	Type      Edm
	MaxLength int // in characters; 0 is unbounded
	Precision int // of a Decimal: digits in all
	Scale     int // of a Decimal: digits after the point

	Key           bool
	Required      bool // must be sent on create
	NotNull       bool // must be sent on create, though "" will do
	ReadOnly      bool // an error when sent on create; on update an error only if its value differs
	CreateOnly    bool // on update an error only if its value differs
	ServerSet     bool // set by the server: what is sent on create is ignored (C4C's ObjectID, odata-v2.md §9)
	CodeText      bool // read-only text of a code: an error on create, ignored on update (odata-v2.md §9)
	NotFilterable bool
	NotSortable   bool
	Extension     bool // a field of this tenant only
}

// Navigation leads from an entity to its children, which live inside it.
type Navigation struct {
	Name      string
	Set       string // the entity set of the children
	ParentKey string // the child's property that holds the parent's key
}

// EntityType is the shape of the entities of a set.
type EntityType struct {
	Name        string
	Properties  []Property
	Navigations []Navigation
}

func (t *EntityType) property(name string) (*Property, bool) {
	for i := range t.Properties {
		if t.Properties[i].Name == name {
			return &t.Properties[i], true
		}
	}
	return nil, false
}

func (t *EntityType) navigation(name string) (*Navigation, bool) {
	for i := range t.Navigations {
		if t.Navigations[i].Name == name {
			return &t.Navigations[i], true
		}
	}
	return nil, false
}

func (t *EntityType) keys() []*Property {
	var keys []*Property
	for i := range t.Properties {
		if t.Properties[i].Key {
			keys = append(keys, &t.Properties[i])
		}
	}
	return keys
}

// KeyOf is the key of a row in one string: its key values, separated by commas, in the order of the properties.
func (t *EntityType) KeyOf(row Row) string {
	var values []string
	for _, p := range t.keys() {
		values = append(values, row.Values[p.Name])
	}
	return strings.Join(values, ",")
}

// Row is one entity. Values holds the text of each property that has a value: Booleans are true or false, numbers
// their digits, Guids lower case with dashes, dates RFC 3339 in UTC. Children holds the entities below it by the name
// of the navigation. A row is never changed in place: see Clone.
type Row struct {
	Values   map[string]string `json:"values"`
	Children map[string][]Row  `json:"children,omitempty"`
}

// Clone copies the row, so that the copy's values and lists of children can be set without touching the original.
func (r Row) Clone() Row {
	c := Row{Values: map[string]string{}, Children: map[string][]Row{}}
	maps.Copy(c.Values, r.Values)
	maps.Copy(c.Children, r.Children)
	return c
}
