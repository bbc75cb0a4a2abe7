package qualtrics_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// The golden vectors of qualtrics.md §3.10.
var golden = map[string]struct{ key, message, digest string }{
	"G1": {
		"invented-key-0001",
		`{"Status":"Complete","SurveyID":"SV_sim0000000000002","ResponseID":"R_sim000000000002","CompletedDate":"2026-01-15 09:31:07","BrandID":"simbrand"}`,
		"73f211fd8916674f5e138483c2955ea95d1b613253878996feccd107941463a7040e4109caf83e37cc4dba632d040bd578c6ed0c2d565ecdda78216e721f86f7",
	},
	"G2": {
		"s3cr3t-shared-key",
		`{"Status":"Complete","SurveyID":"SV_sim0000000000001","ResponseID":"R_sim000000000001","RecipientID":"CGC_sim0000000001","ResponseEventContext":"","DistributionID":"EMD_sim0000000001","CompletedDate":"2026-01-15 09:30:00","BrandID":"simbrand"}`,
		"f7a4740ce4077f555067390e67be64eb4280d5a5d36ee441c33450dd2d50847208b8e90391afd757751fbba3a31c381f49f8e6fc7c6dfdc00ac26f0633228cd7",
	},
	"G3": {
		"invented-key-0003",
		`{"Status":"Complete","SurveyID":"SV_sim0000000000003","ResponseID":"R_sim000000000003","ResponseEventContext":"Größe 1+2 & \"x\"","CompletedDate":"2026-01-15 09:32:45","BrandID":"simbrand"}`,
		"b745cb56f2206dcadb79943edb86166b2b6fdbae532150dd2729089a31e1f92b8a13cd02b411edfde24872ac548aef8b2f191ab1b13f1b323067fceab345b4e3",
	},
}

func TestSignatureOfTheGoldenVectors(t *testing.T) {
	for name, g := range golden {
		if got := qualtrics.Sign(g.key, g.message); got != g.digest {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestMessageIsWrittenAsQualtricsWritesIt(t *testing.T) {
	check(t, "G2", qualtrics.MessageJSON("SV_sim0000000000001", "R_sim000000000001", "CGC_sim0000000001", "",
		"EMD_sim0000000001", "2026-01-15 09:30:00", "simbrand"), golden["G2"].message)
	check(t, "G3", qualtrics.MessageJSON("SV_sim0000000000003", "R_sim000000000003", "", `Größe 1+2 & "x"`,
		"", "2026-01-15 09:32:45", "simbrand"), golden["G3"].message)
	for plus, want := range map[bool]string{
		false: "MSG=%7B%22Status%22%3A%22Complete%22%2C%22SurveyID%22%3A%22SV_sim0000000000003%22%2C%22ResponseID%22%3A%22R_sim000000000003%22%2C%22ResponseEventContext%22%3A%22Gr%C3%B6%C3%9Fe%201%2B2%20%26%20%5C%22x%5C%22%22%2C%22CompletedDate%22%3A%222026-01-15%2009%3A32%3A45%22%2C%22BrandID%22%3A%22simbrand%22%7D",
		true:  "MSG=%7B%22Status%22%3A%22Complete%22%2C%22SurveyID%22%3A%22SV_sim0000000000003%22%2C%22ResponseID%22%3A%22R_sim000000000003%22%2C%22ResponseEventContext%22%3A%22Gr%C3%B6%C3%9Fe+1%2B2+%26+%5C%22x%5C%22%22%2C%22CompletedDate%22%3A%222026-01-15+09%3A32%3A45%22%2C%22BrandID%22%3A%22simbrand%22%7D",
	} {
		check(t, fmt.Sprint("plus ", plus), qualtrics.FormField("MSG", golden["G3"].message, plus), want)
	}
}

func TestSubscriptionsAreMadeListedAndDeleted(t *testing.T) {
	b := start(t, nil)
	h := receiver(t)
	a := b.call("POST", "/eventsubscriptions", `{"topics":"`+completed("SV_never_checked")+`","publicationUrl":"`+h.url+`","encrypt":false,"sharedKey":"k"}`).want(200)
	id := a.text("result", "id")
	if !strings.HasPrefix(id, "SUB_") {
		t.Errorf("got %s", id)
	}
	second := b.call("POST", "/eventsubscriptions", `{"topics":"`+completed("SV_never_checked")+`","publicationUrl":"`+h.url+`"}`).want(200)
	if second.text("result", "id") == id {
		t.Error("the same subscription, want a second")
	}
	all := b.call("GET", "/eventsubscriptions", "").want(200)
	check(t, "list", len(all.elements()), 2)
	check(t, "one", b.call("GET", "/eventsubscriptions/"+id, "").want(200).at("result"), map[string]any{
		"id": id, "scope": "simbrand", "topics": completed("SV_never_checked"), "publicationUrl": h.url, "encrypted": false, "successfulCalls": 0,
	})
	if gone := b.call("DELETE", "/eventsubscriptions/"+id, "").want(200); gone.at("result") != nil {
		t.Errorf("got %s", gone.raw)
	}
	missing := b.call("GET", "/eventsubscriptions/"+id, "")
	missing.refused(404, "ESSG_2")
	if _, there := missing.at("meta").(map[string]any)["requestId"]; !there || missing.at("meta", "requestId") != nil {
		t.Errorf("want requestId null, got %s", missing.raw)
	}
}

func TestSubscriptionsAreReadStrictly(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.RefuseSameSubscription = true })
	for _, body := range []string{
		`{}`, `{"topics":"*"}`, `{"publicationUrl":"http://x/"}`, `{"topics":["*"],"publicationUrl":"http://x/"}`,
		`{"topics":"*","publicationUrl":"/path"}`, `{"topics":"*","publicationUrl":"ftp://x/"}`,
		`{"topics":"surveyengine.completedresponse.SV_1","publicationUrl":"http://x/"}`,
		`{"topics":"simbrand.surveyengine.completedResponse.SV_1","publicationUrl":"http://x/"}`,
		`{"topics":"*","publicationUrl":"http://x/","encrypt":true}`,
		`{"topics":"*","publicationUrl":"http://x/","sharedKey":null}`,
		`{"eventType":"*","callbackUrl":"http://x/","secretToken":"s"}`,
	} {
		b.call("POST", "/eventsubscriptions", body).refused(400, "")
	}
	for _, topic := range []string{"*", "surveyengine.completedResponse.*", "surveyengine.completedResponse.SV_*", "threesixty.*", "controlpanel.activateSurvey"} {
		body := `{"topics":"` + topic + `","publicationUrl":"http://x.invalid/"}`
		b.call("POST", "/eventsubscriptions", body).want(200)
		b.call("POST", "/eventsubscriptions", body).refused(400, "")
	}
	b = start(t, func(s *qualtrics.Settings) { s.Assumed.NoBrandAdmin = true })
	b.call("POST", "/eventsubscriptions", `{"topics":"*","publicationUrl":"http://x/"}`).refused(403, "QMST_2.1")
}

func TestSignedEventOfACompletedAnswer(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed(service), URL: h.url, SharedKey: "s3cr3t-shared-key"}}
	})
	b.run()
	if ping := <-h.requests; ping.method != http.MethodGet {
		t.Errorf("got %s, want the GET that checks the URL", ping.method)
	}
	link, distribution := b.invite(service, map[string]any{"requestId": "Größe 1+2 & \"x\""})
	b.submit(link, "QID1", "5", "QID2", "1")

	got := h.next(t)
	if kind := got.header.Get("Content-Type"); kind != "application/x-www-form-urlencoded" {
		t.Errorf("got %s", kind)
	}
	if !strings.HasPrefix(got.body, "Topic=simbrand.surveyengine.completedResponse.SV_service&HMAC=") ||
		!strings.HasSuffix(got.body, "&undefined=") || strings.Contains(got.body, "+") {
		t.Errorf("got %s", got.body)
	}
	form := got.form(t)
	if form.Get("HMAC") != qualtrics.Sign("s3cr3t-shared-key", form.Get("MSG")) {
		t.Error("the signature does not fit MSG as decoded")
	}
	var message map[string]string
	if err := json.Unmarshal([]byte(form.Get("MSG")), &message); err != nil {
		t.Fatal(err)
	}
	books := b.sim.Books()
	check(t, "message", message, map[string]string{
		"Status": "Complete", "SurveyID": service, "ResponseID": books.Responses[0].ID, "RecipientID": books.Links[0].LookupID,
		"ResponseEventContext": `Größe 1+2 & "x"`, "DistributionID": distribution, "CompletedDate": "2026-01-15 09:30:00",
		"BrandID": "simbrand",
	})
	until(t, "the success is counted", func() bool { return b.sim.Books().Subscriptions[0].SuccessfulCalls == 1 })
}

func TestEventContextHasAtMost50Characters(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("*"), URL: h.url}}
	})
	b.run()
	link, _ := b.invite(service, map[string]any{"requestId": strings.Repeat("ö", 60)})
	b.submit(link, "QID1", "5", "QID2", "1")
	check(t, "context", h.next(t).form(t).Get("ResponseEventContext"), strings.Repeat("ö", 50))
}

func TestUnsignedEventIsFlat(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: h.url}}
		s.Assumed.PlusForSpace = true
	})
	b.run()
	link, distribution := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	got := h.next(t)
	books := b.sim.Books()
	check(t, "body", got.body, "Topic=simbrand.surveyengine.completedResponse.SV_cart&Status=Complete&SurveyID=SV_cart&ResponseID="+
		books.Responses[0].ID+"&RecipientID="+books.Links[0].LookupID+"&DistributionID="+distribution+
		"&CompletedDate=2026-01-15+09%3A30%3A00&BrandID=simbrand")
}

func TestEveryMatchingSubscriptionGetsTheEvent(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		for _, topic := range []string{"*", completed("*"), completed("SV_cart"), completed("SV_service"), "threesixty.*"} {
			s.Webhooks = append(s.Webhooks, qualtrics.Webhook{Topics: topic, URL: h.url})
		}
		s.Assumed.EventDuplicates = 1
	})
	b.run()
	link, _ := b.invite("SV_cart", nil)
	b.visit(link)
	b.submit(link, "QID1", "3", "QID2", "2")
	topics := map[string]int{}
	for range 8 {
		topics[h.next(t).form(t).Get("Topic")]++
	}
	check(t, "events", topics, map[string]int{
		"simbrand.surveyengine.completedResponse.SV_cart":       6, // three subscriptions, twice
		"simbrand.surveyengine.startedRecipientSession.SV_cart": 2,
	})
}

func TestFailedEventIsRetriedUntilItIsGivenUp(t *testing.T) {
	h := receiver(t)
	h.status.Store(500)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: h.url, SharedKey: "k"}}
		s.Assumed.EventAttempts = 3
	})
	b.run()
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	first := h.next(t)
	if again := h.next(t); again.body != first.body {
		t.Error("the retry is another event")
	}
	until(t, "it is given up", func() bool { return b.deliveries("event")[0].State == qualtrics.GivenUp })
	d := b.deliveries("event")[0]
	check(t, "outcome", []any{d.Attempts, d.LastStatus, b.sim.Books().Subscriptions[0].SuccessfulCalls}, []any{3, 500, 0})
}

func TestLostEventIsNeverSent(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: "http://x.invalid/"}}
		s.Assumed.EventLoss = 1
	})
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	check(t, "state", b.deliveries("event")[0].State, qualtrics.Lost)
}

func TestLostEventsAreTheSameForASeed(t *testing.T) {
	lost := func(seed uint64) (states []string) {
		b := start(t, func(s *qualtrics.Settings) {
			s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: "http://x.invalid/"}}
			s.Assumed.EventLoss, s.Assumed.Seed = 0.5, seed
		})
		for range 20 {
			link, _ := b.invite("SV_cart", nil)
			b.submit(link, "QID1", "3", "QID2", "2")
		}
		for _, d := range b.deliveries("event") {
			states = append(states, d.State)
		}
		return states
	}
	first := lost(1)
	check(t, "same seed", lost(1), first)
	if !slices.Contains(first, qualtrics.Lost) || !slices.Contains(first, qualtrics.Pending) {
		t.Errorf("want some and some, got %v", first)
	}
	if asJSON(t, lost(2)) == asJSON(t, first) {
		t.Error("another seed, the same events lost")
	}
}

func TestEventsMayComeLateAndInAnotherOrder(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: h.url}}
		s.Assumed.EventDelay, s.Assumed.EventSpread = 20*time.Millisecond, 200*time.Millisecond
	})
	b.run()
	var made []string
	for range 10 {
		link, _ := b.invite("SV_cart", nil)
		b.submit(link, "QID1", "3", "QID2", "2")
	}
	for _, d := range b.deliveries("event") {
		made = append(made, d.ResponseID)
		if wait := d.DueAt.Sub(d.CreatedAt); wait < 20*time.Millisecond || wait > 220*time.Millisecond {
			t.Errorf("due after %v", wait)
		}
	}
	var came []string
	for range 10 {
		came = append(came, h.next(t).form(t).Get("ResponseID"))
	}
	if slices.Equal(came, made) {
		t.Error("all came in the order in which they were made")
	}
	slices.Sort(came)
	slices.Sort(made)
	check(t, "all came", came, made)
}

func TestOneAttemptMeansNoRetry(t *testing.T) {
	h := receiver(t)
	h.status.Store(500)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: h.url}}
		s.Assumed.EventAttempts = 1
	})
	b.run()
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	until(t, "it is given up", func() bool { return b.deliveries("event")[0].State == qualtrics.GivenUp })
	check(t, "attempts", b.deliveries("event")[0].Attempts, 1)
}

func TestUnsignedModeLeavesTheSignatureOutInSpiteOfTheKey(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: h.url, SharedKey: "k"}}
		s.Assumed.UnsignedEvents = true
	})
	b.run()
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	form := h.next(t).form(t)
	if form.Has("HMAC") || form.Has("MSG") || form.Get("ResponseID") != b.sim.Books().Responses[0].ID {
		t.Errorf("got %v", form)
	}
}

func TestSubscriptionsAreListedInPages(t *testing.T) {
	b := start(t, nil)
	for i := range 120 {
		b.call("POST", "/eventsubscriptions", fmt.Sprintf(`{"topics":"*","publicationUrl":"http://x.invalid/%d"}`, i)).want(200)
	}
	first := b.call("GET", "/eventsubscriptions", "").want(200)
	rest := b.call("GET", strings.TrimPrefix(first.text("result", "nextPage"), b.server.URL+"/API/v3"), "").want(200)
	check(t, "pages", []any{len(first.elements()), len(rest.elements()), rest.at("result", "nextPage")}, []any{100, 20, nil})
	check(t, "the last", rest.elements()[19]["publicationUrl"], "http://x.invalid/119")
	missing := b.call("DELETE", "/eventsubscriptions/SUB_0", "")
	missing.refused(404, "ESSG_2")
	if meta, _ := missing.at("meta").(map[string]any); meta["requestId"] != nil {
		t.Errorf("want requestId null, got %s", missing.raw)
	}
}

func TestEventsNotYetDeliveredAreSentAfterARestart(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: h.url, SharedKey: "k"}}
		s.Assumed.EventAttempts, s.Assumed.EventBackoff = 1000, time.Millisecond
	})
	h.status.Store(503)
	b.run()
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	before := h.next(t)
	b.restart()
	check(t, "state", b.deliveries("event")[0].State, qualtrics.Pending)
	check(t, "subscriptions", len(b.sim.Books().Subscriptions), 1)
	h.status.Store(200)
	b.run()
	if after := h.next(t); after.body != before.body {
		t.Error("another event was sent")
	}
	until(t, "it is delivered", func() bool { return b.deliveries("event")[0].State == qualtrics.Delivered })
}

func TestDeletedSubscriptionGetsNothingMore(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: "http://x.invalid/"}}
	})
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "3", "QID2", "2")
	b.call("DELETE", "/eventsubscriptions/"+b.sim.Books().Subscriptions[0].ID, "").want(200)
	check(t, "state", b.deliveries("event")[0].State, qualtrics.GivenUp)
}

func TestWorkflowPostsTheAnswerWithoutEscapingIt(t *testing.T) {
	h := receiver(t)
	b := start(t, func(s *qualtrics.Settings) {
		s.Tasks = []qualtrics.WebServiceTask{{
			Name: "task", Survey: "SV_cart", If: map[string]string{"QID1": "Delivery too late", "contact_me": "yes"},
			URL: h.url, Header: map[string]string{"X-API-Key": "secret"},
			JSON: `{"responseId":"${e://Field/ResponseID}","reason":"${q://QID1/ChoiceGroup/SelectedChoices}","text":"${q://QID4/ChoiceTextEntryValue}","email":"${m://Email}","missing":"${e://Field/nothing}"}`,
		}, {Name: "other survey", Survey: service, URL: h.url, JSON: `{}`}}
	})
	b.run()
	link, _ := b.invite("SV_cart", nil)
	b.submit(link, "QID1", "1", "QID2", "1", "QID4", `it's "late"`)
	got := h.next(t)
	check(t, "body", got.body, `{"responseId":"`+b.sim.Books().Responses[0].ID+
		`","reason":"Delivery too late","text":"it's "late"","email":"ada@example.org","missing":""}`)
	check(t, "headers", []string{got.header.Get("Content-Type"), got.header.Get("X-API-Key")}, []string{"application/json", "secret"})

	// The condition does not hold for another answer.
	other, _ := b.invite("SV_cart", nil)
	b.submit(other, "QID1", "1", "QID2", "2")
	check(t, "tasks", len(b.deliveries("task")), 1)
	if d := b.deliveries("task")[0]; d.URL != "" || d.Header != nil || d.Body != "" {
		t.Errorf("a snapshot holds secrets: %+v", d)
	}
}

func TestWorkflowPostsFormFieldsAndRetries(t *testing.T) {
	h := receiver(t)
	h.status.Store(502)
	b := start(t, func(s *qualtrics.Settings) {
		s.Tasks = []qualtrics.WebServiceTask{{Name: "form", URL: h.url, Form: map[string]string{"why": "${e://Field/why}", "csat": "${e://Field/csat}"}}}
	})
	b.run()
	link, _ := b.invite(service, nil)
	b.submit(link, "QID1", "4", "QID2", "1", "QID3", "quick & friendly")
	for range 3 {
		got := h.next(t)
		check(t, "form", got.body, "csat=4&why=quick+%26+friendly")
		check(t, "type", got.header.Get("Content-Type"), "application/x-www-form-urlencoded")
	}
	h.status.Store(200)
	until(t, "it is delivered", func() bool { return b.deliveries("task")[0].State == qualtrics.Delivered })
}
