package ingress

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/effect/effecttest"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/httpdoor/doortest"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/ingress/openchannel"
)

// fuzzed are the doors, and fuzzedKey what events of Qualtrics are signed with.
var fuzzed = []string{"/sap/open-channel", "/qualtrics/events", "/qualtrics/responses", "/s4/events"}

const fuzzedKey = "shared-key"

func fuzzDoor(t *testing.T, store *doortest.Store, signed bool) *httpdoor.Door {
	t.Helper()
	attributes, err := openchannel.LoadAttributes("")
	if err != nil {
		t.Fatal(err)
	}
	s := &Settings{MarketingArea: "GLOBAL", BadMembers: refuse, BodyLimit: 16 << 10, Unsigned: !signed}
	if signed {
		s.SharedKey = settings.SecretsOf("an-older-key", fuzzedKey)
	}
	i := &ingress{
		settings: s, ledger: effect.New(&effecttest.Bucket{}), attributes: attributes, log: logging.Discard(),
		accepting: &accept.Events{Source: "ingress", Bus: store},
		ignored:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ignored"}, []string{"status"}),
		repeated:  prometheus.NewCounter(prometheus.CounterOpts{Name: "repeated"}),
	}
	door := httpdoor.New(httpdoor.Options{BodyLimit: 4 << 10, Credentials: httpdoor.Credentials{None: true}})
	i.openChannel(door)
	i.qualtricsDoors(door)
	i.eventMesh(door)
	return door
}

// sign makes the signed form of an event.
func sign(message []byte) []byte {
	mac := hmac.New(sha512.New, []byte(fuzzedKey))
	mac.Write(message)
	form := url.Values{"Topic": {"x.surveyengine.completedResponse.SV_1"}, "HMAC": {hex.EncodeToString(mac.Sum(nil))}, "MSG": {string(message)}}
	return []byte(form.Encode())
}

// FuzzDoor holds what a door promises (see doortest) of whatever senders say at the doors for vendors; and that nothing is
// taken for an event of Qualtrics that is not signed, and nothing is lost that is.
func FuzzDoor(f *testing.F) {
	const member = `{"OutboundId":"OB-1","TargetGroupMemberAttributeData":[{"AttributeId":"SMTP_ADDR","Value":"ada@example.com"},{"AttributeId":"ZOC_Q_SURVEY","Value":"SV_1"},` +
		`{"AttributeId":"CONTACT_KEY","Value":"0A1B2C3D4E5A40718293A4B5C6D7E8A9"},{"AttributeId":"NAME_LAST","Value":"Lovelace"}]}`
	const event = `{"Status":"Complete","SurveyID":"SV_1","ResponseID":"R_1","RecipientID":"CGC_1","CompletedDate":"2026-07-24 09:30:00","ResponseEventContext":"req"}`
	const order = `{"specversion":"1.0","type":"sap.s4.beh.serviceorder.v1.ServiceOrder.Completed.v1","time":"2026-07-24T09:30:00Z","data":{"ServiceOrder":"8000000123","ServiceDocChangedDateTime":"/Date(1784885401000+0000)/"}}`
	for _, s := range []struct {
		which               byte
		contentType, ceType string
		body                string
	}{
		{0, "application/json", "", `{"d":{"CampaignId":"1","Name":"n","CampaignTargetGroupMembers":[` + member + `]}}`}, {0, "application/json", "", `{"CampaignTargetGroupMembers":{"results":[` + member + `,` + member + `]}}`},
		{0, "", "", `{"d":[1]}`}, {0, "", "", `{"CampaignId":{"ada@example.com":1},"CampaignTargetGroupMembers":"x"}`}, {0, "", "", `{"CampaignTargetGroupMembers":[{"OutboundId":1e400,"TargetGroupMemberAttributeData":[{"AttributeId":"ada@example.com","Value":[]}]}]}`},
		{0, "", "", ""}, {0, "", "", strings.Replace(`{"CampaignTargetGroupMembers":[`+member+`]}`, "ada@example.com", `\u0000\ud800`, 1)}, {0, "", "", strings.Replace(`{"CampaignTargetGroupMembers":[`+member+`]}`, "SV_1", "ada@example.com", 1)},
		{1, "application/x-www-form-urlencoded", "", event}, {1, "application/x-www-form-urlencoded", "", "Topic=x.surveyengine.completedResponse.SV_1&SurveyID=SV_1&ResponseID=R_1&Status="}, {1, "application/x-www-form-urlencoded", "", "MSG=%7B%7D&HMAC=00"},
		{1, "application/x-www-form-urlencoded", "", strings.Replace(event, "R_1", strings.Repeat("R", 101), 1)}, {1, "application/x-www-form-urlencoded", "", strings.Replace(event, "req", `\u0000\ud800`, 1)}, {1, "application/x-www-form-urlencoded", "", strings.Replace(event, "CGC_1", strings.Repeat("é", 101), 1)},
		{1, "application/x-www-form-urlencoded", "", strings.Replace(event, "2026-07", "0000-01", 1)}, {1, "application/x-www-form-urlencoded", "", strings.Replace(event, "SV_1", "ada@example.com", 1)}, {1, "application/json", "", event},
		{2, "application/json", "", `{"responseId":"R_1","values":{"loopId":"a b","x":1},"requestId":"r"}`}, {2, "application/x-www-form-urlencoded", "", "responseId=R_1&values.loopId=%0A"}, {2, "application/json", "", `{"responseId":"R_1","values":{"loopId":"` + strings.Repeat("l", 3000) + `"}}`},
		{2, "application/json", "", `{"responseId":"` + strings.Repeat("*. ", 33) + `","recordedAt":"0001-01-01T00:00:00Z"}`}, {3, "application/cloudevents+json", "", order}, {3, "application/json", "sap.s4.beh.serviceorder.v1.ServiceOrder.Completed.v1", `{"ServiceOrder":"1","ServiceDocChangedDateTime":"2026-07-24T09:30:00Z"}`},
		{3, "application/json", "", strings.Replace(order, "1784885401000", "99999999999999999", 1)}, {3, "application/json", "", strings.Replace(order, "/Date(1784885401000+0000)/", "9999-12-31T23:59:59-23:59", 1)}, {3, "application/json", "", strings.Replace(order, "/Date(1784885401000+0000)/", "0000-01-01T00:00:00Z", 1)}, {3, "application/json", "", strings.Replace(order, "8000000123", "ada@example.com", 1)},
		{3, "application/cloudevents-batch+json", "", "[]"}, {3, "", "", `{"type":"x"}`}, {3, "", "", `{"data":[]}`},
	} {
		f.Add(s.which, s.contentType, s.ceType, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, which byte, contentType, ceType string, body []byte) {
		path := fuzzed[int(which)%len(fuzzed)]
		header := http.Header{"Content-Type": {contentType}}
		if ceType != "" {
			header["Ce-Type"], header["Ce-Specversion"], header["Ce-Time"] = []string{ceType}, []string{"1.0"}, []string{"2026-07-24T09:30:00Z"}
		}
		store := &doortest.Store{}
		answer := doortest.Knock(t, fuzzDoor(t, store, false), store, http.MethodPost, path, header, body)
		if answer.Code == http.StatusAccepted && len(store.Events()) == 0 {
			t.Errorf("accepted, and stored nothing: %s", answer.Body)
		}
		if path != "/qualtrics/events" {
			return
		}
		signed := fuzzDoor(t, store, true)
		before := len(store.Events())
		if forged := doortest.Knock(t, signed, store, http.MethodPost, path, header, body); forged.Code < 400 && !validly(body) {
			t.Errorf("taken without a signature: %d", forged.Code)
		}
		if len(store.Events()) > before && !validly(body) {
			t.Error("stored without a signature")
		}
		header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		first := doortest.Knock(t, signed, store, http.MethodPost, path, header, sign(body))
		if first.Code == http.StatusUnauthorized {
			t.Errorf("refused with a signature: %s", first.Body)
		}
		form, err := url.ParseQuery(string(sign(body)))
		if err != nil {
			t.Fatal(err)
		}
		form.Set("MSG", form.Get("MSG")+" ")
		broken := []byte(form.Encode())
		if forged := doortest.Knock(t, signed, store, http.MethodPost, path, header, broken); forged.Code != http.StatusUnauthorized && forged.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("taken with the signature of another event: %d", forged.Code)
		}
	})
}

// validly tells whether a body is the signed form of some event.
func validly(body []byte) bool {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return false
	}
	again, err := url.ParseQuery(string(sign([]byte(form.Get("MSG")))))
	return err == nil && strings.EqualFold(form.Get("HMAC"), again.Get("HMAC"))
}
