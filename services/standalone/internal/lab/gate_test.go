package lab_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

func TestAShutGateRefusesAndCutsAndLetsThroughAgain(t *testing.T) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-hold
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hold) })
	gate, err := lab.OpenGate(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	call := func(path string) error {
		return lab.Call(t.Context(), http.MethodGet, "http://"+gate.Address+path, nil, nil)
	}
	if err := call("/"); err != nil {
		t.Fatalf("open: %v", err)
	}
	underWay := make(chan error, 1)
	go func() { underWay <- call("/slow") }()
	<-arrived
	if err := gate.Shut(); err != nil {
		t.Fatal(err)
	}
	if err := <-underWay; err == nil {
		t.Error("a call that was under way came through")
	}
	if err := call("/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("shut: %v, want a refused connection", err)
	}
	if err := gate.Open(); err != nil {
		t.Fatal(err)
	}
	if err := call("/"); err != nil {
		t.Errorf("open again: %v", err)
	}
	if err := gate.Shut(); err != nil {
		t.Error(err)
	}
}
