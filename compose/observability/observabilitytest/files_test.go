package observabilitytest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the copy of the rules for plain Prometheus")

const (
	root       = "../../.."
	source     = root + "/k8s/components/monitoring/rules.yaml"
	plain      = "../prometheus/rules.yaml"
	dashboards = "../grafana/dashboards"
	runbook    = root + "/docs/runbook.md"
	runbookURL = "https://github.com/closeloop/closeloop/blob/main/docs/runbook.md"
)

var promQL = parser.NewParser(parser.Options{})

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// copied is what plain Prometheus reads: the groups of the Kubernetes object, comments included.
func copied(t *testing.T) []byte {
	t.Helper()
	var object struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err := yaml.Unmarshal(read(t, source), &object); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintln(&out, "# Written from k8s/components/monitoring/rules.yaml by the tests in ../observabilitytest: change it there.")
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&object.Spec); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// alertRules gives all alerts by name, parsed as strictly as Prometheus can: unknown fields, broken expressions and
// templates are errors.
func alertRules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.Parse(read(t, plain), false, model.UTF8Validation, promQL, promslog.NewNopLogger())
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	all := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if _, twice := all[rule.Alert]; twice || rule.Alert == "" {
				t.Errorf("group %s: %q is there twice, or no alert", group.Name, rule.Alert)
			}
			all[rule.Alert] = rule
		}
	}
	return all
}

func TestTheCopyForPlainPrometheusIsOfTheSameRules(t *testing.T) {
	want := copied(t)
	if *update {
		if err := os.WriteFile(plain, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, plain), want) {
		t.Errorf("%s is not what %s says: go test . -run TestTheCopy -update writes it", plain, source)
	}
}

func TestEachAlertSaysWhatToDo(t *testing.T) {
	entries := map[string]bool{}
	for line := range strings.Lines(string(read(t, runbook))) {
		if name, is := strings.CutPrefix(strings.TrimSpace(line), "### "); is {
			entries[name] = true
		}
	}
	rules := alertRules(t)
	for name, rule := range rules {
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", name, severity)
		}
		for _, said := range []string{"summary", "description"} {
			if rule.Annotations[said] == "" {
				t.Errorf("%s has no %s", name, said)
			}
		}
		// GitHub makes the anchor of a heading of letters by writing them small.
		if url := rule.Annotations["runbook_url"]; url != runbookURL+"#"+strings.ToLower(name) {
			t.Errorf("%s: runbook_url is %s", name, url)
		}
		if !entries[name] {
			t.Errorf("%s has no entry in the runbook", name)
		}
	}
	for name := range entries {
		if _, there := rules[name]; !there {
			t.Errorf("the runbook has an entry for %s, which is no alert", name)
		}
	}
}

// dashboard is what the tests look at; Grafana knows much more.
type dashboard struct {
	file          string
	UID           string `json:"uid"`
	Title         string `json:"title"`
	Description   string `json:"description"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name string `json:"name"`
			Type string `json:"type"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int                                      `json:"id"`
	Type        string                                   `json:"type"`
	Title       string                                   `json:"title"`
	Description string                                   `json:"description"`
	GridPos     struct{ X, Y, W, H int }                 `json:"gridPos"`
	Datasource  struct{ Type, UID string }               `json:"datasource"`
	Targets     []struct{ RefID, Expr string }           `json:"targets"`
	FieldConfig struct{ Defaults struct{ Unit string } } `json:"fieldConfig"`
}

func allDashboards(t *testing.T) []dashboard {
	t.Helper()
	files, err := filepath.Glob(dashboards + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards in %s: %v", dashboards, err)
	}
	var all []dashboard
	for _, file := range files {
		d := dashboard{file: filepath.Base(file)}
		if err := json.Unmarshal(read(t, file), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, d)
	}
	return all
}

func TestEachPanelSaysWhatItShows(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range allDashboards(t) {
		if d.UID == "" || seen[d.UID] || d.Title == "" || d.Description == "" || d.SchemaVersion < 41 {
			t.Errorf("%s: uid, title, description or schemaVersion is missing, old, or another dashboard's", d.file)
		}
		seen[d.UID] = true
		if v := d.Templating.List; len(v) == 0 || v[0].Name != "datasource" || v[0].Type != "datasource" {
			t.Errorf("%s: the data source is no variable", d.file)
		}
		ids, cells := map[int]bool{}, map[[2]int]bool{}
		for _, p := range d.Panels {
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %q has no title, description, unit or query", d.file, p.Title)
			}
			if p.Datasource.UID != "${datasource}" || ids[p.ID] {
				t.Errorf("%s: panel %q has a data source of its own, or the id of another one", d.file, p.Title)
			}
			ids[p.ID] = true
			if p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %q is wider than the page", d.file, p.Title)
			}
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if cells[cell] {
						t.Fatalf("%s: panel %q covers another one", d.file, p.Title)
					}
					cells[cell] = true
				}
			}
		}
	}
}

// declared tells whether the services' source declares a metric of that name.
func declared(t *testing.T, name string) (found bool) {
	t.Helper()
	for _, dir := range []string{root + "/pkg", root + "/services"} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || found || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			found = bytes.Contains(content, []byte(`"`+name+`"`))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
