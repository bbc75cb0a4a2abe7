package recipients_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recipients"
)

var company = []recipients.Person{
	{"E1", "ada@example.org", "ada", "Ada", "Lovelace", true},
	{"E2", "grace@example.org", "grace", "Grace", "Hopper", true},
	{"E3", "desk@example.org", "desk1", "Grace", "Hopper", true},
	{"E4", "desk@example.org", "desk2", "Mary", "Hopper", true},
	{"E5", "gone@example.org", "gone", "Grace", "Hopper", false},
	{"E6", "gone@example.org", "", "Joan", "Clarke", true},
	{"E7", "left@example.org", "left", "Emil", "Post", false},
	{"odd@example.org", "odd@example.org", "", "Odd", "Hopper", true},
}

func TestOnlyAnExactIdentityOfOneActivePersonResolves(t *testing.T) {
	d := recipients.NewDirectory(company)
	for _, c := range []struct {
		given recipients.Identity
		want  string
		words []string
	}{
		{given: recipients.Identity{EmployeeID: "E1"}, want: "E1"},
		{given: recipients.Identity{Email: " ADA@example.org"}, want: "E1"},
		{given: recipients.Identity{Username: "ada"}, want: "E1"},
		{given: recipients.Identity{Email: "ada@example.org", Username: "ada", Name: "Somebody Else"}, want: "E1"},
		{given: recipients.Identity{Email: "gone@example.org"}, want: "E6"}, // the address of one who left was given again
		{given: recipients.Identity{EmployeeID: "E4", Email: "desk@example.org"}, want: "E4"},
		{given: recipients.Identity{EmployeeID: "E4", Email: "unheard@example.org"}, want: "E4"},
		{given: recipients.Identity{Email: "desk@example.org", Username: "desk2"}, want: "E4"},
		{given: recipients.Identity{Email: "desk@example.org"}, words: []string{"several people", "E3, E4", "recipient.employeeId"}},
		{given: recipients.Identity{EmployeeID: "E1", Email: "grace@example.org"}, words: []string{"different people", "E1, E2"}},
		{given: recipients.Identity{EmployeeID: "e1"}, words: []string{"nobody", "employeeId"}},
		{given: recipients.Identity{EmployeeID: "E9", Email: "ada@example.org"}, words: []string{"nobody", "employeeId"}},
		{given: recipients.Identity{EmployeeID: "E7"}, words: []string{"archived", "E7"}},
		{given: recipients.Identity{Email: "left@example.org"}, words: []string{"archived", "E7"}},
		{given: recipients.Identity{Email: "unheard@example.org", Name: "Grace Hopper"}, words: []string{"nobody", "email", "candidates: E2, E3."}},
		{given: recipients.Identity{Name: "hopper, GRACE"}, words: []string{"a name alone is never enough", "candidates: E2, E3."}},
		{given: recipients.Identity{Name: "Henry Hopper"}, words: []string{"candidates: E2, E3, E4, [e-mail]."}},
		{given: recipients.Identity{Name: "Ada Lovelace"}, words: []string{"a name alone is never enough", "candidates: E1."}},
		{given: recipients.Identity{Name: "Alan Turing"}, words: []string{"no candidate"}},
	} {
		got, err := d.Resolve(c.given)
		if c.want != "" {
			if got != c.want || err != nil {
				t.Errorf("%+v: %q, %v; want %s", c.given, got, err, c.want)
			}
			continue
		}
		f := fault.From(err)
		if err == nil || f.Class != fault.Person || f.Field != "recipient" || got != "" {
			t.Errorf("%+v: %q, %+v; want a person", c.given, got, f)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(f.Reason, word) {
				t.Errorf("%+v: %q does not say %q", c.given, f.Reason, word)
			}
		}
		for _, personal := range []string{"@", "Hopper", "Grace", "Ada"} {
			if strings.Contains(f.Reason, personal) {
				t.Errorf("%+v: %q is personal", c.given, f.Reason)
			}
		}
	}
}

func TestAtMostFiveCandidatesAreNamed(t *testing.T) {
	var many []recipients.Person
	for id := range strings.FieldsSeq("A1 A2 A3 A4 A5 A6") {
		many = append(many, recipients.Person{EmployeeID: id, FirstName: "Jo", LastName: "Weber", Active: true})
	}
	_, err := recipients.NewDirectory(many).Resolve(recipients.Identity{Name: "Jo Weber"})
	if err == nil || !strings.Contains(err.Error(), "A5, …") || strings.Contains(err.Error(), "A6") {
		t.Error(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

var quiet = slog.New(slog.DiscardHandler)

func resolve(t *testing.T, r recipients.Resolver, email string) string {
	t.Helper()
	id, err := r.Resolve(t.Context(), recipients.Identity{Email: email})
	if err != nil && !fault.Is(err, fault.Person) {
		t.Errorf("%s: %v", email, err)
	}
	return id
}

func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	for name, content := range map[string][2]string{
		"people.yaml": {
			"- {employeeId: E1, email: ada@example.org, firstName: Ada}\n- {employeeId: E2, email: grace@example.org, active: false}\n",
			"- {employeeId: E2, email: grace@example.org}\n",
		},
		"people.csv": {
			"\ufeffemployeeId,email,active\nE1, ada@example.org ,\nE2,grace@example.org,no\n",
			"email,employeeId\ngrace@example.org,E2\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			write(t, path, content[0])
			f, err := recipients.OpenFile(path, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if a, g := resolve(t, f, "ada@example.org"), resolve(t, f, "grace@example.org"); a != "E1" || g != "" {
				t.Errorf("at first %q, %q", a, g)
			}
			write(t, path, content[1])
			if a, g := resolve(t, f, "ada@example.org"), resolve(t, f, "grace@example.org"); a != "" || g != "E2" {
				t.Errorf("after the change %q, %q", a, g)
			}
			write(t, path, "\"broken")
			if g := resolve(t, f, "grace@example.org"); g != "E2" {
				t.Errorf("a broken file took the directory away: %q", g)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if g := resolve(t, f, "grace@example.org"); g != "E2" {
				t.Errorf("a missing file took the directory away: %q", g)
			}
			write(t, path, content[0])
			if a := resolve(t, f, "ada@example.org"); a != "E1" {
				t.Errorf("after it was mended %q", a)
			}
		})
	}
}

func TestFilesThatCannotWorkAreRefusedWithThePlaceAndNothingPersonal(t *testing.T) {
	for name, c := range map[string]struct{ file, content, words string }{
		"misspelt key":       {"p.yaml", "- {employeeId: E1, mail: ada@example.org}", "line 1"},
		"no list":            {"p.yaml", "ada@example.org: E1", ""},
		"no id in YAML":      {"p.yaml", "- {employeeId: E1}\n- {email: ada@example.org}", "entry 2 has no employeeId"},
		"misspelt column":    {"p.csv", "employeeId,mail\nE1,ada@example.org", "column 2"},
		"no column of ids":   {"p.csv", "email\nada@example.org", "no column employeeId"},
		"no id in CSV":       {"p.csv", "employeeId,email\nE1,a@example.org\n,ada@example.org", "line 3: employeeId"},
		"too many fields":    {"p.csv", "employeeId,email\nE1,ada@example.org,x", "line 2"},
		"neither yes nor no": {"p.csv", "employeeId,active\nE1,ada@example.org", "line 2: active"},
		"empty":              {"p.csv", "", "no line of column names"},
		"another kind":       {"p.txt", "E1", "neither"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		write(t, path, c.content)
		_, err := recipients.OpenFile(path, quiet)
		if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "ada@") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := recipients.OpenFile(filepath.Join(t.TempDir(), "none.csv"), quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestListIsFetchedOnceAndAnewWhenOldOrWithoutSomebody(t *testing.T) {
	fetched, now := 0, time.Now()
	var list []recipients.Person
	var broken error
	l := recipients.NewList(t.Context(), func(context.Context) ([]recipients.Person, error) {
		fetched++
		return list, broken
	}, time.Hour, quiet).WithClock(func() time.Time { return now })
	want := func(email, id string, calls int) {
		t.Helper()
		if got := resolve(t, l, email); got != id || fetched != calls {
			t.Errorf("%s: %q after %d calls, want %q after %d", email, got, fetched, id, calls)
		}
	}
	broken = fault.New(fault.Down, "no connection")
	if _, err := l.Resolve(t.Context(), recipients.Identity{Email: "ada@example.org"}); !fault.Is(err, fault.Down) {
		t.Errorf("without a list: %v", err)
	}
	broken = nil
	if _, err := l.Resolve(t.Context(), recipients.Identity{Email: "ada@example.org"}); !fault.Is(err, fault.Transient) {
		t.Errorf("an empty list was believed: %v", err)
	}
	list = company[:1]
	want("ada@example.org", "E1", 3)
	want("grace@example.org", "", 3) // unknown, and the list is fresh
	now = now.Add(6 * time.Minute)
	want("ada@example.org", "E1", 3)
	list = company
	want("grace@example.org", "E2", 4) // joined meanwhile
	now = now.Add(time.Hour + time.Second)
	want("ada@example.org", "E1", 5)
	now, broken = now.Add(2*time.Hour), fault.New(fault.Down, "no connection")
	want("ada@example.org", "E1", 6) // the old list is better than none
}

func TestALongListIsNotWaitedForForEver(t *testing.T) {
	release := make(chan struct{})
	l := recipients.NewList(t.Context(), func(context.Context) ([]recipients.Person, error) {
		<-release
		return company, nil
	}, time.Hour, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Resolve(ctx, recipients.Identity{Email: "ada@example.org"}); !fault.Is(err, fault.NotYet) {
		t.Errorf("%v", err)
	}
	close(release)
	bustest.Eventually(t, "read", func() bool { return resolve(t, l, "ada@example.org") == "E1" })
}

func TestWithoutADirectoryTheSurestIdentityIsPassedOn(t *testing.T) {
	for want, given := range map[string]recipients.Identity{
		"E1":              {EmployeeID: "E1", Email: "ada@example.org", Username: "ada"},
		"ada@example.org": {Email: "ada@example.org", Username: "ada"},
		"ada":             {Username: "ada", Name: "Ada"},
	} {
		if got, err := (recipients.AsGiven{}).Resolve(t.Context(), given); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := (recipients.AsGiven{}).Resolve(t.Context(), recipients.Identity{Name: "Ada"}); !fault.Is(err, fault.Person) {
		t.Errorf("a name alone: %v", err)
	}
}
