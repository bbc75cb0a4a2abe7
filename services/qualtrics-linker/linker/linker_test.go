package linker_test

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
)

// wanted asks for a link with everything that can be said.
const wanted = `{"requestId":"A1","contact":{"externalId":"P-1001","email":"ada@example.com","firstName":"Ada","lastName":"Lovelace",
	"phone":"+44 20 7946 0000","language":"EN","attributes":{"Country":"GB"}},
	"transaction":{"externalId":"4711","occurredAt":"2026-07-24T11:30:00+02:00","data":{"sourceObject":"SERVICE_ORDER","amount":49.5,"express":true,"none":null}},
	"survey":{"surveyId":"SV_1","mailingListId":"CG_1","expiresAt":"2026-10-24T00:00:00Z"},
	"campaign":{"campaignId":"0000012345","name":"Service survey","marketingArea":"GLOBAL","outboundId":"OB-1"}}`

// brief asks for a link and leaves the rest to the settings.
const brief = `{"requestId":"%s","contact":{"externalId":"%s","email":"%s@example.com"}}`

var fiveSteps = []string{createContact, createTransaction, createBatch, createDistribution, readLinks}

type fixture struct {
	*servicetest.Service
	broker *bustest.Broker
	brand  *brand
}

func settings(v *brand) servicetest.Env {
	return servicetest.Env{
		"QUALTRICS_BASE_URL": v.URL + "/API/v3", "QUALTRICS_API_TOKEN": token, "QUALTRICS_DIRECTORY_ID": directory,
		"QUALTRICS_MAILING_LIST_ID": list, "QUALTRICS_SURVEY_ID": survey,
	}
}

func TestMain(m *testing.M) {
	linker.Hurry()
	os.Exit(m.Run())
}

func start(t *testing.T, env servicetest.Env, prepare ...func(*brand)) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{brand: newBrand(t), broker: bustest.Start(t, topology.Settings{})}
	for _, p := range prepare {
		p(f.brand)
	}
	all := settings(f.brand)
	maps.Copy(all, env)
	f.Service = servicetest.Start(t, f.broker, linker.Define, all)
	return f
}

// created gives the one link that was made.
func (f fixture) created(t *testing.T) (event.Event, *eventsv1.SurveyLinkCreated) {
	t.Helper()
	f.Published(subjects.SurveyLinkCreated, 1)
	f.Settled()
	all := servicetest.Events(t, f.broker, subjects.SurveyLinkCreated)
	if len(all) != 1 {
		t.Fatalf("%d links, want 1", len(all))
	}
	return all[0], all[0].Data.(*eventsv1.SurveyLinkCreated)
}

func TestLinkIsMadeInFiveCallsAsDocumented(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.SurveyLinkRequested, wanted, "ce-loopid", "L-1")
	e, m := f.created(t)

	if got := worked(f.brand.Patterns()); !slices.Equal(got, fiveSteps) {
		t.Fatalf("called %v", got)
	}
	for pattern, want := range map[string]map[string]any{
		createContact: {
			"firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com", "phone": "+44 20 7946 0000", "extRef": "P-1001",
			"language": "EN", "embeddedData": map[string]any{"Country": "GB"},
		},
		createTransaction: {"transaction": map[string]any{
			"contactId": "CID_0", "mailingListId": list, "transactionDate": "2026-07-24 09:30:00",
			"data": map[string]any{
				"sourceObject": "SERVICE_ORDER", "amount": 49.5, "express": true,
				"requestId": "A1", "loopId": "L-1", "transactionExternalId": "4711",
			},
		}},
		createDistribution: {
			"action": "CreateTransactionBatchDistribution", "surveyId": survey, "linkType": "Individual", "transactionBatchId": "BT_0",
			"mailingListId": list, "description": "closeloop A1", "expirationDate": "2026-10-24 00:00:00",
		},
	} {
		if got := f.brand.body(t, pattern); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sent\n%v, want\n%v", pattern, got, want)
		}
	}
	if got := f.brand.body(t, createBatch)["transactionIds"]; !reflect.DeepEqual(got, []any{"CTR_0"}) {
		t.Errorf("batch of %v", got)
	}
	if m.GetLink() != url(0, 0) || m.GetRequestId() != "A1" || m.GetContactId() != "CID_0" || m.GetContactLookupId() != "CGC_0" ||
		m.GetTransactionId() != "CTR_0" || m.GetDistributionId() != "EMD_0" || m.GetSurveyId() != survey ||
		m.GetContact().GetExternalId() != "P-1001" || m.GetCampaign().GetOutboundId() != "OB-1" || m.GetCampaign().GetName() != "Service survey" ||
		!m.GetExpiresAt().AsTime().Equal(time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("survey.link.created is %v", m)
	}
	if e.LoopID != "L-1" {
		t.Errorf("loop %q, want that of the request", e.LoopID)
	}
}

func TestSettingsFillInWhatTheRequestLeavesOut(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_LINK_LIFETIME": "48h"})
	f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, "A1", "P-1001", "ada"), "ce-time", "2026-07-24T09:30:00Z")
	f.created(t)
	if got, want := f.brand.body(t, createContact), (map[string]any{"email": "ada@example.com", "extRef": "P-1001"}); !reflect.DeepEqual(got, want) {
		t.Errorf("contact %v, want %v: what is empty is not sent, nor is unsubscribed", got, want)
	}
	sent := f.brand.body(t, createDistribution)
	if sent["surveyId"] != survey || sent["mailingListId"] != list || sent["expirationDate"] != "2026-07-26 09:30:00" {
		t.Errorf("distribution %v", sent)
	}
}

func TestLinkIsThatOfTheTransaction(t *testing.T) {
	other := link{"contactId": "CGC_9", "transactionId": "CTR_9", "link": "https://example.com/somebody-else", "externalDataReference": "P-1001", "unsubscribed": "0"}
	for name, change := range map[string]func(ours link) []link{
		"transaction id before an equal reference": func(ours link) []link { return []link{other, ours} },
		"reference where no transaction is named": func(ours link) []link {
			ours["transactionId"], ours["contactId"] = nil, "MLRP_7"
			return []link{{"contactId": "CGC_9", "link": "https://example.com/x", "externalDataReference": "P-9"}, ours}
		},
		"contact id where dedupe took another reference": func(ours link) []link {
			delete(ours, "transactionId")
			ours["externalDataReference"], ours["contactId"] = "P-0999", "CID_0"
			return []link{ours}
		},
		"lookup id alone": func(ours link) []link {
			return []link{{"contactId": "CGC_0", "link": ours["link"], "unsubscribed": 0, "exceededContactFrequency": "false"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.brand.change = func(links []link) []link { return change(links[0]) }
			f.broker.Publish(subjects.SurveyLinkRequested, wanted)
			if _, m := f.created(t); m.GetLink() != url(0, 0) {
				t.Errorf("link %q is not ours", m.GetLink())
			}
		})
	}
}

func TestLinksThatComeLateAreReadAgain(t *testing.T) {
	f := start(t, nil)
	f.brand.late = 1
	f.broker.Publish(subjects.SurveyLinkRequested, wanted)
	f.created(t)
	if got := worked(f.brand.Patterns()); !slices.Equal(got, append(slices.Clone(fiveSteps), readLinks)) {
		t.Errorf("called %v, want the links once more and nothing else", got)
	}
}

func TestPeopleWhoMustNotBeInvitedAreNot(t *testing.T) {
	for name, c := range map[string]struct {
		env    servicetest.Env
		link   link
		reason string // empty: invited
	}{
		"opted out":                           {link: link{"unsubscribed": true}, reason: "UNSUBSCRIBED"},
		"opted out, as a text":                {link: link{"unsubscribed": "1"}, reason: "UNSUBSCRIBED"},
		"no link":                             {link: link{"link": nil}, reason: "UNSUBSCRIBED"},
		"asked too often":                     {link: link{"exceededContactFrequency": true}, reason: "CONTACT_FREQUENCY"},
		"asked too often, and so no link":     {link: link{"exceededContactFrequency": true, "link": nil}, reason: "CONTACT_FREQUENCY"},
		"asked too often, and nobody minds":   {env: servicetest.Env{"QUALTRICS_HONOUR_FREQUENCY": "false"}, link: link{"exceededContactFrequency": true}},
		"opted out, and frequency is no rule": {env: servicetest.Env{"QUALTRICS_HONOUR_FREQUENCY": "false"}, link: link{"unsubscribed": 1}, reason: "UNSUBSCRIBED"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.env)
			f.brand.change = func(links []link) []link {
				maps.Copy(links[0], c.link)
				return links
			}
			f.broker.Publish(subjects.SurveyLinkRequested, wanted, "ce-loopid", "L-1")
			if c.reason == "" {
				f.created(t)
				return
			}
			e := f.Published(subjects.SurveyLinkSuppressed, 1)[0]
			f.Settled()
			m := e.Data.(*eventsv1.SurveyLinkSuppressed)
			if m.GetReason() != c.reason || m.GetRequestId() != "A1" || m.GetContact().GetExternalId() != "P-1001" || m.GetCampaign().GetOutboundId() != "OB-1" || e.LoopID != "L-1" {
				t.Errorf("survey.link.suppressed is %v in loop %s", m, e.LoopID)
			}
			if n := len(servicetest.Events(t, f.broker, subjects.SurveyLinkCreated)); n != 0 {
				t.Errorf("%d links for somebody who must not be invited", n)
			}
		})
	}
}

func TestLostAnswerAtAnyStepMakesNothingTwice(t *testing.T) {
	for _, step := range fiveSteps {
		t.Run(step, func(t *testing.T) {
			f := start(t, nil)
			f.brand.Lose(step)
			f.broker.Publish(subjects.SurveyLinkRequested, wanted)
			_, m := f.created(t)
			if got := f.brand.made(); got != [3]int{1, 1, 1} {
				t.Errorf("%v contacts, transactions, distributions; want one of each", got)
			}
			if m.GetContactLookupId() != "CGC_0" || m.GetLink() != url(0, 0) {
				t.Errorf("what was found is not what was made: %v", m)
			}
		})
	}
}

func TestCrashAtAnyInstructionResumesWhereItWas(t *testing.T) {
	results := []servicetest.Step{
		{Name: "contact", Result: qualtrics.ContactIDs{ID: "CID_0", LookupID: "CGC_0"}},
		{Name: "transaction", Result: "CTR_0"},
		{Name: "batch", Result: "BT_0"},
		{Name: "distribution", Result: "EMD_0"},
	}
	for done := range len(results) + 1 {
		for _, underWay := range []bool{false, true} {
			if underWay && done == len(results) {
				continue // reading links changes nothing
			}
			t.Run(fmt.Sprintf("%d steps done, next under way %v", done, underWay), func(t *testing.T) {
				f := start(t, nil)
				left := slices.Clone(results[:done])
				reached := done
				if underWay { // the vendor acted, and nobody heard
					left, reached = append(left, servicetest.Step{Name: results[done].Name}), done+1
				}
				f.brand.reach(reached)
				servicetest.Crashed(t, f.broker, effect.Link("A1"), "L-1", left...)
				f.broker.Publish(subjects.SurveyLinkRequested, wanted, "ce-loopid", "L-1")
				f.created(t)
				if got := f.brand.made(); got != [3]int{1, 1, 1} {
					t.Errorf("%v contacts, transactions, distributions; want one of each", got)
				}
				for i, step := range fiveSteps[:reached] {
					if repeated := len(f.brand.Calls(step)); repeated > 0 && !(step == createBatch && underWay && i == done) {
						t.Errorf("%s was done before and is repeated", step)
					}
				}
			})
		}
	}
}

// reach gives the brand what a run had made after so many steps.
func (v *brand) reach(steps int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if steps > 0 {
		v.contacts = []contact{{Email: "ada@example.com", ExtRef: "P-1001"}}
	}
	if steps > 1 {
		v.transactions = []transaction{{ContactID: "CID_0", MailingListID: list, Data: map[string]any{"requestId": "A1"}}}
	}
	if steps > 2 {
		v.batches = [][]string{{"CTR_0"}}
	}
	if steps > 3 {
		v.distributions = []distribution{{SurveyID: survey, BatchID: "BT_0", MailingListID: list, Description: "closeloop A1"}}
	}
}

func TestStoppedServiceIsContinuedByTheNext(t *testing.T) {
	oneByOne := servicetest.Env{"QUALTRICS_PARALLEL": "2", "QUALTRICS_BULK": "false"}
	f := start(t, oneByOne)
	const n = 20
	for i := range n {
		f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, fmt.Sprint("A", i), fmt.Sprint("P-", i), fmt.Sprint("p", i)))
	}
	f.Published(subjects.SurveyLinkCreated, 1)
	f.Stop()
	maps.Copy(oneByOne, settings(f.brand))
	next := servicetest.Start(t, f.broker, linker.Define, oneByOne)
	next.Published(subjects.SurveyLinkCreated, n)
	next.Settled()
	if got := f.brand.made(); got != [3]int{n, n, n} {
		t.Errorf("%v contacts, transactions, distributions; want %d of each", got, n)
	}
}

func TestRefusalsEndInTheDeadLettersInQualtricsWordsAndTheNextIsDone(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		words   []string
	}{
		"wrong survey":         {strings.Replace(wanted, "SV_1", "SV_wrong", 1), []string{"qualtrics: ", "GSI_2", "Survey not found."}},
		"wrong list":           {strings.Replace(wanted, "CG_1", "CG_wrong", 1), []string{"PACC_6", "Mailing List not found"}},
		"row refused in a 200": {strings.Replace(wanted, `"sourceObject":"SERVICE_ORDER"`, `"refuse":"this row"`, 1), []string{"TR_3", "the row is not wanted"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.broker.Publish(subjects.SurveyLinkRequested, c.request)
			f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, "A2", "P-2", "grace"))
			letter := f.Dead(1)[0]
			for _, words := range c.words {
				if letter.Class != "refused" || !strings.Contains(letter.Reason, words) {
					t.Errorf("dead letter %+v does not say %q", letter, words)
				}
			}
			bustest.Eventually(t, "the next link", func() bool { return len(servicetest.Events(t, f.broker, subjects.SurveyLinkCreated)) == 1 })

			var status struct{ RequestID, State, Reason string }
			f.Get("/survey/links/A1").Want(200).JSON(&status)
			if status.State != "rejected" || !strings.Contains(status.Reason, c.words[0]) {
				t.Errorf("status %+v", status)
			}
		})
	}
}

func TestEventThatBreaksItsContractIsDeadWithTheField(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_SURVEY_ID": ""})
	for i, c := range []struct{ body, field string }{
		{`{"requestId":"A1","contact":{"externalId":"P-1"}}`, "contact.email"},
		{`{"requestId":"A1","contact":{"email":"a@example.com"},"survey":{"survey":"SV_1"}}`, "survey.survey"},
		{`{"requestId":"A1","contact":{"email":"a@example.com"}}`, "survey.surveyId"},
		{strings.Replace(wanted, `"amount":49.5`, `"amount":{"value":49.5}`, 1), "transaction.data.amount"},
		{strings.Replace(wanted, `"amount":49.5`, `"requestId":"other"`, 1), "transaction.data.requestId"},
		{`no JSON`, ""},
	} {
		f.broker.Publish(subjects.SurveyLinkRequested, c.body)
		if letter := f.Dead(i + 1)[i]; letter.Class != "invalid" || letter.Field != c.field || letter.Body != c.body {
			t.Errorf("%s: dead letter %+v, want field %q", c.body, letter, c.field)
		}
	}
	if n := len(worked(f.brand.Patterns())); n != 0 {
		t.Errorf("%d calls for events that break their contract", n)
	}
}

func TestSameRequestNeverMakesASecondLink(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.SurveyLinkRequested, wanted)
	_, first := f.created(t)

	// The same key for somebody else: still the first person's link, and told as that person's.
	f.broker.Publish(subjects.SurveyLinkRequested, strings.NewReplacer("P-1001", "P-2002", "ada@", "eve@", "OB-1", "OB-2").Replace(wanted))
	f.Post("/survey/links", wanted).Want(202)
	f.Settled()
	var again struct {
		Link     string
		Contact  struct{ ExternalID string }
		Campaign struct{ OutboundID string }
	}
	f.Post("/survey/links", strings.Replace(wanted, "P-1001", "P-2002", 1), "Prefer", "wait=20").Want(201).JSON(&again)
	if again.Link != first.GetLink() || again.Contact.ExternalID != "P-1001" || again.Campaign.OutboundID != "OB-1" {
		t.Errorf("answered %+v", again)
	}
	if got := f.brand.made(); got != [3]int{1, 1, 1} {
		t.Errorf("%v contacts, transactions, distributions; want one of each", got)
	}
	for _, e := range servicetest.Events(t, f.broker, subjects.SurveyLinkCreated) {
		if m := e.Data.(*eventsv1.SurveyLinkCreated); m.GetContact().GetExternalId() != "P-1001" || m.GetLink() != first.GetLink() {
			t.Errorf("another person was told the link: %v", m)
		}
	}
}

func TestDoorTakesOneRequest(t *testing.T) {
	f := start(t, nil)
	var receipt struct{ ID, LoopID string }
	f.Post("/survey/links", wanted).Want(202).JSON(&receipt)
	e, _ := f.created(t)
	if receipt.ID == "" || receipt.LoopID != e.LoopID {
		t.Errorf("receipt %+v, want the loop %s", receipt, e.LoopID)
	}
	var created struct{ RequestID, Link, ExpiresAt string }
	f.Get("/survey/links/A1").Want(200).JSON(&created)
	if created.RequestID != "A1" || created.Link != url(0, 0) || created.ExpiresAt != "2026-10-24T00:00:00Z" {
		t.Errorf("status %+v", created)
	}
}

func TestDoorTakesManyRequests(t *testing.T) {
	f := start(t, nil)
	body := func(ids ...string) string {
		var all []string
		for _, id := range ids {
			all = append(all, fmt.Sprintf(brief, id, "P-"+id, id))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	var receipts []struct{ ID, LoopID string }
	f.Post("/survey/links", body("B1", "B2", "B3")).Want(202).JSON(&receipts)
	if len(receipts) != 3 || receipts[0].ID == "" || receipts[0].ID == receipts[1].ID {
		t.Errorf("receipts %v", receipts)
	}
	f.Published(subjects.SurveyLinkCreated, 3)

	var links []struct{ RequestID, Link string }
	f.Post("/survey/links", body("B3", "B4"), "Prefer", "wait=20").Want(201).JSON(&links)
	if len(links) != 2 || links[0].RequestID != "B3" || links[1].RequestID != "B4" || links[1].Link == "" {
		t.Errorf("links %v", links)
	}
	if got := f.brand.made(); got != [3]int{4, 4, 2} {
		t.Errorf("%v contacts, transactions, distributions; want 4 of each, and the first 3 distributed together", got)
	}
}

func TestCallerWhoWaitsGetsWhatBecameOfIt(t *testing.T) {
	t.Run("a link", func(t *testing.T) {
		f := start(t, nil)
		for range 2 {
			var created struct{ Link string }
			if f.Post("/survey/links", wanted, "Prefer", "wait=20").Want(201).JSON(&created); created.Link != url(0, 0) {
				t.Errorf("link %q", created.Link)
			}
		}
	})
	t.Run("no link", func(t *testing.T) {
		f := start(t, nil)
		f.brand.change = func(links []link) []link { links[0]["unsubscribed"] = true; return links }
		var suppressed struct{ Reason string }
		if f.Post("/survey/links", wanted, "Prefer", "wait=20").Want(200).JSON(&suppressed); suppressed.Reason != "UNSUBSCRIBED" {
			t.Errorf("answered %+v", suppressed)
		}
	})
	t.Run("refused", func(t *testing.T) {
		f := start(t, nil)
		answer := f.Post("/survey/links", strings.Replace(wanted, "SV_1", "SV_wrong", 1), "Prefer", "wait=20").WantProblem(422)
		if !strings.Contains(answer.Body, "Survey not found.") {
			t.Errorf("answered %s", answer.Body)
		}
	})
	t.Run("not yet", func(t *testing.T) {
		f := start(t, nil)
		f.brand.late = 100
		f.Post("/survey/links", wanted, "Prefer", "wait=1").Want(202)
		var status struct{ RequestID, State string }
		if f.Get("/survey/links/A1").Want(202).JSON(&status); status.RequestID != "A1" || status.State == "" {
			t.Errorf("status %+v", status)
		}
	})
}

func TestStatusOfARequestThatNobodyMadeIsNotFound(t *testing.T) {
	f := start(t, nil)
	f.Get("/survey/links/unknown").WantProblem(404)
}

func TestBadInputIsAnsweredWithTheFieldAndPublishesNothing(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		fields                  []string
	}{
		{"misspelt field", "application/json", `{"requestId":"A1","contact":{"mail":"a@example.com"}}`, 400, []string{"contact.mail"}},
		{"missing fields", "application/json", `{"contact":{}}`, 400, []string{"requestId", "contact.email"}},
		{"no address", "application/json", `{"requestId":"A1","contact":{"email":"ada"}}`, 400, []string{"contact.email"}},
		{"no time", "application/json", `{"requestId":"A1","contact":{"email":"a@example.com"},"survey":{"expiresAt":"soon"}}`, 400, []string{"survey.expiresAt"}},
		{"no survey id", "application/json", `{"requestId":"A1","contact":{"email":"a@example.com"},"survey":{"surveyId":"cart"}}`, 400, []string{"survey.surveyId"}},
		{"our name", "application/json", strings.Replace(wanted, `"amount":49.5`, `"loopId":"mine"`, 1), 400, []string{"transaction.data.loopId"}},
		{"a group in the data", "application/json", strings.Replace(wanted, `"amount":49.5`, `"amount":[49.5]`, 1), 400, []string{"transaction.data.amount"}},
		{"one of many", "application/json", `[` + wanted + `,{"requestId":"A2","contact":{"email":"a@example.com"},"transaction":{"data":{"x":[]}}}]`, 400, []string{"[1].transaction.data.x"}},
		{"two of many", "application/json", `[{"requestId":"A1"},` + wanted + `,{"contact":{"email":"a@example.com"}}]`, 400, []string{"[0].contact", "[2].requestId"}},
		{"an empty list", "application/json", `[]`, 400, nil},
		{"no JSON", "application/json", `link please`, 400, nil},
		{"another kind of body", "text/csv", `A1,ada@example.com`, 415, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Do("POST", "/survey/links", c.contentType, c.body).WantProblem(c.status, c.fields...)
		})
	}
	if n := len(servicetest.Events(t, f.broker, subjects.SurveyLinkRequested)); n != 0 {
		t.Errorf("%d events published for bad input", n)
	}
}

func TestRefusedTokenPausesAndLosesNothing(t *testing.T) {
	f := start(t, nil)
	f.brand.Refuse(createContact, refused(401, "", "Token is not valid"))
	f.broker.Publish(subjects.SurveyLinkRequested, wanted)
	f.created(t) // and no dead letter
}

func TestLogTellsNothingOfThePerson(t *testing.T) {
	f := start(t, nil)
	f.brand.Refuse(createContact, refused(400, "RP_9", "ada@example.com (Ada Lovelace, +44 20 7946 0000) is wrong, see "+url(0, 0)))
	f.Post("/survey/links", wanted).Want(202)
	reason := f.Dead(1)[0].Reason
	f.Post("/survey/links", strings.Replace(wanted, "A1", "A2", 1), "Prefer", "wait=20").Want(201)
	f.Get("/survey/links/A2").Want(200)
	f.Stop()
	for _, secret := range []string{"ada@", "Ada", "Lovelace", "7946", "secret-", "Q_DL", token} {
		if strings.Contains(f.Log(), secret) || strings.Contains(reason, secret) {
			t.Errorf("%q is in the log or the reason", secret)
		}
	}
	if !strings.Contains(f.Log(), `"event.handled"`) {
		t.Error("the log has no line of the event")
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", linker.Define().Settings)
}
