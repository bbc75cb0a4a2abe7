package demo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/services/landscape/internal/demo"
	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// door is an Open Channel endpoint that answers packages with a status and keeps the last one.
type door struct {
	*httptest.Server
	mu      sync.Mutex
	last    string
	headers http.Header
}

func newDoor(t *testing.T, status int) *door {
	t.Helper()
	d := &door{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		body, _ := io.ReadAll(r.Body)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last, d.headers = string(body), r.Header
		w.WriteHeader(status)
	}))
	t.Cleanup(d.Close)
	return d
}

// campaigns runs campaigns with new books against a door until the test ends.
func campaigns(t *testing.T, d *door) (*demo.Campaigns, *salescloud.Simulator) {
	t.Helper()
	return loggedCampaigns(t, d, slog.New(slog.DiscardHandler))
}

func loggedCampaigns(t *testing.T, d *door, log *slog.Logger) (*demo.Campaigns, *salescloud.Simulator) {
	t.Helper()
	st, err := store.Open("")
	if err != nil {
		t.Fatal(err)
	}
	m, err := marketing.New(st, marketing.Settings{}, log)
	if err != nil {
		t.Fatal(err)
	}
	s, err := salescloud.New(st, salescloud.Settings{}, log)
	if err != nil {
		t.Fatal(err)
	}
	c, err := demo.NewCampaigns(st, m, s, demo.Endpoint{URL: d.URL, Key: "key"}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return c, s
}

func TestARefusedCampaignSaysSo(t *testing.T) {
	c, _ := campaigns(t, newDoor(t, http.StatusUnauthorized))
	err := c.Play(t.Context(), 2)
	if !errors.Is(err, demo.ErrRefused) || !strings.Contains(err.Error(), "401") {
		t.Errorf("got %v", err)
	}
	if all := c.All(); len(all) != 1 || all[0].State != demo.Refused || all[0].Status != http.StatusUnauthorized {
		t.Errorf("%+v", all)
	}
	if err := c.Play(t.Context(), 1); !errors.Is(err, demo.ErrRefused) {
		t.Errorf("the next one: %v", err)
	}
}

// away is an endpoint that refuses the first pings and takes everything from then on.
func away(t *testing.T, pings int) *door {
	t.Helper()
	d := &door{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.Method == http.MethodGet && pings > 0 {
			pings--
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(d.Close)
	return d
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func TestACampaignThatWaitsSaysSoOnce(t *testing.T) {
	var log buffer
	c, _ := loggedCampaigns(t, away(t, 3), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err := c.Play(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const waits = ` msg="a campaign waits"`
	if warned, debugged := strings.Count(log.String(), "level=WARN"+waits), strings.Count(log.String(), "level=DEBUG"+waits); warned != 1 || debugged != 2 {
		t.Errorf("%d warnings and %d for who debugs:\n%s", warned, debugged, log.String())
	}
}

func TestMembersAreTheSameWheneverAsked(t *testing.T) {
	const members = 7
	one, other := newDoor(t, http.StatusAccepted), newDoor(t, http.StatusAccepted)
	for _, d := range []*door{one, other} {
		c, sales := campaigns(t, d)
		if err := c.Play(t.Context(), members); err != nil {
			t.Fatal(err)
		}
		if known := len(sales.Books().Contacts); known != members {
			t.Errorf("%d members are contacts in SAP Sales Cloud", known)
		}
	}
	if one.last != other.last || strings.Count(one.last, `"OutboundId"`) != members {
		t.Errorf("two first campaigns differ:\n%s\n%s", one.last, other.last)
	}
	if one.headers.Get("X-API-Key") != "key" {
		t.Error("the door's key was not sent")
	}
}

func TestCampaignsDoNotShareOutboundIDs(t *testing.T) {
	d := newDoor(t, http.StatusAccepted)
	c, _ := campaigns(t, d)
	for _, id := range []string{`"OB-0001-000001"`, `"OB-0002-000001"`} {
		if err := c.Play(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(d.last, id) {
			t.Errorf("%s is not in %s", id, d.last)
		}
	}
}

func TestExpectationsAddUp(t *testing.T) {
	one := demo.Expectation{Links: 1, Interactions: 2, Mails: 3, Answers: 4, Tasks: 5, Recognitions: 6}
	if got, want := one.Plus(one), (demo.Expectation{Links: 2, Interactions: 4, Mails: 6, Answers: 8, Tasks: 10, Recognitions: 12}); got != want {
		t.Errorf("%+v", got)
	}
	if got, want := demo.Expected(5, false), (demo.Expectation{Links: 5, Interactions: 5, Mails: 5}); got != want {
		t.Errorf("without people: %+v", got)
	}
}
