package rulebook_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/rulebook"
	"github.com/closeloop/closeloop/services/console/web"
)

const inForce = `rules:
  - name: late
    when: values.QID1 == "Late"
    publish: feedback.delivery_late
    with: {subject: '"Late"', text: values.why, accountId: values.account}
  - {name: thanks, surveys: [SV_cart], when: int(values.csat) >= 4, publish: recognition.requested, with: {recipient: {email: values.rep}}}
`

// source is what services told.
type source struct{ sets []activity.RuleSet }

func (s *source) RuleSets(context.Context) ([]activity.RuleSet, error) { return s.sets, nil }

func (s *source) Numbers(_ context.Context, span loops.Span) (loops.Numbers, error) {
	if span.To.Sub(span.From) != 7*24*time.Hour {
		return loops.Numbers{}, fmt.Errorf("asked for %v", span)
	}
	return loops.Numbers{Rules: []loops.Group{{Name: "late", Funnel: []loops.Count{{Name: string(loops.Invited), Count: 3}, {Name: string(loops.Acted), Count: 1204}}}}}, nil
}

// told is a source with rules in force at the router.
func told(text string) *source {
	return &source{[]activity.RuleSet{{
		Service: topology.FeedbackRouter, Name: "/etc/closeloop/rules.yaml", Hash: "5d41", Source: text,
		Since: time.Date(2026, 7, 1, 8, 0, 0, 0, time.UTC), At: time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC),
	}}}
}

func shown(field, value string) string {
	if field == "accountId" {
		return value
	}
	return fmt.Sprintf("•••• (%d characters)", len(value))
}

type fixture struct {
	*rulebook.Pages
	*bustest.Broker
	t *testing.T
	// tried are the trials that were recorded.
	tried *[]rulebook.Tried
}

func start(t *testing.T, from *source) fixture {
	t.Helper()
	t.Parallel()
	b := bustest.Start(t, topology.Settings{})
	tried := &[]rulebook.Tried{}
	record := func(_ context.Context, _ *httpdoor.Request, _, why string, asked rulebook.Tried) error {
		if why == "" {
			return web.Wrong("why", "is required")
		}
		*tried = append(*tried, asked)
		return nil
	}
	return fixture{rulebook.New(from, b.Bus(topology.Console).JetStream(), shown, func(id string) string { return id }, record, time.Now), b, t, tried}
}

// answered records answers.
func (f fixture) answered(values ...string) {
	f.t.Helper()
	for n, v := range values {
		f.Publish(subjects.SurveyResponseReceived, fmt.Sprintf(`{"surveyId":"SV_cart","responseId":"R_%d","values":{%s}}`, n, v), "ce-loopid", fmt.Sprint("L ", n))
	}
}

func get(accept string) *httpdoor.Request {
	return &httpdoor.Request{Method: http.MethodGet, Path: "/rules", Header: http.Header{"Accept": {accept}}, Query: url.Values{}}
}

// post sends the form with a reason.
func post(accept string, form url.Values) *httpdoor.Request {
	form = maps.Clone(form)
	if form == nil {
		form = url.Values{}
	}
	form.Set("why", "a test")
	return &httpdoor.Request{
		Method: http.MethodPost, Path: "/rules/try", Header: http.Header{"Accept": {accept}}, Query: url.Values{},
		ContentType: "application/x-www-form-urlencoded", Body: []byte(form.Encode()),
	}
}

// postJSON asks for JSON, with a reason.
func postJSON(t *testing.T, v map[string]string) *httpdoor.Request {
	t.Helper()
	v = maps.Clone(v)
	v["why"] = "a test"
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	r := post("", nil)
	r.ContentType, r.Body = "application/json", body
	return r
}

func body(t *testing.T, r *httpdoor.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	switch content := r.Body.(type) {
	case []byte:
		b.Write(content)
	case io.WriterTo:
		if _, err := content.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
	default:
		if err := json.NewEncoder(&b).Encode(content); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

func problem(t *testing.T, err error, status int) *httpdoor.Problem {
	t.Helper()
	p, ok := errors.AsType[*httpdoor.Problem](err)
	if !ok || p.Status != status {
		t.Fatalf("got %v, want a problem of status %d", err, status)
	}
	return p
}

func TestRulesInForceAreShown(t *testing.T) {
	from := told(inForce)
	from.sets[0].Refused = `rules.yaml:3:5: rule "a": when is missing`
	f := start(t, from)

	r, err := f.Rules(t.Context(), get("text/html"))
	page := body(t, r, err)
	wants(t, page, "feedback-router", "/etc/closeloop/rules.yaml", "5d41", "Loaded", "2026-07-01 08:00:00", "was refused", "when is missing",
		`values.QID1 == &#34;Late&#34;`, `href="/loops?rule=late"`, ">1,204<", `id="feedback-router-line-2"`, `href="#feedback-router-line-6"`, "SV_cart",
		"2    - name: late", `action="/rules/try"`)

	var got struct{ RuleSets []rulebook.RuleSet }
	r, err = f.Rules(t.Context(), get("application/json"))
	if err := json.Unmarshal([]byte(body(t, r, err)), &got); err != nil {
		t.Fatal(err)
	}
	want := []rulebook.RuleInForce{
		{Name: "late", When: `values.QID1 == "Late"`, Publish: subjects.FeedbackDeliveryLate, Line: 2, Fired: 1204},
		{Name: "thanks", Surveys: []string{"SV_cart"}, When: "int(values.csat) >= 4", Publish: subjects.RecognitionRequested, Line: 6},
	}
	if len(got.RuleSets) != 1 || !reflect.DeepEqual(got.RuleSets[0].Rules, want) || got.RuleSets[0].Source != inForce || got.RuleSets[0].Refused == "" {
		t.Errorf("got %+v", got)
	}
	r, err = f.Rules(t.Context(), get("text/csv"))
	if rows := sheet(t, r, err); len(rows) != 3 || rows[1][1] != "late" || rows[1][6] != "1204" {
		t.Errorf("got %v", rows)
	}
}

func sheet(t *testing.T, r *httpdoor.Response, err error) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(body(t, r, err))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestRulesThatNobodyToldAreNotGuessed(t *testing.T) {
	f := start(t, &source{})
	f.answered(`"QID1":"Late"`)
	r, err := f.Rules(t.Context(), get("text/html"))
	wants(t, body(t, r, err), "No service has told", `name="before"`)

	_, err = f.Try(t.Context(), postJSON(t, map[string]string{"source": inForce}))
	if p := problem(t, err, http.StatusUnprocessableEntity); len(p.Errors) != 1 || p.Errors[0].Field != "before" {
		t.Errorf("got %+v", p)
	}
	r, err = f.Try(t.Context(), postJSON(t, map[string]string{"source": inForce, "before": "rules: []"}))
	wants(t, body(t, r, err), `"published":1`, `"new":true`)
}

const changed = `rules:
  - name: late
    when: values.QID1 == "Late"
    publish: feedback.delivery_late
    with: {subject: '"Late"', text: '"Please: " + values.why', accountId: '"99"'}
  - {name: gratitude, surveys: [SV_cart], when: int(values.csat) >= 4, publish: recognition.requested, with: {recipient: {email: values.rep}}}
  - {name: soon, when: has(values.date), publish: feedback.soon, with: {subject: '"Soon"', dueAt: values.date}}
`

func (f fixture) someAnswers() {
	f.answered(`"QID1":"Late","why":"ada@example.com waited","account":"10"`, `"csat":5,"rep":"rep@example.com"`, `"date":"tomorrow"`)
}

func TestAChangeIsTriedOnAPage(t *testing.T) {
	f := start(t, told(inForce))
	f.someAnswers()
	before := len(f.Messages(topology.Events, ">"))

	r, err := f.Try(t.Context(), post("text/html", url.Values{"source": {changed}, "from": {"2026-01-01T00:00"}, "to": {"2099-01-01T00:00"}, "survey": {""}}))
	page := body(t, r, err)
	wants(t, page, "2 differences in 3 answers. Nothing was sent.", `href="/loops/L%200"`, "R_0", "<code>accountId</code>: 10 → 99", "•••• (30 characters)",
		"Rule &#34;gratitude&#34; looks like &#34;thanks&#34; under another name", "would publish again", "1 answer would be in the dead letters",
		"dueAt: rule &#34;soon&#34;", `value="2026-01-01T00:00"`)
	for _, secret := range []string{"ada@example.com waited", "rep@example.com"} {
		if strings.Contains(page, secret) {
			t.Errorf("the page shows %q", secret)
		}
	}
	if after := len(f.Messages(topology.Events, ">")); after != before {
		t.Errorf("there were %d events, and are %d", before, after)
	}
	asked, _ := f.Asked(topology.Console)
	if i := slices.IndexFunc(asked, func(subject string) bool {
		return subject != "$JS.API.STREAM.INFO.EVENTS" && subject != "$JS.API.DIRECT.GET.EVENTS"
	}); i >= 0 {
		t.Errorf("the console published to %s", asked[i])
	}
}

func TestAChangeIsTriedByAProgram(t *testing.T) {
	f := start(t, told(inForce))
	f.someAnswers()
	var got rulebook.Trial
	r, err := f.Try(t.Context(), postJSON(t, map[string]string{"source": changed, "survey": "SV_cart"}))
	if err := json.Unmarshal([]byte(body(t, r, err)), &got); err != nil {
		t.Fatal(err)
	}
	if got.RuleSet != "5d41" || got.Answers != 3 || got.Different != 2 || len(got.Differences) != 2 || len(got.Warnings) != 1 || !got.Complete {
		t.Errorf("got %+v", got)
	}
	form := post("", url.Values{"source": {changed}})
	form.Query = url.Values{"format": {"csv"}}
	r, err = f.Try(t.Context(), form)
	rows := sheet(t, r, err)
	if len(rows) != 4 || !reflect.DeepEqual(rows[1][:4], []string{"soon", "fail", "L 2", "R_2"}) || !reflect.DeepEqual(rows[2][9:], []string{"accountId", "10", "99"}) {
		t.Errorf("got %v", rows)
	}
}

// What a rule gives to a field that is shown is not masked: nobody sees any of it before it is recorded that they look.
func TestATrialIsRecordedBeforeAnythingIsShown(t *testing.T) {
	f := start(t, told(inForce))
	f.someAnswers()
	revealing := strings.ReplaceAll(inForce, "values.account", `'values.why.replace(" ", "_").replace("@", "_")'`)
	period := url.Values{"source": {revealing}, "from": {"2026-01-01T00:00"}, "to": {"2099-01-01T00:00"}, "survey": {"SV_cart"}}
	sum := sha256.Sum256([]byte(revealing))
	for i, accept := range []string{"text/html", "application/json", "text/csv"} {
		silent := post(accept, period)
		silent.Body = []byte(period.Encode())
		r, err := f.Try(t.Context(), silent)
		if accept == "text/html" {
			page := body(t, r, err)
			wants(t, page, "Why is required", `name="why"`, `value="2026-01-01T00:00"`)
			if r.Status < 400 || strings.Contains(page, "ada_example.com") {
				t.Errorf("%d %s", r.Status, page)
			}
		} else if p := problem(t, err, http.StatusBadRequest); len(p.Errors) != 1 || p.Errors[0].Field != "why" {
			t.Errorf("%s: got %+v", accept, p)
		}
		if len(*f.tried) != i {
			t.Fatalf("%s: there are %d records", accept, len(*f.tried))
		}
		r, err = f.Try(t.Context(), post(accept, period))
		wants(t, body(t, r, err), "ada_example.com_waited")
		want := rulebook.Tried{
			Rules: hex.EncodeToString(sum[:]), Before: "5d41", From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), Survey: "SV_cart",
		}
		if got := (*f.tried)[i:]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %+v, want %+v", accept, got, want)
		}
	}
	_, err := f.Try(t.Context(), postJSON(t, map[string]string{"source": "rules: {"}))
	problem(t, err, http.StatusUnprocessableEntity)
	if len(*f.tried) != 3 {
		t.Error("a file with mistakes is recorded, of which nothing is shown")
	}
}

func TestMistakesOfAFileAreNamedWithTheirPlaces(t *testing.T) {
	f := start(t, told(inForce))
	const wrong = `rules:
  - name: late
    when: int(values.csat) >= 4 && survey == "SV_cart"
    publish: feedback.late
    with: {subject: '"Late"', colour: '"red"'}
`
	_, err := f.Try(t.Context(), postJSON(t, map[string]string{"source": wrong}))
	p := problem(t, err, http.StatusUnprocessableEntity)
	if len(p.Errors) != 2 || p.Errors[0].Field != "source" || !strings.HasPrefix(p.Errors[0].Message, `rules.yaml:3:36: rule "late": when: undeclared reference to 'survey'`) ||
		!strings.HasPrefix(p.Errors[1].Message, `rules.yaml:5:31: rule "late": with: the event has no field "colour"`) {
		t.Errorf("got %+v", p)
	}
	r, err := f.Try(t.Context(), post("text/html", url.Values{"source": {wrong}}))
	page := body(t, r, err)
	if r.Status != http.StatusUnprocessableEntity {
		t.Errorf("status %d", r.Status)
	}
	wants(t, page, "The file would be refused. It has 2 mistakes.", `<span class="number">36</span>`, "undeclared reference to", "colour: ")
}

func TestWhatCannotBeTriedIsNamed(t *testing.T) {
	f := start(t, told(inForce))
	for name, c := range map[string]struct {
		asked  map[string]string
		status int
		field  string
	}{
		"no source":          {map[string]string{}, http.StatusBadRequest, "source"},
		"a long source":      {map[string]string{"source": "rules: [] #" + strings.Repeat("x", 256<<10)}, http.StatusBadRequest, "source"},
		"no time":            {map[string]string{"source": inForce, "from": "yesterday"}, http.StatusBadRequest, "from"},
		"a long survey":      {map[string]string{"source": inForce, "survey": strings.Repeat("x", 200)}, http.StatusBadRequest, "survey"},
		"a period backwards": {map[string]string{"source": inForce, "from": "2026-07-02", "to": "2026-07-01"}, http.StatusBadRequest, "from"},
		"a typing mistake":   {map[string]string{"source": inForce, "form": "2026-07-02"}, http.StatusBadRequest, "form"},
	} {
		_, err := f.Try(t.Context(), postJSON(t, c.asked))
		if p := problem(t, err, c.status); len(p.Errors) != 1 || p.Errors[0].Field != c.field {
			t.Errorf("%s: got %+v", name, p)
		}
	}
	r, err := f.Try(t.Context(), post("text/html", url.Values{"source": {inForce}, "from": {"yesterday"}}))
	wants(t, body(t, r, err), "must be a date or a time", `name="source"`)
}

func TestATrialEndsWithItsRequest(t *testing.T) {
	f := start(t, told(inForce))
	f.someAnswers()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Try(ctx, postJSON(t, map[string]string{"source": changed})); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r, err := f.Try(t.Context(), postJSON(t, map[string]string{"source": changed}))
	wants(t, body(t, r, err), `"answers":3`) // its turn is free again
}
