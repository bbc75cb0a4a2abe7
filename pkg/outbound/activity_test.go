package outbound_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

func TestEachCallIsToldToWhoRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, body := http.StatusOK, `{"rows":3}`
		c := newClient(t, outbound.Options{
			BaseURL: "https://acme.example", Limiter: &diary{wait: 2 * time.Second},
			Transport: transport(func(*http.Request) (*http.Response, error) {
				<-time.After(time.Second)
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
			}),
		})
		ctx, recorder := activity.Record(t.Context())
		many := write()
		many.InsteadOf = func(a outbound.Answer) int { return strings.Count(string(a.Body), "3") * 3 }
		began := time.Now()
		if _, err := c.Do(ctx, many); err != nil {
			t.Fatal(err)
		}
		status, body = http.StatusUnprocessableEntity, "ada@example.com is not known, nor is Lovelace"
		many.Personal = []string{"Lovelace"}
		if _, err := c.Do(ctx, many); !fault.Is(err, fault.Refused) {
			t.Fatal(err)
		}
		if _, err := c.Do(t.Context(), read()); err == nil { // nobody records it
			t.Fatal("no fault")
		}
		var a activity.Attempt
		recorder.End(&a)
		if len(a.Calls) != 2 {
			t.Fatalf("%d calls", len(a.Calls))
		}
		want := activity.Call{
			Vendor: "acme", Operation: "create thing", At: began.Add(2 * time.Second).UTC(), Waited: 2 * time.Second, Took: time.Second,
			Status: 200, Outcome: "ok", Write: true, InsteadOf: 3,
		}
		if got := a.Calls[0]; got != want {
			t.Errorf("told %+v, want %+v", got, want)
		}
		if got := a.Calls[1]; got.Outcome != "refused" || got.Status != 422 || got.InsteadOf != 0 || !strings.Contains(got.Reason, "is not known") ||
			strings.Contains(got.Reason, "ada") || strings.Contains(got.Reason, "Lovelace") {
			t.Errorf("told of the refusal: %+v", got)
		}
	})
}

func TestWhatIsNotSentIsNoCall(t *testing.T) {
	c := newClient(t, outbound.Options{BaseURL: "https://acme.example", Limiter: &diary{err: fault.New(fault.Busy, "no turn")}})
	ctx, recorder := activity.Record(t.Context())
	if _, err := c.Do(ctx, read()); !fault.Is(err, fault.Busy) {
		t.Fatal(err)
	}
	var a activity.Attempt
	if recorder.End(&a); len(a.Calls) != 0 {
		t.Errorf("told %+v", a.Calls)
	}
}

func TestAMutedCallRepeatsNothingOfWhatTheVendorSays(t *testing.T) {
	c := answering(t, http.StatusBadRequest, nil, `Lovelace is no name for a customer`)
	call := write()
	call.Words = func(outbound.Answer) (code, message string) { return "NAME_1", "Lovelace is no name" }
	for _, mute := range []bool{false, true} {
		call.Mute = mute
		_, err := c.Do(t.Context(), call)
		reason := fault.From(err).Reason
		if !strings.Contains(reason, "NAME_1") || strings.Contains(reason, "Lovelace") == mute {
			t.Errorf("mute %v: %s", mute, reason)
		}
	}
}
