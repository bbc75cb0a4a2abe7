package webhook_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/awardco-recognizer/webhook"
)

// The golden vector of awardco.md §3.9.
const (
	secret    = "invented-awardco-secret"
	stamp     = "1768469400"
	signature = "UOXiFNfxHW2JOoDH9cjhzkqYbiHr67/Y4JItrX75+xk="
	body      = `{"companyId":"C-100","companyName":"Sim Company","eventType":"recognition.created","data":{"recognitionId":"REC-1001","giver":"grace@example.org","recipient":"E1001","points":25,"note":"Thank you for the quick help.","program":"Customer praise"}}`
)

var signedAt = time.Unix(1768469400, 0)

func header(signature, stamp string) http.Header {
	return http.Header{webhook.HeaderSignature: {signature}, webhook.HeaderTimestamp: {stamp}}
}

func TestVerifyTakesTheGoldenVector(t *testing.T) {
	at, err := webhook.Verify(header(signature, stamp), []byte(body), []string{"another", secret}, signedAt.Add(4*time.Minute))
	if err != nil || !at.Equal(signedAt) {
		t.Errorf("%v, %v", at, err)
	}
}

func TestVerifyRefusesWhateverDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		header  http.Header
		body    string
		secrets []string
		now     time.Time
	}{
		"another body":       {header(signature, stamp), body + " ", []string{secret}, signedAt},
		"another secret":     {header(signature, stamp), body, []string{"another"}, signedAt},
		"no secret":          {header(signature, stamp), body, nil, signedAt},
		"an empty signature": {header("", stamp), body, []string{secret}, signedAt},
		"no base64":          {header("%%%", stamp), body, []string{secret}, signedAt},
		"half a signature":   {header(signature[:24], stamp), body, []string{secret}, signedAt},
		"another time":       {header(signature, "1768469401"), body, []string{secret}, signedAt},
		"no time":            {header(signature, ""), body, []string{secret}, signedAt},
		"too late":           {header(signature, stamp), body, []string{secret}, signedAt.Add(5*time.Minute + time.Second)},
		"from the future":    {header(signature, stamp), body, []string{secret}, signedAt.Add(-5*time.Minute - time.Second)},
	} {
		if _, err := webhook.Verify(c.header, []byte(c.body), c.secrets, c.now); !errors.Is(err, webhook.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadUnderstandsMoreThanOneSpelling(t *testing.T) {
	d, err := webhook.Read([]byte(body))
	if err != nil || d.Event != "recognition.created" || d.RecognitionID != "REC-1001" || d.Amount != 25 || d.Reason != "" {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = webhook.Read([]byte(`{"eventType":"recognition.denied","data":{"id":77,"amount":"12","denialReason":" twice "}}`))
	if err != nil || d.RecognitionID != "77" || d.Amount != 12 || d.Reason != "twice" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, wrong := range []string{``, `[]`, `{}`, `{"eventType":5}`, `{"eventType":"x","data":[]}`,
		`{"eventType":"x","data":{"recognitionId":"` + strings.Repeat("ä", 201) + `"}}`, `{"eventType":"x","data":{"id":1e300}}`} {
		if _, err := webhook.Read([]byte(wrong)); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
}

func TestEventsAreReadFromTheSetting(t *testing.T) {
	var e webhook.Events
	if err := e.Decode("recognition.approved=approved, recognition.denied=declined,recognition.created=ignored"); err != nil {
		t.Fatal(err)
	}
	if e["recognition.denied"] != webhook.Declined || e["recognition.created"] != webhook.Ignored || e["user.created"] != "" {
		t.Errorf("%v", e)
	}
	if got := e.String(); got != "recognition.approved=approved,recognition.created=ignored,recognition.denied=declined" {
		t.Error(got)
	}
	for _, wrong := range []string{"", "recognition.approved", "=approved", "recognition.approved=granted"} {
		if err := e.Decode(wrong); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
}
