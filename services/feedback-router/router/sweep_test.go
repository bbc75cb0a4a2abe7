package router_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/feedback-router/router"
)

// sweeping starts the service with a sweep that goes round all the time; prepare is called before.
func sweeping(t *testing.T, env servicetest.Env, prepare func(*brand)) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{brand: newBrand(t), broker: bustest.Start(t, topology.Settings{})}
	prepare(f.brand)
	f.Service = f.another(t, env)
	return f
}

// another starts one more replica of the service.
func (f fixture) another(t *testing.T, env servicetest.Env) *servicetest.Service {
	t.Helper()
	all := servicetest.Env{
		"QUALTRICS_BASE_URL": f.brand.URL + "/API/v3", "QUALTRICS_API_TOKEN": token,
		"QUALTRICS_SWEEP_INTERVAL": "30ms", "QUALTRICS_SWEEP_GRACE": "1m",
	}
	maps.Copy(all, env)
	return servicetest.Start(t, f.broker, router.Define, all)
}

// swept waits until n more sweeps have begun and the last but one has ended.
func (f fixture) swept(t *testing.T, n int) {
	t.Helper()
	from := len(f.brand.Calls(list))
	bustest.Eventually(t, fmt.Sprint(n, " sweeps"), func() bool { return len(f.brand.Calls(list)) >= from+(n+1)*max(1, len(f.brand.sent)) })
}

func (f fixture) metric(name string) string {
	for line := range strings.Lines(f.Get("/metrics").Body) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestSweepFindsTheResponsesOfWhichNoEventCame(t *testing.T) {
	ago := time.Now().Add(-time.Hour)
	f := sweeping(t, nil, func(v *brand) {
		v.answered("R_1", late)
		v.answered("R_2", map[string]any{})
		v.distributed("EMD_1", 3*time.Hour, row("SurveyFinished", "R_1", ago), row("SurveyPartiallyFinished", "R_8", ago), row("Pending", "", ago),
			row("SurveyFinished", "Anonymous", ago), row("SurveyScreenedOut", "R_9", ago))
		v.distributed("EMD_2", 2*time.Hour, row("SurveyFinished", "R_2", ago))
	})
	f.Published(subjects.SurveyResponseReceived, 2)
	f.Published(subjects.FeedbackDeliveryLate, 1)
	f.swept(t, 3)
	want := map[string]int{subjects.SurveyResponseNotified: 2, subjects.SurveyResponseReceived: 2, subjects.FeedbackDeliveryLate: 1, subjects.RecognitionRequested: 1}
	if got := f.counts(t); !maps.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	first := servicetest.Events(t, f.broker, subjects.SurveyResponseNotified)[0]
	if m := first.Data.(*eventsv1.SurveyResponseNotified); m.GetSurveyId() != "SV_cart" || m.GetResponseId() != "R_1" || m.GetRecipientId() != "CGC_1" ||
		m.GetDistributionId() != "EMD_1" || m.GetCompletedAt().AsTime().Unix() != ago.Unix() || first.Source != topology.FeedbackRouter {
		t.Errorf("notified %v by %s", m, first.Source)
	}
	if late := f.metric(`closeloop_sweep_responses_total{outcome="late",service="feedback-router"}`); late != "2" {
		t.Errorf("found late: %q, want 2", late)
	}
	if !strings.Contains(f.Log(), "is the event subscription in order?") || strings.Contains(f.Log(), "Q_DL") {
		t.Error("the log does not tell of it, or tells a link")
	}
}

func TestResponseThatTheSweepFoundIsReceivedOnceWhenItsEventComesLate(t *testing.T) {
	ago := time.Now().Add(-time.Hour)
	f := sweeping(t, nil, func(v *brand) {
		v.answered("R_1", late)
		v.distributed("EMD_1", 3*time.Hour, row("SurveyFinished", "R_1", ago))
	})
	f.Published(subjects.RecognitionRequested, 1)
	// As ingress would have stored it long after JetStream has forgotten the message id.
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, "A1"))
	f.swept(t, 1)
	want := map[string]int{subjects.SurveyResponseNotified: 2, subjects.SurveyResponseReceived: 1, subjects.FeedbackDeliveryLate: 1, subjects.RecognitionRequested: 1}
	if got := f.counts(t); !maps.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if n := len(f.brand.Calls(read)); n != 1 {
		t.Errorf("the response was read %d times", n)
	}
}

func TestSweepLeavesToTheirEventsWhatIsKnownOrFresh(t *testing.T) {
	var fresh *sending
	f := sweeping(t, nil, func(v *brand) {
		v.answered("R_1", late)
		v.answered("R_2", map[string]any{})
		fresh = v.distributed("EMD_2", 3*time.Hour, row("SurveyFinished", "R_2", time.Now().Add(-2*time.Second)))
	})
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	f.Published(subjects.SurveyResponseReceived, 1)
	f.brand.distributed("EMD_1", 3*time.Hour, row("SurveyFinished", "R_1", time.Now().Add(-time.Hour)))
	f.swept(t, 3)
	if got := f.counts(t); got[subjects.SurveyResponseNotified] != 1 {
		t.Errorf("events %v: a response was told of again, or too early", got)
	}
	if known := f.metric(`closeloop_sweep_responses_total{outcome="known",service="feedback-router"}`); known != "1" {
		t.Errorf("known: %q, want 1", known)
	}
	// A minute later its event has not come: the sweep looks again although nothing has changed.
	f.brand.now(func() { fresh.rows = []map[string]any{row("SurveyFinished", "R_2", time.Now().Add(-2*time.Minute))} })
	f.Published(subjects.SurveyResponseNotified, 2)
}

func TestSweepReadsAHistoryOnlyWhereSomethingMayHaveHappened(t *testing.T) {
	ago := time.Now().Add(-time.Hour)
	var growing *sending
	f := sweeping(t, nil, func(v *brand) {
		v.answered("R_1", late)
		v.answered("R_2", map[string]any{})
		v.distributed("EMD_all", 3*time.Hour, row("SurveyFinished", "R_1", ago))
		v.distributed("EMD_none", 3*time.Hour, row("Pending", "", ago))
		v.distributed("EMD_young", time.Minute, row("Pending", "", ago)).stats = map[string]any{"finished": 0}
		v.distributed("EMD_old", 15*24*time.Hour, row("SurveyFinished", "R_9", ago))
		growing = v.distributed("EMD_growing", 3*time.Hour, row("Pending", "", ago), row("Pending", "", ago))
		growing.stats = map[string]any{"finished": 0}
	})
	reads := func(id string) (n int) {
		for _, c := range f.brand.Calls(hist) {
			if c.Path == "/API/v3/distributions/"+id+"/history" && !c.Query.Has("skipToken") {
				n++
			}
		}
		return n
	}
	f.Published(subjects.SurveyResponseReceived, 1)
	f.swept(t, 4)
	for id, want := range map[string]int{"EMD_all": 1, "EMD_none": 1, "EMD_young": 0, "EMD_old": 0, "EMD_growing": 1} {
		if got := reads(id); got != want {
			t.Errorf("history of %s read %d times, want %d", id, got, want)
		}
	}
	f.brand.now(func() {
		growing.rows[0], growing.stats = row("SurveyFinished", "R_2", ago), map[string]any{"finished": 1}
	})
	f.Published(subjects.SurveyResponseReceived, 2)
	f.swept(t, 3)
	if got := reads("EMD_growing"); got != 2 {
		t.Errorf("history of the distribution with one more response read %d times, want 2", got)
	}
	// What was learned outlives the process.
	f.Stop()
	f.Service = f.another(t, nil)
	f.swept(t, 2)
	if got := reads("EMD_all") + reads("EMD_none") + reads("EMD_growing"); got != 4 {
		t.Errorf("%d histories read in all, want 4: a new process begins anew", got)
	}
}

func TestSweepLooksAgainAtADistributionThatWasOverWhenQualtricsCountsMore(t *testing.T) {
	ago := time.Now().Add(-time.Hour)
	var all *sending
	f := sweeping(t, nil, func(v *brand) {
		v.answered("R_1", late)
		v.answered("R_2", map[string]any{})
		all = v.distributed("EMD_all", 3*time.Hour, row("SurveyFinished", "R_1", ago))
		all.stats = map[string]any{"finished": 1}
	})
	f.Published(subjects.SurveyResponseReceived, 1)
	f.swept(t, 3)
	before := len(f.brand.Calls(hist))
	f.brand.now(func() { // its history was shown in part (qualtrics.md §3.7), or contacts were added
		all.rows, all.stats = append(all.rows, row("SurveyFinished", "R_2", ago)), map[string]any{"finished": 2}
	})
	f.Published(subjects.SurveyResponseReceived, 2)
	f.swept(t, 3)
	if n := len(f.brand.Calls(hist)) - before; n != 2 {
		t.Errorf("%d pages of its history read, want the 2 of one more look", n)
	}
}

func TestOnlyOneReplicaSweepsInAnInterval(t *testing.T) {
	f := sweeping(t, servicetest.Env{"QUALTRICS_SWEEP_INTERVAL": "1h"}, func(*brand) {})
	bustest.Eventually(t, "a sweep", func() bool { return len(f.brand.Calls(list)) == 1 })
	for range 2 {
		other := f.another(t, servicetest.Env{"QUALTRICS_SWEEP_INTERVAL": "1h"})
		bustest.Eventually(t, "the replica is let in", func() bool { return strings.Contains(other.Log(), "Qualtrics lets us in") })
		other.Stop() // its part that sweeps has ended before it has stopped
	}
	if n := len(f.brand.Calls(list)); n != 1 {
		t.Errorf("%d sweeps, want 1", n)
	}
}

func TestAnotherReplicaSweepsWhenTheFirstIsGone(t *testing.T) {
	f := sweeping(t, nil, func(*brand) {})
	f.swept(t, 1)
	f.Stop()
	n := len(f.brand.Calls(list))
	f.another(t, nil)
	bustest.Eventually(t, "a sweep", func() bool { return len(f.brand.Calls(list)) > n })
}

func TestASweepThatWasOvertakenStops(t *testing.T) {
	ago := time.Now().Add(-time.Hour)
	var second *sending
	f := sweeping(t, nil, func(v *brand) {
		v.stall = make(chan struct{})
		v.distributed("EMD_1", 3*time.Hour, row("Pending", "", ago))
		second = v.distributed("EMD_2", 3*time.Hour, row("Pending", "", ago))
	})
	bustest.Eventually(t, "the sweep is stuck", func() bool { return len(f.brand.Calls(hist)) == 1 })
	f.another(t, servicetest.Env{"QUALTRICS_SWEEP_INTERVAL": "1h"}) // takes the next turn
	const theirs = 4                                                // two pages of each history
	bustest.Eventually(t, "the other has swept", func() bool { return len(f.brand.Calls(hist)) == 1+theirs })
	f.brand.now(func() { second.stats = map[string]any{"finished": 1} }) // worth a call to whoever has the turn
	close(f.brand.stall)
	bustest.Eventually(t, "the first goes on", func() bool { return len(f.brand.Calls(list)) == 4 })
	f.Stop()
	if n := len(f.brand.Calls(hist)); n != 1+theirs+1 { // the rest of what it was reading
		t.Errorf("%d pages of histories read, want %d", n, 1+theirs+1)
	}
}

func TestSurveysToSweepAreThoseNamedOrKnown(t *testing.T) {
	swept := func(v *brand) map[string]bool {
		surveys := map[string]bool{}
		for _, c := range v.Calls(list) {
			surveys[c.Query.Get("surveyId")] = true
		}
		return surveys
	}
	t.Run("named", func(t *testing.T) {
		f := sweeping(t, servicetest.Env{"QUALTRICS_SWEEP_SURVEYS": "SV_cart", "QUALTRICS_SURVEY_ID": "SV_service"}, func(*brand) {})
		f.broker.Publish(subjects.SurveyResponseReceived, strings.Replace(received, "SV_cart", "SV_seen", 1))
		f.Settled()
		f.swept(t, 2)
		if got := swept(f.brand); !maps.Equal(got, map[string]bool{"SV_cart": true}) {
			t.Errorf("swept %v", got)
		}
	})
	t.Run("known", func(t *testing.T) {
		f := sweeping(t, servicetest.Env{"QUALTRICS_SURVEY_ID": "SV_service"}, func(*brand) {})
		f.broker.Publish(subjects.SurveyResponseReceived, strings.Replace(received, "SV_cart", "SV_seen", 1))
		// SV_cart is named by a rule that comes with closeloop; a survey that does not exist keeps nobody from the others.
		want := map[string]bool{"SV_cart": true, "SV_service": true, "SV_seen": true}
		bustest.Eventually(t, "all swept", func() bool { return maps.Equal(swept(f.brand), want) })
		n := len(f.brand.Calls(list))
		bustest.Eventually(t, "swept again", func() bool { return len(f.brand.Calls(list)) > n+9 })
		if n := strings.Count(f.Log(), `"level":"WARN","msg":"responses whose event never came cannot be looked for"`); n != 2 {
			t.Errorf("%d warnings about two surveys that do not exist", n)
		}
	})
}

func TestSweepThatFailsGoesOnWithTheOthersAndComesAgain(t *testing.T) {
	ago := time.Now().Add(-time.Hour)
	f := sweeping(t, nil, func(v *brand) {
		v.answered("R_1", late)
		v.answered("R_2", map[string]any{})
		v.Refuse(list, refused(http.StatusForbidden, "QMST_2.1", "The operation is forbidden."))
		v.Refuse(hist, refused(http.StatusInternalServerError, "", "random"))
		v.Refuse(hist, refused(http.StatusBadRequest, "CP_TD_GER_NP", "Not permitted."))
		v.distributed("EMD_1", 3*time.Hour, row("SurveyFinished", "R_1", ago))
		v.distributed("EMD_test", 3*time.Hour, row("SurveyFinished", "R_7", ago))
		v.distributed("EMD_2", 3*time.Hour, row("SurveyFinished", "R_2", ago))
	})
	f.Published(subjects.SurveyResponseReceived, 2)
	f.swept(t, 2)
	n := 0
	for _, c := range f.brand.Calls(hist) {
		if c.Path == "/API/v3/distributions/EMD_test/history" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the test distribution was asked for %d times, want once", n)
	}
	if !strings.Contains(f.Log(), `"level":"ERROR","msg":"responses whose event never came cannot be looked for"`) {
		t.Error("nobody was told that the right to list distributions is missing")
	}
}

func TestRefusedTokenIsToldByReadinessAtStart(t *testing.T) {
	f := sweeping(t, nil, func(v *brand) { v.hold, v.barred = make(chan struct{}), 2 })
	close(f.brand.hold) // the service has started without an answer
	bustest.Eventually(t, "not ready", func() bool {
		answer := f.Get("/readyz")
		return answer.Status == http.StatusServiceUnavailable && strings.Contains(answer.Body, "401") && !strings.Contains(answer.Body, token)
	})
	if n := len(f.brand.Calls(list)); n != 0 {
		t.Errorf("%d sweeps with credentials that are refused", n)
	}
	bustest.Eventually(t, "ready", func() bool { return f.Get("/readyz").Status == http.StatusOK })
	if !strings.Contains(f.Log(), `"level":"ERROR","msg":"Qualtrics refuses us`) || !strings.Contains(f.Log(), "Qualtrics lets us in") {
		t.Error("the log does not tell of both")
	}
	f.swept(t, 1)
}

func TestProxiedCallsAreAnAlarm(t *testing.T) {
	f := sweeping(t, nil, func(v *brand) {
		v.Refuse(who, servicetest.Reply{Body: map[string]any{
			"result": map[string]any{"brandId": "simbrand", "datacenter": "sjc1"},
			"meta":   map[string]any{"notice": "Request proxied. For faster response times, use this host instead: sjc1.qualtrics.com"},
		}})
	})
	f.swept(t, 1)
	if got := f.metric(`closeloop_qualtrics_proxied{service="feedback-router"}`); got != "1" {
		t.Errorf("the metric is %q", got)
	}
	if !strings.Contains(f.Log(), `"host":"sjc1.qualtrics.com"`) {
		t.Error("the log does not name the host")
	}
}

func TestSettingsOfTheSweepThatCannotWorkAreRefusedByName(t *testing.T) {
	for variable, value := range map[string]string{
		"QUALTRICS_SWEEP_INTERVAL": "-1s", "QUALTRICS_SWEEP_SURVEYS": "cart", "QUALTRICS_SURVEY_ID": "cart", "QUALTRICS_RESPONSE_STATUSES": "normal",
	} {
		env := servicetest.Env{"QUALTRICS_BASE_URL": "https://eu.qualtrics.com/API/v3", "QUALTRICS_API_TOKEN": token, variable: value}
		if err := servicetest.Load(env, router.Define().Settings); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: error %v", variable, err)
		}
	}
}
