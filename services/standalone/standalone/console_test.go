package standalone_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAMendedDeadLetterGoesThroughTheWholeLoop(t *testing.T) {
	t.Parallel()
	address, js := launchStandalone(t)
	if _, err := js.Publish(t.Context(), "survey.link.requested", []byte(`{"requestId":"m-1","contact":{"externlId":"P-1","email":"ada@example.com"}}`)); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Letters []struct{ Field, Service string }
	}
	eventually(t, "the dead letter is shown", time.Minute, func() bool {
		return get(t.Context(), "http://"+address+"/dead-letters", &list) && len(list.Letters) == 1
	})
	if l := list.Letters[0]; l.Field != "contact.externlId" || l.Service != "qualtrics-linker" {
		t.Errorf("%+v", l)
	}
	mended := `{"why":"misspelt","by":"ada","body":{"requestId":"m-1","contact":{"externalId":"P-1","email":"ada@example.com"}}}`
	if status, body := postJSON(t.Context(), t, "http://"+address+"/dead-letters/1/replay", mended); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	waitForLink(t, address, "m-1")
}

func postJSON(ctx context.Context, t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-API-Key", "test-key")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}
