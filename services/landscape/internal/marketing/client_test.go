package marketing_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const service = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV/"

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, dir string, settings marketing.Settings) (*marketing.Simulator, *store.Store) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := marketing.New(st, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, st
}

func newSimulator(t *testing.T, settings marketing.Settings) *marketing.Simulator {
	t.Helper()
	s, _ := open(t, "", settings)
	return s
}

// client calls the API as a technical user would: with a cookie jar and a token.
type client struct {
	t     *testing.T
	base  string
	http  *http.Client
	token string
}

func connect(t *testing.T, s *marketing.Simulator) *client {
	t.Helper()
	server := httptest.NewServer(s.API())
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, base: server.URL + service, http: &http.Client{Jar: jar}}
	c.token = "fetch"
	_, header, _ := c.call("GET", "", "")
	c.token = header.Get("x-csrf-token")
	return c
}

func (c *client) request(method, path, body string, header ...string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth("simulator", "simulator")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("x-csrf-token", c.token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (c *client) call(method, path, body string, header ...string) (int, http.Header, string) {
	c.t.Helper()
	response, err := c.http.Do(c.request(method, path, body, header...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// post gives the status of the answer, or 0 if none came.
func (c *client) post(path, body string) int {
	c.t.Helper()
	response, err := c.http.Do(c.request("POST", path, body))
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func (c *client) want(status int, method, path, body string) string {
	c.t.Helper()
	got, _, text := c.call(method, path, body)
	if got != status {
		c.t.Errorf("%s %s: status %d, want %d: %s", method, path, got, status, text)
	}
	return text
}

// found gives the rows of a filtered read.
func (c *client) found(filter string) []map[string]any {
	c.t.Helper()
	text := c.want(200, "GET", "Interactions?$filter="+url.PathEscape(filter), "")
	var answer struct {
		D struct{ Results []map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer.D.Results
}
