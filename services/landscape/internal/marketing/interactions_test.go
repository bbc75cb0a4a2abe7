package marketing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// linkInteraction is the interaction of sap-marketing-cloud.md §2.3 without its custom fields.
const linkInteraction = `{
  "InteractionUUID":"00000000-0000-0000-0000-000000000000",
  "InteractionType":"SURVEY_LINK_CREATED",
  "InteractionTimeStampUTC":"2026-07-24T09:30:00Z",
  "InteractionSourceObjectType":"CUAN_CAMPAIGN_OUTBOUND",
  "InteractionSourceObject":"OB-0000000001",
  "InteractionSourceDataURL":"https://survey.example.com/jfe/form/SV_a1?Q_DL=tok1"}`

const linkFilter = "InteractionType eq 'SURVEY_LINK_CREATED' and InteractionSourceObject eq 'OB-0000000001'"

func TestPublishedWriteBackIsStored(t *testing.T) {
	s := newSimulator(t, marketing.Settings{CustomFields: []marketing.CustomField{{"YY1_SurveyObjType_MIA", 30}, {"YY1_SurveyObjId_MIA", 50}}})
	c := connect(t, s)
	custom := strings.TrimSuffix(linkInteraction, "}") + `,"YY1_SurveyObjType_MIA":"Q_SURVEY","YY1_SurveyObjId_MIA":"SV_a1"}`
	answer := c.want(201, "POST", "InteractionsDeepInsert", `{"Interactions":[`+custom+`]}`)
	var created struct {
		D struct {
			Interactions struct{ Results []map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(answer), &created); err != nil || len(created.D.Interactions.Results) != 1 {
		t.Fatalf("answer: %s", answer)
	}
	found := c.found(linkFilter)
	if len(found) != 1 || found[0]["InteractionUUID"] != created.D.Interactions.Results[0]["InteractionUUID"] {
		t.Fatalf("found: %v", found)
	}
	if found[0]["InteractionTimeStampUTC"] != "/Date(1784885400000+0000)/" || found[0]["YY1_SurveyObjId_MIA"] != "SV_a1" {
		t.Errorf("found: %v", found[0])
	}
	single := c.want(200, "GET", fmt.Sprintf("Interactions(guid'%s')", found[0]["InteractionUUID"]), "")
	if !strings.HasPrefix(single, `{"d":{"CampaignContent":null`) {
		t.Errorf("a single entity stands under d: %s", single)
	}
}

func TestMetadataDoesNotKnowTheDeepInsert(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{}))
	for path, set := range map[string]string{"": `"Interactions"`, "$metadata": `EntitySet Name="Interactions"`} {
		if got := c.want(200, "GET", path, ""); !strings.Contains(got, set) || strings.Contains(got, "InteractionsDeepInsert") {
			t.Errorf("%q: %s", path, got)
		}
	}
}

func TestInteractionIsCreatedDirectly(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{}))
	status, header, body := c.call("POST", "Interactions", linkInteraction)
	if status != 201 || !strings.HasPrefix(header.Get("Location"), c.base+"Interactions(guid'") {
		t.Fatalf("%d %s %s", status, header.Get("Location"), body)
	}
	if strings.Contains(body, "00000000-0000") {
		t.Error("the zero Guid was not replaced")
	}
}

func TestRepeatedPostMakesASecondInteractionAndASecondMail(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	c.want(201, "POST", "InteractionsDeepInsert", `{"Interactions":[`+linkInteraction+`]}`)
	c.want(201, "POST", "Interactions", linkInteraction)
	if got := c.found(linkFilter); len(got) != 2 {
		t.Errorf("%d interactions", len(got))
	}
	if got := s.Books().Mails; len(got) != 2 || got[0].ID == got[1].ID {
		t.Errorf("mails: %v", got)
	}
}

func TestTenantThatChecksDuplicatesRefusesTheSecond(t *testing.T) {
	s := newSimulator(t, marketing.Settings{RefuseDuplicates: true})
	c := connect(t, s)
	c.want(201, "POST", "Interactions", linkInteraction)
	if got := c.want(400, "POST", "Interactions", linkInteraction); !strings.Contains(got, "Instance with the same key already exists") {
		t.Error(got)
	}
	c.want(201, "POST", "Interactions", strings.Replace(linkInteraction, "SURVEY_LINK_CREATED", "SURVEY_RESPONSE", 1))
}

func TestReadsThatTheMetadataForbidsAreRefused(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{CustomFields: []marketing.CustomField{{"YY1_X_MIA", 10}}}))
	for _, path := range []string{
		"Interactions",
		"Interactions?$top=1",
		"Interactions/$count",
		"InteractionProducts",
		"Interactions?$filter=InteractionSourceDataURL%20eq%20'https://survey.example.com'",
		"Interactions?$filter=InteractionContent%20eq%20'a'",
		"Interactions?$filter=YY1_X_MIA%20eq%20'a'",
		"Interactions?$filter=MarketingAreaId%20eq%20'GLOBAL'",
		"Interactions?$filter=" + "InteractionType%20eq%20'A'&$orderby=InteractionSourceDataURL",
	} {
		c.want(400, "GET", path, "")
	}
	c.want(405, "GET", "InteractionsDeepInsert", "")
}

func TestWritesThatTheFieldTableForbidsAreRefused(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	long := strings.Repeat("x", 51)
	for _, field := range []string{
		`"InteractionTyp":"A"`,
		`"YY1_SurveyObjType_MIA":"Q_SURVEY"`,
		`"MarketingAreaId":"GLOBAL"`,
		`"IsAnonymous":false`,
		`"InteractionSourceObject":"` + long + `"`,
		`"InteractionSourceObjectAddlID":"` + long + `"`,
		`"InteractionType":"SURVEY_LINK_CREATED_2"`,
		`"CampaignID":"00000123456"`,
		`"InteractionLastChangedByUser":"ME"`,
		`"InteractionLastChangedDateTime":"2026-07-24T09:30:00Z"`,
		`"InteractionAmount":12.5`,
		`"InteractionAmount":"1.123456789012345"`,
		`"InteractionIsAnonymous":"false"`,
		`"InteractionSentimentValue":"2"`,
		`"InteractionTimeStampUTC":"24.07.2026"`,
		`"InteractionUUID":"A1B2C3D4E5A640718293A4B5C6D7E8B0"`,
		`"InteractionProducts":"none"`,
		`"InteractionProducts":[{"ProductUUID":"0a1b2c3d-0000-4000-8000-000000000001"}]`,
		`"InteractionProducts":[{"InteractionProductAmount":"1.234"}]`,
	} {
		c.want(400, "POST", "Interactions", "{"+field+"}")
		c.want(400, "POST", "InteractionsDeepInsert", `{"Interactions":[`+linkInteraction+`,{`+field+`}]}`)
	}
	c.want(400, "POST", "InteractionsDeepInsert", linkInteraction)
	if got := s.Books().Interactions; len(got) != 0 {
		t.Errorf("%d interactions stored by refused calls", len(got))
	}
	c.want(405, "DELETE", "Interactions(guid'0a1b2c3d-0000-4000-8000-000000000001')", "")
	c.want(404, "POST", "Interaction", linkInteraction)
}

func TestEveryShapeOfNestedDataIsTaken(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{}))
	product := `{"ProductOrigin":"SHOP","Product":"P1","InteractionProductAmount":"12.50"}`
	for i, nested := range []string{"[" + product + "]", `{"results":[` + product + `]}`, product} {
		source := fmt.Sprintf("CART-%d", i)
		c.want(201, "POST", "Interactions", `{"InteractionType":"SHOP_CART_ABANDONED","CommunicationMedium":"ONLINE_SHOP",
			"InteractionTimeStampUTC":"2026-07-24T09:30:00","InteractionIsAnonymous":false,"InteractionSourceObject":"`+source+`","InteractionProducts":`+nested+`}`)
		key := fmt.Sprintf("Interactions(guid'%s')", c.found("InteractionSourceObject eq '" + source + "'")[0]["InteractionUUID"])
		if got := c.want(200, "GET", key+"/InteractionProducts", ""); !strings.Contains(got, `"Product":"P1"`) {
			t.Errorf("%s: %s", nested, got)
		}
		if got := c.want(200, "GET", key+"?$expand=InteractionProducts", ""); !strings.Contains(got, `"InteractionProducts":{"results":[{`) {
			t.Errorf("%s: %s", nested, got)
		}
	}
	if got := c.want(200, "GET", "InteractionProducts/$count?$filter=Product%20eq%20'P1'", ""); got != "3" {
		t.Errorf("%s products", got)
	}
}

func TestChildIsAddedToItsInteraction(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{}))
	c.want(201, "POST", "Interactions", linkInteraction)
	key := c.found(linkFilter)[0]["InteractionUUID"].(string)
	c.want(201, "POST", "InteractionTags", `{"InteractionUUID":"`+key+`","TagType":"T","TagName":"late"}`)
	c.want(201, "POST", "Interactions(guid'"+key+"')/InteractionTags", `{"TagType":"T","TagName":"later"}`)
	c.want(400, "POST", "InteractionTags", `{"InteractionUUID":"0a1b2c3d-0000-4000-8000-000000000001","TagName":"lost"}`)
	if got := c.want(200, "GET", "Interactions(guid'"+key+"')/InteractionTags/$count", ""); got != "2" {
		t.Errorf("%s tags", got)
	}
}

func TestInteractionIsChanged(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{AllowDelete: true}))
	c.want(201, "POST", "Interactions", linkInteraction)
	key := fmt.Sprintf("Interactions(guid'%s')", c.found(linkFilter)[0]["InteractionUUID"])
	c.want(204, "MERGE", key, `{"InteractionContentSubject":"new"}`)
	got := c.found(linkFilter)
	if len(got) != 1 || got[0]["InteractionContentSubject"] != "new" || got[0]["InteractionSourceObjectType"] != "CUAN_CAMPAIGN_OUTBOUND" {
		t.Errorf("after MERGE: %v", got)
	}
	c.want(400, "MERGE", key, `{"InteractionUUID":"0a1b2c3d-0000-4000-8000-000000000001"}`)
	c.want(204, "PUT", key, `{"InteractionType":"OTHER"}`)
	if got := c.found(linkFilter); len(got) != 0 {
		t.Errorf("after PUT: %v", got)
	}
	c.want(204, "DELETE", key, "")
	c.want(404, "GET", key, "")
}

func TestKeyOfAnotherInteractionIsRefused(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{}))
	body := `{"InteractionUUID":"0a1b2c3d-0000-4000-8000-000000000001","InteractionType":"A"}`
	c.want(201, "POST", "Interactions", body)
	c.want(400, "POST", "Interactions", body)
}

func TestSwitchesOfTheDeepInsert(t *testing.T) {
	body := `{"Interactions":[` + linkInteraction + `]}`
	for status, want := range map[int]int{200: 200, 204: 204} {
		s := newSimulator(t, marketing.Settings{DeepInsertStatus: status})
		connect(t, s).want(want, "POST", "InteractionsDeepInsert", body)
		if len(s.Books().Interactions) != 1 {
			t.Errorf("%d: nothing stored", status)
		}
	}
	connect(t, newSimulator(t, marketing.Settings{NoDeepInsert: true})).want(404, "POST", "InteractionsDeepInsert", body)
	connect(t, newSimulator(t, marketing.Settings{RefuseUnknownSource: true})).want(400, "POST", "InteractionsDeepInsert", body)
	s := newSimulator(t, marketing.Settings{CutLongValues: true})
	connect(t, s).want(201, "POST", "Interactions", `{"InteractionSourceObject":"`+strings.Repeat("x", 60)+`"}`)
	if got := s.Books().Interactions[0].SourceObject; len(got) != 50 {
		t.Errorf("cut to %d characters", len(got))
	}
}

func TestEmptyDeepInsertIsTakenAndDoesNothing(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	connect(t, s).want(201, "POST", "InteractionsDeepInsert", `{"Interactions":[]}`)
	if b := s.Books(); len(b.Interactions)+len(b.Mails) != 0 {
		t.Error("something was stored")
	}
}

func TestExpiredSessionRefusesTheWriteUntilANewFetch(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	s.ExpireSessions()
	status, header, _ := c.call("POST", "Interactions", linkInteraction)
	if status != 403 || header.Get("x-csrf-token") != "Required" {
		t.Fatalf("%d %v", status, header)
	}
	_, header, _ = c.call("GET", "", "", "x-csrf-token", "Fetch")
	c.token = header.Get("x-csrf-token")
	c.want(201, "POST", "Interactions", linkInteraction)
}

func TestBooksOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s, st := open(t, dir, marketing.Settings{})
	c := connect(t, s)
	c.want(201, "POST", "Interactions", linkInteraction)
	before := s.Books()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	s, st = open(t, dir, marketing.Settings{})
	t.Cleanup(func() { _ = st.Close() })
	after := s.Books()
	if fmt.Sprint(after.Interactions, after.Mails, after.Calls) != fmt.Sprint(before.Interactions, before.Mails, before.Calls) {
		t.Errorf("before %v\nafter %v", before, after)
	}
	if got := connect(t, s).found(linkFilter); len(got) != 1 {
		t.Errorf("%d interactions found", len(got))
	}
}

func TestCallsAreCountedByOperation(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	c.want(201, "POST", "Interactions", linkInteraction)
	c.found(linkFilter)
	c.found(linkFilter)
	got := s.Books().Calls
	if got["token"] != 1 || got["POST Interactions"] != 1 || got["GET Interactions"] != 2 {
		t.Errorf("%v", got)
	}
}

func TestMailIsHandedOnOnceItIsStored(t *testing.T) {
	var s *marketing.Simulator
	var handed []marketing.Mail
	s = newSimulator(t, marketing.Settings{OnMail: func(_ context.Context, m marketing.Mail) {
		if got := s.Books().Mails; len(got) != 1 || got[0] != m {
			t.Errorf("handed on before it was stored: %v", got)
		}
		handed = append(handed, m)
	}})
	run(t, s, 1)
	c := connect(t, s)
	c.want(201, "POST", "Interactions", linkInteraction)
	if len(handed) != 1 || handed[0].To != "member1@example.com" || handed[0].Name != "Ada Example" || handed[0].Link != "https://survey.example.com/jfe/form/SV_a1?Q_DL=tok1" {
		t.Errorf("%+v", handed)
	}
	if got := c.found(linkFilter); got[0]["InteractionContactId"] != "P-1" {
		t.Errorf("contact not derived: %v", got[0]["InteractionContactId"])
	}
	for _, changed := range []string{"SURVEY_RESPONSE", "SURVEY_DISTRIBUTION"} {
		c.want(201, "POST", "Interactions", strings.Replace(linkInteraction, "SURVEY_LINK_CREATED", changed, 1))
	}
	if len(handed) != 1 {
		t.Error("another type of interaction sent a mail")
	}
}

func TestLinkForAnUnknownOutboundReachesNobody(t *testing.T) {
	s := newSimulator(t, marketing.Settings{OnMail: func(context.Context, marketing.Mail) { t.Error("handed on") }})
	connect(t, s).want(201, "POST", "Interactions", linkInteraction)
	if b := s.Books(); len(b.Mails) != 1 || b.WithoutAddressee != 1 || b.Mails[0].To != "" {
		t.Errorf("%+v", b.Mails)
	}
}

// contractBatch is the request of odata-v2.md §8: a query and a changeset with two creates.
const contractBatch = `--batch_3c
Content-Type: application/http
Content-Transfer-Encoding: binary

GET Interactions?$filter=InteractionType%20eq%20%27SURVEY_LINK_CREATED%27%20and%20InteractionSourceObject%20eq%20%27OB-0000000001%27&$select=InteractionUUID&$top=1 HTTP/1.1
Accept: application/json


--batch_3c
Content-Type: multipart/mixed; boundary=changeset_7f

--changeset_7f
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 1

POST Interactions HTTP/1.1
Content-Type: application/json
Accept: application/json
Content-Length: 325

{"InteractionUUID":"00000000-0000-0000-0000-000000000000","InteractionType":"SURVEY_LINK_CREATED","InteractionTimeStampUTC":"2026-07-24T09:30:00Z","InteractionSourceObjectType":"CUAN_CAMPAIGN_OUTBOUND","InteractionSourceObject":"OB-0000000001","InteractionSourceDataURL":"https://survey.example.com/jfe/form/SV_a1?Q_DL=tok1"}
--changeset_7f
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 2

POST Interactions HTTP/1.1
Content-Type: application/json
Accept: application/json
Content-Length: 325

{"InteractionUUID":"00000000-0000-0000-0000-000000000000","InteractionType":"SURVEY_LINK_CREATED","InteractionTimeStampUTC":"2026-07-24T09:30:00Z","InteractionSourceObjectType":"CUAN_CAMPAIGN_OUTBOUND","InteractionSourceObject":"OB-0000000002","InteractionSourceDataURL":"https://survey.example.com/jfe/form/SV_a1?Q_DL=tok2"}
--changeset_7f--

--batch_3c--
`

func (c *client) batch(body string) (int, string) {
	c.t.Helper()
	status, _, text := c.call("POST", "$batch", strings.ReplaceAll(body, "\n", "\r\n"), "Content-Type", "multipart/mixed; boundary=batch_3c", "Accept", "multipart/mixed")
	return status, text
}

func TestBatchOfTheContractCreatesBothInteractions(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	status, got := c.batch(contractBatch)
	if status != 202 || strings.Count(got, "HTTP/1.1 201 Created") != 2 || !strings.Contains(got, "Content-Length: 20\r\n") || !strings.Contains(got, `{"d":{"results":[]}}`) {
		t.Fatalf("%d %s", status, got)
	}
	b := s.Books()
	if len(b.Interactions) != 2 || len(b.Mails) != 2 {
		t.Errorf("%d interactions, %d mails", len(b.Interactions), len(b.Mails))
	}
	if b.Calls["POST $batch"] != 1 || b.Calls["$batch POST Interactions"] != 2 || b.Calls["$batch GET Interactions"] != 1 {
		t.Errorf("%v", b.Calls)
	}
}

func TestFailedChangesetStoresAndMailsNothing(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	broken := strings.Replace(contractBatch, `"InteractionSourceObject":"OB-0000000002"`, `"InteractionSourceObjekt":"OB-000000002"`, 1)
	status, got := c.batch(broken)
	if status != 202 || strings.Count(got, "HTTP/1.1 400 Bad Request") != 1 || strings.Contains(got, "201") {
		t.Fatalf("%d %s", status, got)
	}
	if b := s.Books(); len(b.Interactions)+len(b.Mails) != 0 {
		t.Errorf("%d interactions, %d mails", len(b.Interactions), len(b.Mails))
	}
}

func TestBatchNeedsTheTokenToo(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s)
	c.token = "wrong"
	if status, _ := c.batch(contractBatch); status != 403 {
		t.Errorf("status %d", status)
	}
}

func TestDatesAndNestingFollowTheSettings(t *testing.T) {
	s := newSimulator(t, marketing.Settings{NoOffset: true, Nested: odatasim.NestedArray, Dates: odatasim.EpochDatesOnly, InnerError: true})
	c := connect(t, s)
	if got := c.want(400, "POST", "Interactions", linkInteraction); !strings.Contains(got, `"innererror"`) {
		t.Error(got)
	}
	c.want(201, "POST", "Interactions", strings.Replace(linkInteraction, "2026-07-24T09:30:00Z", "/Date(1784885400000)/", 1))
	found := c.found(linkFilter)[0]
	if found["InteractionTimeStampUTC"] != "/Date(1784885400000)/" {
		t.Error(found["InteractionTimeStampUTC"])
	}
	if got := c.want(200, "GET", fmt.Sprintf("Interactions(guid'%s')?$expand=InteractionTags", found["InteractionUUID"]), ""); !strings.Contains(got, `"InteractionTags":[]`) {
		t.Error(got)
	}
}

func TestPagesOfInteractions(t *testing.T) {
	s := newSimulator(t, marketing.Settings{PageSize: 2})
	c := connect(t, s)
	for range 3 {
		c.want(201, "POST", "Interactions", linkInteraction)
	}
	got := c.want(200, "GET", "Interactions?$inlinecount=allpages&$filter=InteractionType%20eq%20'SURVEY_LINK_CREATED'", "")
	var answer struct {
		D struct {
			Count   string `json:"__count"`
			Next    string `json:"__next"`
			Results []any
		}
	}
	if err := json.Unmarshal([]byte(got), &answer); err != nil || answer.D.Count != "3" || len(answer.D.Results) != 2 {
		t.Fatal(got)
	}
	rest, found := strings.CutPrefix(answer.D.Next, c.base)
	if !found || !strings.Contains(c.want(200, "GET", rest, ""), `"__count":"3"`) {
		t.Errorf("next: %s", answer.D.Next)
	}
}

func TestOutboundInteractionsBecomeVisibleLater(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings marketing.Settings
		wait     time.Duration
		want     int
	}{
		{"not yet", marketing.Settings{}, 4 * time.Second, 0},
		{"after five seconds", marketing.Settings{}, 5 * time.Second, 1},
		{"at once", marketing.Settings{VisibleAfter: -1}, 0, 1},
		{"after a minute", marketing.Settings{VisibleAfter: time.Minute}, 59 * time.Second, 0},
		{"never", marketing.Settings{NoOutboundInteractions: true}, time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			time := newClock()
			c.settings.Now = time.Now
			s := newSimulator(t, c.settings)
			run(t, s, 1)
			time.Advance(c.wait)
			got := connect(t, s).found("InteractionType eq 'SURVEY_DISTRIBUTION' and InteractionSourceObject eq 'OB-0000000001'")
			if len(got) != c.want {
				t.Errorf("%d found", len(got))
			}
		})
	}
}
