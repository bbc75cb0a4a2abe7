package httpdoor_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
)

func TestFieldMapsAreReadByRoute(t *testing.T) {
	t.Setenv("DOOR_FIELDS_FILE", yamlFile(t, `
# names as the survey has them
/c4c/task:
  complaint_text: text
  "Q1.subject": subject
/awardco/recognitions: {rep_email: recipient.email}
/qualtrics/responses: {QID7: values.reason}
`))
	var s httpdoor.FieldSettings
	if err := settings.Load(&s); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got["/c4c/task"], httpdoor.FieldMap{"complaint_text": "text", "Q1.subject": "subject"}) ||
		!maps.Equal(got["/awardco/recognitions"], httpdoor.FieldMap{"rep_email": "recipient.email"}) ||
		!maps.Equal(got["/qualtrics/responses"], httpdoor.FieldMap{"QID7": "values.reason"}) {
		t.Errorf("read %v", got)
	}
}

func TestWithoutAFileNothingIsMapped(t *testing.T) {
	if got, err := (httpdoor.FieldSettings{}).Load(); err != nil || got["/c4c/task"] != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFieldMapsThatAreWrongAreRefusedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		want    []string
	}{
		"unknown route and fields": {
			"/c4c/tasks: {a: text}\n/c4c/task: {b: texts}\n/awardco/recognitions: {c: recipient.mail, d: note, e: }\n",
			[]string{
				"/awardco/recognitions: c: recipient.mail: is not a known field; known here: employeeId, email, name",
				"/awardco/recognitions: e: ",
				"/c4c/task: b: texts: is not a known field",
				"/c4c/tasks: no such route takes a map of fields; known are /awardco/recognitions, /c4c/task, /qualtrics/responses",
			},
		},
		"no YAML":        {"/c4c/task: {a: text", []string{"[1:"}},
		"another shape":  {"- a\n", []string{"[1:"}},
		"a name twice":   {"/c4c/task:\n  a: text\n  a: subject\n", []string{"[3:"}},
		"a list for one": {"/c4c/task:\n  a: [text]\n", []string{"[2:"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httpdoor.FieldSettings{File: yamlFile(t, tt.content)}
			err := s.Validate()
			if err == nil {
				t.Fatal("taken")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Errorf("got %q", lines)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, "DOOR_FIELDS_FILE: "+s.File+": "+tt.want[i]) {
					t.Errorf("got %q", line)
				}
			}
		})
	}
	missing := httpdoor.FieldSettings{File: filepath.Join(t.TempDir(), "missing.yaml")}
	if err := missing.Validate(); err == nil || !strings.HasPrefix(err.Error(), "DOOR_FIELDS_FILE: ") {
		t.Errorf("a missing file: %v", err)
	}
}

func yamlFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fields.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
