package recipients

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

// Resolver leads an identity to what Awardco is sent. Its errors are those of [Directory.Resolve], and those of whatever
// the directory is read from.
type Resolver interface {
	Resolve(ctx context.Context, i Identity) (string, error)
}

// AsGiven passes the identity on: employee id, else e-mail, else username. Awardco decides who that is.
type AsGiven struct{}

// Resolve refuses a name alone.
func (AsGiven) Resolve(_ context.Context, i Identity) (string, error) {
	if given := i.first(); given != "" {
		return given, nil
	}
	return "", needsPerson("needs employeeId, email or username: a name alone is never enough to recognise somebody. Fill in recipient.employeeId and replay")
}

// File is a directory in a file, which is read again when it has changed.
type File struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	seen    os.FileInfo
	current *Directory
}

// OpenFile reads a directory from a .yaml, .yml or .csv file. YAML is a list of people; CSV has a line of column names.
// The names are employeeId (needed), email, username, firstName, lastName, active (true where it is left out). The error
// says which line or column is wrong, and nothing personal.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Resolve looks into the file as it is now. One that cannot be read any more leaves the directory in force.
func (f *File) Resolve(_ context.Context, i Identity) (string, error) {
	f.mu.Lock()
	if err := f.read(); err != nil {
		f.log.Error("directory file refused; the directory in force stays", "file", f.path, "error", err)
	}
	d := f.current
	f.mu.Unlock()
	return d.Resolve(i)
}

// read takes the file over where it is another than was seen last. What is refused is said once.
func (f *File) read() error {
	now, err := os.Stat(f.path)
	if err != nil {
		if f.seen == nil && f.current != nil {
			return nil
		}
		f.seen = nil
		return err
	}
	if f.seen != nil && os.SameFile(f.seen, now) && f.seen.ModTime().Equal(now.ModTime()) && f.seen.Size() == now.Size() {
		return nil
	}
	f.seen = now
	content, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	people, err := parse(f.path, content)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(f.path), err)
	}
	f.current = NewDirectory(people)
	f.log.Info("directory loaded", "file", f.path, "people", len(people))
	return nil
}

func parse(path string, content []byte) ([]Person, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml":
		return parseYAML(content)
	case ".csv":
		return parseCSV(content)
	}
	return nil, errors.New("is neither .yaml nor .csv")
}

func parseYAML(content []byte) ([]Person, error) {
	var entries []struct {
		EmployeeID string `yaml:"employeeId"`
		Email      string `yaml:"email"`
		Username   string `yaml:"username"`
		FirstName  string `yaml:"firstName"`
		LastName   string `yaml:"lastName"`
		Active     *bool  `yaml:"active"`
	}
	err := yaml.UnmarshalWithOptions(content, &entries, yaml.Strict())
	if syntax, ok := errors.AsType[yaml.Error](err); ok { // its text shows the source, with what stands in it
		return nil, fmt.Errorf("line %d: %s", syntax.GetToken().Position.Line, syntax.GetMessage())
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("is no list of people")
	}
	people := make([]Person, len(entries))
	for i, e := range entries {
		people[i] = Person{e.EmployeeID, e.Email, e.Username, e.FirstName, e.LastName, e.Active == nil || *e.Active}
		if people[i].EmployeeID == "" {
			return nil, fmt.Errorf("entry %d has no employeeId", i+1)
		}
	}
	return people, nil
}

var columns = []string{"employeeId", "email", "username", "firstName", "lastName", "active"}

func parseCSV(content []byte) ([]Person, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(content, []byte("\ufeff")))) // what spreadsheets begin with
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		return nil, errors.New("has no line of column names")
	}
	if !slices.Contains(header, "employeeId") {
		return nil, errors.New("has no column employeeId")
	}
	for i, name := range header {
		if !slices.Contains(columns, name) {
			return nil, fmt.Errorf("column %d is none of %s", i+1, strings.Join(columns, ", "))
		}
	}
	var people []Person
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return people, nil
		}
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, fmt.Errorf("line %d: %w", wrong.Line, wrong.Err)
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		p, err := personOf(header, record)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		people = append(people, p)
	}
}

func personOf(header, record []string) (Person, error) {
	at := map[string]string{}
	for i, name := range header {
		at[name] = strings.TrimSpace(record[i])
	}
	p := Person{
		EmployeeID: at["employeeId"], Email: at["email"], Username: at["username"],
		FirstName: at["firstName"], LastName: at["lastName"],
	}
	switch strings.ToLower(at["active"]) {
	case "", "true", "yes", "1":
		p.Active = true
	case "false", "no", "0":
	default:
		return p, errors.New("active is neither true nor false")
	}
	if p.EmployeeID == "" {
		return p, errors.New("employeeId is empty")
	}
	return p, nil
}
