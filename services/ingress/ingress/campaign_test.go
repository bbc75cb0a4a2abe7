package ingress_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// campaign is the package of sap-marketing-cloud.md §1.3.
const campaign = `{"d":{
  "CampaignId":"0000012345","Name":"Service survey July","MarketingAreaId":"GLOBAL",
  "CampaignTargetGroupMembers":[
    {"OutboundId":"OB-0000000001",
     "TargetGroupMemberAttributeData":[
       {"AttributeId":"CONTACT_KEY","Value":"0A1B2C3D4E5A40718293A4B5C6D7E8A9"},
       {"AttributeId":"CONTACT_ID","Value":"P-1001"},
       {"AttributeId":"NAME_FIRST","Value":"Ada"},
       {"AttributeId":"NAME_LAST","Value":"Example"},
       {"AttributeId":"SMTP_ADDR","Value":"ada@example.com"},
       {"AttributeId":"PHONE","Value":""},
       {"AttributeId":"LANGUAGE","Value":"EN"},
       {"AttributeId":"COUNTRY","Value":"GB"},
       {"AttributeId":"OUTBOUND_INTERACTION","Value":"A1B2C3D4E5A640718293A4B5C6D7E8B0"},
       {"AttributeId":"ZOC_Q_SURVEY","Value":"SV_a1"},
       {"AttributeId":"ZOC_Q_COMM_CAT_ID","Value":"SURVEY"},
       {"AttributeId":"DA-_SAP_CF_IA_CONTACT-IA_TYPE","Value":"SERVICE_ORDER"},
       {"AttributeId":"DA-_SAP_CF_IA_CONTACT-SOURCE_SYSTEM_TYPE","Value":"S4"},
       {"AttributeId":"DA-_SAP_CF_IA_CONTACT-SOURCE_SYSTEM_ID","Value":"QM7"},
       {"AttributeId":"DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_TYPE","Value":"S4_SERVICE_ORDER"},
       {"AttributeId":"DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_ID","Value":"4711_P-1001"},
       {"AttributeId":"DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_ADD_ID","Value":"4711"}]}]}}`

// request is what comes of it.
const request = `{"requestId":"OB-0000000001",
  "contact":{"externalId":"0a1b2c3d-4e5a-4071-8293-a4b5c6d7e8a9","email":"ada@example.com","firstName":"Ada","lastName":"Example","language":"EN",
    "attributes":{"Country":"GB","PersonID":"P-1001"}},
  "transaction":{"externalId":"4711","data":{"SourceObject":"SERVICE_ORDER","SourceSystem":"S4","SourceSystemID":"QM7",
    "SourceObjectTypeValue":"S4_SERVICE_ORDER","SourceObjectID":"4711_P-1001"}},
  "survey":{"surveyId":"SV_a1"},
  "campaign":{"campaignId":"0000012345","name":"Service survey July","marketingArea":"GLOBAL","outboundId":"OB-0000000001"}}`

// member is the smallest that a package can have.
func member(outboundID, email string) string {
	return fmt.Sprintf(`{"OutboundId":%q,"TargetGroupMemberAttributeData":[{"AttributeId":"SMTP_ADDR","Value":%q}]}`, outboundID, email)
}

func pack(members ...string) string {
	return `{"d":{"CampaignId":"1","CampaignTargetGroupMembers":[` + strings.Join(members, ",") + `]}}`
}

func TestMemberOfACampaignBecomesARequestAsTheRecipeMapsIt(t *testing.T) {
	f := start(t, nil)
	var answer struct {
		Accepted int
		Events   []struct{ ID, LoopID string }
	}
	f.Post("/sap/open-channel", campaign, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").Want(202).JSON(&answer)
	events := servicetest.Events(t, f.broker, subjects.SurveyLinkRequested)
	if len(events) != 1 || answer.Accepted != 1 || len(answer.Events) != 1 {
		t.Fatalf("%d events, answered %+v", len(events), answer)
	}
	same(t, subjects.SurveyLinkRequested, text(t, events[0].Data), request)
	if e := events[0]; e.ID != answer.Events[0].ID || e.LoopID != answer.Events[0].LoopID || e.Source != "ingress" ||
		e.LoopID != event.IDOf(subjects.SurveyLinkRequested, "OB-0000000001") || !strings.Contains(e.TraceParent, "0af7651916cd") {
		t.Errorf("envelope %+v", e)
	}
}

func TestEveryFormOfAPackageIsTheSameRequest(t *testing.T) {
	var whole struct{ D json.RawMessage }
	if err := json.Unmarshal([]byte(campaign), &whole); err != nil {
		t.Fatal(err)
	}
	bare := string(whole.D)
	first, last := strings.Index(bare, "[\n    {"), strings.LastIndex(bare, "]}")
	list := bare[first : last+1]
	one := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(list), "["), "]")
	for name, c := range map[string]struct{ path, body string }{
		"as documented":          {"/sap/open-channel", campaign},
		"another root":           {"/sap/open-channel", `{"CampaignExecution":` + bare + `}`},
		"no root":                {"/sap/open-channel", bare},
		"results around lists":   {"/sap/open-channel", strings.Replace(bare, list, `{"results":`+list+`}`, 1)},
		"one member, no list":    {"/sap/open-channel", strings.Replace(bare, list, one, 1)},
		"numbers and booleans":   {"/sap/open-channel", strings.NewReplacer(`"4711"`, `4711`, `"P-1001"`, `"P-1001"`).Replace(campaign)},
		"an attribute of null":   {"/sap/open-channel", strings.Replace(campaign, `"PHONE","Value":""`, `"PHONE","Value":null`, 1)},
		"an attribute too many":  {"/sap/open-channel", strings.Replace(campaign, `"AttributeId":"PHONE"`, `"AttributeId":"Startdatum"`, 1)},
		"a campaign field more":  {"/sap/open-channel", strings.Replace(campaign, `"Name"`, `"Owner":{"Id":7},"Name"`, 1)},
		"no marketing area":      {"/sap/open-channel", strings.Replace(campaign, `"MarketingAreaId":"GLOBAL",`, ``, 1)},
		"an empty area":          {"/sap/open-channel", strings.Replace(campaign, `"GLOBAL"`, `""`, 1)},
		"the path of the recipe": {"/http/OCEndpoint", campaign},
		"in lower case":          {"/http/ocendpoint", campaign},
		"in upper case":          {"/HTTP/OCENDPOINT", campaign},
		"our path in any case":   {"/SAP/Open-Channel", campaign},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.Post(c.path, c.body).Want(202)
			stored := f.stored(t, subjects.SurveyLinkRequested)
			if len(stored) != 1 {
				t.Fatalf("%d events", len(stored))
			}
			same(t, subjects.SurveyLinkRequested, stored[0], request)
		})
	}
}

func TestPingIsAnsweredToEverybody(t *testing.T) {
	f := start(t, servicetest.Env{"INGRESS_API_KEYS": "key"})
	for _, path := range []string{"/sap/open-channel", "/http/OCEndpoint", "/HTTP/ocendpoint"} {
		if answer := f.Get(path, "X-CSRF-Token", "Fetch").Want(200); answer.Header.Get("X-CSRF-Token") == "" {
			t.Errorf("%s: no token for a sender that asks for one", path)
		}
		if answer := f.Get(path).Want(200); answer.Header.Get("X-CSRF-Token") != "" || answer.Body != "" {
			t.Errorf("%s: answered %v %q", path, answer.Header, answer.Body)
		}
	}
}

func TestEmptyPackageIsNormal(t *testing.T) {
	f := start(t, nil)
	for _, body := range []string{
		``, ` `, `{}`, `{"d":{}}`, `{"d":{"CampaignId":"1"}}`, `{"CampaignId":"1"}`, `{"d":{"CampaignTargetGroupMembers":[]}}`,
		`{"CampaignTargetGroupMembers":[]}`, `{"d":{"CampaignTargetGroupMembers":null}}`, `{"d":{"CampaignTargetGroupMembers":""}}`,
		`{"d":{"CampaignTargetGroupMembers":{"results":[]}}}`, `{"d":""}`, `{"d":null}`, `{"d":[]}`, `{"d":{"CampaignId":"1","Status":"2","Members":[]}}`,
		`{"d":{"__metadata":{"type":"x"},"CampaignId":"1"}}`,
	} {
		if answer := f.Post("/sap/open-channel", body); answer.Status != http.StatusOK {
			t.Errorf("%q: answered %d %s", body, answer.Status, answer.Body)
		}
	}
	if n := f.all(t); n != 0 {
		t.Errorf("%d events of nobody", n)
	}
}

func TestAThousandMembersAreStoredBeforeTheAnswer(t *testing.T) {
	f := start(t, servicetest.Env{"OPEN_CHANNEL_MARKETING_AREA": "EMEA"})
	var members []string
	for i := range 1000 {
		// With twenty attributes each the package is larger than what other doors take.
		members = append(members, strings.Replace(member(fmt.Sprintf("OB-%d", i), fmt.Sprintf("p%d@example.com", i)), `[{`,
			`[{"AttributeId":"ZOC_NOTE","Value":"`+strings.Repeat("x", 2000)+`"},{`, 1))
	}
	var answer struct{ Accepted int }
	if f.Post("/sap/open-channel", pack(members...)).Want(202).JSON(&answer); answer.Accepted != 1000 {
		t.Errorf("accepted %d", answer.Accepted)
	}
	stream, err := f.broker.JS.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1000 {
		t.Errorf("%d events stored when the answer came, want 1000", n)
	}
	last, err := stream.GetLastMsgForSubject(t.Context(), subjects.SurveyLinkRequested)
	if err != nil || !strings.Contains(string(last.Data), `"marketingArea":"EMEA"`) {
		t.Errorf("last event %s, %v", last.Data, err)
	}
}

func TestRepeatedPackageIsStoredOnce(t *testing.T) {
	f := start(t, nil)
	first, second := f.Post("/sap/open-channel", campaign).Want(202), f.Post("/http/OCEndpoint", campaign).Want(202)
	if first.Body != second.Body {
		t.Errorf("answered %s, then %s", first.Body, second.Body)
	}
	if n := f.all(t); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestPackageThatIsWrongIsRefusedAsAWholeInTheExportsNames(t *testing.T) {
	f := start(t, nil)
	good := member("OB-1", "ada@example.com")
	at := "CampaignTargetGroupMembers[1]."
	for name, c := range map[string]struct {
		body   string
		fields []string
	}{
		"no address":         {pack(good, member("OB-2", "")), []string{at + "SMTP_ADDR"}},
		"no such address":    {pack(good, member("OB-2", "ada")), []string{at + "SMTP_ADDR"}},
		"no outbound id":     {pack(good, member("", "eve@example.com")), []string{at + "OutboundId"}},
		"long outbound id":   {pack(good, member(strings.Repeat("o", 51), "eve@example.com")), []string{at + "OutboundId"}},
		"two members":        {pack(member("OB-1", "x"), member("OB-2", "y")), []string{"CampaignTargetGroupMembers[0].SMTP_ADDR", at + "SMTP_ADDR"}},
		"wrong survey":       {pack(good, strings.Replace(member("OB-2", "eve@example.com"), `[{`, `[{"AttributeId":"ZOC_Q_SURVEY","Value":"cart"},{`, 1)), []string{at + "ZOC_Q_SURVEY"}},
		"group as a value":   {pack(good, strings.Replace(member("OB-2", "x"), `"x"`, `{"a":1}`, 1)), []string{at + "SMTP_ADDR"}},
		"group as an id":     {pack(good, strings.Replace(member("OB-2", "eve@example.com"), `"OB-2"`, `["OB-2"]`, 1)), []string{at + "OutboundId"}},
		"text as a member":   {pack(good, `"OB-2"`), []string{"CampaignTargetGroupMembers[1]"}},
		"text as a list":     {`{"d":{"CampaignTargetGroupMembers":"OB-1"}}`, []string{"CampaignTargetGroupMembers"}},
		"text as attributes": {pack(good, `{"OutboundId":"OB-2","TargetGroupMemberAttributeData":7}`), []string{at + "TargetGroupMemberAttributeData"}},
		"list as an attribute": {pack(good, `{"OutboundId":"OB-2","TargetGroupMemberAttributeData":[[]]}`),
			[]string{at + "TargetGroupMemberAttributeData[0]"}},
		"long campaign id":   {strings.Replace(pack(good, member("OB-2", "eve@example.com")), `"1"`, `"`+strings.Repeat("1", 25)+`"`, 1), []string{"CampaignId"}},
		"group as a name":    {`{"d":{"Name":{"en":"July"},"CampaignTargetGroupMembers":[]}}`, []string{"Name"}},
		"list under a root":  {`{"d":[{"CampaignId":"1"}]}`, []string{"d"}},
		"a name twice":       {`{"d":{"CampaignId":"1","CampaignId":"2"}}`, []string{"d.CampaignId"}},
		"a list":             {`[` + campaign + `]`, nil},
		"no JSON":            {`<d/>`, nil},
		"cut off":            {campaign[:len(campaign)-3], nil},
		"a form":             {`CampaignId=1`, nil},
		"the attribute's id": {pack(good, `{"OutboundId":"OB-2","TargetGroupMemberAttributeData":[{"AttributeId":{},"Value":"x"}]}`), []string{at + "TargetGroupMemberAttributeData[0].AttributeId"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := f.Post("/sap/open-channel", c.body).WantProblem(400, c.fields...)
			if n := strings.Count(answer.Body, `"field"`); name == "long campaign id" && n != 1 {
				t.Errorf("what is wrong with the campaign is said %d times", n)
			}
			if strings.Contains(answer.Body, "@") {
				t.Errorf("an address is in the answer: %s", answer.Body)
			}
		})
	}
	if n := f.all(t); n != 0 {
		t.Errorf("%d events of refused packages", n)
	}
}

func TestPackageWithMembersUnderAnotherNameIsRefused(t *testing.T) {
	f := start(t, nil)
	good := member("OB-1", "ada@example.com")
	for name, c := range map[string]struct {
		body   string
		fields []string
	}{
		"text under the root":      {`{"d":"x"}`, []string{"d"}},
		"a number":                 {`{"foo":1}`, []string{"foo"}},
		"another list":             {`{"d":{"CampaignId":"1","Members":[` + good + `]}}`, []string{"Members"}},
		"one member, no list":      {`{"d":{"CampaignId":"1","Members":` + good + `}}`, []string{"Members"}},
		"something else":           {`{"foo":1,"bar":[` + good + `]}`, []string{"bar", "foo"}},
		"a name in another case":   {`{"campaignTargetGroupMembers":[` + good + `]}`, []string{"campaignTargetGroupMembers"}},
		"two roots":                {`{"d":{"x":` + pack(good) + `}}`, []string{"x"}},
		"a root beside a campaign": {`{"CampaignId":"1","d":` + pack(good) + `}`, []string{"d"}},
		"results under the root":   {`{"d":{"results":[` + pack(good) + `]}}`, []string{"results"}},
		"an address as a name":     {`{"ada@example.com":[` + good + `]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer := f.Post("/sap/open-channel", c.body).WantProblem(400, c.fields...)
			if !strings.Contains(answer.Body, "CampaignTargetGroupMembers") || strings.Contains(answer.Body, "@") {
				t.Errorf("the answer does not say what was looked for, or shows an address: %s", answer.Body)
			}
		})
	}
	if n := f.all(t); n != 0 {
		t.Errorf("%d events of refused packages", n)
	}
}

func TestPackageTooLargeIsRefused(t *testing.T) {
	f := start(t, servicetest.Env{"OPEN_CHANNEL_BODY_LIMIT": "1000"})
	f.Post("/sap/open-channel", campaign).WantProblem(413)
}

func TestMemberThatIsWrongIsStoredForTheDeadLettersWhereWanted(t *testing.T) {
	f := start(t, servicetest.Env{"OPEN_CHANNEL_BAD_MEMBERS": "dead-letter"})
	var answer struct{ Accepted int }
	if f.Post("/sap/open-channel", pack(member("OB-1", "ada@example.com"), member("OB-2", ""), member("OB-3", "eve@example.com"))).Want(202).JSON(&answer); answer.Accepted != 3 {
		t.Errorf("accepted %d, want all of them", answer.Accepted)
	}
	messages := f.broker.Messages("EVENTS", subjects.SurveyLinkRequested)
	if len(messages) != 3 {
		t.Fatalf("%d events, want 3", len(messages))
	}
	wrong := 0
	for _, m := range messages {
		if _, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{}); err != nil {
			wrong++
			if !strings.Contains(string(m.Data), "OB-2") || !strings.Contains(err.Error(), "contact") {
				t.Errorf("wrong is %s: %v", m.Data, err)
			}
		}
	}
	if wrong != 1 {
		t.Errorf("%d events that the linker refuses, want 1", wrong)
	}
	// Without an outbound id there is nothing to store it under.
	f.Post("/sap/open-channel", pack(member("OB-4", "ada@example.com"), member("", "eve@example.com"))).WantProblem(400, "CampaignTargetGroupMembers[1].OutboundId")
}

func TestAttributesGoWhereTheFileSays(t *testing.T) {
	f := start(t, servicetest.Env{"OPEN_CHANNEL_ATTRIBUTES_FILE": file(t, `
fields:
  contact.email: [ZOC_MAIL, SMTP_ADDR]
  contact.externalId: ZOC_KEY
  transaction.occurredAt: ZOC_WHEN
  transaction.data.cart: ZOC_CART
guids: [ZOC_KEY]
`)})
	f.Post("/sap/open-channel", pack(
		`{"OutboundId":1,"TargetGroupMemberAttributeData":[{"AttributeId":"SMTP_ADDR","Value":" ada@example.com "},{"AttributeId":"ZOC_MAIL","Value":" "},
			{"AttributeId":"ZOC_KEY","Value":"0A1B2C3D4E5A40718293A4B5C6D7E8A9"},{"AttributeId":"ZOC_WHEN","Value":"2026-07-24T09:30:00Z"},{"AttributeId":"ZOC_CART","Value":true}]}`,
	)).Want(202)
	stored := f.stored(t, subjects.SurveyLinkRequested)
	if len(stored) != 1 {
		t.Fatalf("%d events", len(stored))
	}
	same(t, subjects.SurveyLinkRequested, stored[0], `{"requestId":"1","contact":{"email":"ada@example.com","externalId":"0a1b2c3d-4e5a-4071-8293-a4b5c6d7e8a9"},
		"transaction":{"occurredAt":"2026-07-24T09:30:00Z","data":{"cart":"true"}},"campaign":{"campaignId":"1","marketingArea":"GLOBAL","outboundId":"1"}}`)
	f.Post("/sap/open-channel", pack(strings.Replace(member("OB-2", "ada@example.com"), `[{`, `[{"AttributeId":"ZOC_WHEN","Value":"20260724"},{`, 1))).
		WantProblem(400, "CampaignTargetGroupMembers[0].ZOC_WHEN")
}
