// Package settings reads a service's settings from environment variables into a struct, and writes the struct's tags as
// help and as documentation.
//
//	type Settings struct {
//		NatsURL  string          `envconfig:"NATS_URL" required:"true" desc:"where NATS is"`
//		Password settings.Secret `envconfig:"C4C_PASSWORD" desc:"the technical user's password"`
//		Timeout  time.Duration   `envconfig:"C4C_TIMEOUT" default:"30s" desc:"longest wait for an answer"`
//		Door     httpdoor.Settings
//	}
//
// Values are read by envconfig, so its types and notations hold. What differs: the tag is the full name of the variable,
// structs within structs add no prefix, a variable that is there but empty counts as not set, and everything that is
// wrong is reported at once.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// Load reads the environment into the struct that into points to, without changing the environment. Fields tagged
// `ignored:"true"` are left alone; a field without value and default keeps what it holds.
//
// A [Secret] or [Secrets] named NAME may also come from the file named by NAME_FILE, less line breaks at its end, and follows
// that file from then on.
// After that fields tagged `required:"true"` must hold something, and each struct that has Validate() error is asked:
// into itself and those within. The error joins all that is wrong, one line each, and names the variable.
func Load(into any) error {
	vars, structs, err := variables(into)
	if err != nil {
		return err
	}
	var wrong problems
	for _, v := range vars {
		wrong.add(v.load())
	}
	for _, s := range structs {
		if !s.CanInterface() { // an embedded struct of a private type: its Validate is that of the outer one
			continue
		}
		if checked, ok := reflect.TypeAssert[interface{ Validate() error }](s.Addr()); ok {
			wrong.add(checked.Validate())
		}
	}
	return errors.Join(wrong...)
}

// LoadOnly reads the variables of these names alone, as [Load] does, and asks no Validate. The rest of the struct is left
// alone.
func LoadOnly(into any, names ...string) error {
	vars, _, err := variables(into)
	if err != nil {
		return err
	}
	var wrong problems
	for _, v := range vars {
		if slices.Contains(names, v.name) {
			wrong.add(v.load())
		}
	}
	return errors.Join(wrong...)
}

// variables are those of the struct that into points to, with the structs within.
func variables(into any) ([]variable, []reflect.Value, error) {
	spec := reflect.ValueOf(into)
	if spec.Kind() != reflect.Pointer || spec.Elem().Kind() != reflect.Struct {
		return nil, nil, fmt.Errorf("settings: %T is no pointer to a struct", into)
	}
	vars, structs := gather(spec.Elem())
	return vars, structs, nil
}

// problems are errors without repetition: the Validate of an embedded struct is that of the outer one too.
type problems []error

func (p *problems) add(err error) {
	if err == nil {
		return
	}
	for _, have := range *p {
		if have.Error() == err.Error() {
			return
		}
	}
	*p = append(*p, err)
}

// variable is a field and its variable.
type variable struct {
	name  string
	tags  reflect.StructTag
	field reflect.Value
	// at names the field, for mistakes in the struct.
	at string
}

// gather lists the variables of s and of the structs within, in their order, and the structs themselves.
func gather(s reflect.Value) (vars []variable, structs []reflect.Value) {
	structs = append(structs, s)
	for tag, field := range s.Fields() {
		name, nested := tag.Tag.Get("envconfig"), field.Kind() == reflect.Struct
		if embedded := tag.Anonymous && nested; !tag.IsExported() && !embedded || tag.Tag.Get("ignored") == "true" {
			continue
		}
		if name == "" && nested {
			innerVars, innerStructs := gather(field)
			vars, structs = append(vars, innerVars...), append(structs, innerStructs...)
			continue
		}
		vars = append(vars, variable{name: name, tags: tag.Tag, field: field, at: s.Type().String() + "." + tag.Name})
	}
	return vars, structs
}

func (v variable) load() error {
	if v.name == "" {
		return fmt.Errorf(`settings: %s has no tag envconfig:"NAME"`, v.at)
	}
	path, err := v.path()
	if err != nil {
		return err
	}
	if path != "" {
		return v.follow(path)
	}
	value := cmp.Or(os.Getenv(v.name), v.tags.Get("default"))
	if value == "" {
		if v.required() && v.field.IsZero() {
			return fmt.Errorf("%s is required: %s", v.name, v.what())
		}
		return nil
	}
	return v.set(value)
}

func (v variable) required() bool { return v.tags.Get("required") == "true" }

// what describes the variable.
func (v variable) what() string {
	what := v.tags.Get("desc")
	if v.secret() {
		what = strings.TrimSpace(what + " (or " + v.file() + ")")
	}
	return what
}

func (v variable) secret() bool {
	switch v.field.Interface().(type) {
	case Secret, Secrets:
		return true
	}
	return false
}

// file is the variable that names the file of a secret.
func (v variable) file() string { return v.name + "_FILE" }

// path of the file that a secret comes from; empty where it comes from none.
func (v variable) path() (string, error) {
	if !v.secret() || os.Getenv(v.file()) == "" {
		return "", nil
	}
	if os.Getenv(v.name) != "" {
		return "", fmt.Errorf("%s and %s are both set: which one counts?", v.name, v.file())
	}
	return os.Getenv(v.file()), nil
}

func (v variable) follow(path string) error {
	switch into := v.field.Addr().Interface().(type) {
	case *Secret:
		return into.follow(v.file(), path)
	case *Secrets:
		return into.follow(v.file(), path)
	}
	return nil
}

// nobody is a name that no variable can have.
const nobody = "="

// set parses the value into the field. envconfig parses only what it finds in the environment, or a default: so each
// value goes to it as the default of a variable that nobody can set, which leaves the environment as it is and lets us
// choose between variable, file and default.
func (v variable) set(value string) error {
	one := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "Value",
		Type: v.field.Type(),
		Tag:  reflect.StructTag("envconfig:" + strconv.Quote(nobody) + " default:" + strconv.Quote(value)),
	}}))
	err := envconfig.Process("", one.Interface())
	if parse, ok := errors.AsType[*envconfig.ParseError](err); ok {
		return fmt.Errorf("%s is no %s: %w", v.name, v.field.Type(), parse.Err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", v.name, err)
	}
	v.field.Set(one.Elem().Field(0))
	return nil
}
