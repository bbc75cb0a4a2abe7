package awardco_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// hook takes deliveries and checks their signature by the text of awardco.md §3.9.
type hook struct {
	*httptest.Server
	t     *testing.T
	got   chan told
	mu    sync.Mutex
	fails int // how many of the next deliveries are answered 500
}

type told struct {
	EventType string
	Data      map[string]any
	key       string
}

func newHook(t *testing.T, secret string) *hook {
	h := &hook{t: t, got: make(chan told, 100)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(r.Header.Get("Awardco-Timestamp") + "." + string(body)))
		if secret != "" && r.Header.Get("Awardco-Signature") != base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Error("not signed as documented")
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.fails > 0 {
			h.fails--
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		d := told{key: r.Header.Get("X-API-Key")}
		if err := json.Unmarshal(body, &d); err != nil {
			t.Error(err)
		}
		h.got <- d
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) next() told {
	h.t.Helper()
	select {
	case d := <-h.got:
		return d
	case <-time.After(10 * time.Second):
		h.t.Fatal("nothing was told")
		return told{}
	}
}

// run sends what is queued until the test ends.
func run(t *testing.T, s *awardco.Simulator) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWebhookTellsOfEachStepOfARecognition(t *testing.T) {
	h := newHook(t, "secret")
	c, s := start(t, awardco.Settings{Webhooks: []awardco.Webhook{{URL: h.URL, Secret: "secret"}}})
	run(t, s)
	c.want(200, "POST", "/recognize", contractRecognition)
	if d := h.next(); d.EventType != "recognition.created" || d.Data["recipient"] != "E1001" || d.Data["points"] != 25.0 || d.Data["program"] != "Customer praise" || d.Data["recognitionId"] == "" {
		t.Errorf("%+v", d)
	}
	var ids []string
	for range 2 { // nothing is told while it is pending
		r, err := s.SubmitExternal(awardco.External{Program: "P3", Recipient: "E1001", Note: "Great [ref-1]"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if _, err := s.Approve(ids[0], awardco.Approval{Points: 5, Budget: "CX 2026"}); err != nil {
		t.Fatal(err)
	}
	if d := h.next(); d.EventType != "recognition.approved" || d.Data["recognitionId"] != ids[0] || d.Data["points"] != 5.0 || d.Data["note"] != "Great [ref-1]" {
		t.Errorf("%+v", d)
	}
	if _, err := s.Deny(ids[1], "twice"); err != nil {
		t.Fatal(err)
	}
	if d := h.next(); d.EventType != "recognition.denied" || d.Data["recognitionId"] != ids[1] || d.Data["reason"] != "twice" {
		t.Errorf("%+v", d)
	}
}

func TestWebhookRepeatsLosesReordersAndTriesAgain(t *testing.T) {
	h := newHook(t, "")
	h.fails = 1
	c, s := start(t, awardco.Settings{
		Webhooks: []awardco.Webhook{{URL: h.URL, Scheme: awardco.APIKey, Secret: "k-1"}}, WebhookCopies: 1, LoseEveryWebhook: 3,
		WebhookLag: 300 * time.Millisecond, WebhookRetry: time.Millisecond,
	})
	run(t, s)
	for _, note := range []string{"first", "second", "lost"} {
		c.want(200, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramId":"P1","note":"`+note+`"}`)
	}
	var notes []string
	for range 4 {
		d := h.next()
		if d.key != "k-1" {
			t.Errorf("key %q", d.key)
		}
		notes = append(notes, d.Data["note"].(string))
	}
	if got := strings.Join(notes, " "); got != "second second first first" {
		t.Errorf("told in the order %s", got)
	}
	states := map[awardco.DeliveryState]int{}
	for _, d := range s.Books().Deliveries {
		states[d.State]++
	}
	if states[awardco.Lost] != 2 {
		t.Errorf("%v, want the third and its copy lost", states)
	}
}

func TestWebhookIsGivenUpAfterItsAttempts(t *testing.T) {
	h := newHook(t, "")
	h.fails = 2
	c, s := start(t, awardco.Settings{Webhooks: []awardco.Webhook{{URL: h.URL, Scheme: awardco.Bare}}, WebhookAttempts: 2, WebhookRetry: time.Millisecond})
	run(t, s)
	c.want(200, "POST", "/recognize", contractRecognition)
	deadline := time.After(10 * time.Second)
	for s.Books().Deliveries[0].State != awardco.GivenUp {
		select {
		case <-deadline:
			t.Fatalf("%+v", s.Books().Deliveries)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if d := s.Books().Deliveries[0]; d.Attempts != 2 || d.LastStatus != 500 {
		t.Errorf("%+v", d)
	}
}

func TestWebhookGoesOnAfterARestart(t *testing.T) {
	h, dir := newHook(t, "secret"), t.TempDir()
	settings := awardco.Settings{Webhooks: []awardco.Webhook{{URL: h.URL, Secret: "secret"}}}
	s, st := open(t, dir, settings)
	connect(t, s).want(200, "POST", "/recognize", contractRecognition)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	if s, err = awardco.New(again, settings, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if d := h.next(); d.EventType != "recognition.created" {
		t.Errorf("%+v", d)
	}
}

func TestIntakeTakesExternalRecognitionsAlone(t *testing.T) {
	c, s := start(t, awardco.Settings{Intake: awardco.Intake{Token: "t-1", Note: "message", TellID: true}})
	c.base = strings.TrimSuffix(c.base, "/api") + awardco.IntakePath
	c.key = "" // nobody is asked for one
	got := decode[answer](t, c.want(200, "POST", "/t-1", `{"program":"From customers","recipient":"ada@example.org","message":"Great","reference":"ref-1"}`))
	r := s.Books().Recognitions[0]
	if !got.Success || got.RecognitionID != r.ID || r.State != awardco.Pending || r.Note != "Great" || len(r.Tags) != 1 || r.Tags[0] != "ref-1" {
		t.Errorf("%+v %+v", got, r)
	}
	for body, words := range map[string]string{
		`{"program":"Customer praise","recipient":"E1001","message":"x"}`:                     "no external programme",
		`{"program":"P3","recipient":"E9","message":"x"}`:                                     "Recipient not found",
		`{"program":"P3","recipient":"E1003","message":"x"}`:                                  "archived",
		`{"program":"P3","recipient":"E1001"}`:                                                "Field message is required",
		`{"program":"P3","recipient":"E1001","message":5}`:                                    "Field message must be a text",
		`{"program":"P3","recipient":"E1001","message":"x","reference":{"a":1}}`:              "Field reference",
		`{"program":"P3","recipient":"E1001","message":"x","note":"y","reference":["a","b"]}`: "unknown field",
		`[]`: "not one JSON object",
	} {
		if got := c.want(400, "POST", "/t-1", body); !strings.Contains(got, words) {
			t.Errorf("%s: %s", body, got)
		}
	}
	c.want(404, "POST", "/t-2", `{}`)
	c.want(405, "GET", "/t-1", "")
	if n := len(s.Books().Recognitions); n != 1 {
		t.Errorf("%d recognitions", n)
	}
}

func TestNoteAboveTheLimitIsRefused(t *testing.T) {
	c, _ := start(t, awardco.Settings{NoteMax: 5})
	c.want(200, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramId":"P1","note":"äöüßx"}`)
	if got := c.want(400, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramId":"P1","note":"äöüßxx"}`); !strings.Contains(got, "note") {
		t.Error(got)
	}
}

func TestUsersAreSpelledAsSwitched(t *testing.T) {
	c, _ := start(t, awardco.Settings{ListArchived: true, SnakeCaseUsers: true, HideUsernames: true})
	type users struct{ Users []map[string]any }
	got := decode[users](t, c.want(200, "GET", "/users", "")).Users
	if len(got) != 3 || got[0]["employee_id"] != "E1001" || got[0]["employeeId"] != nil || got[0]["username"] != nil || got[2]["archived"] != true {
		t.Errorf("%v", got)
	}
}

func TestSwitchesAreReadFromText(t *testing.T) {
	s, err := awardco.Settings{}.With([]byte(`{noteMax: 9, webhookLag: 2s, errors: text, intake: {token: t}, users: [{employeeId: E1, archived: true}], programs: [{id: P, name: N, external: true}]}`))
	if err != nil || s.NoteMax != 9 || s.WebhookLag != 2*time.Second || s.Errors != awardco.TextError || s.Intake.Token != "t" || !s.Users[0].Archived || !s.Programs[0].External {
		t.Errorf("%+v %v", s, err)
	}
	for _, wrong := range []string{"{noteMx: 9}", "{noteMax: many}", "{errors: xml}", "[]"} {
		if _, err := (awardco.Settings{}).With([]byte(wrong)); err == nil {
			t.Errorf("%s was read", wrong)
		}
	}
}
