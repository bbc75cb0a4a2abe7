package standalone_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/effect/effecttest"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
	"github.com/closeloop/closeloop/services/feedback-router/router"
	"github.com/closeloop/closeloop/services/ingress/ingress"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
)

// These tests end the life of a service at each point at which something outside of it changes, and let a second life
// finish: then the vendor must hold one effect and no second one. The points are enumerated ([effecttest.Life]), not hoped
// for. Each life ends after a point, whose answer it does not see: to end before the next one leaves the same world. So the
// life that ends before its first point is the only one of its kind.

// crashing is an effect whose crash windows are gone through.
type crashing struct {
	define func() service.Definition
	// env and landscape are settings of the service and of the vendors beside those that all have.
	env, landscape servicetest.Env
	// twice lets the second life die as well, at each of its points.
	twice bool
	// before, where it is given, is what has happened already.
	before func(w *crashWorld)
	// ask causes the effect, through the broker or at the service's door. It is called for the first life, and again for
	// each next one until it tells that nobody needs to ask again.
	ask func(w *crashWorld, life *effecttest.Life, door string) (asked bool)
	// outcomes are the events that must follow, by subject, each with an id of its own.
	outcomes map[string]int
	// person allows that a person must decide instead: one dead letter, and at the most one effect.
	person bool
	// effects is how many the vendor's books hold, by their reference, so that none is there twice.
	effects func(w *crashWorld) map[string]int
	// want are the references that must be there.
	want []string
}

// crashWorld is what outlives a service: broker and vendors.
type crashWorld struct {
	crashing
	t       *testing.T
	broker  *bustest.Broker
	vendors *landscape.Landscape
	door    *httpdoor.Door
	// ghosts are lives that have ended and whose goroutines have not noticed yet.
	ghosts *sync.WaitGroup
	log    *output
	asked  bool
}

// parallelCrashes is how many are under way: they mostly wait.
const parallelCrashes = 12

func (c crashing) enumerate(t *testing.T) {
	t.Helper()
	var ghosts sync.WaitGroup
	t.Cleanup(ghosts.Wait)
	// A life that does not end tells how many points there are. The order of what happens at the same time differs from
	// run to run, so the enumeration goes on until a life gets through.
	_, points := c.die(t, &ghosts, "none", 0, effecttest.Before, 0)
	if len(points) == 0 {
		t.Fatal("a life without a point: nothing was enumerated")
	}
	t.Logf("%d points:\n%s", len(points), strings.Join(points, "\n"))
	slots := make(chan struct{}, parallelCrashes)
	var all sync.WaitGroup
	run := func(n, m int, end effecttest.End) {
		slots <- struct{}{}
		all.Go(func() { defer func() { <-slots }(); c.die(t, &ghosts, fmt.Sprintf("%s %d", end, n), n, end, m) })
	}
	run(1, 0, effecttest.Before)
	for n := 1; n <= len(points); n++ {
		run(n, 0, effecttest.After)
		for m := 1; c.twice && m <= len(points); m++ {
			run(n, m, effecttest.After)
		}
	}
	all.Wait()
	for n, died := len(points)+1, true; died; n++ {
		died, _ = c.die(t, &ghosts, fmt.Sprintf("%s %d", effecttest.After, n), n, effecttest.After, 0)
	}
}

// die lets a life end at its n-th point, the next one at its m-th where m is not 0, and another finish. It tells whether
// the first one ended there, and which points it went through.
func (c crashing) die(t *testing.T, ghosts *sync.WaitGroup, name string, n int, end effecttest.End, m int) (died bool, points []string) {
	if m > 0 {
		name += fmt.Sprint(", then ", m)
	}
	t.Run(name, func(t *testing.T) {
		w := c.world(t, ghosts)
		if c.before != nil {
			c.before(w)
		}
		died, points = w.live(n, end)
		again := died
		if died && m > 0 {
			again, _ = w.live(m, end)
		}
		if again {
			w.live(0, end)
		}
		w.check()
		if t.Failed() && died {
			t.Logf("the first life ended %s %s, point %d of\n%s", end, points[n-1], n, strings.Join(points, "\n"))
		}
	})
	return died, points
}

func (c crashing) world(t *testing.T, ghosts *sync.WaitGroup) *crashWorld {
	w := &crashWorld{crashing: c, t: t, ghosts: ghosts, broker: bustest.Start(t, topology.Settings{AckWait: time.Second}), log: &output{}}
	own := servicetest.Env{
		"LANDSCAPE_PEOPLE": "off", "LANDSCAPE_MARKETING": "{visibleAfter: -1s}",
		"SAP_MARKETING_USERNAME": "simulated", "SAP_MARKETING_PASSWORD": "simulated", "C4C_USERNAME": "simulated", "C4C_PASSWORD": "simulated",
	}
	maps.Copy(own, c.landscape)
	s := &landscape.Settings{}
	if err := servicetest.Load(own, s); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.vendors, err = landscape.New(s, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	w.door = httpdoor.New(httpdoor.Options{})
	w.vendors.Mount(w.door)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the service said:\n%s", tail(w.log.String(), 80))
		}
		if err := w.vendors.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// live runs the service until its life ends at its n-th point, or all is done. It tells whether it ended, and which points
// it went through.
func (w *crashWorld) live(n int, end effecttest.End) (died bool, points []string) {
	w.t.Helper()
	life := effecttest.NewLife(n, end)
	door := w.start(life)
	life.Begin()
	eventually(w.t, "the life ends, or all is done", time.Minute, func() bool {
		if !w.asked {
			w.asked = w.ask(w, life, door)
		}
		return life.Ended() || w.asked && w.done()
	})
	died, points = life.Ended(), life.Points()
	life.Kill()
	life.Await()
	fmt.Fprintf(w.log, "a life went through %d points (ended: %t):\n%s\n", len(points), died, strings.Join(points, "\n"))
	if died {
		w.pass(2 * time.Minute)
	}
	return died, points
}

// start starts the service with the life between it and the world, and gives its door.
func (w *crashWorld) start(life *effecttest.Life) string {
	w.t.Helper()
	vendors := life.Vendor(w.door)
	broker, err := life.Broker(w.broker.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	env := servicetest.Env{
		"NATS_URL": broker, "INGRESS_AUTH": "none", "DRAIN_TIMEOUT": "1ms",
		"QUALTRICS_BASE_URL": vendors + "/API/v3", "QUALTRICS_API_TOKEN": "simulated-token", "QUALTRICS_DIRECTORY_ID": "POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID": "CG_simulated", "QUALTRICS_SURVEY_ID": "SV_service", "QUALTRICS_GATHER_QUIET": "200ms",
		"QUALTRICS_SWEEP_INTERVAL": "0",
		"SAP_MARKETING_BASE_URL":   vendors, "SAP_MARKETING_USERNAME": "simulated", "SAP_MARKETING_PASSWORD": "simulated", "SAP_MARKETING_WAVE_QUIET": "200ms",
		"C4C_BASE_URL": vendors, "C4C_USERNAME": "simulated", "C4C_PASSWORD": "simulated", "C4C_PROCESSOR_ID": "8000000002",
		"AWARDCO_BASE_URL": vendors + "/api", "AWARDCO_API_KEY": "simulator", "AWARDCO_PROGRAM": "Qualtrics CSAT Recognition",
	}
	maps.Copy(env, w.env)
	d, common := w.define(), &service.Common{}
	if err := servicetest.Load(env, d.Settings, common); err != nil {
		w.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	context.AfterFunc(w.t.Context(), stop)
	go func() { <-life.Over(); stop() }()
	failed := make(chan error, 1)
	w.ghosts.Go(func() {
		defer life.Close()
		failed <- service.RunAll(ctx, slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), service.Shared{Common: common, Listener: listener}, d)
	})
	door := "http://" + listener.Addr().String()
	eventually(w.t, d.Name+" ready", time.Minute, func() bool {
		select {
		case err := <-failed:
			w.t.Fatalf("%s did not start: %v", d.Name, err)
		default:
		}
		return get(w.t.Context(), door+"/readyz", nil)
	})
	return door
}

// pass lets time pass for the ledger, which is when leases and the settling of lost answers are over.
func (w *crashWorld) pass(d time.Duration) {
	w.t.Helper()
	bucket, err := w.broker.JS.KeyValue(w.t.Context(), topology.Effects)
	if err != nil {
		w.t.Fatal(err)
	}
	// What the broker was told before comes before this.
	if _, err := bucket.PutString(w.t.Context(), "test.pass", "time passes"); err != nil {
		w.t.Fatal(err)
	}
	keys, err := bucket.ListKeys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for key := range keys.Keys() {
		entry, err := bucket.Get(w.t.Context(), key)
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(w.log, "%s: %s\n", key, entry.Value())
		var record effect.Record
		strict := json.NewDecoder(bytes.NewReader(entry.Value()))
		strict.DisallowUnknownFields()
		if strict.Decode(&record) != nil {
			continue // what is kept beside the effects has no lease
		}
		for _, at := range append([]*time.Time{&record.Since, &record.LeaseUntil, &record.Changed}, sentAt(record.Steps)...) {
			if !at.IsZero() {
				*at = at.Add(-d)
			}
		}
		value, err := json.Marshal(record)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := bucket.Update(w.t.Context(), key, value, entry.Revision()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func sentAt(steps []effect.StepRecord) (all []*time.Time) {
	for i := range steps {
		all = append(all, &steps[i].SentAt)
	}
	return all
}

// done tells that the outcome is there and that the service has nothing more to do.
func (w *crashWorld) done() bool {
	for _, stream := range []string{topology.Events, topology.Retries} {
		consumer, err := w.broker.JS.Consumer(w.t.Context(), stream, w.define().Name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue // a service that takes nothing
		}
		if err != nil {
			return false
		}
		if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
			return false
		}
	}
	if len(w.broker.Messages(topology.Retries, topology.HoldSubject(w.define().Name, "*"))) > 0 {
		return false
	}
	if len(w.dead()) > 0 {
		return true
	}
	for subject, n := range w.outcomes {
		if len(w.broker.Messages(topology.Events, subject)) < n {
			return false
		}
	}
	return true
}

func (w *crashWorld) dead() []*jetstream.RawStreamMsg {
	return w.broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(w.define().Name))
}

// check reads the books.
func (w *crashWorld) check() {
	w.t.Helper()
	dead := w.dead()
	waits := w.person && len(dead) == 1 && dead[0].Header.Get(bus.HeaderClass) == "person"
	if len(dead) > 0 && !waits {
		w.t.Errorf("%d dead letters: %s: %s", len(dead), dead[0].Header.Get(bus.HeaderClass), dead[0].Header.Get(bus.HeaderReason))
	}
	there := w.effects(w)
	for _, reference := range w.want {
		if n := there[reference]; n != 1 && (n != 0 || !waits) {
			w.t.Errorf("%s is there %d times", reference, n)
		}
		delete(there, reference)
	}
	if len(there) > 0 {
		w.t.Errorf("also there: %v", there)
	}
	if waits {
		return
	}
	for subject, n := range w.outcomes {
		ids := map[string]bool{}
		for _, e := range servicetest.Events(w.t, w.broker, subject) {
			ids[e.ID] = true
		}
		if len(ids) != n {
			w.t.Errorf("%d × %s, want %d: %v", len(ids), subject, n, slices.Collect(maps.Keys(ids)))
		}
	}
}

// publish is a way of asking: events once stored need no repetition.
func publish(subject string, bodies ...string) func(*crashWorld, *effecttest.Life, string) bool {
	return func(w *crashWorld, _ *effecttest.Life, _ string) bool {
		for _, body := range bodies {
			w.broker.Publish(subject, body)
		}
		return true
	}
}

// personalLinks counts what Qualtrics holds of each request. A link that was told to somebody else counts as well.
func personalLinks(w *crashWorld) map[string]int {
	books, of, owner, n := w.vendors.Books().Qualtrics, map[string]string{}, map[string]string{}, map[string]int{}
	for _, t := range books.Transactions {
		of[t.ID] = t.Data["requestId"]
		n["transaction of "+of[t.ID]]++
	}
	for _, l := range books.Links {
		owner[l.URL] = of[l.TransactionID]
		n["link of "+of[l.TransactionID]]++
	}
	for _, c := range books.Contacts {
		n["contact "+c.ExtRef]++
	}
	for _, m := range w.broker.Messages(topology.Events, subjects.SurveyLinkCreated) {
		var told struct{ RequestID, Link string }
		if err := json.Unmarshal(m.Data, &told); err != nil || owner[told.Link] != told.RequestID {
			n["wrong link told to "+told.RequestID]++
		}
	}
	return n
}

// invitations are requests for links of n strangers, and what there must be of them then.
func invitations(n int) (bodies, want []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprintf(`{"requestId":"A%d","contact":{"externalId":"P-%[1]d","email":"p%[1]d@example.com"}}`, i))
		want = append(want, fmt.Sprint("link of A", i), fmt.Sprint("transaction of A", i), fmt.Sprint("contact P-", i))
	}
	return bodies, want
}

func TestCrashAtEachPointOfALink(t *testing.T) {
	t.Parallel()
	bodies, want := invitations(1)
	crashing{
		define: linker.Define, env: oneByOne, ask: publish(subjects.SurveyLinkRequested, bodies...),
		outcomes: map[string]int{subjects.SurveyLinkCreated: 1}, effects: personalLinks, want: want,
	}.enumerate(t)
}

// A contact that the directory recognises is not sent again, so that a crash can also come after it turned out to be gone.
func TestCrashAtEachPointOfALinkForAContactThatIsGone(t *testing.T) {
	t.Parallel()
	// Which contacts it recognises must be known, in each of so many lives.
	ask := func(lives int, request string) func(*crashWorld, *effecttest.Life, string) bool {
		return func(w *crashWorld, life *effecttest.Life, door string) bool {
			return strings.Count(w.log.String(), "Qualtrics lets us in") >= lives && publish(subjects.SurveyLinkRequested, request)(w, life, door)
		}
	}
	crashing{
		define: linker.Define, env: oneByOne,
		before: func(w *crashWorld) {
			first := *w
			first.ask = ask(1, `{"requestId":"A0","contact":{"externalId":"P-0","email":"p0@example.com"}}`)
			first.outcomes = map[string]int{subjects.SurveyLinkCreated: 1}
			first.live(0, effecttest.Before)
			r := httptest.NewRequest(http.MethodDelete, "/API/v3/directories/POOL_simulated/contacts/"+w.vendors.Books().Qualtrics.Contacts[0].ID, nil)
			r.Header.Set("X-API-TOKEN", "simulated-token")
			answer := httptest.NewRecorder()
			if w.door.ServeHTTP(answer, r); answer.Code != http.StatusOK {
				w.t.Fatalf("the contact stays: %d %s", answer.Code, answer.Body)
			}
		},
		ask:      ask(2, `{"requestId":"A1","contact":{"externalId":"P-0","email":"p0@example.com"}}`),
		outcomes: map[string]int{subjects.SurveyLinkCreated: 2}, effects: personalLinks,
		want: []string{"link of A0", "transaction of A0", "link of A1", "transaction of A1", "contact P-0"},
	}.enumerate(t)
}

func TestCrashAtEachPointOfAWaveOfLinks(t *testing.T) {
	t.Parallel()
	bodies, want := invitations(3)
	crashing{
		define: linker.Define, env: waves, ask: publish(subjects.SurveyLinkRequested, bodies...),
		outcomes: map[string]int{subjects.SurveyLinkCreated: 3}, effects: personalLinks, want: want,
	}.enumerate(t)
}

func TestCrashAtEachPointOfInteractions(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"auto", "deep-insert", "interactions"} {
		t.Run(mode, func(t *testing.T) {
			crashing{
				define: writer.Define, env: servicetest.Env{"SAP_MARKETING_WRITE_MODE": mode},
				ask: func(w *crashWorld, _ *effecttest.Life, _ string) bool {
					w.broker.Publish(subjects.SurveyLinkCreated, linkCreated(1))
					w.broker.Publish(subjects.SurveyLinkCreated, linkCreated(2))
					w.broker.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_a1","responseId":"R_1","requestId":"A1","values":{"QID1":1}}`)
					return true
				},
				outcomes: map[string]int{subjects.InteractionWritten: 3},
				effects:  interactions,
				want:     []string{"SURVEY_LINK_CREATED A1", "SURVEY_LINK_CREATED A2", "SURVEY_RESPONSE R_1"},
			}.enumerate(t)
		})
	}
}

func TestCrashAtEachPointOfSurveyResponses(t *testing.T) {
	t.Parallel()
	crashing{
		define: writer.Define,
		env:    servicetest.Env{"SAP_MARKETING_RESPONSES": "survey", "SAP_MARKETING_CONTACTS": "true", "SAP_MARKETING_CONTACT_ORIGIN": "EXT_CONTACT"},
		ask: publish(subjects.SurveyResponseReceived,
			`{"surveyId":"SV_a1","responseId":"R_1","contact":{"externalId":"P-1"},"values":{"QID1":1}}`,
			`{"surveyId":"SV_a1","responseId":"R_2","contact":{"externalId":"P-2"},"values":{"QID1":2}}`),
		outcomes: map[string]int{subjects.InteractionWritten: 2},
		effects: func(w *crashWorld) map[string]int {
			n := map[string]int{}
			for _, r := range w.vendors.Books().Marketing.Responses {
				n[r.ID] += r.Copies
			}
			return n
		},
		want: []string{"R_1", "R_2"},
	}.enumerate(t)
}

func TestCrashAtEachPointOfATask(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]servicetest.Env{
		"with its text": nil,
		"then its text": {"C4C_TEXTS": "separate"},
	} {
		t.Run(name, func(t *testing.T) {
			crashing{
				define: tasker.Define, env: env, ask: publish(late, feedback), twice: env == nil,
				outcomes: map[string]int{taskCreated: 1},
				effects: func(w *crashWorld) map[string]int {
					n := tasks(w)
					for _, task := range w.vendors.Books().SalesCloud.Tasks {
						for _, text := range task.Texts {
							n[text]++
						}
					}
					return n
				},
				want: []string{"Cart: delivery too late [R_1]", "Wanted by 1 August"},
			}.enumerate(t)
		})
	}
	t.Run("version 2", func(t *testing.T) {
		crashing{
			define: tasker.Define, env: servicetest.Env{"C4C_VERSION": "2", "C4C_PROCESSOR_ID": "", "C4C_V2_FIND": "$filter=description ew '{marker}'"},
			ask: func(w *crashWorld, _ *effecttest.Life, _ string) bool {
				uuid := w.vendors.SalesCloud().UUID
				w.broker.Publish(late, with(t, map[string]any{"accountId": uuid("1000123"), "contactId": uuid("1000456"), "processorId": uuid("8000000002")}))
				return true
			},
			outcomes: map[string]int{taskCreated: 1},
			effects: func(w *crashWorld) map[string]int {
				n := map[string]int{}
				for _, task := range w.vendors.Books().SalesCloud2.Tasks {
					n[task.Description]++
					n["notes"] += len(task.Notes)
				}
				return n
			},
			want: []string{"Cart: delivery too late [R_1]", "notes"},
		}.enumerate(t)
	})
}

func TestCrashAtEachPointOfARecognition(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env    servicetest.Env
		fields string
		person bool
	}{
		"the feed is trusted":     {servicetest.Env{"AWARDCO_TRUST_FEED": "true"}, "", false},
		"the feed is not trusted": {servicetest.Env{"AWARDCO_LOOK_FOR": "1s"}, "", true},
		"with all that the day has, counted once": {servicetest.Env{
			"AWARDCO_TRUST_FEED": "true", "AWARDCO_MAX_AMOUNT": "20", "AWARDCO_MAX_AMOUNT_PER_DAY": "20", "AWARDCO_BUDGET": "Small",
		}, `,"amount":20}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			crashing{
				define: recognizer.Define, env: c.env, landscape: servicetest.Env{"LANDSCAPE_AWARDCO": "{budgets: [{name: Small, balance: 30}]}"},
				ask: publish(subjects.RecognitionRequested, strings.TrimSuffix(recognition(1), "}")+cmp.Or(c.fields, "}")), person: c.person,
				outcomes: map[string]int{subjects.RecognitionSubmitted: 1},
				effects:  recognitions, want: []string{"ref-R_1"},
			}.enumerate(t)
		})
	}
}

// nothingAtVendors is of effects that are events: their outcomes are all there is to them.
func nothingAtVendors(*crashWorld) map[string]int { return map[string]int{} }

func TestCrashAtEachPointOfAnAnswerAtTheDoor(t *testing.T) {
	t.Parallel()
	crashing{
		define: ingress.Define, twice: true,
		ask: func(w *crashWorld, life *effecttest.Life, door string) bool {
			ctx, gone := context.WithCancel(w.t.Context())
			defer gone()
			go func() {
				select {
				case <-life.Over():
					gone()
				case <-ctx.Done():
				}
			}()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, door+"/qualtrics/responses",
				strings.NewReader(`{"surveyId":"SV_cart","responseId":"R_1","values":{"csat":5}}`))
			if err != nil {
				w.t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusAccepted && !life.Ended() // nobody hears the answer of a service that is gone
		},
		outcomes: map[string]int{subjects.SurveyResponseReceived: 1}, effects: nothingAtVendors,
	}.enumerate(t)
}

// twoRules publish an event each for every answer.
const twoRules = `rules:
  - name: call
    when: surveyId != ""
    publish: feedback.delivery_late
    with: {subject: '"Call them"', text: '"Soon"'}
  - name: praise
    when: surveyId != ""
    publish: recognition.requested
    with: {recipient: {email: '"rep@example.com"'}, score: "5"}
`

func TestCrashAtEachPointOfAnAnswerAndItsRules(t *testing.T) {
	t.Parallel()
	rules := t.TempDir() + "/rules.yaml"
	if err := os.WriteFile(rules, []byte(twoRules), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func(*crashWorld, *effecttest.Life, string) bool{
		"that is fetched": func(w *crashWorld, _ *effecttest.Life, _ string) bool {
			form := httptest.NewRequest(http.MethodPost, "/jfe/form/"+landscape.ServiceSurvey, strings.NewReader(url.Values{"QID1": {"1"}, "QID2": {"3"}}.Encode()))
			form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w.door.ServeHTTP(httptest.NewRecorder(), form)
			w.broker.Publish(subjects.SurveyResponseNotified,
				fmt.Sprintf(`{"surveyId":%q,"responseId":%q}`, landscape.ServiceSurvey, w.vendors.Books().Qualtrics.Responses[0].ID))
			return true
		},
		"that came with its values": publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_cart","responseId":"R_1","values":{"csat":5}}`),
	} {
		t.Run(name, func(t *testing.T) {
			crashing{
				define: router.Define, env: servicetest.Env{"RULES_FILE": rules}, ask: ask,
				outcomes: map[string]int{subjects.SurveyResponseReceived: 1, late: 1, subjects.RecognitionRequested: 1},
				effects:  nothingAtVendors,
			}.enumerate(t)
		})
	}
}
