package ingress_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/ingress/ingress"
)

type fixture struct {
	*servicetest.Service
	broker *bustest.Broker
}

func start(t *testing.T, env servicetest.Env, declared ...topology.Settings) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{broker: bustest.Start(t, append(declared, topology.Settings{})[0])}
	f.Service = servicetest.Start(t, f.broker, ingress.Define, env)
	return f
}

// stored gives the bodies of what is stored under a subject, as JSON.
func (f fixture) stored(t *testing.T, subject string) []string {
	t.Helper()
	var bodies []string
	for _, e := range servicetest.Events(t, f.broker, subject) {
		bodies = append(bodies, text(t, e.Data))
	}
	return bodies
}

// text gives a message as one form of JSON, whatever way it came.
func text(t *testing.T, m proto.Message) string {
	t.Helper()
	body, err := contract.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// same tells whether JSON says the same as the message under a subject.
func same(t *testing.T, subject, got, want string) {
	t.Helper()
	c, _ := subjects.Find(subject)
	a, b := c.New(), c.New()
	if err := errors.Join(contract.Unmarshal([]byte(got), a), contract.Unmarshal([]byte(want), b)); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(a, b) {
		t.Errorf("%s is\n%s, want\n%s", subject, text(t, a), text(t, b))
	}
}

// all counts everything that is stored.
func (f fixture) all(t *testing.T) int {
	t.Helper()
	return len(f.broker.Messages(topology.Events, ">"))
}

// file writes a file for a setting.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// door is one way in, with a body that it takes.
type door struct{ path, contentType, body, subject string }

var doors = []door{
	{"/sap/open-channel", "application/json", campaign, subjects.SurveyLinkRequested},
	{"/http/OCEndpoint", "application/json", campaign, subjects.SurveyLinkRequested},
	{"/qualtrics/events", "application/x-www-form-urlencoded", flat, subjects.SurveyResponseNotified},
	{"/qualtrics/responses", "application/json", response, subjects.SurveyResponseReceived},
	{"/s4/events", "application/cloudevents+json", completed, subjects.OrderCompleted},
}

func TestDoorsAskForCredentials(t *testing.T) {
	f := start(t, servicetest.Env{"INGRESS_BASIC_USERS": "sap:old-secret,sap:new-secret", "INGRESS_API_KEYS": "key-1,key-2", "QUALTRICS_UNSIGNED_EVENTS": "true"})
	for _, d := range doors {
		for name, header := range map[string][]string{
			"none": nil, "wrong key": {"X-API-Key", "key-3"}, "wrong password": {"Authorization", "Basic c2FwOnNlY3JldA=="},
		} {
			answer := f.Do("POST", d.path, d.contentType, d.body, header...).WantProblem(401)
			if answer.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: no challenge", d.path, name)
			}
		}
	}
	if n := f.all(t); n != 0 {
		t.Fatalf("%d events of callers without credentials", n)
	}
	for i, d := range doors {
		header := [][]string{{"X-API-Key", "key-1"}, {"X-API-Key", "key-2"}, {"Authorization", "Basic c2FwOm9sZC1zZWNyZXQ="}, {"Authorization", "Basic c2FwOm5ldy1zZWNyZXQ="}}[i%4]
		f.Do("POST", d.path, d.contentType, d.body, header...).Want(202)
	}
	for _, secret := range []string{"secret", "key-1", "c2Fw"} {
		if strings.Contains(f.Log(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func TestDoorsWithoutAnyCredentialsSetAreShut(t *testing.T) {
	f := start(t, servicetest.Env{"INGRESS_AUTH": "", "QUALTRICS_UNSIGNED_EVENTS": "true"})
	for _, d := range doors {
		f.Do("POST", d.path, d.contentType, d.body).WantProblem(401)
	}
	for _, path := range []string{"/sap/open-channel", "/qualtrics/events"} { // pings tell nothing
		f.Get(path).Want(200)
	}
}

func TestFullStreamIsAnsweredWith503AndARetryAfter(t *testing.T) {
	f := start(t, unsigned, topology.Settings{EventsMaxBytes: 1000})
	f.broker.Publish(subjects.TaskCreated, `{"responseId":"`+strings.Repeat("r", 700)+`"}`)
	unavailable(t, f)
}

func TestBrokerThatIsGoneIsAnsweredWith503AndARetryAfter(t *testing.T) {
	f := start(t, unsigned)
	f.broker.Stop()
	unavailable(t, f)
	f.Get("/healthz").Want(200)
	f.Get("/readyz").WantProblem(503)
}

// unavailable tries all doors at a time, since each takes the few seconds that it tries to store.
func unavailable(t *testing.T, f fixture) {
	t.Helper()
	var trying sync.WaitGroup
	answers := make([]servicetest.Answer, len(doors))
	for i, d := range doors {
		trying.Go(func() { answers[i] = f.Do("POST", d.path, d.contentType, d.body) })
	}
	trying.Wait()
	for i, d := range doors {
		if answer := answers[i].WantProblem(503); answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", d.path)
		}
	}
}

func TestLogTellsNothingOfThePeople(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SHARED_KEY": "s3cr3t-shared-key"})
	for _, d := range doors {
		f.Do("POST", d.path, d.contentType, d.body)
		f.Do("POST", d.path+"?email=ada@example.com", d.contentType, strings.NewReplacer("SMTP_ADDR", "Lovelace", "responseId", "desk lamp").Replace(d.body))
	}
	f.PostForm("/qualtrics/events", vectors[1].form)
	f.Get("/nowhere/ada@example.com")
	f.Stop()
	for _, secret := range []string{"ada@", "Ada", "Example", "Lovelace", "P-1001", "desk lamp", "shared-key", "f7a4740c"} {
		if strings.Contains(f.Log(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	if n := strings.Count(f.Log(), `"msg":"request"`); n < 2*len(doors) {
		t.Errorf("%d lines of requests", n)
	}
}

func TestSettingsThatCannotWorkAreRefusedByName(t *testing.T) {
	for variable, env := range map[string]servicetest.Env{
		"OPEN_CHANNEL_BAD_MEMBERS":     {"OPEN_CHANNEL_BAD_MEMBERS": "drop"},
		"OPEN_CHANNEL_ATTRIBUTES_FILE": {"OPEN_CHANNEL_ATTRIBUTES_FILE": file(t, "fields: {contact.mail: SMTP_ADDR}")},
		"contact.mail":                 {"OPEN_CHANNEL_ATTRIBUTES_FILE": file(t, "fields: {contact.mail: SMTP_ADDR}")},
		"DOOR_FIELDS_FILE":             {"DOOR_FIELDS_FILE": file(t, "/qualtrics/responses: {why: note}")},
		"INGRESS_BASIC_USERS":          {"INGRESS_BASIC_USERS": "sap"},
	} {
		if err := servicetest.Load(env, ingress.Define().Settings); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v: error %v does not name %s", env, err, variable)
		}
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", ingress.Define().Settings)
}
