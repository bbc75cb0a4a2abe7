package standalone_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

func TestFirstCampaignEndsWithEverythingOnceAndNothingTwice(t *testing.T) {
	t.Parallel()
	p := launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR=127.0.0.1:0", "STANDALONE_NATS_PORT=-1", "STANDALONE_EXIT=true")
	if code := p.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	said := p.output.String()
	for _, row := range []string{"links", "interactions", "mails"} {
		if !strings.Contains(collapse(said), row) {
			t.Errorf("the table does not mention %s:\n%s", row, said)
		}
	}
	if !strings.Contains(collapse(said), "links Qualtrics 25 25 0") || !strings.Contains(collapse(said), "mails SAP Marketing Cloud 25 25 0") {
		t.Errorf("not 25 of each, 0 twice:\n%s", said)
	}
}

func collapse(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestStoppedInTheMiddleItGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(*process)
	}{
		{"Ctrl-C", func(p *process) { p.stop() }},
		{"SIGKILL", func(p *process) { p.kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			env := []string{"DATA_DIR=" + t.TempDir(), "HTTP_ADDR=" + address, "STANDALONE_NATS_PORT=-1", "TOPOLOGY_ACK_WAIT=5s"}
			p := launch(t, "standalone", env...)
			eventually(t, "a few mails are out", time.Minute, func() bool {
				var books landscape.Books
				return get(t.Context(), "http://"+address+"/landscape/books.json", &books) && len(books.Marketing.Mails) >= 3
			})
			c.end(p)
			again := launch(t, "standalone", append(env, "STANDALONE_EXIT=true")...)
			if code := again.wait(); code != 0 {
				t.Errorf("exit code %d after the second start", code)
			}
		})
	}
}

// launchStandalone starts all of it without a campaign, and gives its door and its broker once it is ready.
func launchStandalone(t *testing.T) (address string, js jetstream.JetStream) {
	t.Helper()
	address, broker := freeAddress(t), freeAddress(t)
	_, port, _ := strings.Cut(broker, ":")
	launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR="+address, "STANDALONE_NATS_PORT="+port, "STANDALONE_CAMPAIGN=0")
	eventually(t, "ready", time.Minute, func() bool { return get(t.Context(), "http://"+address+"/readyz", nil) })
	nc, err := nats.Connect("nats://" + broker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return address, js
}

// waitForLink waits for the link of a request: one that was refused is answered 200 as well.
func waitForLink(t *testing.T, address, requestID string) {
	t.Helper()
	eventually(t, requestID+" has its link", time.Minute, func() bool {
		var made struct{ Link string }
		return get(t.Context(), "http://"+address+"/survey/links/"+requestID, &made) && made.Link != ""
	})
}

func TestBareMessageAndFullEnvelopeLeadToTheSame(t *testing.T) {
	t.Parallel()
	address, js := launchStandalone(t)
	request := func(id string) string {
		return `{"requestId":"` + id + `","contact":{"externalId":"` + id + `","email":"ada@example.com"}}`
	}
	full := nats.NewMsg("survey.link.requested")
	full.Data = []byte(request("full"))
	for name, value := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "E-1", "ce-source": "cli", "ce-type": "survey.link.requested",
		"ce-time": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "ce-loopid": "L-1", "content-type": "application/json", "Nats-Msg-Id": "full",
	} {
		full.Header[name] = []string{value}
	}
	if _, err := js.PublishMsg(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Publish("survey.link.requested", []byte(request("bare"))); err != nil { // as nats pub without -J does
		t.Fatal(err)
	}
	for _, id := range []string{"full", "bare"} {
		waitForLink(t, address, id)
	}

	for _, c := range []struct{ name, subject, body, service, field string }{
		{"misspelt field", "survey.link.requested", `{"requestId":"x1","contact":{"email":"ada@example.com","externlId":"1"}}`, topology.QualtricsLinker, "contact.externlId"},
		{"no JSON", "recognition.requested", `hello`, topology.AwardcoRecognizer, ""},
		{"missing e-mail", "survey.link.requested", `{"requestId":"x2","contact":{"externalId":"1"}}`, topology.QualtricsLinker, "contact.email"},
		{"wrong survey", "survey.link.requested", `{"requestId":"x3","contact":{"email":"ada@example.com"},"survey":{"surveyId":"SV_nowhere"}}`, topology.QualtricsLinker, "survey.surveyId"},
		{"name only", "recognition.requested", `{"responseId":"R_x","recipient":{"name":"Ada"}}`, topology.AwardcoRecognizer, "recipient"},
	} {
		if _, err := js.Publish(t.Context(), c.subject, []byte(c.body)); err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), topology.DeadLetters)
		if err != nil {
			t.Fatal(err)
		}
		var letter *jetstream.RawStreamMsg
		eventually(t, c.name+" in the dead letters", time.Minute, func() bool {
			letter, err = stream.GetLastMsgForSubject(t.Context(), topology.DeadLetterSubject(c.service))
			return err == nil && string(letter.Data) == c.body
		})
		if got := letter.Header.Get("Closeloop-Field"); got != c.field || letter.Header.Get("Closeloop-Reason") == "" {
			t.Errorf("%s: field %q, reason %q; want field %q", c.name, got, letter.Header.Get("Closeloop-Reason"), c.field)
		}
	}
	if !get(t.Context(), "http://"+address+"/readyz", nil) {
		t.Error("the services do not go on")
	}
	if response, err := http.Get("http://" + address + "/metrics"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("metrics: %v", err)
	}
}
