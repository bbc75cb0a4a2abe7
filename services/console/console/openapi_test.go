package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
)

// described reads the document.
func described(t *testing.T) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func TestTheOpenAPIDocumentIsValid(t *testing.T) {
	document := described(t)
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.OperationID == "" || operation.Summary == "" || len(operation.Tags) == 0 || operation.Responses.Default() == nil {
				t.Errorf("%s %s has no id, summary, tag or answer for errors", method, path)
			}
			for _, tag := range operation.Tags {
				if document.Tags.Get(tag) == nil {
					t.Errorf("%s %s: the tag %s is not described", method, path, tag)
				}
			}
		}
	}
}

// undescribed are routes that are no part of what programs are offered.
var undescribed = []string{"/assets/{name}", "/healthz", "/readyz", "/metrics"}

func TestTheOpenAPIDocumentHasEveryRouteAndNoOther(t *testing.T) {
	broker, _ := newBroker(t)
	handled := make(chan []httpdoor.Route, 1)
	servicetest.Start(t, broker, func() service.Definition {
		d := console.Define()
		begin := d.Start
		d.Start = func(ctx context.Context, h *service.Host) error {
			err := begin(ctx, h)
			handled <- h.Door.Routes()
			return err
		}
		return d
	}, nil)
	var routes, documented []string
	for _, r := range <-handled {
		if !slices.Contains(undescribed, r.Path) {
			routes = append(routes, r.Method+" "+r.Path)
		}
	}
	for path, item := range described(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	if len(routes) < 30 {
		t.Errorf("the door tells of %d routes only: %q", len(routes), routes)
	}
	for _, r := range routes {
		if !slices.Contains(documented, r) {
			t.Errorf("%s is not in the document", r)
		}
	}
	for _, r := range documented {
		if !slices.Contains(routes, r) {
			t.Errorf("%s is in the document, and is no route", r)
		}
	}
}

// api is a console whose answers are held against the document.
type api struct {
	*fixture
	document *openapi3.T
	router   routers.Router
	// done are the operations that have answered with what was asked for.
	done map[string]bool
}

// asText has the filter take what it does not know for a text.
var asText = sync.OnceFunc(func() {
	for _, contentType := range []string{"text/html", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(contentType, openapi3filter.PlainBodyDecoder)
	}
})

func newAPI(t *testing.T, f *fixture) *api {
	t.Helper()
	asText()
	document := described(t)
	router, err := legacy.NewRouter(document)
	if err != nil {
		t.Fatal(err)
	}
	return &api{f, document, router, map[string]bool{}}
}

// key opens the door to programs.
var key = []string{"X-API-Key", "key"}

// ask sends a request of a program and holds it and its answer against the document.
func (a *api) ask(method, path, body string, want int, header ...string) (answer string) {
	a.t.Helper()
	return a.send(method, path, body, want, append(header, key...)...)
}

func (a *api) send(method, path, body string, want int, header ...string) (answer string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, a.URL+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	switch {
	case strings.HasPrefix(body, "{"):
		r.Header.Set("Content-Type", "application/json")
	case body != "":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer got.Body.Close()
	read := io.ReadAll
	if got.Header.Get("Content-Type") == "text/event-stream" { // which does not end
		read = func(from io.Reader) ([]byte, error) { return bufio.NewReader(from).ReadBytes('\n') }
	}
	content, err := read(got.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if got.StatusCode != want {
		a.t.Fatalf("%s %s: %d, want %d: %s", method, path, got.StatusCode, want, content)
	}
	a.holds(r, body, got, content)
	return string(content)
}

// holds holds an answer against the document; of one that is not refused the request as well, and that nothing more could stand
// in the answer.
func (a *api) holds(r *http.Request, body string, got *http.Response, content []byte) {
	a.t.Helper()
	what := r.Method + " " + r.URL.RequestURI()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(strings.NewReader(body))
	r.URL.Scheme, r.URL.Host = "", ""
	route, params, err := a.router.FindRoute(r)
	if err != nil {
		a.t.Fatalf("%s: %v", what, err)
	}
	asked := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, RejectWhenRequestBodyNotSpecified: true,
			SkipSettingDefaults: true,
		},
	}
	if got.StatusCode < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(r.Context(), asked); err != nil {
			a.t.Errorf("%s is taken, and is not as the document says: %v", what, err)
		}
		a.known(what, route, r)
		a.done[route.Operation.OperationID] = true
	}
	answers := func(content []byte) error {
		answer := &openapi3filter.ResponseValidationInput{RequestValidationInput: asked, Status: got.StatusCode, Header: got.Header, Options: asked.Options}
		return openapi3filter.ValidateResponse(r.Context(), answer.SetBodyBytes(content))
	}
	if err := answers(content); err != nil {
		a.t.Errorf("%s is answered otherwise than the document says: %v\n%s", what, err, content)
		return
	}
	if !strings.Contains(got.Header.Get("Content-Type"), "json") {
		return
	}
	for place, more := range a.drifted(content) {
		if answers(more) == nil {
			a.t.Errorf("%s: a field more in %q would not be noticed", what, place)
		}
	}
}

// known tells parameters that are taken and not in the document, which the filter does not.
func (a *api) known(what string, route *routers.Route, r *http.Request) {
	a.t.Helper()
	for name := range r.URL.Query() {
		if route.Operation.Parameters.GetByInAndName("query", name) == nil {
			a.t.Errorf("%s: the parameter %s is not in the document", what, name)
		}
	}
}

// free are objects whose fields are named by others.
var free = []string{"body", "fields", "headers", "reached", "counts", "deleted", "lookedAt", "sample.before", "sample.after"}

// drifted gives the answer with an unknown field in each of its objects, by where that is.
func (a *api) drifted(content []byte) map[string][]byte {
	a.t.Helper()
	var whole any
	if err := json.Unmarshal(content, &whole); err != nil {
		a.t.Fatal(err)
	}
	all := map[string][]byte{}
	var walk func(at string, value any)
	walk = func(at string, value any) {
		switch v := value.(type) {
		case map[string]any:
			if slices.ContainsFunc(free, func(name string) bool { return at == name || strings.HasSuffix(at, "."+name) }) {
				return
			}
			v["unheardOf"] = true
			mutated, err := json.Marshal(whole)
			if err != nil {
				a.t.Fatal(err)
			}
			all[at] = mutated
			delete(v, "unheardOf")
			for name, inner := range v {
				walk(strings.TrimPrefix(at+"."+name, "."), inner)
			}
		case []any:
			for i, inner := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), inner)
			}
		}
	}
	walk("", whole)
	return all
}

// until asks until the answer holds all of these.
func (a *api) until(path string, wanted ...string) {
	a.t.Helper()
	bustest.Eventually(a.t, fmt.Sprintf("%s says %q", path, wanted), func() bool {
		got := a.Get(path, key...)
		return !slices.ContainsFunc(wanted, func(w string) bool { return !strings.Contains(got.Body, w) })
	})
}

// say publishes what a service tells.
func (a *api) say(service, kind string, v any) {
	a.t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	a.broker.Publish(topology.ActivitySubject(service, kind), string(content))
}

// fill has something happen of every kind.
func (a *api) fill() {
	loop, now := a.invites(1), time.Now().UTC()
	a.fail(1, 1) // it is letter 1
	a.fail(2, 8)
	a.broker.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_cart","responseId":"R_1","values":{"QID1":"Late","why":"x","account":"10"}}`, "ce-loopid", loop, "ce-id", "E-answer")
	a.broker.Publish(subjects.TaskCreated, `{"responseId":"R_1","taskId":"40211","objectId":"00AB","url":"https://task.example/1"}`, "ce-id", "E-task", "ce-source", "c4c-tasker", "ce-loopid", loop)
	a.say(topology.FeedbackRouter, activity.KindRules, activity.RuleSet{
		Service: topology.FeedbackRouter, Name: "rules.yaml", Hash: "5d41", Source: rulesInForce, Since: now, At: now, Refused: "line 1: it is wrong",
	})
	a.tells(activity.Attempt{
		Service: topology.QualtricsLinker, At: now.Add(-time.Minute), Took: 3 * time.Second, Wave: 120,
		Calls: []activity.Call{{
			Vendor: "qualtrics", Operation: "import transactions", At: now, Took: time.Second, Waited: 2 * time.Second, Status: 503, Outcome: "vendor-down",
			Reason: "the vendor answered 503", Write: true, InsteadOf: 120, EventID: "E-asked-1",
		}},
		Events: []activity.Handled{{
			EventID: "E-asked-1", LoopID: loop, Type: subjects.SurveyLinkRequested, Stream: topology.Events, Sequence: 1, Attempt: 2, Outcome: activity.Retry,
			Class: fault.Down, Vendor: "qualtrics", Reason: "the vendor answered 503", Next: now.Add(time.Hour),
		}},
	})
	a.tells(activity.Attempt{
		Service: topology.FeedbackRouter, At: now, Took: time.Second,
		Events: []activity.Handled{{
			EventID: "E-answer", LoopID: loop, Type: subjects.SurveyResponseReceived, Attempt: 1, Outcome: activity.Done,
			Rules: []activity.Decision{{Rule: "late", Fired: true, Subject: subjects.FeedbackDeliveryLate, RuleSet: "5d41"}, {Rule: "other", Why: "false"}},
		}},
	})
	a.say(topology.QualtricsLinker, activity.KindVendor, activity.Vendor{
		Service: topology.QualtricsLinker, Vendor: "qualtrics", State: activity.Out, Since: now, Until: now.Add(time.Hour), Class: fault.Down, Reason: "503", At: now,
	})
	a.say(topology.QualtricsLinker, activity.KindQuota, activity.Quota{
		Service: topology.QualtricsLinker, Vendor: "qualtrics", At: now, Limits: []activity.Limit{{Name: "all", Used: 12.5, Most: 3000}},
	})
	a.until("/loops/"+loop, "import transactions", `"fired":true`, `"url":"https://task.example/1"`)
	a.until("/vendors", `"state":"out"`, `"quotaAt"`, `"waiting":1`, "import transactions")
	a.until("/rules", `"fired":1`)
	a.until("/loops?limit=100", `"loopId":"L-8"`)
}

func TestAnswersAreAsTheOpenAPIDocumentSays(t *testing.T) {
	env := maps.Clone(people)
	env["ERASURE_QUALTRICS"] = "false"
	a := newAPI(t, with(t, env))
	a.fill()
	for _, asks := range []func(){a.asksConsole, a.asksLoops, a.asksRules, a.asksLetters, a.asksJobs, a.asksErasures} {
		asks()
	}
	for path, item := range a.document.Paths.Map() {
		for method, operation := range item.Operations() {
			if !a.done[operation.OperationID] {
				t.Errorf("%s %s has not answered", method, path)
			}
		}
	}
}

func (a *api) asksConsole() {
	a.t.Helper()
	a.send("GET", "/", "", 303)
	a.send("GET", "/sign-in?next=/loops", "", 200, asPeople...)
	a.send("POST", "/sign-in", "user=oona&password=operates&next=%2Floops", 303, asPeople...)
	a.send("POST", "/sign-in", "user=oona&password=wrong", 403, asPeople...)
	a.send("POST", "/sign-in", `{"user":"oona"}`, 415)
	a.send("POST", "/sign-out", "", 303)
	written, err := os.ReadFile("openapi.yaml")
	if got := a.ask("GET", "/openapi.yaml", "", 200); err != nil || got != string(written) {
		a.t.Errorf("the document is served otherwise than it is written: %v", err)
	}
	for _, path := range []string{
		"/loops", "/loops/L-1", "/loops/live", "/numbers", "/vendors", "/dead-letters", "/dead-letters/1", "/dead-letters/selection?do=replay&sequences=1",
		"/dead-letters/jobs", "/rules", "/operations", "/erasures", "/openapi.yaml",
	} {
		a.send("GET", path, "", 401)
		a.send("GET", path, "", 303, asPeople...)
	}
}

func (a *api) asksLoops() {
	a.t.Helper()
	for _, path := range []string{"/loops?limit=2", "/loops/L-1", "/loops/L-8", "/numbers?period=1d", "/numbers?campaign=C-1&from=2026-07-01", "/vendors"} {
		a.ask("GET", path, "", 200)
		a.ask("GET", path, "", 200, asPeople...)
	}
	a.ask("GET", "/loops?q=x&state=failed&stage=acted+on&campaign=c&survey=s&rule=r&from=2026-07-01&to=2026-07-24T09:30&order=1&contact=2&request=3&response=4&task=5&recognition=6&before="+
		"&format=json", "", 200)
	for _, path := range []string{"/loops?format=csv", "/numbers?format=csv&table=flow", "/vendors?format=csv&table=limits", "/loops/live?state=failed", "/loops/L-1/live", "/vendors/live"} {
		a.ask("GET", path, "", 200)
	}
	for path, status := range map[string]int{
		"/loops?state=lost": 400, "/loops/none": 404, "/numbers?period=2d": 400, "/vendors?table=none": 400, "/loops/live?limit=0": 400, "/vendors?of=x": 400,
	} {
		a.ask("GET", path, "", status)
		a.ask("GET", path, "", status, asPeople...)
	}
}

func (a *api) asksRules() {
	a.t.Helper()
	a.ask("GET", "/rules", "", 200)
	a.ask("GET", "/rules?format=csv", "", 200)
	a.ask("GET", "/rules", "", 200, asPeople...)
	a.ask("GET", "/rules/try", "", 303)
	said := func(source, before string) string {
		asked, err := json.Marshal(map[string]string{"why": "a test", "by": "ada", "source": source, "before": before, "from": "2020-01-01", "survey": "SV_cart"})
		if err != nil {
			a.t.Fatal(err)
		}
		return string(asked)
	}
	changed := strings.ReplaceAll(rulesInForce, "values.account", `'"11"'`)
	if got := a.ask("POST", "/rules/try", said(changed, ""), 200); !strings.Contains(got, `"kind":"change"`) {
		a.t.Errorf("nothing differs: %s", got)
	}
	for name, other := range map[string]string{"drop": "rules: []", "fail": strings.ReplaceAll(rulesInForce, "values.account", "string(int(values.why))"), "new": strings.ReplaceAll(rulesInForce, "name: late", "name: later")} {
		if got := a.ask("POST", "/rules/try", said(other, ""), 200); name != "new" && !strings.Contains(got, `"kind":"`+name+`"`) {
			a.t.Errorf("%s: %s", name, got)
		}
	}
	a.ask("POST", "/rules/try", said("rules: []", "rules: []"), 200)
	a.ask("POST", "/rules/try?format=csv", said(changed, rulesInForce), 200)
	a.ask("POST", "/rules/try", said("rules: {", ""), 422)
	a.ask("POST", "/rules/try", `{"source":"rules: []","why":"a test"}`, 400)
	a.ask("POST", "/rules/try", `{"source":"rules: []","by":"ada"}`, 400)
	a.ask("GET", "/operations?kind=try", "", 200)
	a.ask("GET", "/operations?kind=try", "", 200, asPeople...)
	a.ask("POST", "/rules/try", `{"source":""}`, 400)
	a.ask("POST", "/rules/try", `{"sauce":"x"}`, 400)
	a.send("POST", "/rules/try", `{"source":"rules: []"}`, 401)
}

func (a *api) asksLetters() {
	a.t.Helper()
	const why, mended = `"why":"a test","by":"ada"`, `{"responseId":"R_1","subject":"Late","accountId":"42"}`
	a.ask("POST", "/dead-letters/1/check", `{"body":`+mended+`}`, 200)
	a.ask("POST", "/dead-letters/1/check", `{"body":{"responseId":"R_1"}}`, 400)
	a.ask("POST", "/dead-letters/1/show", `{`+why+`}`, 200)
	a.ask("POST", "/dead-letters/1/show", "by=ada&why=x", 200, asPeople...)
	a.ask("POST", "/dead-letters/1/show", `{"by":"ada"}`, 400)
	a.tasker.refuses(wants42)
	a.ask("POST", "/dead-letters/1/replay", `{`+why+`,"body":`+mended+`}`, 200, "Idempotency-Key", "K")
	a.ask("POST", "/dead-letters/1/replay", `{`+why+`}`, 409)
	a.ask("POST", "/dead-letters/1/replay", `{`+why+`,"outcome":"not-done"}`, 422)
	a.ask("POST", "/dead-letters/2/replay", `{`+why+`}`, 200)
	a.waits(9)
	a.ask("POST", "/dead-letters/3/discard", `{`+why+`}`, 200)
	a.ask("POST", "/dead-letters/4/discard", "by=ada&why=x", 303, asPeople...)
	a.ask("POST", "/dead-letters/4/discard", "by=ada&why=x", 409, asPeople...)
	a.ask("POST", "/dead-letters/99/replay", `{`+why+`}`, 404)
	a.ask("POST", "/dead-letters/preview", `{"sequences":[5,6,3],"edit":[{"op":"set","field":"accountId","value":"42"}]}`, 200)
	a.ask("POST", "/dead-letters/preview", "do=change&sequences=5&sequences=6&op=set&field=accountId&value=42&as=text", 200, asPeople...)
	a.ask("POST", "/dead-letters/preview", `{"sequences":[5],"edit":[{"op":"add","field":"x"}]}`, 400)
	a.ask("POST", "/dead-letters/discard", `{`+why+`,"sequences":[5,3]}`, 200)
	a.ask("POST", "/dead-letters/replay", `{`+why+`,"sequences":[1,2,3,99]}`, 200)
	for _, path := range []string{"/dead-letters?state=all&limit=3", "/dead-letters/1", "/dead-letters/2", "/dead-letters/9", "/operations?limit=3", "/loops/L-2"} {
		a.ask("GET", path, "", 200)
		a.ask("GET", path, "", 200, asPeople...)
	}
	a.ask("GET", "/dead-letters/causes?state=all", "", 200)
	a.ask("GET", "/dead-letters/causes", "", 303, asPeople...)
	a.ask("GET", "/dead-letters/1?body=which+account&by=ada", "", 200)
	a.ask("GET", "/dead-letters?service=x&subject=y&class=person&cause=z&loop=l&state=open&limit=1&before=9&format=json", "", 200)
	a.ask("GET", "/operations?letter=1&by=ada&kind=look&before=100", "", 200)
	for _, path := range []string{"/dead-letters?format=csv", "/dead-letters/causes?format=csv", "/operations?format=csv"} {
		a.ask("GET", path, "", 200)
	}
	a.ask("GET", "/dead-letters/selection?do=change&sequences=6&sequences=7", "", 200, asPeople...)
	for path, status := range map[string]int{
		"/dead-letters?state=lost": 400, "/dead-letters/99": 404, "/dead-letters/selection?do=replay": 400, "/operations?kind=sent": 400, "/openapi.yaml?x=y": 400,
	} {
		a.ask("GET", path, "", status)
	}
	rita := []string{"Authorization", "Basic cml0YTpyZWFkcw=="}
	a.send("POST", "/dead-letters/6/replay", `{"why":"x"}`, 403, rita...)
	a.send("GET", "/dead-letters/6", "", 200, rita...)
}

func (a *api) asksJobs() {
	a.t.Helper()
	const why = `"why":"a test","by":"ada"`
	a.tasker.refuses(unknownAccount)
	begun := func(method, path, body string) string {
		var j struct{ ID string }
		if err := json.Unmarshal([]byte(a.ask(method, path, body, 202)), &j); err != nil {
			a.t.Fatal(err)
		}
		return "/dead-letters/jobs/" + j.ID
	}
	waiting := begun("POST", "/dead-letters/replay", `{`+why+`,"sequences":[1,6,7,8],"job":true,"sample":1,"edit":[{"op":"replace","field":"text","text":"secret","with":"x"}]}`)
	a.until(waiting, `"state":"waiting"`, `"cameBack":1`)
	for _, path := range []string{waiting, "/dead-letters/jobs?limit=1"} {
		a.ask("GET", path, "", 200)
		a.ask("GET", path, "", 200, asPeople...)
	}
	a.ask("GET", waiting+"/live", "", 200)
	a.ask("POST", waiting+"/continue", `{`+why+`}`, 202)
	a.until(waiting, `"state":"done"`)
	a.ask("GET", waiting, "", 200)
	a.ask("POST", waiting+"/stop", `{`+why+`}`, 409)
	a.ask("POST", waiting+"/stop", "by=ada&why=x", 409, asPeople...)
	a.until("/dead-letters?limit=2", `"sequence":11`)
	stopped := begun("POST", "/dead-letters/replay", `{`+why+`,"sequences":[9,10],"job":true,"sample":1,"edit":[{"op":"replace","field":"text","text":"none","with":"x"}]}`)
	a.until(stopped, `"state":"waiting"`, `"failures"`)
	a.ask("POST", stopped+"/stop", `{`+why+`}`, 202)
	a.ask("GET", stopped, "", 200)
	a.ask("GET", "/dead-letters/jobs?format=csv", "", 200)
	a.ask("POST", "/dead-letters/discard", `{`+why+`,"sequences":[1],"job":true,"sample":-1}`, 400)
	begun("POST", "/dead-letters/discard", `{`+why+`,"sequences":[11],"job":true}`)
	a.ask("GET", "/operations", "", 200)
	a.ask("GET", "/dead-letters/jobs/none", "", 404)
	a.ask("GET", "/dead-letters/jobs/none/live", "", 404)
}

func (a *api) asksErasures() {
	a.t.Helper()
	var e struct{ ID string }
	if err := json.Unmarshal([]byte(a.ask("POST", "/erasures", `{"why":"asked by letter","by":"eve","email":"ada1@example.com","externalId":"P-1"}`, 202)), &e); err != nil {
		a.t.Fatal(err)
	}
	a.ask("POST", "/erasures", `{"why":"x","by":"eve"}`, 400)
	a.until("/erasures/"+e.ID, `"state":"done"`)
	for _, path := range []string{"/erasures/" + e.ID, "/erasures", "/erasures?limit=1&before=1000"} {
		a.ask("GET", path, "", 200)
		a.ask("GET", path, "", 200, asPeople...)
	}
	a.ask("GET", "/erasures?format=csv", "", 200)
	a.ask("GET", "/erasures/"+e.ID+"/live", "", 200)
	a.ask("POST", "/erasures", "why=asked&by=eve&email=none@example.com&sure=true", 303, asPeople...)
	a.ask("POST", "/erasures", "why=asked&by=eve&email=none@example.com", 400, asPeople...)
	a.ask("GET", "/erasures?limit=0", "", 400)
	for _, path := range []string{"/erasures/none", "/erasures/none/live"} {
		a.ask("GET", path, "", 404)
		a.ask("GET", path, "", 404, asPeople...)
	}
}
