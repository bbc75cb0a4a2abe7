package httpdoor_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// streamed asks a door for a body that is made while it is sent.
func streamed(t *testing.T, ctx context.Context, method string, body httpdoor.Streamed) *http.Response {
	t.Helper()
	d := httpdoor.New(httpdoor.Options{RequestTimeout: time.Millisecond})
	d.Handle(http.MethodGet, "/list", httpdoor.Open, func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		return &httpdoor.Response{ContentType: "text/csv", Body: body}, nil
	})
	address, _ := serve(t, t.Context(), d)
	r, err := http.NewRequestWithContext(ctx, method, address+"/list", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/csv" {
		t.Fatalf("%d %s", answer.StatusCode, answer.Header)
	}
	return answer
}

// TestABodyIsSentWhileItIsMade each piece at once, and for longer than other requests take.
func TestABodyIsSentWhileItIsMade(t *testing.T) {
	read := make(chan struct{})
	answer := streamed(t, t.Context(), http.MethodGet, func(ctx context.Context, to io.Writer) error {
		if _, err := io.WriteString(to, "first\n"); err != nil {
			return err
		}
		select {
		case <-read:
		case <-ctx.Done():
		}
		_, err := io.WriteString(to, "second\n")
		return err
	})
	if _, err := io.ReadFull(answer.Body, make([]byte, len("first\n"))); err != nil {
		t.Fatal(err)
	}
	close(read)
	if rest, err := io.ReadAll(answer.Body); err != nil || string(rest) != "second\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestABodyThatCannotBeMadeToItsEndBreaksTheConnection(t *testing.T) {
	answer := streamed(t, t.Context(), http.MethodGet, func(_ context.Context, to io.Writer) error {
		_, _ = io.WriteString(to, strings.Repeat("row\n", 1000))
		return errors.New("the index is gone")
	})
	if content, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("%d bytes are taken for the whole", len(content))
	}
}

func TestABodyIsNotMadeForWhoHasGone(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan struct{})
	answer := streamed(t, ctx, http.MethodGet, func(ctx context.Context, to io.Writer) error {
		defer close(ended)
		for ctx.Err() == nil {
			if _, err := io.WriteString(to, "row\n"); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if _, err := io.ReadFull(answer.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	leave()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

func TestABodyIsNotMadeForItsHeader(t *testing.T) {
	streamed(t, t.Context(), http.MethodHead, func(context.Context, io.Writer) error {
		t.Error("it is made")
		return nil
	})
}
