package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/faults"
)

// vendor is a handler that counts how often it acted, and how much it read.
type vendor struct {
	acted atomic.Int32
	read  atomic.Int64
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n, err := io.Copy(io.Discard, r.Body); err == nil {
		v.acted.Add(1)
		v.read.Add(n)
	}
	_, _ = io.WriteString(w, "done")
}

func start(t *testing.T) (*faults.Desk, *vendor, string) {
	t.Helper()
	desk, v, mux := faults.NewDesk(), &vendor{}, http.NewServeMux()
	desk.Routes(mux)
	mux.Handle("/qualtrics/", desk.Wrap("qualtrics", v))
	mux.Handle("/awardco/", desk.Wrap("awardco", v))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(desk.Clear)
	return desk, v, server.URL
}

func call(t *testing.T, ctx context.Context, method, url, body string) (*http.Response, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text), nil
}

func TestStatusAnswersInsteadOfActing(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Vendor: "qualtrics", Method: "post", Path: "/distributions$", Kind: faults.Status,
		Status: 429, RetryAfter: 7, Body: `{"meta":{}}`, Times: 1})

	for _, other := range []struct{ method, path string }{
		{"GET", "/qualtrics/distributions"}, {"POST", "/qualtrics/distributions/1"}, {"POST", "/awardco/distributions"},
	} {
		if got, _, err := call(t, t.Context(), other.method, url+other.path, "x"); err != nil || got.StatusCode != 200 {
			t.Errorf("%s %s met a fault that is not for it: %v %v", other.method, other.path, got, err)
		}
	}
	got, body, err := call(t, t.Context(), "POST", url+"/qualtrics/distributions", "x")
	if err != nil || got.StatusCode != 429 || got.Header.Get("Retry-After") != "7" || body != `{"meta":{}}` {
		t.Errorf("got %v %q %v", got, body, err)
	}
	if v.acted.Load() != 3 {
		t.Errorf("acted %d times, want 3", v.acted.Load())
	}
	if got, _, err = call(t, t.Context(), "POST", url+"/qualtrics/distributions", "x"); err != nil || got.StatusCode != 200 {
		t.Errorf("the fault was for one call, but the second met it: %v %v", got, err)
	}
	if list := desk.List(); len(list) != 1 || list[0].Fired != 1 {
		t.Errorf("want the spent fault with one hit, got %+v", list)
	}
}

func TestAFaultForABodyLetsOthersPassWhole(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Contains: "R_7", Kind: faults.Status, Status: 500})
	for body, want := range map[string]int{"about R_7, too": 500, "about R_8": 200, "": 200} {
		if got, _, err := call(t, t.Context(), "POST", url+"/awardco/x", body); err != nil || got.StatusCode != want {
			t.Errorf("%q: got %v %v, want %d", body, got, err, want)
		}
	}
	if v.acted.Load() != 2 || v.read.Load() != int64(len("about R_8")) {
		t.Errorf("acted %d times on %d bytes, want 2 times on those of the body that passed", v.acted.Load(), v.read.Load())
	}
}

func TestLostAnswerActsAndCutsTheConnection(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Kind: faults.LostAnswer, Times: 1})
	if got, _, err := call(t, t.Context(), "POST", url+"/awardco/x", "x"); err == nil {
		t.Errorf("want no answer, got %v", got)
	}
	if v.acted.Load() != 1 {
		t.Errorf("acted %d times, want 1", v.acted.Load())
	}
}

func TestLateStatusActsAndAnswersWithAnErrorAllTheSame(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Kind: faults.LateStatus, Status: 504, Times: 1})
	got, body, err := call(t, t.Context(), "POST", url+"/awardco/x", "x")
	if err != nil || got.StatusCode != 504 || strings.Contains(body, "done") {
		t.Errorf("got %v %q %v", got, body, err)
	}
	if v.acted.Load() != 1 {
		t.Errorf("acted %d times, want 1", v.acted.Load())
	}
}

func TestHTMLAnswersWithAWebPageInsteadOfActing(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Kind: faults.HTML, Times: 1})
	desk.Add(faults.Fault{Kind: faults.HTML, Status: 503, RetryAfter: 3, Times: 1})
	for _, want := range []struct {
		status int
		after  string
	}{{200, ""}, {503, "3"}} {
		got, body, err := call(t, t.Context(), "GET", url+"/awardco/x", "")
		if err != nil || got.StatusCode != want.status || got.Header.Get("Retry-After") != want.after ||
			!strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") || !strings.Contains(body, "<html") {
			t.Errorf("got %v %q %v", got, body, err)
		}
	}
	if v.acted.Load() != 0 {
		t.Error("it acted")
	}
}

func TestTruncatedActsAndCutsTheAnswerInTheMiddle(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Kind: faults.Truncated, Times: 1})
	request, err := http.NewRequestWithContext(t.Context(), "GET", url+"/awardco/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(got.Body)
	if got.StatusCode != 200 || !errors.Is(err, io.ErrUnexpectedEOF) || string(text) != "do" {
		t.Errorf("got %d %q %v", got.StatusCode, text, err)
	}
	if v.acted.Load() != 1 {
		t.Errorf("acted %d times, want 1", v.acted.Load())
	}
}

func TestSlowActsAfterTheDelay(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Kind: faults.Slow, DelayMS: 30})
	began := time.Now()
	if got, _, err := call(t, t.Context(), "GET", url+"/awardco/x", ""); err != nil || got.StatusCode != 200 {
		t.Errorf("got %v %v", got, err)
	}
	if took := time.Since(began); took < 30*time.Millisecond || v.acted.Load() != 1 {
		t.Errorf("took %v, acted %d times", took, v.acted.Load())
	}
}

func TestHangHoldsUntilTheClientGivesUpAndNeverActs(t *testing.T) {
	desk, v, url := start(t)
	desk.Add(faults.Fault{Kind: faults.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := call(t, ctx, "POST", url+"/awardco/x", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want to run into the deadline, got %v", err)
	}
	if v.acted.Load() != 0 {
		t.Error("it acted")
	}
}

func TestClearLetsGoOfCallsThatHang(t *testing.T) {
	desk, _, url := start(t)
	desk.Add(faults.Fault{Kind: faults.Hang})
	gone := make(chan error, 1)
	go func() {
		_, _, err := call(t, t.Context(), "POST", url+"/awardco/x", "x")
		gone <- err
	}()
	for desk.List()[0].Fired == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the call never arrived")
		}
	}
	desk.Clear()
	if err := <-gone; err == nil {
		t.Error("want a cut connection")
	}
	if got, _, err := call(t, t.Context(), "POST", url+"/awardco/x", "x"); err != nil || got.StatusCode != 200 {
		t.Errorf("after Clear: %v %v", got, err)
	}
}

func TestRateIsRepeatableForASeed(t *testing.T) {
	pattern := func(seed uint64) (hits string) {
		desk, _, url := start(t)
		desk.Add(faults.Fault{Kind: faults.Status, Status: 500, Rate: 0.5, Seed: seed})
		for range 40 {
			got, _, err := call(t, t.Context(), "GET", url+"/awardco/x", "")
			if err != nil {
				t.Fatal(err)
			}
			hits += got.Status[:1]
		}
		return hits
	}
	first := pattern(1)
	if again := pattern(1); again != first {
		t.Errorf("same seed, other calls: %s and %s", first, again)
	}
	if other := pattern(2); other == first {
		t.Errorf("another seed, same calls: %s", other)
	}
	if !strings.Contains(first, "5") || !strings.Contains(first, "2") {
		t.Errorf("want some hits and some misses, got %s", first)
	}
}

func TestRoutesPutFaultsOnAndOff(t *testing.T) {
	desk, _, url := start(t)
	post := func(body string) (int, string) {
		got, text, err := call(t, t.Context(), "POST", url+"/landscape/faults", body)
		if err != nil {
			t.Fatal(err)
		}
		return got.StatusCode, text
	}
	if status, text := post(`{"vendor":"qualtrics","kind":"status","status":503}`); status != 201 || !strings.Contains(text, `"id":"F1"`) {
		t.Errorf("got %d %s", status, text)
	}
	for body, wrong := range map[string]string{
		`{"kind":"explode"}`:                                  "kind",
		`{"kind":"status"}`:                                   "status",
		`{"kind":"status","status":200}`:                      "status",
		`{"kind":"hang","status":500}`:                        "status",
		`{"kind":"late-status"}`:                              "status",
		`{"kind":"html","status":302}`:                        "status",
		`{"kind":"html","body":"x"}`:                          "body",
		`{"kind":"slow"}`:                                     "delayMs",
		`{"kind":"hang","path":"("}`:                          "path",
		`{"kind":"hang","rate":2}`:                            "rate",
		`{"kind":"hang","times":-1}`:                          "times",
		`{"kind":"hang","vendor":"qualtrix"}`:                 "qualtrics",
		`{"kind":"hang","vendr":"qualtrics"}`:                 "vendr",
		`{"kind":"status","status":500,"id":"F9"}`:            "id",
		`{"kind":"status","status":500,"delayMs":"a second"}`: "delayMs",
	} {
		if status, text := post(body); status != 400 || !strings.Contains(text, wrong) {
			t.Errorf("%s: got %d %s, want 400 about %s", body, status, text, wrong)
		}
	}
	_, text, err := call(t, t.Context(), "GET", url+"/landscape/faults", "")
	var list struct{ Faults []faults.Fault }
	if err != nil || json.Unmarshal([]byte(text), &list) != nil || len(list.Faults) != 1 || list.Faults[0].Status != 503 {
		t.Errorf("got %s %v", text, err)
	}
	for _, step := range []struct {
		path string
		want int
	}{{"/F1", 204}, {"/F1", 404}, {"", 204}} {
		if got, _, err := call(t, t.Context(), "DELETE", url+"/landscape/faults"+step.path, ""); err != nil || got.StatusCode != step.want {
			t.Errorf("DELETE %s: got %v %v, want %d", step.path, got, err, step.want)
		}
	}
	if len(desk.List()) != 0 {
		t.Errorf("still on: %+v", desk.List())
	}
}
