package outbound_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// diary is a limiter that writes down what happens.
type diary struct {
	mu    sync.Mutex
	lines []string
	err   error
	wait  time.Duration
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) Admit(_ context.Context, operation string) (func(), error) {
	d.note("admit %s", operation)
	<-time.After(d.wait)
	if d.err != nil {
		return nil, d.err
	}
	return func() { d.note("release") }, nil
}

func (d *diary) Refused(_ context.Context, operation string, after time.Duration) {
	d.note("refused %s %s", operation, after)
}

func (d *diary) Away(_ context.Context, operation string, after time.Duration) {
	d.note("away %s %s", operation, after)
}

// limited is a client whose vendor answers with this status and Retry-After, and says so in the diary.
func limited(t *testing.T, d *diary, status int, retryAfter string) *outbound.Client {
	t.Helper()
	return newClient(t, outbound.Options{BaseURL: "https://acme.example", Parallel: 1, Timeout: time.Second, Limiter: d, Transport: transport(func(*http.Request) (*http.Response, error) {
		d.note("sent")
		h := http.Header{}
		if retryAfter != "" {
			h.Set("Retry-After", retryAfter)
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})})
}

func TestTheLimiterHearsOfEachCallAndOfRefusals(t *testing.T) {
	for _, c := range []struct {
		status     int
		retryAfter string
		want       []string
		class      fault.Class
	}{
		{200, "", []string{"admit read thing", "sent", "release"}, ""},
		{429, "7", []string{"admit read thing", "sent", "refused read thing 7s", "release"}, fault.Throttled},
		{429, "", []string{"admit read thing", "sent", "refused read thing 0s", "release"}, fault.Throttled},
		{503, "30", []string{"admit read thing", "sent", "away read thing 30s", "release"}, fault.Down},
		{503, "", []string{"admit read thing", "sent", "release"}, fault.Down},
		{500, "30", []string{"admit read thing", "sent", "release"}, fault.Transient},
	} {
		d := &diary{}
		_, err := limited(t, d, c.status, c.retryAfter).Do(t.Context(), read())
		if c.class != "" {
			wantFault(t, err, c.class)
		} else if err != nil {
			t.Error(err)
		}
		if !slices.Equal(d.lines, c.want) {
			t.Errorf("%d with Retry-After %q: %q, want %q", c.status, c.retryAfter, d.lines, c.want)
		}
	}
}

func TestWithoutATurnNothingIsSentAndThePlaceIsFree(t *testing.T) {
	d := &diary{err: &fault.Fault{Class: fault.Busy, Vendor: "acme", Reason: "not now", After: time.Minute}}
	client := limited(t, d, 200, "")
	for range 2 { // the second would wait for ever if the only place were still taken
		_, err := client.Do(t.Context(), write())
		if f := wantFault(t, err, fault.Busy); f.After != time.Minute {
			t.Errorf("after %s", f.After)
		}
	}
	if slices.Contains(d.lines, "sent") || slices.Contains(d.lines, "release") {
		t.Errorf("happened: %q", d.lines)
	}
}

func TestWaitingForATurnIsNotPartOfTheTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{wait: 5 * time.Second}
		if _, err := limited(t, d, 200, "").Do(t.Context(), read()); err != nil {
			t.Error(err)
		}
	})
}
