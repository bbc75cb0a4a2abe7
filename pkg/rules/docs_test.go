package rules_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/rules"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

var block = regexp.MustCompile("(?ms)^```(\\w[^\n]*)\n(.*?)^```$")

// docs runs the examples of docs/rules.md in their order. Each works on the file and the answer before it; the reasons
// and the conditions are those of the first file and its answer.
type docs struct {
	first, latest *rules.Set
	story, answer *eventsv1.SurveyResponseReceived
	refused       error
}

func TestTheDocumentedExamplesDoWhatIsSaid(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	d, ran := &docs{}, map[string]int{}
	for _, b := range block.FindAllStringSubmatch(string(page), -1) {
		ran[b[1]]++
		d.run(t, b[1], b[2])
	}
	for kind, atLeast := range map[string]int{"yaml": 3, "json answer": 4, "json published": 3, "cel": 1, "text why": 1, "yaml refused": 1, "text refused": 1} {
		if ran[kind] < atLeast {
			t.Errorf("%d examples of %q, want at least %d", ran[kind], kind, atLeast)
		}
	}
	if all := strings.Count(string(page), "\n```"); all%2 != 0 || len(block.FindAllString(string(page), -1)) != all/2 {
		t.Errorf("not every example was found")
	}
}

func (d *docs) run(t *testing.T, kind, text string) {
	t.Helper()
	switch kind {
	case "yaml":
		set, err := rules.Parse("rules.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		d.latest = set
		if d.first == nil {
			d.first = set
		}
	case "json answer":
		d.answer = response(t, text)
		if d.story == nil {
			d.story = d.answer
		}
	case "json published":
		wantPublished(t, d.latest.Evaluate(d.answer), text)
	case "cel":
		for line := range strings.Lines(text) {
			if got := parse(t, withWhen("|\n      "+line)).Evaluate(d.story)[0]; !got.Matched {
				t.Errorf("%s: %s", line, got.Why)
			}
		}
	case "text why":
		var why strings.Builder
		for _, o := range d.first.Evaluate(d.answer) {
			why.WriteString(o.Rule + ": " + o.Why + "\n")
		}
		wantText(t, why.String(), text)
	case "yaml refused":
		_, d.refused = rules.Parse("rules.yaml", []byte(text))
	case "text refused":
		wantText(t, d.refused.Error()+"\n", text)
	default:
		t.Errorf("an example of an unknown kind: %s", kind)
	}
}

func wantPublished(t *testing.T, outcomes []rules.Outcome, text string) {
	t.Helper()
	var want []struct {
		Subject string
		Message json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if len(outcomes) != len(want) {
		t.Fatalf("%d outcomes, want %d", len(outcomes), len(want))
	}
	for i, o := range outcomes {
		c, _ := subjects.Find(want[i].Subject)
		m := c.New()
		if err := protojson.Unmarshal(want[i].Message, m); err != nil {
			t.Fatal(err)
		}
		if o.Err != nil || o.Subject != want[i].Subject || !proto.Equal(o.Message, m) {
			t.Errorf("got %+v, want %+v", o, m)
		}
	}
}

func wantText(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
