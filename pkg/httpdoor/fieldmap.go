package httpdoor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/event/contract"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// FieldMap gives the path of the field for names that callers use: the name of a form field, or of something at the top
// of a JSON object or, with dots, below it. The people who build a survey choose these names.
type FieldMap map[string]string

// FieldMaps are the field maps by route.
type FieldMaps map[string]FieldMap

// MappedRoutes are the routes whose callers choose names, with the message that each reads. One file may serve several
// services, so it is checked against all of them.
var MappedRoutes = map[string]proto.Message{
	"/awardco/recognitions": &eventsv1.RecognitionRequested{},
	"/c4c/task":             &eventsv1.FeedbackRaised{},
	"/qualtrics/responses":  &eventsv1.SurveyResponseReceived{},
}

// FieldSettings are those of doors with [MappedRoutes].
type FieldSettings struct {
	File string `envconfig:"DOOR_FIELDS_FILE" desc:"YAML file of the names that callers use for fields: {route: {name: field.path}}"`
}

// Load is [LoadFieldMaps] with the file of the settings and [MappedRoutes].
func (s FieldSettings) Load() (FieldMaps, error) { return LoadFieldMaps(s.File, MappedRoutes) }

// Validate is the error of [FieldSettings.Load].
func (s FieldSettings) Validate() error {
	_, err := s.Load()
	return err
}

// LoadFieldMaps reads a YAML file of route, name and path:
//
//	/c4c/task:
//	  complaint_text: text
//	/awardco/recognitions:
//	  rep_email: recipient.email
//
// A route that is not in routes and a path that its message does not have are refused, all at once. Without a file there
// are no maps.
func LoadFieldMaps(file string, routes map[string]proto.Message) (FieldMaps, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("DOOR_FIELDS_FILE: %w", err)
	}
	var loaded FieldMaps
	if err := yaml.Unmarshal(content, &loaded); err != nil {
		return nil, fmt.Errorf("DOOR_FIELDS_FILE: %s: %s", file, yaml.FormatError(err, false, false))
	}
	var wrong []error
	for _, route := range slices.Sorted(maps.Keys(loaded)) {
		for _, reason := range loaded[route].wrong(route, routes) {
			wrong = append(wrong, fmt.Errorf("DOOR_FIELDS_FILE: %s: %s: %w", file, route, reason))
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return loaded, nil
}

func (f FieldMap) wrong(route string, routes map[string]proto.Message) (reasons []error) {
	message, known := routes[route]
	if !known {
		known := strings.Join(slices.Sorted(maps.Keys(routes)), ", ")
		return []error{errors.New("no such route takes a map of fields; known are " + known)}
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if _, err := contract.Lookup(message.ProtoReflect().Descriptor(), f[name]); err != nil {
			reasons = append(reasons, fmt.Errorf("%s: %w", name, err))
		}
	}
	return reasons
}
