package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

func newClient(t *testing.T, o outbound.Options) *outbound.Client {
	t.Helper()
	o.Vendor = "acme"
	c, err := outbound.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve gives a client of a server with this handler.
func serve(t *testing.T, h http.HandlerFunc) *outbound.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return newClient(t, outbound.Options{BaseURL: s.URL + "/api/"})
}

func answering(t *testing.T, status int, header map[string]string, body string) *outbound.Client {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// breaking closes the connection after writing a few raw bytes.
func breaking(t *testing.T, raw string) *outbound.Client {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, raw)
		conn.Close()
	})
}

// transport is a RoundTripper that tells httptrace nothing.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func read() outbound.Call { return outbound.Call{Operation: "read thing", Path: "/things"} }
func write() outbound.Call {
	return outbound.Call{Operation: "create thing", Method: "POST", Path: "/things", Body: []byte("{}"), Write: true}
}

func wantFault(t *testing.T, err error, class fault.Class) *fault.Fault {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got error %v, want a fault of class %s", err, class)
	}
	if f.Class != class {
		t.Errorf("class = %s, want %s (%v)", f.Class, class, err)
	}
	if f.Vendor != "acme" {
		t.Errorf("vendor = %q", f.Vendor)
	}
	return f
}

func TestNewNamesTheWrongOption(t *testing.T) {
	for base, want := range map[string]string{
		"":                              "not set",
		"api.example.org":               "must start with http",
		"ftp://api.example.org":         "must start with http",
		"https://":                      "has no host",
		"https://:443":                  "has no host",
		"https://u:hunter22@h.example":  "must not hold a user",
		"https://h.example/?a=b":        "must not hold a query",
		"https://h.example/#x":          "must not hold a query",
		"https://u:hunter22@h .example": "not a URL",
	} {
		_, err := outbound.New(outbound.Options{Vendor: "acme", BaseURL: base})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "base URL") {
			t.Errorf("base URL %q: error %v, want one with %q", base, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter22") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if _, err := outbound.New(outbound.Options{BaseURL: "https://h.example"}); err == nil {
		t.Error("a client without a vendor was made")
	}
	if _, err := outbound.New(outbound.Options{Vendor: "acme", BaseURL: "https://h.example", Parallel: -1}); err == nil {
		t.Error("a negative limit was accepted")
	}
}

func TestRequestIsSentAsGiven(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := []string{r.Method, r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("Accept"), r.Header.Get("X-Key"), string(body)}
		want := []string{"PUT", "/api/S;v=0003/T('a%2Fb')?$filter=A%20eq%20%27O%27%27Neil%20%2B1%27", "text/x-thing", "application/json", "k", "hello"}
		if !slices.Equal(got, want) {
			t.Errorf("sent\n%q\nwant\n%q", got, want)
		}
		w.Header().Set("X-Reply", "r")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"a":1}`)
	})
	answer, err := c.Do(t.Context(), outbound.Call{
		Operation: "put thing", Method: "PUT", Path: "/S;v=0003/T('a%2Fb')", Query: url.Values{"$filter": {"A eq 'O''Neil +1'"}},
		Header: http.Header{"X-Key": {"k"}}, Body: []byte("hello"), ContentType: "text/x-thing", JSON: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != 201 || answer.Header.Get("X-Reply") != "r" || string(answer.Body) != `{"a":1}` {
		t.Errorf("answer = %+v", answer)
	}
}

func TestAnswersAreClassified(t *testing.T) {
	tests := []struct {
		status      int
		read, write fault.Class
	}{
		{200, "", ""}, {201, "", ""}, {202, "", ""}, {204, "", ""},
		{301, fault.Unauthorized, fault.Unauthorized}, {302, fault.Unauthorized, fault.Unauthorized}, {307, fault.Unauthorized, fault.Unauthorized},
		{400, fault.Refused, fault.Refused}, {404, fault.Refused, fault.Refused}, {409, fault.Refused, fault.Refused},
		{412, fault.Refused, fault.Refused}, {422, fault.Refused, fault.Refused}, {423, fault.Refused, fault.Refused},
		{401, fault.Unauthorized, fault.Unauthorized}, {403, fault.Forbidden, fault.Forbidden}, {407, fault.Unauthorized, fault.Unauthorized},
		{408, fault.Transient, fault.Unknown}, {425, fault.Transient, fault.Unknown},
		{429, fault.Throttled, fault.Throttled},
		{500, fault.Transient, fault.Unknown}, {502, fault.Transient, fault.Unknown}, {504, fault.Transient, fault.Unknown}, {599, fault.Transient, fault.Unknown},
		{503, fault.Down, fault.Unknown},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			c := answering(t, test.status, map[string]string{"Retry-After": "7"}, "")
			for call, class := range map[*outbound.Call]fault.Class{new(read()): test.read, new(write()): test.write} {
				if got := outbound.Classify(test.status, call.Write); got != class {
					t.Errorf("Classify(%d, %t) = %q, want %q", test.status, call.Write, got, class)
				}
				answer, err := c.Do(t.Context(), *call)
				if answer == nil || answer.Status != test.status {
					t.Fatalf("answer = %+v, want the vendor's", answer)
				}
				if class == "" {
					if err != nil {
						t.Errorf("%s: %v", call.Operation, err)
					}
					continue
				}
				f := wantFault(t, err, class)
				if f.After != 7*time.Second {
					t.Errorf("After = %s, want 7s", f.After)
				}
				var status *outbound.StatusError
				if !errors.As(err, &status) || status.Status != test.status || status.Operation != call.Operation {
					t.Errorf("cause = %v", f.Err)
				}
				if outbound.StatusOf(err) != test.status {
					t.Errorf("StatusOf = %d", outbound.StatusOf(err))
				}
			}
		})
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for value, want := range map[string]time.Duration{
		"":                 0,
		"0":                0,
		"120":              2 * time.Minute,
		"-5":               0,
		"soon":             0,
		"999999999":        24 * time.Hour,
		in(time.Hour):      time.Hour,
		in(-time.Hour):     0,
		in(72 * time.Hour): 24 * time.Hour,
	} {
		c := answering(t, 429, map[string]string{"Retry-After": value}, "")
		_, err := c.Do(t.Context(), read())
		f := wantFault(t, err, fault.Throttled)
		if f.After > want || f.After < want-5*time.Second {
			t.Errorf("Retry-After %q: After = %s, want %s", value, f.After, want)
		}
	}
}

func TestWebPageIsAConfigurationFaultWhereJSONIsExpected(t *testing.T) {
	page := map[string]string{"Content-Type": "text/html; charset=utf-8"}
	for name, header := range map[string]map[string]string{"declared": page, "detected": {"Content-Type": ""}} {
		t.Run(name, func(t *testing.T) {
			c := answering(t, 200, header, "<!DOCTYPE html><title>Log on</title>")
			call := read()
			call.JSON = true
			_, err := c.Do(t.Context(), call)
			f := wantFault(t, err, fault.Unauthorized)
			if !strings.Contains(f.Reason, "answered a web page: check the base URL and credentials") || strings.Contains(f.Reason, "Log on") {
				t.Errorf("reason = %q", f.Reason)
			}
		})
	}
	if _, err := answering(t, 200, page, "<html>").Do(t.Context(), read()); err != nil {
		t.Errorf("a page where none was ruled out: %v", err)
	}
}

func TestGatewayWithNobodyBehindItIsAVendorThatIsDown(t *testing.T) {
	page := map[string]string{"Content-Type": "text/html; charset=utf-8"}
	for _, write := range []bool{false, true} {
		call := read()
		call.JSON, call.Write = true, write
		_, err := answering(t, 404, page, "<html>default backend").Do(t.Context(), call)
		wantFault(t, err, fault.Down)
		_, err = answering(t, 404, nil, `{"error":"no such contact"}`).Do(t.Context(), call)
		wantFault(t, err, fault.Refused)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	c := answering(t, 302, map[string]string{"Location": other.URL + "/login?session=abc"}, "")
	_, err := c.Do(t.Context(), read())
	f := wantFault(t, err, fault.Unauthorized)
	if !strings.Contains(f.Reason, "redirects") || strings.Contains(f.Reason, "abc") {
		t.Errorf("reason = %q", f.Reason)
	}
	if elsewhere.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestCookiesAreNotKept(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Error("a cookie came back")
		}
		w.Header().Set("Set-Cookie", "s=1")
	})
	for range 2 {
		if _, err := c.Do(t.Context(), read()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusalCarriesTheVendorsWordsWithoutPersonalData(t *testing.T) {
	c := answering(t, 400, nil, "E7|Contact\n Ada   Nord <ada@example.org> of SV_1 is unknown")
	call := write()
	call.Personal = []string{"ADA", "nord"}
	call.Query = url.Values{"email": {"query-secret"}}
	call.Words = func(a outbound.Answer) (string, string) {
		code, message, _ := strings.Cut(string(a.Body), "|")
		return code, message
	}
	_, err := c.Do(t.Context(), call)
	f := wantFault(t, err, fault.Refused)
	if want := "create thing: 400 Bad Request: E7: Contact [personal] [personal] <[e-mail]> of SV_1 is unknown"; f.Reason != want {
		t.Errorf("reason = %q\nwant     %q", f.Reason, want)
	}
	var status *outbound.StatusError
	if errors.As(err, &status); status.Code != "E7" {
		t.Errorf("code = %q", status.Code)
	}
}

func TestCredentialsThatTheVendorRepeatsAreMasked(t *testing.T) {
	for _, header := range [][2]string{
		{"X-Api-Token", "Kx81mmPq"}, {"Authorization", "Bearer Kx81mmPq"}, {"Authorization", "Kx81mmPq"}, {"Apikey", "Kx81mmPq"},
		{"Cookie", "SAP_SESSIONID=Kx81mmPq; b=1"}, {"X-Csrf-Token", "Kx81mmPq"}, {"X-Of-The-Customer", "Kx81mmPq"}, {"X-Of-The-Customer", "Token Kx81mmPq"},
	} {
		call := write()
		call.Header = http.Header{header[0]: {header[1]}, "Accept": {"application/json"}}
		_, err := answering(t, 400, nil, "application/json: no use for kx81mmPQ").Do(t.Context(), call)
		if f := wantFault(t, err, fault.Refused); !strings.HasSuffix(f.Reason, "application/json: no use for [personal]") {
			t.Errorf("%s: reason = %q", header, f.Reason)
		}
	}
	r := http.Request{Header: http.Header{"X-Csrf-Token": {"fetch"}}}
	r.SetBasicAuth("CLOSELOOP", "Kx81mmPq")
	call := write()
	call.Header = r.Header
	answer, err := answering(t, 400, nil, "CLOSELOOP cannot fetch with Kx81mmPq "+r.Header.Get("Authorization")).Do(t.Context(), call)
	if f := wantFault(t, err, fault.Refused); !strings.HasSuffix(f.Reason, "CLOSELOOP cannot fetch with [personal] Basic [personal]") {
		t.Errorf("reason = %q", f.Reason)
	}
	if got := answer.Words("Kx81mmPq", 100); got != "[personal]" {
		t.Errorf("words = %q", got)
	}
}

func TestLongWordsAreCut(t *testing.T) {
	c := answering(t, 400, nil, strings.Repeat("ö ", 5000))
	_, err := c.Do(t.Context(), read())
	if f := wantFault(t, err, fault.Refused); len([]rune(f.Reason)) > 350 || !strings.HasSuffix(f.Reason, "…") {
		t.Errorf("reason has %d characters: %q", len([]rune(f.Reason)), f.Reason)
	}
}

func TestExpectedAnswerIsNoFault(t *testing.T) {
	call := read()
	call.Expect = func(a outbound.Answer) bool { return a.Status == 404 }
	answer, err := answering(t, 404, nil, "none").Do(t.Context(), call)
	if err != nil || answer.Status != 404 {
		t.Errorf("answer = %+v, error %v", answer, err)
	}
	if _, err = answering(t, 400, nil, "").Do(t.Context(), call); err == nil {
		t.Error("an answer that was not expected is no fault")
	}
}

func TestNoConnectionIsDownAlsoForWrites(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	refusing := transport(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	})
	for name, c := range map[string]*outbound.Client{
		"refused":         newClient(t, outbound.Options{BaseURL: gone.URL}),
		"unknown host":    newClient(t, outbound.Options{BaseURL: "http://host.invalid"}),
		"TLS":             newClient(t, outbound.Options{BaseURL: untrusted.URL}),
		"other transport": newClient(t, outbound.Options{BaseURL: gone.URL, Transport: refusing}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, call := range []outbound.Call{read(), write()} {
				call.Query = url.Values{"q": {"query-secret"}}
				_, err := c.Do(t.Context(), call)
				if f := wantFault(t, err, fault.Down); strings.Contains(f.Error(), "query-secret") {
					t.Errorf("the fault shows the query: %v", f)
				}
			}
		})
	}
}

func TestLostAnswerIsUnknownForWrites(t *testing.T) {
	for name, c := range map[string]*outbound.Client{
		"closed at once":   breaking(t, ""),
		"cut in the head":  breaking(t, "HTTP/1.1 201 Cre"),
		"cut in the body":  breaking(t, "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{\"id\":"),
		"silent transport": newClient(t, outbound.Options{BaseURL: "http://h.example", Transport: transport(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Do(t.Context(), write())
			wantFault(t, err, fault.Unknown)
			_, err = c.Do(t.Context(), read())
			wantFault(t, err, fault.Transient)
		})
	}
}

func TestRefusalCutOffIsStillARefusal(t *testing.T) {
	_, err := breaking(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nno such list").Do(t.Context(), write())
	if f := wantFault(t, err, fault.Refused); !strings.Contains(f.Reason, "no such list") {
		t.Errorf("reason = %q", f.Reason)
	}
}

func TestWriteIsSentOnce(t *testing.T) {
	var seen atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if seen.Add(1) == 1 { // leaves an open connection, as a repetition by the transport needs one
			return
		}
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	})
	if _, err := c.Do(t.Context(), write()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Do(t.Context(), write())
	wantFault(t, err, fault.Unknown)
	if seen.Load() != 2 {
		t.Errorf("the server saw %d requests, want 2", seen.Load())
	}
}

func TestHangingVendor(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/ready" {
					return
				}
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				panic(http.ErrAbortHandler) // no answer, not even a late one
			}))
			start := s.Start
			if s.EnableHTTP2 = http2; http2 {
				start = s.StartTLS
			}
			start()
			t.Cleanup(s.Close)
			o := outbound.Options{BaseURL: s.URL, Transport: s.Client().Transport}
			// A connection beforehand keeps the handshake out of the short time limit.
			if _, err := newClient(t, o).Do(t.Context(), outbound.Call{Operation: "be ready", Path: "/ready"}); err != nil {
				t.Fatal(err)
			}
			o.Timeout = 200 * time.Millisecond
			c := newClient(t, o)

			_, err := c.Do(t.Context(), read())
			if f := wantFault(t, err, fault.Down); !strings.Contains(f.Reason, "no answer within 200ms") {
				t.Errorf("reason = %q", f.Reason)
			}
			_, err = c.Do(t.Context(), write())
			wantFault(t, err, fault.Unknown)
		})
	}
}

func TestEndedContext(t *testing.T) {
	arrived := make(chan struct{}, 1)
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, call := range []outbound.Call{read(), write()} {
		_, err := c.Do(ended, call)
		if wantFault(t, err, fault.Transient); !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not the context's error", err)
		}
	}
	if len(arrived) != 0 {
		t.Error("a call with an ended context was sent")
	}
	for _, test := range []struct {
		call  outbound.Call
		class fault.Class
	}{{read(), fault.Transient}, {write(), fault.Unknown}} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		_, err := c.Do(ctx, test.call)
		wantFault(t, err, test.class)
	}
}

func TestAnswerOverTheLimit(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(400)
		}
		io.WriteString(w, strings.Repeat("x", 101))
	}))
	t.Cleanup(s.Close)
	c := newClient(t, outbound.Options{BaseURL: s.URL, BodyLimit: 100})
	_, err := c.Do(t.Context(), read())
	if f := wantFault(t, err, fault.Transient); !strings.Contains(f.Reason, "longer than the limit") {
		t.Errorf("reason = %q", f.Reason)
	}
	_, err = c.Do(t.Context(), write())
	wantFault(t, err, fault.Unknown)
	answer, err := c.Do(t.Context(), outbound.Call{Operation: "x", Path: "/bad"})
	wantFault(t, err, fault.Refused)
	if len(answer.Body) != 100 {
		t.Errorf("kept %d bytes", len(answer.Body))
	}
}

func TestAnswerThatDoesNotDecode(t *testing.T) {
	for body, want := range map[string]string{
		`{"n":"ada@example.org"}`: "n is not of the documented type",
		`[]`:                      "the body is not of the documented type",
		`{"n":`:                   "unexpected end of JSON input",
	} {
		c := answering(t, 200, nil, body)
		for call, class := range map[*outbound.Call]fault.Class{new(read()): fault.Transient, new(write()): fault.Unknown} {
			answer, err := c.Do(t.Context(), *call)
			if err != nil {
				t.Fatal(err)
			}
			var v struct {
				N int `json:"n"`
			}
			f := wantFault(t, answer.Decode(&v), class)
			if !strings.HasSuffix(f.Reason, want) || outbound.StatusOf(f) != 200 {
				t.Errorf("body %s: reason %q, status %d", body, f.Reason, outbound.StatusOf(f))
			}
		}
	}
}

// The limits are tested in a bubble with a clock of its own, so no server and no waiting.

func TestCallsInParallelAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		c := newClient(t, outbound.Options{BaseURL: "http://h.example", Parallel: 2, Transport: transport(func(*http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(time.Second)
			running.Add(-1)
			return ok(), nil
		})})
		start := time.Now()
		done := make(chan error)
		for range 6 {
			go func() {
				_, err := c.Do(t.Context(), read())
				done <- err
			}()
		}
		for range 6 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if most.Load() != 2 || time.Since(start) != 3*time.Second {
			t.Errorf("%d at once, %s in all; want 2 and 3s", most.Load(), time.Since(start))
		}
	})
}

func TestCallsPerMinuteAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, outbound.Options{BaseURL: "http://h.example", PerMinute: 30, Transport: transport(func(*http.Request) (*http.Response, error) { return ok(), nil })})
		start := time.Now()
		for range 31 {
			if _, err := c.Do(t.Context(), read()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start).Round(time.Millisecond); took != time.Minute {
			t.Errorf("31 calls took %s, want 1m", took)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Do(short, read())
		wantFault(t, err, fault.Transient)
	})
}

func TestWaitingForAPlaceEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		c := newClient(t, outbound.Options{BaseURL: "http://h.example", Parallel: 1, Transport: transport(func(*http.Request) (*http.Response, error) {
			<-free
			return ok(), nil
		})})
		first := make(chan error)
		go func() {
			_, err := c.Do(t.Context(), read())
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Do(ctx, write())
		if wantFault(t, err, fault.Transient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not the context's error", err)
		}
		close(free)
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func ok() *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}
}

func TestMetricsOfSeveralClientsShareARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, status := range []int{200, 400, 429} {
		c := newClient(t, outbound.Options{BaseURL: "http://h.example", Registerer: registry, Transport: transport(func(*http.Request) (*http.Response, error) {
			a := ok()
			a.StatusCode = status
			return a, nil
		})})
		call := read()
		call.Path, call.Query = "/things/secret", url.Values{"q": {"secret"}}
		c.Do(t.Context(), call)
	}
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP closeloop_vendor_calls_total Calls sent to a vendor. The outcome is ok or the class of the fault.
# TYPE closeloop_vendor_calls_total counter
closeloop_vendor_calls_total{operation="read thing",outcome="ok",vendor="acme"} 1
closeloop_vendor_calls_total{operation="read thing",outcome="refused",vendor="acme"} 1
closeloop_vendor_calls_total{operation="read thing",outcome="throttled",vendor="acme"} 1
`), "closeloop_vendor_calls_total")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "closeloop_vendor_call_seconds"); n != 1 || err != nil {
		t.Errorf("%d series of durations, error %v", n, err)
	}
}
