package qualtrics_test

import (
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

const (
	topic     = "surveyengine.completedResponse.SV_1aa0000000000001"
	eventsURL = "https://hooks.example.org/qualtrics/events"
	sharedKey = "s3cr3t-shared-key"
)

func TestSubscriptionsAreListedToTheLastPage(t *testing.T) {
	c, a := serve(t, map[string]string{
		"GET /eventsubscriptions": result(`{"elements":[{"id":"SUB_1","scope":"simbrand","topics":"` + topic + `","publicationUrl":"` + eventsURL + `","encrypted":false,"successfulCalls":7}],
			"nextPage":"BASE/API/v3/eventsubscriptions?skipToken=SUB_1"}`),
		"GET /eventsubscriptions?skipToken=SUB_1": result(`{"elements":[],"nextPage":"BASE/API/v3/eventsubscriptions?skipToken=2"}`),
		"GET /eventsubscriptions?skipToken=2":     result(`{"elements":[{"id":"SUB_2","topics":"threesixty.*","publicationUrl":"https://other.example.org/"}]}`),
	})
	all, err := c.Subscriptions(t.Context())
	if err != nil || len(all) != 2 || len(a.asked) != 3 {
		t.Fatalf("%+v after %v, error %v", all, a.asked, err)
	}
	if want := (qualtrics.Subscription{ID: "SUB_1", Topics: topic, URL: eventsURL, SuccessfulCalls: 7}); all[0] != want || all[1].ID != "SUB_2" {
		t.Errorf("%+v", all)
	}
}

func TestSubscriptionIsMadeAsDocumented(t *testing.T) {
	c, a := serve(t, map[string]string{"POST /eventsubscriptions": result(`{"id":"SUB_8"}`)})
	id, err := c.CreateSubscription(t.Context(), qualtrics.NewSubscription{Topics: topic, URL: eventsURL, SharedKey: sharedKey})
	if err != nil || id != "SUB_8" {
		t.Fatalf("%s, error %v", id, err)
	}
	want := `{"topics":"` + topic + `","publicationUrl":"` + eventsURL + `","encrypt":false,"sharedKey":"` + sharedKey + `"}`
	if a.bodies[0] != want {
		t.Errorf("sent %s, want %s", a.bodies[0], want)
	}
	if _, err := c.CreateSubscription(t.Context(), qualtrics.NewSubscription{Topics: topic, URL: eventsURL}); err != nil || strings.Contains(a.bodies[1], "sharedKey") {
		t.Errorf("without a key: sent %s, error %v", a.bodies[1], err)
	}
}

func TestLostSubscriptionIsUnknownAndFoundByTopicAndURL(t *testing.T) {
	const listed = `{"elements":[{"id":"SUB_0","topics":"` + topic + `","publicationUrl":"` + eventsURL + `"},
		{"id":"SUB_1","topics":"` + topic + `","publicationUrl":"https://other.example.org/"},
		{"id":"SUB_2","topics":"surveyengine.completedResponse.*","publicationUrl":"` + eventsURL + `"},
		{"id":"SUB_3","topics":"` + topic + `","publicationUrl":"` + eventsURL + `"}]}`
	c, _ := serve(t, map[string]string{
		"POST /eventsubscriptions": `504 {"meta":{"httpStatus":"504 - Gateway Timeout"}}`, "GET /eventsubscriptions": result(listed),
	})
	_, err := c.CreateSubscription(t.Context(), qualtrics.NewSubscription{Topics: topic, URL: eventsURL, SharedKey: sharedKey})
	wantClass(t, err, fault.Unknown)
	if id, found, err := c.FindSubscription(t.Context(), topic, eventsURL, "SUB_0"); id != "SUB_3" || !found || err != nil {
		t.Errorf("found %q %t, error %v, want the one that was not there before", id, found, err)
	}
	if id, found, err := c.FindSubscription(t.Context(), topic, eventsURL, "SUB_0", "SUB_3"); found || err != nil {
		t.Errorf("found %q, error %v", id, err)
	}
}

func TestSubscriptionIsDeletedAlsoWhenItIsGone(t *testing.T) {
	c, a := serve(t, map[string]string{
		"DELETE /eventsubscriptions/SUB_1": `{` + meta + `}`, // qualtrics.md §2.4: no result
		"DELETE /eventsubscriptions/SUB_2": `404 {"meta":{"requestId":null,"error":{"errorCode":"ESSG_2","errorMessage":"SUB_2 not found"}}}`,
	})
	for _, id := range []string{"SUB_1", "SUB_2"} {
		if err := c.DeleteSubscription(t.Context(), id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if len(a.asked) != 2 {
		t.Errorf("asked %v", a.asked)
	}
}

func TestSubscriptionsWithoutABrandAdministratorSaySo(t *testing.T) {
	const refusal = `403 {"meta":{"httpStatus":"403 - Forbidden","error":{"errorCode":"QMST_2.1","errorMessage":"The operation is forbidden."}}}`
	c, _ := serve(t, map[string]string{
		"GET /eventsubscriptions": refusal, "POST /eventsubscriptions": refusal, "DELETE /eventsubscriptions/SUB_1": refusal,
	})
	_, listing := c.Subscriptions(t.Context())
	_, creating := c.CreateSubscription(t.Context(), qualtrics.NewSubscription{Topics: topic, URL: eventsURL, SharedKey: sharedKey})
	for name, err := range map[string]error{"list": listing, "create": creating, "delete": c.DeleteSubscription(t.Context(), "SUB_1")} {
		f := wantClass(t, err, fault.Forbidden)
		if !strings.Contains(f.Reason, "QMST_2.1") || !strings.Contains(f.Reason, "brand administrator") {
			t.Errorf("%s: %s", name, f.Reason)
		}
	}
}

func TestSubscriptionFaultsKeepTheKeyAndTheURLToThemselves(t *testing.T) {
	const url = "https://closeloop:hidden@hooks.example.org/qualtrics/events"
	c, _ := serve(t, map[string]string{
		"POST /eventsubscriptions": `400 {"meta":{"error":{"errorMessage":"Invalid: ` + url + ` ` + sharedKey + `"}}}`,
	})
	_, err := c.CreateSubscription(t.Context(), qualtrics.NewSubscription{Topics: topic, URL: url, SharedKey: sharedKey})
	if f := wantClass(t, err, fault.Refused); strings.Contains(f.Reason, "hidden") || strings.Contains(f.Reason, sharedKey) {
		t.Errorf("says %s", f.Reason)
	}
}
