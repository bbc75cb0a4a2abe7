package recognizer_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

const door = "/awardco/webhooks"

// tell is a delivery as awardco.md §3.9 has it.
func tell(event, data string) string {
	return fmt.Sprintf(`{"companyId":"C-100","companyName":"Sim Company","eventType":%q,"data":{%s}}`, event, data)
}

func signedWith(secret, body string) []string {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "." + body))
	return []string{"Awardco-Timestamp", stamp, "Awardco-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

func outcome(t *testing.T, a servicetest.Answer) string {
	t.Helper()
	var body struct{ Outcome string }
	a.Want(200).JSON(&body)
	return body.Outcome
}

func TestDecisionsComeBackToTheirLoopOnce(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SECRETS": "new-secret,old-secret", "AWARDCO_APPROVAL": "true"})
	f.broker.Publish(subjects.RecognitionRequested, praise, "ce-loopid", "L-1")
	f.broker.Publish(subjects.RecognitionRequested, strings.ReplaceAll(praise, "R_1", "R_2"), "ce-loopid", "L-2")
	ids := map[string]string{}
	for _, e := range f.Published(subjects.RecognitionSubmitted, 2) {
		m := e.Data.(*eventsv1.RecognitionSubmitted)
		ids[m.GetResponseId()] = m.GetRecognitionId()
	}
	approved := tell("recognition.approved", `"recognitionId":"`+ids["R_1"]+`","giver":"","recipient":"rep@example.com","points":30,"note":"Thank you!","program":"Customer praise"`)
	denied := tell("recognition.denied", `"recognitionId":"`+ids["R_2"]+`","reason":"twice the same"`)
	for _, delivery := range []struct{ secret, body, want string }{ // duplicates, out of order, with either secret
		{"old-secret", denied, "published"}, {"new-secret", approved, "published"},
		{"new-secret", denied, "repeated"}, {"old-secret", approved, "repeated"}, {"new-secret", approved, "repeated"},
		{"new-secret", tell("recognition.created", `"recognitionId":"`+ids["R_1"]+`"`), "other_event"},
	} {
		if got := outcome(t, f.Post(door, delivery.body, signedWith(delivery.secret, delivery.body)...)); got != delivery.want {
			t.Errorf("%s: %s, want %s", delivery.body, got, delivery.want)
		}
	}
	yes, no := servicetest.Events(t, f.broker, subjects.RecognitionApproved), servicetest.Events(t, f.broker, subjects.RecognitionDeclined)
	if len(yes) != 1 || len(no) != 1 {
		t.Fatalf("%d approved, %d declined; want one each", len(yes), len(no))
	}
	if m := yes[0].Data.(*eventsv1.RecognitionApproved); yes[0].LoopID != "L-1" || m.GetResponseId() != "R_1" || m.GetRecognitionId() != ids["R_1"] || m.GetAmount() != 30 || m.GetDecidedAt() == nil {
		t.Errorf("%v in loop %s", m, yes[0].LoopID)
	}
	if m := no[0].Data.(*eventsv1.RecognitionDeclined); no[0].LoopID != "L-2" || m.GetResponseId() != "R_2" || m.GetReason() != "twice the same" {
		t.Errorf("%v in loop %s", m, no[0].LoopID)
	}
	for _, m := range f.broker.Messages("EVENTS", "recognition.approved") {
		if strings.Contains(string(m.Data), "rep@") || strings.Contains(string(m.Data), "Thank") {
			t.Errorf("personal: %s", m.Data)
		}
	}
}

func TestDecisionThatOvertakesTheAnswerIsPublishedOnceTheIDIsKnown(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "none", "AWARDCO_APPROVAL": "true"})
	denied := tell("recognition.denied", `"recognitionId":"REC-1001","reason":"twice the same"`)
	approved := tell("recognition.approved", `"recognitionId":"REC-1001","recipient":"rep@example.com","points":30`)
	f.awards.before = func(string) { // Awardco has made it, and the answer is still on its way
		for _, body := range []string{denied, approved, approved} {
			if got := outcome(t, f.Post(door, body)); got != "unknown_recognition" {
				t.Errorf("%s: %s", body, got)
			}
		}
	}
	f.broker.Publish(subjects.RecognitionRequested, praise, "ce-loopid", "L-1")
	yes, no := f.Published(subjects.RecognitionApproved, 1)[0], f.Published(subjects.RecognitionDeclined, 1)[0]
	if m := yes.Data.(*eventsv1.RecognitionApproved); yes.LoopID != "L-1" || m.GetResponseId() != "R_1" || m.GetRecognitionId() != "REC-1001" || m.GetAmount() != 30 || m.GetDecidedAt() == nil {
		t.Errorf("%v in loop %s", m, yes.LoopID)
	}
	if m := no.Data.(*eventsv1.RecognitionDeclined); no.LoopID != "L-1" || m.GetReason() != "twice the same" {
		t.Errorf("%v in loop %s", m, no.LoopID)
	}
	f.Settled()
	if got := outcome(t, f.Post(door, approved)); got != "repeated" {
		t.Errorf("told once more: %s", got)
	}
	if n := len(servicetest.Events(t, f.broker, subjects.RecognitionApproved)); n != 1 {
		t.Errorf("%d approvals, want 1", n)
	}
	f.broker.Publish(subjects.RecognitionRequested, strings.Replace(praise, "Thank", "Thanks", 1)) // the same once more
	f.Settled()
	if n := len(servicetest.Events(t, f.broker, subjects.RecognitionDeclined)); n != 1 {
		t.Errorf("%d refusals, want 1", n)
	}
}

func TestIDsThatAreTooLongForTheBrokerAreRefused(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "none"})
	f.Post(door, tell("recognition.approved", `"recognitionId":"`+strings.Repeat("x", 5000)+`"`)).WantProblem(400)
	long := tell("recognition.approved", `"recognitionId":"REC-1","tagNames":["ref-`+strings.Repeat("R", 5000)+`"]`)
	if got := outcome(t, f.Post(door, long)); got != "unknown_recognition" {
		t.Error(got)
	}
	f.broker.Publish(subjects.RecognitionRequested, praise) // the connection has lived through it
	f.Published(subjects.RecognitionSubmitted, 1)
}

func TestDeliveriesThatAreNotOursOrNotSigned(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SECRETS": "secret"})
	foreign := tell("recognition.approved", `"recognitionId":"REC-9","tagNames":["ref-R_unheard-of"]`)
	if got := outcome(t, f.Post(door, foreign, signedWith("secret", foreign)...)); got != "unknown_recognition" {
		t.Errorf("somebody else's recognition: %s", got)
	}
	f.Post(door, foreign).WantProblem(401)
	f.Post(door, foreign, signedWith("another", foreign)...).WantProblem(401)
	f.Post(door, foreign+" ", signedWith("secret", foreign)...).WantProblem(401)
	f.Post(door, "{}", signedWith("secret", "{}")...).WantProblem(400)
	if metrics := f.Get("/metrics").Body; !strings.Contains(metrics, `closeloop_awardco_webhooks_total{outcome="unknown_recognition",service="awardco-recognizer"} 1`) ||
		!strings.Contains(metrics, `closeloop_awardco_webhooks_total{outcome="unsigned",service="awardco-recognizer"} 3`) {
		t.Error("the metrics do not tell")
	}
}

func TestOtherSchemesOfTheWebhook(t *testing.T) {
	body := tell("recognition.approved", `"recognitionId":"REC-9"`)
	t.Run("no secret refuses everybody", func(t *testing.T) {
		f := start(t, nil)
		f.Post(door, body, signedWith("", body)...).WantProblem(401)
	})
	t.Run("none is said", func(t *testing.T) {
		f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "none"})
		f.Post(door, body).Want(200)
	})
	t.Run("api-key", func(t *testing.T) {
		f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "api-key", "INGRESS_API_KEYS": "k-1"})
		f.Post(door, body).WantProblem(401)
		f.Post(door, body, "X-API-Key", "k-1").Want(200)
	})
}

func TestEventNamesAreWhatTheSettingSays(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "none", "AWARDCO_WEBHOOK_EVENTS": "recognition.created=approved"})
	f.broker.Publish(subjects.RecognitionRequested, praise)
	f.Published(subjects.RecognitionSubmitted, 1)
	if got := outcome(t, f.Post(door, tell("recognition.approved", `"recognitionId":"REC-1001"`))); got != "other_event" {
		t.Error(got)
	}
	if got := outcome(t, f.Post(door, tell("recognition.created", `"recognitionId":"REC-1001"`))); got != "published" {
		t.Error(got)
	}
}

func TestADecisionThatCannotBeStoredIsNotAnsweredWell(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "none"})
	f.broker.Publish(subjects.RecognitionRequested, praise)
	f.Published(subjects.RecognitionSubmitted, 1)
	if err := f.broker.JS.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	f.Post(door, tell("recognition.approved", `"recognitionId":"REC-1001"`)).Want(503)
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("answered after %s; Awardco waits 3 s", took)
	}
}

func TestARecognitionOfAForgottenPersonIsUnknown(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_WEBHOOK_SCHEME": "none"})
	bucket, err := f.broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	tombstone, err := effect.Tombstone(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context(), effect.Recognition("R_1").String(), tombstone); err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, f.Post(door, tell("recognition.approved", `"recognitionId":"REC-9","tagNames":["ref-R_1"]`))); got != "unknown_recognition" {
		t.Errorf("it is %s", got)
	}
	if _, err := bucket.Get(t.Context(), effect.RecognitionHeard("R_1").String()); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("it was noted: %v", err)
	}
	if n := len(servicetest.Events(t, f.broker, subjects.RecognitionApproved)); n != 0 {
		t.Errorf("%d decisions were published", n)
	}
	// One whose decision was forgotten with the rest is gone, and not worth repeating.
	if _, err := bucket.Create(t.Context(), effect.RecognitionIndex("REC-8").String(), []byte(`{"responseId":"R_1","loopId":"L"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context(), effect.RecognitionDecision("REC-8", "approved").String(), tombstone); err != nil {
		t.Fatal(err)
	}
	f.Post(door, tell("recognition.approved", `"recognitionId":"REC-8"`)).WantProblem(410)
}
