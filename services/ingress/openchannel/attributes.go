// Package openchannel reads the packages of an SAP Marketing Cloud Open Channel campaign (sap-marketing-cloud.md §1).
package openchannel

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

//go:embed recipe.yaml
var recipe []byte

// Attributes says which attribute of a member goes into which field of survey.link.requested.
type Attributes struct {
	fields []field
	guids  []string
}

type field struct {
	path    []string // contact, attributes, Country
	sources []string // the first with a value is taken
}

// LoadAttributes reads the file at path, or gives the names of SAP's published recipe when path is empty. The error
// names every field that survey.link.requested does not have.
func LoadAttributes(path string) (*Attributes, error) {
	source := recipe
	if path != "" {
		var err error
		if source, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return parseAttributes(source)
}

func parseAttributes(source []byte) (*Attributes, error) {
	var file struct {
		Fields map[string]any `yaml:"fields"`
		GUIDs  []string       `yaml:"guids"`
	}
	if err := yaml.UnmarshalWithOptions(source, &file, yaml.Strict()); err != nil {
		return nil, err
	}
	a := &Attributes{guids: file.GUIDs}
	var errs []error
	for target, from := range file.Fields {
		f := field{path: strings.SplitN(target, ".", 3)}
		if err := exists(f.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", target, err))
		}
		var err error
		if f.sources, err = names(from); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", target, err))
		}
		a.fields = append(a.fields, f)
	}
	slices.SortFunc(a.fields, func(x, y field) int { return slices.Compare(x.path, y.path) })
	return a, errors.Join(errs...)
}

func names(from any) ([]string, error) {
	switch from := from.(type) {
	case string:
		return []string{from}, nil
	case []any:
		var all []string
		for _, one := range from {
			s, ok := one.(string)
			if !ok {
				return nil, errors.New("must be an attribute's name or a list of them")
			}
			all = append(all, s)
		}
		return all, nil
	}
	return nil, errors.New("must be an attribute's name or a list of them")
}

// exists checks that the event has the field, and that it can take a text.
func exists(path []string) error {
	message := (&eventsv1.SurveyLinkRequested{}).ProtoReflect().Descriptor()
	for i, name := range path {
		f := message.Fields().ByJSONName(name)
		last := i == len(path)-1
		switch {
		case f == nil:
			return fmt.Errorf("survey.link.requested has no such field")
		case f.IsMap():
			if i != len(path)-2 {
				return fmt.Errorf("needs a name after %s", name)
			}
			return nil
		case last && f.Kind() == protoreflect.MessageKind && f.Message().FullName() != "google.protobuf.Timestamp":
			return fmt.Errorf("is a group of fields, not one")
		case !last && f.Kind() != protoreflect.MessageKind:
			return fmt.Errorf("%s is a single field", name)
		case !last:
			message = f.Message()
		}
	}
	return nil
}

// tree makes the JSON of an event out of a member's attributes; empty values are left out.
func (a *Attributes) tree(values map[string]string) map[string]any {
	root := map[string]any{}
	for _, f := range a.fields {
		value := a.value(f, values)
		if value == "" {
			continue
		}
		at := root
		for _, name := range f.path[:len(f.path)-1] {
			next, ok := at[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[name] = next
			}
			at = next
		}
		at[f.path[len(f.path)-1]] = value
	}
	return root
}

func (a *Attributes) value(f field, values map[string]string) string {
	for _, source := range f.sources {
		if v := strings.TrimSpace(values[source]); v != "" {
			if slices.Contains(a.guids, source) {
				return guid(v)
			}
			return v
		}
	}
	return ""
}

// source names the attribute behind a field, for whoever has to mend it.
func (a *Attributes) source(path string) string {
	for _, f := range a.fields {
		if strings.Join(f.path, ".") == path {
			return strings.Join(f.sources, " or ")
		}
	}
	return path
}

// guid writes 32 hex digits as a GUID (§1.3); anything else stays as it is.
func guid(s string) string {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 16 {
		return s
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}
