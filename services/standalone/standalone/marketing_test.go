package standalone_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
)

// The sets of SAP Marketing Cloud as its calls are counted.
const (
	deepInserts = "POST InteractionsDeepInsert"
	batches     = "POST $batch"
)

// marketingCloud is sap-interaction-writer before the simulated SAP Marketing Cloud, with campaigns that have run there,
// and a door in front of it that tests can close.
type marketingCloud struct {
	*servicetest.Service
	*landscape.Landscape
	t      *testing.T
	broker *bustest.Broker
	env    servicetest.Env

	mu        sync.Mutex
	faces     []face
	calls     []string
	outbounds []string // the outbound ids of the members, as a campaign told them
}

func startMarketing(t *testing.T, switches string, env servicetest.Env) *marketingCloud {
	t.Helper()
	t.Parallel()
	f := &marketingCloud{t: t}
	doors := httptest.NewServer(http.HandlerFunc(f.campaign))
	s := &landscape.Settings{}
	if err := servicetest.Load(servicetest.Env{
		"LANDSCAPE_PEOPLE": "off", "LANDSCAPE_DOORS_URL": doors.URL, "LANDSCAPE_MARKETING": switches,
		"SAP_MARKETING_USERNAME": "simulated", "SAP_MARKETING_PASSWORD": "simulated",
	}, s); err != nil {
		t.Fatal(err)
	}
	l, err := landscape.New(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f.door(l.Marketing().API()))
	t.Cleanup(func() {
		server.Close()
		doors.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Landscape, f.broker = l, bustest.Start(t, topology.Settings{})
	f.env = servicetest.Env{
		"SAP_MARKETING_BASE_URL": server.URL, "SAP_MARKETING_USERNAME": "simulated", "SAP_MARKETING_PASSWORD": "simulated",
		"SAP_MARKETING_WAVE_QUIET": "500ms",
	}
	maps.Copy(f.env, env)
	f.Service = servicetest.Start(t, f.broker, writer.Define, f.env)
	return f
}

// campaign is the Open Channel endpoint: it notes the members.
func (f *marketingCloud) campaign(_ http.ResponseWriter, r *http.Request) {
	var sent struct {
		D struct {
			CampaignTargetGroupMembers []struct{ OutboundID string }
		}
	}
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&sent) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range sent.D.CampaignTargetGroupMembers {
		f.outbounds = append(f.outbounds, m.OutboundID)
	}
}

// play runs a campaign and gives the outbound ids of its members.
func (f *marketingCloud) play(members int) []string {
	f.t.Helper()
	go func() { _ = f.Run(f.t.Context()) }()
	if err := f.PlayCampaign(f.t.Context(), members); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.outbounds)
}

func (f *marketingCloud) door(vendor http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.calls = append(f.calls, operation(r))
		at := slices.IndexFunc(f.faces, func(one face) bool { return one.operation == operation(r) })
		var one face
		if at >= 0 {
			one = f.faces[at]
			f.faces = slices.Delete(f.faces, at, at+1)
		}
		f.mu.Unlock()
		if one.serve != nil {
			one.serve(w, r, vendor)
			return
		}
		vendor.ServeHTTP(w, r)
	})
}

// meets has the next call of an operation meet something else than the vendor.
func (f *marketingCloud) meets(operation string, serve func(http.ResponseWriter, *http.Request, http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faces = append(f.faces, face{operation, serve})
}

// lost lets the vendor act and loses the answer; half gives the first part of it.
func lost(half bool) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
		answer := httptest.NewRecorder()
		vendor.ServeHTTP(answer, r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		if half {
			body := answer.Body.Bytes()
			fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
				answer.Code, answer.Header().Get("Content-Type"), len(body)/2, body[:len(body)/2])
		}
		conn.Close()
	}
}

func (f *marketingCloud) counted(operation string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, call := range f.calls {
		if call == operation || operation == "" {
			n++
		}
	}
	return n
}

func (f *marketingCloud) links(ids []string) {
	for _, id := range ids {
		f.broker.Publish("survey.link.created", fmt.Sprintf(
			`{"requestId":%q,"link":"https://survey.example.com/jfe/form/SV_a1?Q_DL=%s","surveyId":"SV_a1","campaign":{"campaignId":"C-1","outboundId":%q}}`, id, id, id))
	}
}

// mails waits for so many mails, and fails when there are more in the end, or one twice.
func (f *marketingCloud) mails(want int) {
	f.t.Helper()
	bustest.Eventually(f.t, fmt.Sprintf("%d mails", want), func() bool { return len(f.Marketing().Books().Mails) >= want })
	f.Settled()
	seen := map[string]int{}
	for _, m := range f.Marketing().Books().Mails {
		if seen[m.OutboundID]++; seen[m.OutboundID] > 1 || m.To == "" {
			f.t.Errorf("mail %d of %s to %q", seen[m.OutboundID], m.OutboundID, m.To)
		}
	}
	if len(seen) != want {
		f.t.Errorf("%d people have a mail, want %d", len(seen), want)
	}
}

// Traps of sap-marketing-cloud.md §11 and odata-v2.md §11, each against the simulator.

func TestMarketingACampaignOfAThousandIsWrittenInTwentyCalls(t *testing.T) { // traps 4, 6, 7
	f := startMarketing(t, "{visibleAfter: -1s, longestAddress: 4096}", nil)
	ids := f.play(1000)
	f.links(ids)
	f.mails(1000)
	if calls := f.counted(""); calls > 20 {
		t.Errorf("%d calls: %d batches, %d deep inserts", calls, f.counted(batches), f.counted(deepInserts))
	}
}

func TestMarketingLinksWaitForTheDistributionsAndEachIsMailedOnce(t *testing.T) { // trap 4
	f := startMarketing(t, "{visibleAfter: 3s, refuseUnknownSource: true}", nil)
	f.links(f.play(20))
	f.mails(20)
	for _, i := range f.Marketing().Books().Interactions {
		if i.Type == "SURVEY_DISTRIBUTION" && i.VisibleAt.After(f.Marketing().Books().Mails[0].At) {
			t.Error("a link was written before Marketing's own interaction was there")
		}
	}
}

func TestMarketingWithoutItsTemplateEndsInAnAlarm(t *testing.T) { // trap 5
	f := startMarketing(t, "{noOutboundInteractions: true}", servicetest.Env{"SAP_MARKETING_WAIT_FIRST": "200ms", "SAP_MARKETING_WAIT_LIMIT": "1s"})
	f.links(f.play(2))
	if letter := f.Dead(2)[0]; letter.Class != "person" || !strings.Contains(letter.Reason, "enhancement (5)") {
		t.Errorf("dead letter %+v", letter)
	}
	if n := len(f.Marketing().Books().Mails); n != 0 {
		t.Errorf("%d mails", n)
	}
}

func TestMarketingALostAnswerMakesNoSecondMail(t *testing.T) { // trap 6; odata 3, 4
	for name, c := range map[string]struct {
		mode, operation string
		half            bool
	}{
		"deep insert":            {"deep-insert", deepInserts, false},
		"batch":                  {"batch", batches, false},
		"batch, answer cut off":  {"batch", batches, true},
		"deep insert, cut off":   {"deep-insert", deepInserts, true},
		"single writes, cut off": {"interactions", "POST Interactions", true},
	} {
		t.Run(name, func(t *testing.T) {
			// The cut can take another call with it that went out on the same connection: one that never arrived is sent again
			// when the vendor has had its time.
			f := startMarketing(t, "{visibleAfter: -1s}", servicetest.Env{
				"SAP_MARKETING_WRITE_MODE": c.mode, "SAP_MARKETING_BATCH_LIMIT": "10", "SAP_MARKETING_SETTLE": "2s",
			})
			ids := f.play(8)
			if c.operation == batches { // the first batch is the look-up
				f.meets(batches, func(w http.ResponseWriter, r *http.Request, vendor http.Handler) { vendor.ServeHTTP(w, r) })
			}
			f.meets(c.operation, lost(c.half))
			f.links(ids)
			f.mails(8)
		})
	}
}

func TestMarketingWritesThatAppearLateAreNotRepeated(t *testing.T) { // trap 6: Marketing writes later than it answers
	f := startMarketing(t, "{visibleAfter: -1s, writtenVisibleAfter: 14s}", servicetest.Env{"SAP_MARKETING_SETTLE": "20s", "SAP_MARKETING_WRITE_MODE": "deep-insert"})
	ids := f.play(3)
	f.meets(deepInserts, lost(false))
	f.links(ids)
	eventually(t, "all written", time.Minute, func() bool { return len(servicetest.Events(t, f.broker, "interaction.written")) == len(ids) })
	f.mails(len(ids))
	if n := f.counted(deepInserts); n != 1 {
		t.Errorf("%d writes, want the one whose answer was lost", n)
	}
}

func TestMarketingTenantsThatAnswerDifferently(t *testing.T) { // sap-marketing-cloud.md §12, odata-v2.md §12
	for name, c := range map[string]struct {
		switches string
		env      servicetest.Env
	}{
		"no deep insert":               {"noDeepInsert: true", nil},
		"no batch":                     {"noBatch: true", nil},
		"neither":                      {"noBatch: true, noDeepInsert: true", nil},
		"no batch, by setting":         {"noBatch: true", servicetest.Env{"SAP_MARKETING_BATCH": "false"}},
		"200":                          {"deepInsertStatus: 200", nil},
		"204":                          {"deepInsertStatus: 204", nil},
		"arrays as results":            {"arrays: results, nested: array", servicetest.Env{"SAP_MARKETING_ARRAYS": "results"}},
		"arrays plain":                 {"arrays: array, nested: single", nil},
		"dates as ticks":               {"dates: epoch, noOffset: true", servicetest.Env{"SAP_MARKETING_DATES": "ticks"}},
		"dates as ISO":                 {"dates: iso", nil},
		"small pages":                  {"pageSize: 3", nil},
		"small batches":                {"batchLimit: 5", servicetest.Env{"SAP_MARKETING_BATCH_LIMIT": "5", "SAP_MARKETING_WRITE_MODE": "batch", "SAP_MARKETING_IDS_PER_FILTER": "1"}},
		"smaller batches than we know": {"batchLimit: 1", nil},
		"content ids":                  {"contentId: mime, innerError: true", servicetest.Env{"SAP_MARKETING_WRITE_MODE": "batch"}},
		"duplicates refused":           {"refuseDuplicates: true", nil},
		"sources must exist":           {"refuseUnknownSource: true", nil},
		"tokens refused in JSON":       {"noRequiredHeader: true, csrfBody: json", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := startMarketing(t, "{visibleAfter: -1s, "+c.switches+"}", c.env)
			f.links(f.play(12))
			f.mails(12)
			f.Marketing().ExpireSessions()
			f.links(f.play(1)) // those of before and one more
			f.mails(13)
		})
	}
}

func TestMarketingOneBadRecordSinksNoOther(t *testing.T) { // sap-marketing-cloud.md rule 10; odata-v2.md §3
	for _, mode := range []string{"deep-insert", "batch"} {
		t.Run(mode, func(t *testing.T) {
			// The id of one member makes its extension field too long.
			f := startMarketing(t, "{visibleAfter: -1s, customFields: [{name: YY1_A_MIA, maxLength: 40}]}", servicetest.Env{
				"SAP_MARKETING_WRITE_MODE": mode, "SAP_MARKETING_CUSTOM_FIELDS": "YY1_A_MIA:{contactId}",
			})
			ids := f.play(10)
			f.broker.Publish("survey.link.created", fmt.Sprintf(`{"requestId":"bad","link":"https://survey.example.com/jfe/form/SV_a1?Q_DL=x",
				"contact":{"externalId":%q}}`, strings.Repeat("P", 41)))
			f.links(ids)
			if letter := f.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, "YY1_A_MIA") {
				t.Errorf("dead letter %+v", letter)
			}
			f.mails(10)
		})
	}
}

func TestMarketingAnswersAndContactsAreImportedOnce(t *testing.T) { // rules 8, 9, 10
	for _, repeats := range []string{"upsert", "refused"} {
		t.Run(repeats, func(t *testing.T) {
			sim := map[string]string{"upsert": "", "refused": ", repeatedResponse: refused"}[repeats]
			f := startMarketing(t, "{refuseContact: blocked"+sim+"}", servicetest.Env{
				"SAP_MARKETING_RESPONSES": "survey", "SAP_MARKETING_CONTACTS": "true", "SAP_MARKETING_CONTACT_ORIGIN": "EXT_CONTACT",
				"SAP_MARKETING_REPEATED_RESPONSE": repeats,
			})
			f.meets("POST SurveySet", lost(false))
			for i := range 5 {
				f.broker.Publish("survey.response.received", fmt.Sprintf(`{"surveyId":"SV_a1","responseId":"R_%d","requestId":"OB-%d","recordedAt":"2026-07-24T09:30:00Z",
					"contact":{"externalId":"P-%d","email":"ada@example.com"},"values":{"QID1":1,"QID2":%q},"labels":{"QID1":"Satisfied"}}`, i, i, i, strings.Repeat("x", 2000)))
			}
			f.broker.Publish("survey.response.received", `{"surveyId":"SV_a1","responseId":"R_9","contact":{"externalId":"P-blocked"},"values":{"QID1":1}}`)
			if letter := f.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, "end of purpose") {
				t.Errorf("dead letter %+v", letter)
			}
			bustest.Eventually(t, "five interaction.written", func() bool { return len(servicetest.Events(t, f.broker, "interaction.written")) == 5 })
			books := f.Marketing().Books()
			if len(books.Responses) != 5 || len(books.Contacts) != 5 {
				t.Fatalf("%d responses, %d contacts, want 5 of each", len(books.Responses), len(books.Contacts))
			}
			for _, r := range books.Responses {
				if r.Copies != 1 || r.Answers["QID1"] != "Satisfied" || len([]rune(r.Answers["QID2"])) != 1333 || !strings.HasPrefix(r.OutboundKey, "OB-") {
					t.Errorf("response %+v", r)
				}
			}
		})
	}
}
