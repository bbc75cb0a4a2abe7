package ingress_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/livefile/livefiletest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/ingress/ingress"
)

// unsigned is how a subscription without a key is taken.
var unsigned = servicetest.Env{"QUALTRICS_UNSIGNED_EVENTS": "true"}

// flat is an event of a subscription without a shared key (qualtrics.md §3.10).
const flat = `Topic=simbrand.surveyengine.completedResponse.SV_sim0000000000001&Status=Complete&SurveyID=SV_sim0000000000001&ResponseID=R_sim000000000001&CompletedDate=2026-01-15%2009%3A30%3A00&BrandID=simbrand`

// vectors are the golden ones of qualtrics.md §3.10: key, form as it comes, and what it says.
var vectors = []struct{ name, key, form, says string }{
	{"G1", "invented-key-0001",
		form("simbrand.surveyengine.completedResponse.SV_sim0000000000002",
			"73f211fd8916674f5e138483c2955ea95d1b613253878996feccd107941463a7040e4109caf83e37cc4dba632d040bd578c6ed0c2d565ecdda78216e721f86f7",
			url.QueryEscape(`{"Status":"Complete","SurveyID":"SV_sim0000000000002","ResponseID":"R_sim000000000002","CompletedDate":"2026-01-15 09:31:07","BrandID":"simbrand"}`)),
		`{"surveyId":"SV_sim0000000000002","responseId":"R_sim000000000002","completedAt":"2026-01-15T09:31:07Z"}`},
	{"G2", "s3cr3t-shared-key",
		`Topic=simbrand.surveyengine.completedResponse.SV_sim0000000000001&HMAC=f7a4740ce4077f555067390e67be64eb4280d5a5d36ee441c33450dd2d50847208b8e90391afd757751fbba3a31c381f49f8e6fc7c6dfdc00ac26f0633228cd7&MSG=%7B%22Status%22%3A%22Complete%22%2C%22SurveyID%22%3A%22SV_sim0000000000001%22%2C%22ResponseID%22%3A%22R_sim000000000001%22%2C%22RecipientID%22%3A%22CGC_sim0000000001%22%2C%22ResponseEventContext%22%3A%22%22%2C%22DistributionID%22%3A%22EMD_sim0000000001%22%2C%22CompletedDate%22%3A%222026-01-15%2009%3A30%3A00%22%2C%22BrandID%22%3A%22simbrand%22%7D&undefined=`,
		`{"surveyId":"SV_sim0000000000001","responseId":"R_sim000000000001","recipientId":"CGC_sim0000000001","distributionId":"EMD_sim0000000001","completedAt":"2026-01-15T09:30:00Z"}`},
	{"G3 with %20", "invented-key-0003", form("simbrand.surveyengine.completedResponse.SV_sim0000000000003", digestG3,
		`%7B%22Status%22%3A%22Complete%22%2C%22SurveyID%22%3A%22SV_sim0000000000003%22%2C%22ResponseID%22%3A%22R_sim000000000003%22%2C%22ResponseEventContext%22%3A%22Gr%C3%B6%C3%9Fe%201%2B2%20%26%20%5C%22x%5C%22%22%2C%22CompletedDate%22%3A%222026-01-15%2009%3A32%3A45%22%2C%22BrandID%22%3A%22simbrand%22%7D`), saysG3},
	{"G3 with +", "invented-key-0003", form("simbrand.surveyengine.completedResponse.SV_sim0000000000003", digestG3,
		`%7B%22Status%22%3A%22Complete%22%2C%22SurveyID%22%3A%22SV_sim0000000000003%22%2C%22ResponseID%22%3A%22R_sim000000000003%22%2C%22ResponseEventContext%22%3A%22Gr%C3%B6%C3%9Fe+1%2B2+%26+%5C%22x%5C%22%22%2C%22CompletedDate%22%3A%222026-01-15+09%3A32%3A45%22%2C%22BrandID%22%3A%22simbrand%22%7D`), saysG3},
}

const (
	digestG3 = "b745cb56f2206dcadb79943edb86166b2b6fdbae532150dd2729089a31e1f92b8a13cd02b411edfde24872ac548aef8b2f191ab1b13f1b323067fceab345b4e3"
	saysG3   = `{"surveyId":"SV_sim0000000000003","responseId":"R_sim000000000003","context":"Größe 1+2 & \"x\"","completedAt":"2026-01-15T09:32:45Z"}`
)

func form(topic, digest, message string) string {
	return "MSG=" + message + "&Topic=" + topic + "&HMAC=" + digest // in any order
}

func TestSignedEventsAreTakenUnderAnyOfTheLiveKeys(t *testing.T) {
	for _, v := range vectors {
		for name, keys := range map[string]string{"alone": v.key, "new key first": "another-key," + v.key, "new key last": v.key + ", another-key"} {
			t.Run(v.name+" "+name, func(t *testing.T) {
				f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": keys, "INGRESS_API_KEYS": "the signature is the credential"})
				var receipt struct{ ID, LoopID string }
				f.PostForm("/qualtrics/events", v.form).Want(202).JSON(&receipt)
				events := servicetest.Events(t, f.broker, subjects.SurveyResponseNotified)
				if len(events) != 1 || events[0].ID != receipt.ID || events[0].LoopID != receipt.LoopID {
					t.Fatalf("%d events, receipt %+v", len(events), receipt)
				}
				same(t, subjects.SurveyResponseNotified, text(t, events[0].Data), v.says)
			})
		}
	}
}

func TestTheSharedKeyFollowsItsFile(t *testing.T) {
	mounted := livefiletest.Mount(t, map[string]string{"key": "old"})
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY_FILE": mounted.Path("key")})
	deliver := func(key, response string) int {
		return f.PostForm("/qualtrics/events", signed(key, "x", `{"Status":"Complete","SurveyID":"SV_1","ResponseID":"`+response+`"}`)).Status
	}
	if old, next := deliver("old", "R_1"), deliver("new", "R_2"); old != 202 || next != 401 {
		t.Fatalf("under the old key %d, under one that nobody knows %d", old, next)
	}
	mounted.Update(map[string]string{"key": "new,old"})
	bustest.Eventually(t, "the new key", func() bool { return deliver("new", "R_3") == 202 })
	if got := deliver("old", "R_4"); got != 202 {
		t.Errorf("under the old key, which is live still: %d", got)
	}
	mounted.Update(map[string]string{"key": "new"})
	bustest.Eventually(t, "the end of the old key", func() bool { return deliver("old", "R_5") == 401 })
}

func TestEventsThatAreNotSignedAreRefused(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "s3cr3t-shared-key"})
	good := vectors[1].form
	for name, body := range map[string]string{
		"unsigned":            flat,
		"signed otherwise":    vectors[0].form,
		"another message":     strings.Replace(good, "R_sim000000000001", "R_sim000000000009", 1),
		"digest cut":          strings.Replace(good, "33228cd7", "33228c", 1),
		"digest of another":   strings.Replace(good, "HMAC=f7a4", "HMAC=f7a5", 1),
		"no digest":           strings.Replace(good, "HMAC=", "HMACK=", 1),
		"empty digest":        "Topic=x&HMAC=&MSG=",
		"nothing":             "",
		"signed with nothing": form("x", "b936cee86c9f87aa5d3c6f2e84cb5a4239a5fe50480a6ec66b70ab5b1f4ac6730c6c515421b327ec1d69402e53dfb49ad7381eb067b338fd7b0cb22247225d47", ""),
	} {
		t.Run(name, func(t *testing.T) { f.PostForm("/qualtrics/events", body).WantProblem(401) })
	}
	if n := f.all(t); n != 0 {
		t.Errorf("%d events without a signature", n)
	}
}

func TestUnsignedEventsAreTakenFromCallersWithCredentials(t *testing.T) {
	f := start(t, servicetest.Env{"INGRESS_API_KEYS": "key-1", "QUALTRICS_UNSIGNED_EVENTS": "true"})
	f.PostForm("/qualtrics/events", flat).WantProblem(401)
	f.PostForm("/qualtrics/events", flat+"&RecipientID=CGC_1&DistributionID=EMD_1&CreatorID=UR_1&DistributionChannel=gl", "X-API-Key", "key-1").Want(202)
	stored := f.stored(t, subjects.SurveyResponseNotified)
	if len(stored) != 1 {
		t.Fatalf("%d events", len(stored))
	}
	same(t, subjects.SurveyResponseNotified, stored[0], `{"surveyId":"SV_sim0000000000001","responseId":"R_sim000000000001","recipientId":"CGC_1","distributionId":"EMD_1","completedAt":"2026-01-15T09:30:00Z"}`)
}

func TestUnsignedEventsAreRefusedUnlessSaidOtherwise(t *testing.T) {
	for name, env := range map[string]servicetest.Env{"open door": nil, "guarded door": {"INGRESS_API_KEYS": "key-1"}} {
		t.Run(name, func(t *testing.T) {
			f := start(t, env)
			for _, body := range []string{flat, vectors[1].form} {
				answer := f.PostForm("/qualtrics/events", body, "X-API-Key", "key-1").WantProblem(401)
				if !strings.Contains(answer.Body, "QUALTRICS_SHARED_KEY") || !strings.Contains(answer.Body, "QUALTRICS_UNSIGNED_EVENTS") {
					t.Errorf("does not say what to set: %s", answer.Body)
				}
			}
			f.Get("/qualtrics/events").Want(200)
			if n := f.all(t); n != 0 {
				t.Errorf("%d events of nobody knows whom", n)
			}
		})
	}
}

func TestSignedAndUnsignedAtOnceIsAMistake(t *testing.T) {
	env := servicetest.Env{"QUALTRICS_SHARED_KEY": "key", "QUALTRICS_UNSIGNED_EVENTS": "true"}
	if err := servicetest.Load(env, ingress.Define().Settings); err == nil || !strings.Contains(err.Error(), "QUALTRICS_UNSIGNED_EVENTS") {
		t.Errorf("error %v", err)
	}
}

// signed gives the event as Qualtrics delivers it under a key.
func signed(key, topic, message string) string {
	mac := hmac.New(sha512.New, []byte(key))
	mac.Write([]byte(message))
	return "Topic=" + topic + "&HMAC=" + hex.EncodeToString(mac.Sum(nil)) + "&MSG=" + url.QueryEscape(message) + "&undefined="
}

func TestTheTopicIsNotSignedAndNotTrusted(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "key"})
	const partial = `{"Status":"Partial","SurveyID":"SV_1","ResponseID":"R_1"}`
	const complete = `{"Status":"Complete","SurveyID":"SV_1","ResponseID":"R_2"}`
	f.PostForm("/qualtrics/events", signed("key", "simbrand.surveyengine.completedResponse.SV_1", partial)).Want(200)
	if n := f.all(t); n != 0 {
		t.Error("a partial response was taken for a completed one because of its topic")
	}
	for _, topic := range []string{"surveyengine.completedResponse.SV_1", "otherbrand.surveyengine.completedResponse.SV_9", "x", ""} {
		f.PostForm("/qualtrics/events", signed("key", topic, complete)).Want(202)
	}
	stored := f.stored(t, subjects.SurveyResponseNotified)
	if len(stored) != 1 {
		t.Fatalf("%d events of one response", len(stored))
	}
	same(t, subjects.SurveyResponseNotified, stored[0], `{"surveyId":"SV_1","responseId":"R_2"}`)
}

func TestEventsThatAreRepeatedReplayedAndReorderedMakeOne(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "new-key,old-key"})
	event := func(status, more string) string {
		return `{"Status":"` + status + `","SurveyID":"SV_1"` + more + `,"RecipientID":"CGC_1","BrandID":"simbrand"}`
	}
	complete := event("Complete", `,"ResponseID":"R_1","CompletedDate":"2026-01-15 09:30:00"`)
	deliver := func(key, topic, message string, want int) {
		t.Helper()
		f.PostForm("/qualtrics/events", signed(key, "simbrand.surveyengine."+topic+".SV_1", message)).Want(want)
	}
	deliver("new-key", "completedResponse", complete, 202) // overtakes what came before it
	deliver("new-key", "partialResponse", event("Partial", `,"ResponseID":"R_1"`), 200)
	deliver("new-key", "startedRecipientSession", event("Started", ""), 200)
	deliver("new-key", "completedResponse", complete, 202) // a wildcard subscription beside it, or a replay
	deliver("old-key", "completedResponse", complete, 202) // the subscription whose key is being replaced
	if n := f.all(t); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestAReplayHasNoEffectHoweverLateItComes(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "key"})
	f.forgetSoon(t)
	captured := signed("key", "simbrand.surveyengine.completedResponse.SV_1",
		`{"Status":"Complete","SurveyID":"SV_1","ResponseID":"R_1","CompletedDate":"2026-01-15 09:30:00"}`)
	first := f.PostForm("/qualtrics/events", captured).Want(202)
	f.forgotten(t)
	for range 3 {
		if again := f.PostForm("/qualtrics/events", captured).Want(202); again.Body != first.Body {
			t.Errorf("answered %s, then %s", first.Body, again.Body)
		}
	}
	if n := len(f.stored(t, subjects.SurveyResponseNotified)); n != 1 {
		t.Errorf("%d notifications, want 1", n)
	}
	if metrics := f.Get("/metrics").Want(200).Body; !strings.Contains(metrics, `closeloop_qualtrics_events_repeated_total{service="ingress"} 3`+"\n") {
		t.Error("the replays were not counted")
	}
}

func TestAReplayOfWhatIsBeingStoredIsTakenAllTheSame(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "key"})
	captured := signed("key", "x", `{"Status":"Complete","SurveyID":"SV_1","ResponseID":"R_1"}`)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { f.PostForm("/qualtrics/events", captured).Want(202) })
	}
	all.Wait()
	if n := len(f.stored(t, subjects.SurveyResponseNotified)); n != 1 {
		t.Errorf("%d notifications, want 1", n)
	}
}

// Qualtrics does not deliver a notification again, so the ledger alone may not cost one.
func TestANotificationIsTakenWhileTheLedgerIsAway(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "key"})
	if err := f.broker.JS.DeleteStream(t.Context(), "KV_"+topology.Effects); err != nil {
		t.Fatal(err)
	}
	f.PostForm("/qualtrics/events", signed("key", "x", `{"Status":"Complete","SurveyID":"SV_1","ResponseID":"R_1"}`)).Want(202)
	if n := len(f.stored(t, subjects.SurveyResponseNotified)); n != 1 {
		t.Errorf("%d notifications, want 1", n)
	}
}

func TestWhatIsAboutAForgottenPersonIsRefusedForGood(t *testing.T) {
	f := start(t, unsigned)
	bucket, err := f.broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	tombstone, err := effect.Tombstone(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []effect.Key{effect.Notified("R_1"), effect.Received("R_1")} {
		if _, err := bucket.Create(t.Context(), key.String(), tombstone); err != nil {
			t.Fatal(err)
		}
	}
	f.PostForm("/qualtrics/events", `Status=Complete&SurveyID=SV_1&ResponseID=R_1`).WantProblem(410)
	f.Post("/qualtrics/responses", `{"surveyId":"SV_1","responseId":"R_1"}`).WantProblem(410)
	if n := f.all(t); n != 0 {
		t.Errorf("%d events of a person who was forgotten", n)
	}
}

// forgetSoon makes JetStream forget message ids as soon as it can, instead of after two minutes.
func (f fixture) forgetSoon(t *testing.T) {
	t.Helper()
	stream, err := f.broker.JS.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond
	if _, err := f.broker.JS.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// forgotten waits until JetStream has forgotten the ids of what is stored by now: those of a message that comes after them
// are, when it takes that one again.
func (f fixture) forgotten(t *testing.T) {
	t.Helper()
	bustest.Eventually(t, "the end of JetStream's memory", func() bool {
		canary := jetstream.WithMsgID("canary")
		first, err := f.broker.JS.Publish(t.Context(), "task.canary", nil, canary)
		if err != nil {
			t.Fatal(err)
		}
		return !first.Duplicate && first.Sequence > 2
	})
}

func TestPingOfTheSubscriptionIsAnswered(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "key"})
	f.Get("/qualtrics/events").Want(200)
}

func TestRepeatedEventIsStoredOnce(t *testing.T) {
	f := start(t, unsigned)
	for range 3 {
		f.PostForm("/qualtrics/events", flat).Want(202)
	}
	if n := f.all(t); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestEventsOfOtherTopicsAreAnsweredWellAndNotStored(t *testing.T) {
	f := start(t, unsigned)
	for _, body := range []string{
		"Topic=simbrand.surveyengine.startedRecipientSession.SV_1&Status=Started&SurveyID=SV_1&RecipientID=CGC_1",
		"Topic=simbrand.surveyengine.partialResponse.SV_1&Status=Partial&SurveyID=SV_1&ResponseID=R_1",
		"Topic=simbrand.controlpanel.activateSurvey&Status=Active&SurveyID=SV_1",
		"Topic=simbrand.controlpanel.deactivateSurvey&SurveyID=SV_1",
		"Topic=simbrand.threesixty.created",
	} {
		f.PostForm("/qualtrics/events", body).Want(200)
	}
	if n := f.all(t); n != 0 {
		t.Errorf("%d events stored", n)
	}
}

func TestStatusOfACompletedResponseIsReadInAnySpelling(t *testing.T) {
	for _, status := range []string{"complete", "Completed", "COMPLETE"} {
		t.Run(status, func(t *testing.T) {
			f := start(t, unsigned)
			f.PostForm("/qualtrics/events", strings.Replace(flat, "Status=Complete", "Status="+status, 1)).Want(202)
			if n := len(f.stored(t, subjects.SurveyResponseNotified)); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
		})
	}
}

func TestIgnoredEventsAreCountedInAFewWords(t *testing.T) {
	f := start(t, unsigned)
	for _, status := range []string{"Partial", "partial", "Started", "Active", "invented-by-a-sender", "None", ""} {
		f.PostForm("/qualtrics/events", "Topic=simbrand.controlpanel.deactivateSurvey&Status="+status).Want(200)
	}
	metrics := f.Get("/metrics").Body
	for label, want := range map[string]string{"partial": "2", "started": "1", "active": "1", "other": "2", "none": "1"} {
		if line := `closeloop_qualtrics_events_ignored_total{service="ingress",status="` + label + `"} ` + want + "\n"; !strings.Contains(metrics, line) {
			t.Errorf("the metrics do not tell %s", line)
		}
	}
	if strings.Contains(metrics, "invented") {
		t.Error("a sender makes up labels")
	}
}

func TestAuxiliaryFieldsNeverCostTheResponse(t *testing.T) {
	f := start(t, unsigned)
	f.PostForm("/qualtrics/events", flat+"&ResponseEventContext=Gr%F6%DFe&RecipientID=CGC_%FF&DistributionID="+strings.Repeat("E", 101)).Want(202)
	stored := f.stored(t, subjects.SurveyResponseNotified)
	if len(stored) != 1 {
		t.Fatalf("%d events, want 1", len(stored))
	}
	same(t, subjects.SurveyResponseNotified, stored[0],
		`{"surveyId":"SV_sim0000000000001","responseId":"R_sim000000000001","recipientId":"CGC_\ufffd","context":"Gr\ufffde","completedAt":"2026-01-15T09:30:00Z"}`)
}

func TestNotificationBelongsToTheLoopOfTheRequestInItsContext(t *testing.T) {
	f := start(t, unsigned)
	f.PostForm("/qualtrics/events", flat+"&ResponseEventContext=OB-0000000001").Want(202)
	if e := servicetest.Events(t, f.broker, subjects.SurveyResponseNotified)[0]; e.LoopID != event.IDOf(subjects.SurveyLinkRequested, "OB-0000000001") {
		t.Errorf("loop %s", e.LoopID)
	}
}

// response is what a web service task sends.
const response = `{"surveyId":"SV_cart","responseId":"R_1","recordedAt":"2026-07-24T09:29:58Z","requestId":"A1",
	"values":{"QID1":"Where is my desk lamp?","csat":5},"contact":{"externalId":"P-1001","email":"ada@example.com"}}`

func TestResponseWithItsAnswersIsStored(t *testing.T) {
	f := start(t, nil)
	var receipt struct{ ID, LoopID string }
	f.Post("/qualtrics/responses", response).Want(202).JSON(&receipt)
	events := servicetest.Events(t, f.broker, subjects.SurveyResponseReceived)
	if len(events) != 1 || events[0].ID != receipt.ID || events[0].LoopID != receipt.LoopID {
		t.Fatalf("%d events, receipt %+v", len(events), receipt)
	}
	same(t, subjects.SurveyResponseReceived, text(t, events[0].Data), response)
	if events[0].LoopID != event.IDOf(subjects.SurveyLinkRequested, "A1") {
		t.Errorf("loop %s is not that of the request", events[0].LoopID)
	}
}

func TestLoopOfAResponseIsTheOneThatTravelledWithTheTransaction(t *testing.T) {
	f := start(t, nil)
	f.Post("/qualtrics/responses", strings.Replace(response, `"csat"`, `"loopId":"L-1","csat"`, 1)).Want(202)
	if e := servicetest.Events(t, f.broker, subjects.SurveyResponseReceived)[0]; e.LoopID != "L-1" {
		t.Errorf("loop %s", e.LoopID)
	}
}

func TestResponseMayComeAsAFormAndUnderOtherNames(t *testing.T) {
	env := servicetest.Env{"DOOR_FIELDS_FILE": file(t, "/qualtrics/responses:\n  id: responseId\n  warum: values.why\n  mail: contact.email\n")}
	for name, c := range map[string]struct {
		json bool
		body string
	}{
		"form":                  {false, "surveyId=SV_1&responseId=R_1&recordedAt=2026-07-24T09:29:58Z&values.why=50%25+%26+mehr&contact.email=ada%40example.com"},
		"form with other names": {false, "surveyId=SV_1&id=R_1&recordedAt=2026-07-24T09:29:58Z&warum=50%25+%26+mehr&mail=ada%40example.com"},
		"JSON with other names": {true, `{"surveyId":"SV_1","id":"R_1","recordedAt":"2026-07-24T09:29:58Z","warum":"50% & mehr","mail":"ada@example.com"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, env)
			if c.json {
				f.Post("/qualtrics/responses", c.body).Want(202)
			} else {
				f.PostForm("/qualtrics/responses", c.body).Want(202)
			}
			stored := f.stored(t, subjects.SurveyResponseReceived)
			if len(stored) != 1 {
				t.Fatalf("%d events", len(stored))
			}
			same(t, subjects.SurveyResponseReceived, stored[0], `{"surveyId":"SV_1","responseId":"R_1","recordedAt":"2026-07-24T09:29:58Z","values":{"why":"50% & mehr"},"contact":{"email":"ada@example.com"}}`)
		})
	}
}

func TestResponseIsStoredOnceHoweverOftenAndInWhateverFormItComes(t *testing.T) {
	f := start(t, unsigned)
	first := f.Post("/qualtrics/responses", response).Want(202)
	again := f.Post("/qualtrics/responses", response).Want(202)
	f.PostForm("/qualtrics/responses", "responseId=R_1&surveyId=SV_cart&values.csat=5").Want(202)
	f.PostForm("/qualtrics/events", strings.Replace(flat, "R_sim000000000001", "R_1", 1)).Want(202)
	if first.Body != again.Body {
		t.Errorf("answered %s, then %s", first.Body, again.Body)
	}
	if n := len(f.stored(t, subjects.SurveyResponseReceived)); n != 1 {
		t.Errorf("%d responses, want 1", n)
	}
	if n := len(f.stored(t, subjects.SurveyResponseNotified)); n != 1 {
		t.Errorf("%d notifications, want 1: feedback-router sees that the response is there", n)
	}
}

func TestResponseThatTheRouterIsFetchingIsTakenAllTheSame(t *testing.T) {
	f := start(t, nil)
	bucket, err := f.broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	_, err = effect.Do(t.Context(), effect.New(bucket), effect.Received("R_1"), event.Event{ID: "E-1", LoopID: "L-1"}, func(context.Context, *effect.Run) (any, error) {
		f.Post("/qualtrics/responses", response).Want(202)
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.stored(t, subjects.SurveyResponseReceived)); n != 1 {
		t.Errorf("%d responses, want 1", n)
	}
}

func TestBadInputFromQualtricsIsAnsweredWithTheFieldAndPublishesNothing(t *testing.T) {
	f := start(t, unsigned)
	const events, responses, urlencoded = "/qualtrics/events", "/qualtrics/responses", "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, path, contentType, body string
		status                        int
		fields                        []string
	}{
		{"event without a survey", events, urlencoded, "Topic=b.surveyengine.completedResponse.SV_1&ResponseID=R_1", 400, []string{"SurveyID"}},
		{"event without a response", events, urlencoded, "Topic=b.surveyengine.completedResponse.SV_1&SurveyID=SV_1", 400, []string{"ResponseID"}},
		{"event of no kind", events, urlencoded, "SurveyID=SV_1&ResponseID=R_1", 400, []string{"Topic"}},
		{"empty event", events, urlencoded, "", 400, []string{"Topic"}},
		{"event with a wrong id", events, urlencoded, "Status=Complete&SurveyID=SV_1&ResponseID=../R_1", 400, []string{"ResponseID"}},
		{"event with a long response", events, urlencoded, "Status=Complete&SurveyID=SV_1&ResponseID=R_" + strings.Repeat("1", 5000), 400, []string{"ResponseID"}},
		{"event with a long survey", events, urlencoded, "Status=Complete&SurveyID=SV_" + strings.Repeat("1", 99) + "&ResponseID=R_1", 400, []string{"SurveyID"}},
		{"event of a response that is no UTF-8", events, urlencoded, "Status=Complete&SurveyID=SV_1&ResponseID=R_%FF", 400, []string{"ResponseID"}},
		{"message that is no JSON", events, urlencoded, "Topic=x&HMAC=&MSG=%7B", 400, []string{"MSG"}},
		{"no form", events, urlencoded, "%zz", 400, nil},
		{"event as JSON", events, "application/json", `{"Status":"Complete","SurveyID":"SV_1","ResponseID":"R_1"}`, 415, nil},
		{"event as multipart", events, "multipart/form-data; boundary=x", "--x--", 415, nil},
		{"response without an id", responses, "application/json", `{"surveyId":"SV_1"}`, 400, []string{"responseId"}},
		{"misspelt field", responses, "application/json", `{"responseId":"R_1","answers":{}}`, 400, []string{"answers"}},
		{"no time", responses, "application/json", `{"responseId":"R_1","recordedAt":"yesterday"}`, 400, []string{"recordedAt"}},
		{"no survey id", responses, urlencoded, `responseId=R_1&surveyId=cart`, 400, []string{"surveyId"}},
		{"misspelt form field", responses, urlencoded, `responseId=R_1&why=late`, 400, []string{"why"}},
		{"piped text broke the JSON", responses, "application/json", `{"responseId":"R_1","values":{"why":"he said "late""}}`, 400, nil},
		{"another kind of body", responses, "application/xml", `<r/>`, 415, nil},
		{"too large", responses, "application/json", `{"responseId":"R_1","values":{"why":"` + strings.Repeat("x", 1<<20) + `"}}`, 413, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := f.Do("POST", c.path, c.contentType, c.body).WantProblem(c.status, c.fields...)
			if strings.Contains(answer.Body, "late") {
				t.Errorf("the answer repeats what was sent: %s", answer.Body)
			}
		})
	}
	if n := f.all(t); n != 0 {
		t.Errorf("%d events of bad input", n)
	}
}
