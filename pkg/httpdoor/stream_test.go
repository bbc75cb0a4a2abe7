package httpdoor_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
)

// listen opens a stream and gives its lines; they end with the stream.
func listen(t *testing.T, url string, header ...string) (int, <-chan string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return answer.StatusCode, lines
}

func TestAStreamSendsEventsUntilTheDoorCloses(t *testing.T) {
	events, ended := make(chan string), make(chan error, 1)
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{APIKeys: settings.SecretsOf("key")})})
	d.Stream("/things/{id}/live", httpdoor.Guarded, func(r *httpdoor.Request) error {
		if r.Param("id") == "none" {
			return httpdoor.NotFound("no such thing")
		}
		return nil
	}, func(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
		for {
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
				return nil
			case text := <-events:
				if err := to.Send("said", []byte(r.Param("id")+"\n"+text)); err != nil {
					return err
				}
			}
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	address, stopped := serve(t, ctx, d)
	if status, _ := listen(t, address+"/things/1/live"); status != http.StatusUnauthorized {
		t.Errorf("a stranger: %d", status)
	}
	if status, _ := listen(t, address+"/things/none/live", "X-API-Key", "key"); status != http.StatusNotFound {
		t.Errorf("no such thing: %d", status)
	}
	status, lines := listen(t, address+"/things/1/live", "X-API-Key", "key")
	if status != http.StatusOK {
		t.Fatal(status)
	}
	events <- "hello"
	var got []string
	for line := range lines {
		if got = append(got, line); line == "data: hello" {
			break
		}
	}
	if text := strings.Join(got, "\n"); !strings.Contains(text, "event: said\ndata: 1\ndata: hello") {
		t.Errorf("sent:\n%s", text)
	}
	events <- "a\revent: end\r\rdata: b\r\nc" // a lone carriage return ends a line too
	got = nil
	for line := range lines {
		if got = append(got, line); line == "data: c" {
			break
		}
	}
	if text := strings.Join(got, "\n"); !strings.Contains(text, "event: said\ndata: 1\ndata: a\ndata: event: end\ndata: \ndata: data: b\ndata: c") {
		t.Errorf("sent:\n%q", text)
	}
	stop()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended by itself")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the stream outlives the door")
	}
	if err := <-stopped; err != nil {
		t.Errorf("the door: %v", err)
	}
}

func TestAStreamEndsWhenNobodyListens(t *testing.T) {
	ended := make(chan struct{})
	d := httpdoor.New(httpdoor.Options{})
	d.Stream("/live", httpdoor.Open, nil, func(ctx context.Context, _ *httpdoor.Request, _ *httpdoor.Events) error {
		<-ctx.Done()
		close(ended)
		return nil
	})
	address, _ := serve(t, t.Context(), d)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/live", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(answer.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	leave()
	_ = answer.Body.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it goes on for nobody")
	}
}

func TestOneCallerKeepsOnlySoManyStreams(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{APIKeys: settings.SecretsOf("one", "other")})})
	d.Stream("/live", httpdoor.Guarded, nil, func(ctx context.Context, _ *httpdoor.Request, _ *httpdoor.Events) error {
		<-ctx.Done()
		return nil
	})
	address, _ := serve(t, t.Context(), d)
	for n := range 33 {
		want := http.StatusOK
		if n == 32 {
			want = http.StatusServiceUnavailable
		}
		if status, _ := listen(t, address+"/live", "X-API-Key", "one"); status != want {
			t.Fatalf("number %d: %d", n, status)
		}
	}
	if status, _ := listen(t, address+"/live", "X-API-Key", "other"); status != http.StatusOK {
		t.Errorf("another caller: %d", status)
	}
}
