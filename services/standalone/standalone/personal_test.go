package standalone_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/embedded"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// secrets are what standalone and its simulated vendors are given.
var secrets = map[string]string{
	"INGRESS_API_KEYS":     "leaky-door-key",
	"QUALTRICS_API_TOKEN":  "leaky-qualtrics-token",
	"QUALTRICS_SHARED_KEY": "leaky-shared-key", "SAP_MARKETING_PASSWORD": "leaky-marketing-password",
	"C4C_PASSWORD": "leaky-sales-password", "AWARDCO_API_KEY": "leaky-awardco-key", "AWARDCO_WEBHOOK_SECRETS": "leaky-webhook-secret",
}

// ada is somebody whose data nobody else has. What vendors say about her they quote.
var ada = map[string]string{
	"e-mail": "zada.leakproof@example.com", "first name": "Zadaleak", "last name": "Leakproofova", "phone": "+441632960123",
	"answer": "the courier left it zin the rain", "wrong password": "leaky-wrong-password", "wrong token": "leaky-wrong-token", "cookie": "leaky-cookie",
}

// quoting is a vendor that repeats in its error what it was asked.
func quoting(vendor, method string, status int) string {
	const message = `{"error":{"message":{"value":"wrong: {request}"}},"meta":{"error":{"errorMessage":"wrong: {request}"}},"message":"wrong: {request}"}`
	return fmt.Sprintf(`{"vendor":%q,"method":%q,"kind":"status","status":%d,"times":1,"body":%q}`, vendor, method, status, message)
}

// quotingInPart is a vendor that repeats of what it was told of her only some, cut at a number of characters and in another
// order. Nothing but a call that has the text contains meets it, so that it repeats nothing that it was not told.
func quotingInPart(vendor string) string {
	said := map[string]struct{ contains, message string }{
		landscape.Qualtrics:  {ada["last name"], `invalid: LEAKPROOFOVA, Zadaleak or 'Leakproofo...', zada.leakproof&#64;example.com`},
		landscape.Marketing:  {ada["answer"], `invalid: 'the courier left it z...', then 'left it zin the rain'`},
		landscape.SalesCloud: {ada["answer"], `invalid: 'the courier left it z...' (Leakproofo...), then 'left it zin the rain'`},
		landscape.Awardco:    {ada["answer"], `invalid: 'the courier left it z...' of ZADALEAK, then 'left it zin the rain'`},
	}[vendor]
	body, _ := json.Marshal(map[string]any{ // texts always encode
		"error": map[string]any{"message": map[string]string{"value": said.message}},
		"meta":  map[string]any{"error": map[string]string{"errorMessage": said.message}}, "message": said.message,
	})
	return fmt.Sprintf(`{"vendor":%q,"contains":%q,"kind":"status","status":422,"times":1,"body":%q}`, vendor, said.contains, body)
}

// parts are what a vendor that repeats some of what it was told may have let out.
var parts = map[string]string{
	"name, cut": "leakproofo", "name": ada["last name"], "answer, cut": "the courier left it z", "answer's end": "left it zin", "address in HTML": "zada.leakproof&#",
}

// TestNothingPersonalIsSaid plays a campaign at debug level, then lets every vendor refuse, fail and vanish while it is asked
// about one person, and every door be asked wrongly; nothing known of anybody, and no secret, may be in a log line, a metric,
// a span, an error at a door, the reason of a dead letter, or what services tell about their work.
func TestNothingPersonalIsSaid(t *testing.T) {
	t.Parallel()
	spans, collectorURL := startCollector(t)
	address := freeAddress(t)
	dir := t.TempDir()
	env := []string{
		"DATA_DIR=" + dir, "HTTP_ADDR=" + address, "STANDALONE_NATS_PORT=-1", "STANDALONE_CAMPAIGN=12", "LOG_LEVEL=debug",
		"LOG_FORMAT=json", "OTEL_EXPORTER_OTLP_ENDPOINT=" + collectorURL,
	}
	for name, value := range secrets {
		env = append(env, name+"="+value)
	}
	p := launch(t, "standalone", env...)
	eventually(t, "the campaign is over", 2*time.Minute, func() bool { return strings.Contains(p.output.String(), "Ctrl-C stops") })
	d := &doors{t: t, base: "http://" + address}
	d.askEverythingWrongly()
	vendors := map[string]func(id string){
		landscape.Qualtrics: d.askForLink, landscape.Marketing: d.askForInteraction, landscape.SalesCloud: d.askForTask, landscape.Awardco: d.askForRecognition,
	}
	for vendor, knock := range vendors {
		for i, fault := range []string{
			quoting(vendor, "", http.StatusBadRequest), quoting(vendor, "POST", http.StatusUnprocessableEntity), quotingInPart(vendor),
			fmt.Sprintf(`{"vendor":%q,"kind":"lost-answer","times":1}`, vendor), fmt.Sprintf(`{"vendor":%q,"kind":"truncated","times":1}`, vendor),
			fmt.Sprintf(`{"vendor":%q,"kind":"html","times":1}`, vendor), quoting(vendor, "", http.StatusServiceUnavailable),
			quoting(vendor, "", http.StatusUnauthorized),
		} {
			d.fault(fault)
			knock(fmt.Sprintf("leak-%s-%d", vendor, i))
			eventually(t, fault+" is met", 2*time.Minute, func() bool { return strings.Contains(d.read("/landscape/faults"), `"fired":1`) })
			d.send(http.MethodDelete, "/landscape/faults", "", "", nil)
		}
	}
	letters := ""
	eventually(t, "what was refused is among the dead letters", time.Minute, func() bool {
		letters = d.read("/dead-letters?limit=1000")
		return strings.Count(letters, `"sequence"`) >= 4
	})
	if !strings.Contains(letters, "[personal]") {
		t.Errorf("no vendor's words, quoting her, are among the reasons: %s", letters)
	}
	var books landscape.Books
	if !get(t.Context(), d.base+"/landscape/books.json", &books) {
		t.Fatal("no books")
	}
	metrics := d.read("/metrics")
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	personal := personalIn(books)
	for what, text := range ada {
		personal["her "+what] = text
	}
	for what, text := range parts {
		personal["of her "+what] = text
	}
	maps.Copy(personal, secrets)
	personal["a session of SAP"] = "sap_sessionid"
	absent(t, personal, map[string]string{
		"log": p.output.String(), "metrics": metrics, "spans": spans.text(t), "errors at doors": d.said.String(), "reasons of dead letters": letters,
		"activity": told(t, filepath.Join(dir, "jetstream")),
	})
}

// told is all that the services have told about their work, as it is stored.
func told(t *testing.T, dir string) string {
	t.Helper()
	broker, err := embedded.Start(embedded.Options{Dir: dir, Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Stop()
	nc, err := nats.Connect("", nats.InProcessServer(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), topology.Activity)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	kinds, rules := map[string]int{}, ""
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		m, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		kind := m.Subject[strings.LastIndex(m.Subject, ".")+1:]
		kinds[kind]++
		text := string(m.Data)
		switch kind {
		case activity.KindRules:
			text, rules = withoutRules(t, text, &activity.RuleSet{}, rules)
		case activity.KindAttempt:
			text, rules = withoutRules(t, text, &activity.Attempt{}, rules)
		}
		fmt.Fprintln(&all, m.Subject, m.Header, text)
	}
	if kinds[activity.KindAttempt] < 50 || kinds[activity.KindVendor] < 5 || kinds[activity.KindQuota] < 3 {
		t.Errorf("told too little for this to show anything: %v", kinds)
	}
	return all.String()
}

// withoutRules leaves out what the rules file says, which is nobody's answer: the file, and conditions of it that were false.
func withoutRules(t *testing.T, text string, into any, rules string) (rest, known string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
	switch told := into.(type) {
	case *activity.RuleSet:
		rules, told.Source = told.Source, ""
	case *activity.Attempt:
		for _, e := range told.Events {
			for i, d := range e.Rules {
				if why, condition, _ := strings.Cut(d.Why, ": "); strings.Contains(rules, condition) {
					e.Rules[i].Why = why
				}
			}
		}
	}
	left, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	return string(left), rules
}

// doors knocks at doors, and keeps their errors.
type doors struct {
	t    *testing.T
	base string
	said strings.Builder
}

func (d *doors) send(method, path, kind, body string, header map[string]string) (status int, said string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.base+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("X-API-Key", secrets["INGRESS_API_KEYS"])
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func (d *doors) read(path string) string {
	_, said := d.send(http.MethodGet, path, "", "", nil)
	return said
}

// say keeps what a door answers when it does not do what it is asked: a link that was made is what the caller wants.
func (d *doors) say(path, kind, body string, header map[string]string) {
	if status, said := d.send(http.MethodPost, path, kind, body, header); status >= http.StatusBadRequest {
		d.said.WriteString(said)
	}
}

func (d *doors) fault(fault string) {
	if _, answer := d.send(http.MethodPost, "/landscape/faults", "application/json", fault, nil); !strings.Contains(answer, `"id"`) {
		d.t.Fatalf("no fault: %s", answer)
	}
}

const asJSON, asForm = "application/json", "application/x-www-form-urlencoded"

// patient waits a little for the outcome, so that a refusal is answered at the door.
var patient = map[string]string{"Prefer": "wait=1"}

func adaAs(more string) string {
	return fmt.Sprintf(`{"externalId":"P-leak","email":%q,"firstName":%q,"lastName":%q,"phone":%q%s}`, ada["e-mail"], ada["first name"], ada["last name"], ada["phone"], more)
}

func (d *doors) askForLink(id string) {
	d.say("/survey/links", asJSON, fmt.Sprintf(`{"requestId":%q,"contact":%s}`, id, adaAs("")), patient)
}

func (d *doors) askForInteraction(id string) {
	d.say("/sap/interactions", asJSON, fmt.Sprintf(`{"surveyId":"SV_cart","responseId":"R_%s","recordedAt":"2026-07-24T09:30:00Z","values":{"QID1":%q},"contact":{"externalId":"P-leak","email":%q}}`,
		id, ada["answer"], ada["e-mail"]), patient)
}

func (d *doors) askForTask(id string) {
	d.say("/c4c/task", asJSON, fmt.Sprintf(`{"responseId":"R_%s","subject":%q,"text":%q,"accountId":"1000123","contactId":"1000456"}`, id, ada["last name"], ada["answer"]), patient)
}

func (d *doors) askForRecognition(id string) {
	d.say("/awardco/recognitions", asJSON, fmt.Sprintf(`{"responseId":"R_%s","recipient":{"email":"rep@example.com","name":%q},"score":5,"note":%q}`,
		id, ada["first name"], ada["answer"]), patient)
}

// askEverythingWrongly is what callers do who have not read the documentation.
func (d *doors) askEverythingWrongly() {
	form := url.Values{"responseId": {ada["e-mail"]}, "text": {ada["answer"]}, ada["e-mail"]: {ada["last name"]}}.Encode()
	for _, path := range []string{"/survey/links", "/sap/interactions", "/c4c/task", "/awardco/recognitions", "/qualtrics/responses", "/qualtrics/events", "/sap/open-channel", "/s4/events"} {
		for kind, body := range map[string]string{
			asJSON:              fmt.Sprintf(`{"requestId":7,"responseId":{"x":%q},"contact":%s,"values":%q,"score":%q}`, ada["e-mail"], adaAs(`,"`+ada["e-mail"]+`":1`), ada["answer"], ada["last name"]),
			asForm:              form,
			"text/plain":        ada["e-mail"] + ada["answer"],
			"application/json;": `{"contact":{"email":"` + ada["e-mail"],
		} {
			d.say(path, kind, body, nil)
			d.say(path, kind, body, map[string]string{"X-API-Key": ada["wrong token"], "Cookie": "session=" + ada["cookie"], "Authorization": "Bearer " + ada["wrong token"]})
			d.say(path+"?email="+url.QueryEscape(ada["e-mail"]), kind, body, map[string]string{"X-API-Key": "", "Authorization": "Basic " + ada["wrong password"]})
		}
	}
	d.say("/survey/links/"+url.PathEscape(ada["e-mail"]), asJSON, "", nil)
	d.say("/"+url.PathEscape(ada["e-mail"]), asJSON, "", nil)
}
