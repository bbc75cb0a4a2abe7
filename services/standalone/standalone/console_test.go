package standalone_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestAMendedDeadLetterGoesThroughTheWholeLoop(t *testing.T) {
	t.Parallel()
	address, broker := freeAddress(t), freeAddress(t)
	_, port, _ := strings.Cut(broker, ":")
	launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR="+address, "STANDALONE_NATS_PORT="+port, "STANDALONE_CAMPAIGN=0")
	eventually(t, "ready", time.Minute, func() bool { return get(t.Context(), "http://"+address+"/readyz", nil) })
	nc, err := nats.Connect("nats://" + broker)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
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
	eventually(t, "the mended request has its link", time.Minute, func() bool {
		return get(t.Context(), "http://"+address+"/survey/links/m-1", nil)
	})
}

func postJSON(ctx context.Context, t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
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
