package httpdoor_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// pipes is a network without a network, whose deadlines are of the test's own clock.
type pipes struct {
	arriving chan net.Conn
	closed   context.Context
	close    context.CancelFunc
}

func newPipes() *pipes {
	p := &pipes{arriving: make(chan net.Conn)}
	p.closed, p.close = context.WithCancel(context.Background())
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.arriving:
		return c, nil
	case <-p.closed.Done():
		return nil, errors.New("closed")
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// send opens a connection, writes a request as it is, and gives the answer's status and how long it took.
func (p *pipes) send(t *testing.T, request string) (status int, took time.Duration) {
	t.Helper()
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	p.arriving <- far
	began := time.Now()
	if _, err := io.WriteString(near, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(near), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, time.Since(began)
}

func TestBodiesThatComeSlowlyHoldNoPlaceForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := httpdoor.New(httpdoor.Options{Credentials: httpdoor.Credentials{None: true}, RequestTimeout: time.Minute})
		slow := func(ctx context.Context, _ *httpdoor.Request) (*httpdoor.Response, error) {
			select {
			case <-time.After(50 * time.Second):
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		d.Handle(http.MethodPost, "/open", httpdoor.Open, slow)
		d.Handle(http.MethodPost, "/guarded", httpdoor.Guarded, slow)
		network := newPipes()
		ctx, end := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- d.Serve(ctx, network) }()
		const whole, half = " HTTP/1.1\r\nHost: door\r\nContent-Length: 2\r\n\r\nab", " HTTP/1.1\r\nHost: door\r\nContent-Length: 2\r\n\r\na"
		for _, tt := range []struct {
			what, request string
			status        int
			after         time.Duration
		}{
			{"half a body, from a stranger", "POST /open" + half, 408, 5 * time.Second},
			{"half a body, with credentials", "POST /guarded" + half, 408, 30 * time.Second},
			{"a handler that is slow, on an open route", "POST /open" + whole, 204, 50 * time.Second},
			{"a handler that is slow, without a body", "POST /open HTTP/1.1\r\nHost: door\r\n\r\n", 204, 50 * time.Second},
			{"a handler that is slow, on a guarded route", "POST /guarded" + whole, 204, 50 * time.Second},
		} {
			if status, took := network.send(t, tt.request); status != tt.status || took != tt.after {
				t.Errorf("%s: %d after %s, want %d after %s", tt.what, status, took, tt.status, tt.after)
			}
		}
		end()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestOneAddressHoldsAQuarterOfTheOpenPlaces(t *testing.T) {
	o, err := httpdoor.Settings{Auth: "none", Limits: httpdoor.LimitSettings{InFlight: 8, Proxies: []string{"10.0.0.0/8"}, Hops: 1}}.Options()
	if err != nil {
		t.Fatal(err)
	}
	d := httpdoor.New(o)
	in, out := make(chan struct{}), make(chan struct{})
	slow := func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		in <- struct{}{}
		<-out
		return nil, nil
	}
	d.Handle(http.MethodPost, "/slow", httpdoor.Open, slow)
	d.Handle(http.MethodPost, "/slow/guarded", httpdoor.Guarded, slow)
	d.Handle(http.MethodPost, "/open", httpdoor.Open, ok)
	done := make(chan int)
	hold := func(path, address string, header ...string) {
		t.Helper()
		go func() { done <- from(t, d, address, path, header...).Code }()
		select {
		case <-in:
		case status := <-done:
			t.Fatalf("%s from %s is answered %d", path, address, status)
		}
	}
	want := func(what string, status int, address string, header ...string) {
		t.Helper()
		got := from(t, d, address, "/open", header...)
		if got.Code != status {
			t.Errorf("%s: %d, want %d", what, got.Code, status)
		}
		if status == 503 {
			retryAfter(t, got)
		}
	}
	const proxy, forwarded = "10.1.2.3:1", "X-Forwarded-For"
	hold("/slow", "192.0.2.1:1")
	hold("/slow", "192.0.2.1:2")
	want("a third of one address", 503, "192.0.2.1:3")
	want("another address", 200, "192.0.2.2:1")
	hold("/slow", proxy, forwarded, "192.0.2.3")
	hold("/slow", proxy, forwarded, "192.0.2.3")
	want("a third of one behind the proxy", 503, proxy, forwarded, "192.0.2.3")
	want("another behind the proxy", 200, proxy, forwarded, "192.0.2.4")
	hold("/slow", "[2001:db8::1]:1")
	hold("/slow", "[2001:db8::2]:1")
	want("a third of one network", 503, "[2001:db8::3]:1")
	hold("/slow", "192.0.2.5:1")
	hold("/slow", "192.0.2.5:1")
	want("all places are taken", 503, "192.0.2.6:1")
	for range 8 {
		hold("/slow/guarded", "192.0.2.1:1")
	}
	close(out)
	for range 16 {
		if got := <-done; got != 204 {
			t.Errorf("one that was let in is answered %d", got)
		}
	}
	want("with places free again", 200, "192.0.2.1:1")
}
