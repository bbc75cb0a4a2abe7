package webhook

import (
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzDelivery holds that only what is signed is taken, and within its window; and that what is read of a delivery fits
// into an event.
func FuzzDelivery(f *testing.F) {
	for _, s := range []struct{ body, stamp, signature string }{
		{`{"eventType":"recognition.approved","data":{"recognitionId":7,"points":25.5,"reason":" no "}}`, "1784885400", ""}, {`{"eventType":"x","data":{"id":1e308}}`, "-9223372036854775808", "AAAA"}, {`{"eventType":"x","data":{"id":"` + strings.Repeat("é", 201) + `"}}`, "9223372036854775807", "!"},
		{`{"eventType":"x","data":{"points":"Infinity","amount":"0x10","reason":{}}}`, "0", ""}, {`{"data":[]}`, "+1784885400", ""}, {`{"eventType":""}`, "1784885400.5", ""}, {"", "", ""}, {`{"eventType":"ada@example.com","data":{"recognitionId":"ada@example.com"}}`, "１", ""},
	} {
		f.Add([]byte(s.body), s.stamp, s.signature)
	}
	now := time.Unix(1784885400, 0)
	f.Fuzz(func(t *testing.T, body []byte, stamp, signature string) {
		const secret = "webhook-secret"
		header := http.Header{HeaderTimestamp: {stamp}, HeaderSignature: {signature}}
		right := base64.StdEncoding.EncodeToString(sign(secret, stamp, body))
		if _, err := Verify(header, body, []string{"another-secret", secret}, now); err == nil && signature != right {
			t.Errorf("%q signs it", signature)
		}
		header.Set(HeaderSignature, right)
		at, err := Verify(header, body, []string{"another-secret", secret}, now)
		seconds, notNumber := strconv.ParseInt(stamp, 10, 64)
		if within := notNumber == nil && seconds >= now.Unix()-300 && seconds <= now.Unix()+300; within != (err == nil) {
			t.Errorf("signed at %s is %v", stamp, err)
		}
		if err == nil && (at.Before(now.Add(-Window)) || at.After(now.Add(Window))) {
			t.Errorf("signed at %s", at)
		}
		if _, err := Verify(header, append([]byte(" "), body...), []string{secret}, now); err == nil {
			t.Error("the signature of another body is taken")
		}
		d, err := Read(body)
		if err != nil {
			if err.Error() == "" || strings.Contains(err.Error(), "@") {
				t.Errorf("refused with %q", err)
			}
			return
		}
		if d.Event == "" || utf8.RuneCountInString(d.RecognitionID) > idMax || !utf8.ValidString(d.RecognitionID+d.Reason) ||
			d.Amount < 0 || math.IsNaN(d.Amount) || math.IsInf(d.Amount, 0) {
			t.Errorf("read as %+v", d)
		}
	})
}
