package outbound_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
)

func TestTokenLivesNoLongerThanCanBeCounted(t *testing.T) {
	for seconds, want := range map[float64]time.Duration{
		3600: time.Hour, 0.5: time.Second / 2, 0: 0, -1: 0, -1e300: 0, 1e300: 24 * time.Hour, 3e9: 24 * time.Hour,
	} {
		if got := outbound.TokenLife(seconds); got != want {
			t.Errorf("%g s: got %s, want %s", seconds, got, want)
		}
	}
}

// A vendor's token goes into a header as it is.
func TestWriteWithAHeaderThatCannotBeSentIsNoLostAnswer(t *testing.T) {
	vendor := outboundtest.Of(t, 200, "application/json", "", []byte("{}"))
	_, err := vendor.Client("").Do(t.Context(), outbound.Call{
		Operation: "test", Method: http.MethodPost, Write: true, Header: http.Header{"Authorization": {"Bearer a\nb"}},
	})
	if !fault.Is(err, fault.Unauthorized) {
		t.Errorf("got %v", err)
	}
	outboundtest.Sound(t, err, "a\nb")
}
