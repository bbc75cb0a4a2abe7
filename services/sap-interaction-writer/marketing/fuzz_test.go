package marketing_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// FuzzAnswer holds that whatever Marketing Cloud answers, to deep inserts, batches, single calls and look-ups, each
// interaction has one outcome, of a known class and without anything personal; that what may be written is never written
// again blindly; and that looking ends.
func FuzzAnswer(f *testing.F) {
	const row = `{"InteractionUUID":"U-1","InteractionType":"SURVEY_RESPONSE","InteractionSourceObject":"R_1"}`
	const part = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 201 Created\r\n\r\n{\"d\":" + row + "}\r\n--c--\r\n\r\n"
	for i, s := range []struct {
		status            int
		contentType, body string
	}{
		{201, "application/json", `{"d":{"Interactions":{"results":[` + row + `,` + row + `]}}}`}, {201, "application/json", `{"d":{"Interactions":` + row + `}}`}, {200, "application/json", `{"d":{"results":[` + row + `],"__next":"Interactions?$skiptoken=2"}}`}, {200, "application/json", `{"d":{"results":[]}}`},
		{202, "multipart/mixed; boundary=b", part + part + "--b--\r\n"}, {202, "multipart/mixed; boundary=b", part + "--b--\r\n"}, {400, "application/json", `{"error":{"message":{"value":"Lovelace https://x.example/jfe/form/SV_1"}}}`}, {404, "text/html", "<html>"}, {404, "application/json", `{}`}, {501, "", ""}, {500, "", "Lovelace"}, {200, "", ""},
	} {
		f.Add(byte(i), s.status, s.contentType, []byte(s.body))
	}
	f.Add(byte(3), 325, "", []byte("Lovelace")) // by single calls: the answer to one is told of all
	modes := []marketing.WriteMode{marketing.Auto, marketing.DeepInsert, marketing.Batch, marketing.Interactions}
	all := []marketing.Interaction{
		{Type: marketing.SurveyResponse, SourceObject: "R_1", At: time.Unix(0, 0), ContactOrigin: "EMAIL", ContactID: "ada@example.com", Content: "Why: Lovelace"},
		{Type: marketing.SurveyLinkCreated, SourceObject: "O_1", At: time.Unix(0, 0), Link: "https://x.example/jfe/form/SV_1?Q_DL=1"},
	}
	f.Fuzz(func(t *testing.T, mode byte, status int, contentType string, content []byte) {
		client := func() *marketing.Client {
			session, err := odata.New(odata.Options{Outbound: outboundtest.Of(t, status, contentType, "", content).Client(""), ServiceRoot: "/odata", NoCSRF: true})
			if err != nil {
				t.Fatal(err)
			}
			return marketing.New(marketing.Options{Interactions: session, Mode: modes[int(mode)%len(modes)], NoBatch: mode > 127})
		}
		outcomes, err := client().Write(t.Context(), all)
		outboundtest.Sound(t, err, "Lovelace", "ada@example.com", "Q_DL")
		if err == nil && len(outcomes) != len(all) {
			t.Fatalf("%d outcomes of %d", len(outcomes), len(all))
		}
		for n, o := range outcomes {
			outboundtest.Sound(t, o.Err, "ada@example.com", "Q_DL")
			if n == 0 { // what an answer about another interaction says of her, nobody can know
				outboundtest.Sound(t, o.Err, "Lovelace")
			}
			if o.Err != nil && o.Written.ID != "" && !fault.Is(o.Err, fault.Unknown) {
				t.Errorf("written as %s, and %v", o.Written.ID, o.Err)
			}
			if s := outbound.StatusOf(o.Err); s >= http.StatusOK && s < 300 && fault.Is(o.Err, fault.Transient) {
				t.Errorf("it may be written, and would be again: %v", o.Err)
			}
		}
		refs := []marketing.Ref{all[0].Ref(), all[1].Ref(), {Type: marketing.SurveyResponse, SourceObject: "R_2"}}
		found, err := client().Find(t.Context(), refs)
		outboundtest.Sound(t, err)
		for _, ref := range refs {
			one, told := found[ref]
			if err == nil && !told {
				t.Errorf("nothing is told of %+v", ref)
			}
			if one.Found && (one.Err != nil || one.Written.ID == "") {
				t.Errorf("got %+v", one)
			}
			outboundtest.Sound(t, one.Err)
		}
	})
}
