// Package lab sets closeloop up for measurements and for tests of failures: every service as a process of its own from its
// real binary, the simulated vendors as another, and a broker that is either within the caller's process or somewhere else.
// Processes are killed, stopped and started again like those of an installation; what they say goes to files.
package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// FreeAddress gives an address on 127.0.0.1 that nobody listens on at this moment.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Until waits for something, and gives up when it has not come after so long: done tells how far it is by being called
// again. An error of done ends the waiting, and is returned.
func Until(ctx context.Context, patience time.Duration, what string, done func() (bool, error)) error {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return fmt.Errorf("it did not happen in %s: %s", patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Ready waits until a service says at its /readyz that it is.
func Ready(ctx context.Context, url string) error {
	return Until(ctx, time.Minute, url+" is ready", func() (bool, error) {
		return Call(ctx, http.MethodGet, url+"/readyz", nil, nil) == nil, nil
	})
}

var client = http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Call makes one HTTP call with a JSON body, where there is one, and reads the JSON of the answer, where it is asked for.
// An answer of 400 or more is an error.
func Call(ctx context.Context, method, url string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, answer.Status, said)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(said, into)
}
