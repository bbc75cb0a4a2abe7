package traffic_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/faults"
	"github.com/closeloop/closeloop/services/landscape/internal/traffic"
)

// serve counts the calls of a vendor whose API stands at /api, with a faults desk in front of it.
func serve(t *testing.T) (*traffic.Counter, *faults.Desk, func(method, path string)) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "0" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	mux.HandleFunc("/api/odata/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	mux.HandleFunc("POST /api/orders", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	counter, desk := traffic.New(), faults.NewDesk()
	server := httptest.NewServer(counter.Wrap("vendor", "/api", mux, desk.Wrap("vendor", mux)))
	t.Cleanup(server.Close)
	return counter, desk, func(method, path string) {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request); err == nil {
			_ = response.Body.Close()
		}
	}
}

func counted(c *traffic.Counter) (all []string) {
	for _, o := range c.Counts().Calls {
		all = append(all, fmt.Sprint(o.Operation, " ", o.Calls, " ", o.Statuses, " ", len(o.Throttled)))
	}
	return all
}

func TestCallsAreNamedByRouteAndCountedByStatus(t *testing.T) {
	counter, desk, call := serve(t)
	began := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { call("GET", "/api/orders/4711") })
	}
	all.Wait()
	call("GET", "/api/orders/0")
	call("PATCH", "/api/odata/Orders('4711')/Items(Order='4711',Item='10')?$top=1")
	call("POST", "/api/orders")
	call("GET", "/api/nowhere")
	desk.Add(faults.Fault{Kind: faults.LostAnswer, Times: 1})
	call("GET", "/api/orders/4711")
	desk.Add(faults.Fault{Kind: faults.Status, Status: 429, Times: 1})
	call("GET", "/api/orders/4711")
	want := []string{
		"GET /nowhere 1 map[404:1] 0",
		"GET /orders/{id} 23 map[0:1 200:20 404:1 429:1] 1",
		"PATCH /odata/Orders()/Items() 1 map[429:1] 1",
		"POST /orders 1 map[0:1] 0",
	}
	if got := counted(counter); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, o := range counter.Counts().Calls {
		if o.FirstAt.Before(began) || o.LastAt.Before(o.FirstAt) || o.LastAt.After(time.Now()) {
			t.Errorf("%s: from %v to %v", o.Operation, o.FirstAt, o.LastAt)
		}
		for _, at := range o.Throttled {
			if at.Before(o.FirstAt) || at.After(o.LastAt) {
				t.Errorf("%s: throttled at %v", o.Operation, at)
			}
		}
	}
	if n := counter.Counts().Total("vendor"); n != 26 {
		t.Errorf("%d calls in all", n)
	}
}

func TestResetBeginsAnew(t *testing.T) {
	counter, _, call := serve(t)
	call("GET", "/api/orders/1")
	before := counter.Counts()
	counter.Reset()
	if after := counter.Counts(); len(after.Calls) != 0 || !after.Since.After(before.Since) {
		t.Errorf("got %+v", after)
	}
	call("GET", "/api/orders/1")
	if got := counted(counter); !slices.Equal(got, []string{"GET /orders/{id} 1 map[200:1] 0"}) || len(before.Calls) != 1 {
		t.Errorf("got %q", got)
	}
}
