// Package edmx reads the $metadata of an OData v2 service as far as a client needs it: which entities there are, and
// the name, type and length of each of their properties. What it does not know, such as the annotations of OData v4
// that some of SAP's files hold, it skips (odata-v2.md §9).
package edmx

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Schema is a service: its entity types by name.
type Schema map[string]Entity

// Entity is an entity type.
type Entity struct {
	Name string
	// Key are the names of its key properties, in their order.
	Key []string
	// Properties by name.
	Properties map[string]Property
	// Navigations are the names of its navigation properties.
	Navigations []string
}

// Property is a property of an entity.
type Property struct {
	Name string
	// Type is its primitive type: Edm.String.
	Type string
	// MaxLength is in characters; 0 where the metadata sets none.
	MaxLength int
	// Nullable is false where a value must be sent.
	Nullable bool
}

// document is the part of the XML that is read. Elements are matched by their local name: the namespaces of schema and
// annotations differ between the families of services.
type document struct {
	XMLName xml.Name
	Schemas []struct {
		Entities []struct {
			Name string `xml:"Name,attr"`
			Key  []struct {
				Name string `xml:"Name,attr"`
			} `xml:"Key>PropertyRef"`
			Properties []struct {
				Name      string `xml:"Name,attr"`
				Type      string `xml:"Type,attr"`
				MaxLength string `xml:"MaxLength,attr"`
				Nullable  string `xml:"Nullable,attr"`
			} `xml:"Property"`
			Navigations []struct {
				Name string `xml:"Name,attr"`
			} `xml:"NavigationProperty"`
		} `xml:"EntityType"`
	} `xml:"DataServices>Schema"`
}

// Parse reads a metadata document. Its error says what is no metadata about it.
func Parse(r io.Reader) (Schema, error) {
	var d document
	if err := xml.NewDecoder(r).Decode(&d); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if d.XMLName.Local != "Edmx" {
		return nil, errors.New("metadata: the document is no edmx")
	}
	schema := Schema{}
	for _, s := range d.Schemas {
		for _, e := range s.Entities {
			entity := Entity{Name: e.Name, Properties: map[string]Property{}}
			for _, k := range e.Key {
				entity.Key = append(entity.Key, k.Name)
			}
			for _, n := range e.Navigations {
				entity.Navigations = append(entity.Navigations, n.Name)
			}
			for _, p := range e.Properties {
				length, err := maxLength(p.MaxLength)
				if err != nil {
					return nil, fmt.Errorf("metadata: %s.%s: %w", e.Name, p.Name, err)
				}
				entity.Properties[p.Name] = Property{Name: p.Name, Type: p.Type, MaxLength: length, Nullable: p.Nullable != "false"}
			}
			schema[e.Name] = entity
		}
	}
	if len(schema) == 0 {
		return nil, errors.New("metadata: it describes no entity")
	}
	return schema, nil
}

// maxLength: Max, as a service may say, is no limit.
func maxLength(s string) (int, error) {
	if s == "" || s == "Max" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, errors.New("MaxLength is not a number of characters")
	}
	return n, nil
}
