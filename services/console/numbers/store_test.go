package numbers_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/numbers"
)

// history is what the streams hold: the events of a few loops at known times, and what services told of them.
type history struct {
	t      *testing.T
	broker *bustest.Broker
	// hour is the whole one with which it begins, five hours ago.
	hour time.Time
}

func (h history) event(after time.Duration, loop, id, subject, body string) {
	h.broker.Publish(subject, body, event.HeaderLoopID, loop, event.HeaderID, id, event.HeaderTime, h.hour.Add(after).Format(time.RFC3339Nano))
}

func (h history) told(service, kind string, v any) {
	h.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		h.t.Fatal(err)
	}
	h.broker.Publish(topology.ActivitySubject(service, kind), string(body))
}

// play writes what the figures of these tests are worked out from by hand.
func (h history) play() {
	requested := func(after time.Duration, n, campaign string) {
		h.event(after, "L"+n, "requested-"+n, subjects.SurveyLinkRequested,
			`{"requestId":"r`+n+`","contact":{"externalId":"P`+n+`"},"survey":{"surveyId":"SV_1"},"campaign":{"campaignId":"`+campaign+`"}}`)
	}
	const minute, hour = time.Minute, time.Hour

	// 1 goes all the way, in 72 minutes.
	requested(10*minute, "1", "C1")
	h.event(12*minute, "L1", "created-1", subjects.SurveyLinkCreated, `{"requestId":"r1","surveyId":"SV_1","campaign":{"campaignId":"C1"}}`)
	h.event(15*minute, "L1", "written-1", subjects.InteractionWritten, `{"kind":"SURVEY_LINK_CREATED","interactionId":"I1","requestId":"r1"}`)
	h.event(70*minute, "L1", "received-1", subjects.SurveyResponseReceived, `{"surveyId":"SV_1","responseId":"R1","requestId":"r1"}`)
	h.event(71*minute, "L1", "late-1", subjects.FeedbackDeliveryLate, `{"responseId":"R1","subject":"Late"}`)
	h.event(72*minute, "L1", "written-2", subjects.InteractionWritten, `{"kind":"SURVEY_RESPONSE","interactionId":"I2","responseId":"R1"}`)
	h.event(82*minute, "L1", "task-1", subjects.TaskCreated, `{"responseId":"R1","taskId":"1","objectId":"O1"}`)
	// 2 has a link three hours later, and nobody has written it yet.
	requested(20*minute, "2", "C1")
	h.event(3*hour+20*minute, "L2", "created-2", subjects.SurveyLinkCreated, `{"requestId":"r2","surveyId":"SV_1","campaign":{"campaignId":"C1"}}`)
	// 3 must not be invited.
	requested(hour, "3", "C2")
	h.event(hour+minute, "L3", "suppressed-3", subjects.SurveyLinkSuppressed, `{"requestId":"r3","reason":"UNSUBSCRIBED","campaign":{"campaignId":"C2"}}`)
	// 4 begins with an answer that no rule fired for. The router was done with it at once, and it was told now.
	h.event(2*hour+30*minute, "L4", "received-4", subjects.SurveyResponseReceived, `{"surveyId":"SV_9","responseId":"R4"}`)
	// 5 waits for a person.
	requested(30*minute, "5", "C1")
	h.broker.Publish(topology.DeadLetterSubject(topology.QualtricsLinker), `{"requestId":"r5","campaign":{"campaignId":"C1"},"survey":{"surveyId":"SV_1"}}`,
		bus.HeaderSubject, subjects.SurveyLinkRequested, bus.HeaderLoopID, "L5", bus.HeaderEventID, "requested-5",
		bus.HeaderClass, "refused", bus.HeaderReason, "the mailing list is unknown", event.HeaderLoopID, "L5", event.HeaderID, "requested-5",
		event.HeaderTime, h.hour.Add(30*minute).Format(time.RFC3339Nano))
	// 6 began two days before, and waits for Qualtrics.
	requested(-48*hour, "6", "C1")

	done := func(loop, id string, rules ...activity.Decision) activity.Handled {
		return activity.Handled{EventID: id, LoopID: loop, Type: subjects.SurveyResponseReceived, Attempt: 1, Outcome: activity.Done, Rules: rules}
	}
	h.told(topology.FeedbackRouter, activity.KindAttempt, activity.Attempt{Service: topology.FeedbackRouter, At: time.Now(), Events: []activity.Handled{
		done("L1", "received-1", activity.Decision{Rule: "delivery-too-late", Fired: true, Subject: subjects.FeedbackDeliveryLate}, activity.Decision{Rule: "csat-recognition", Why: "csat >= 4"}),
		done("L4", "received-4", activity.Decision{Rule: "delivery-too-late", Why: "QID1"}),
	}})
	call := activity.Call{Vendor: "qualtrics", Operation: "import contacts", At: time.Now().Add(-2 * minute), Took: time.Second, Status: 200, Outcome: "ok", InsteadOf: 10}
	limited := activity.Call{Vendor: "qualtrics", Operation: "import contacts", At: time.Now().Add(-minute), Took: 3 * time.Second, Status: 429, Outcome: "throttled"}
	h.told(topology.QualtricsLinker, activity.KindAttempt, activity.Attempt{Service: topology.QualtricsLinker, At: time.Now(), Calls: []activity.Call{call, limited}, Wave: 2,
		Events: []activity.Handled{{EventID: "requested-1", LoopID: "L1", Type: subjects.SurveyLinkRequested, Attempt: 1, Outcome: activity.Done}}})
	h.told(topology.SAPInteractionWriter, activity.KindVendor, activity.Vendor{
		Service: topology.SAPInteractionWriter, Vendor: "sap-marketing", State: activity.Out, Since: time.Now().Add(-12 * minute), Until: time.Now().Add(30 * minute),
		Reason: "503 Service Unavailable", At: time.Now(),
	})
	h.told(topology.QualtricsLinker, activity.KindQuota, activity.Quota{
		Service: topology.QualtricsLinker, Vendor: "qualtrics", At: time.Now(), Limits: []activity.Limit{{Name: "all", Used: 300, Most: 3000}},
	})
}

// followed is a read model that has read it all.
func followed(t *testing.T) (history, *loops.Store) {
	t.Helper()
	h := history{t, bustest.Start(t, topology.Settings{}), time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)}
	h.play()
	store, err := loops.Open(t.Context(), filepath.Join(t.TempDir(), "loops.db"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- loops.NewFollower(store, h.broker.JS, logging.Discard()).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	bustest.Eventually(t, "the read model has read the streams", func() bool {
		p := store.Progress()
		return p.Behind == 0 && p.Read[topology.Events] == 14 && p.Read[topology.Activity] == 4 && p.Read[topology.DeadLetters] == 1
	})
	return h, store
}

func TestTheReadModelsFiguresAreThoseWorkedOutByHand(t *testing.T) {
	t.Parallel()
	h, store := followed(t)
	today := loops.Span{From: h.hour.Add(-18 * time.Hour), To: h.hour.Add(6 * time.Hour)}
	of := func(change func(*loops.Span)) loops.Numbers {
		span := today
		change(&span)
		n, err := store.Numbers(t.Context(), span)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, c := range map[string]struct {
		change func(*loops.Span)
		want   []loops.Count
	}{
		"all of today":          {func(*loops.Span) {}, funnel(4, 2, 1, 2, 2, 2)},
		"with two days before":  {func(s *loops.Span) { s.From = h.hour.Add(-72 * time.Hour) }, funnel(5, 2, 1, 2, 2, 2)},
		"one campaign":          {func(s *loops.Span) { s.Campaign = "C1" }, funnel(3, 2, 1, 1, 1, 1)},
		"one survey":            {func(s *loops.Span) { s.Survey = "SV_9" }, funnel(0, 0, 0, 1, 1, 1)},
		"what is not there":     {func(s *loops.Span) { s.Campaign = "C9" }, nil},
		"those that begin late": {func(s *loops.Span) { s.From = h.hour.Add(time.Hour) }, funnel(1, 0, 0, 1, 1, 1)},
	} {
		got := of(c.change).Funnel
		if c.want == nil && slices.ContainsFunc(got, func(c loops.Count) bool { return c.Count > 0 }) || c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("%s: the funnel is %v instead of %v", name, got, c.want)
		}
	}
	n := of(func(*loops.Span) {})
	for _, b := range n.Closing {
		want := 0
		if b.Most == 4*time.Hour { // 72 minutes, and between two and a half and four hours
			want = 2
		}
		if b.Count != want {
			t.Errorf("%d loops closed within %s, instead of %d", b.Count, b.Most, want)
		}
	}
	if want := []loops.Group{
		{Name: "C1", Funnel: funnel(3, 2, 1, 1, 1, 1), Failed: 1}, {Name: "C2", Funnel: funnel(1, 0, 0, 0, 0, 0)},
	}; !sameGroups(n.Campaigns, want) {
		t.Errorf("the campaigns are %v", n.Campaigns)
	}
	if want := []loops.Group{{Name: "delivery-too-late", Funnel: funnel(1, 1, 1, 1, 1, 1)}}; !sameGroups(n.Rules, want) {
		t.Errorf("the rules are %v", n.Rules)
	}
	if m := n.Campaigns[0].Median; m <= time.Hour || m > 4*time.Hour {
		t.Errorf("the median is %s where one loop closed after 72 minutes", m)
	}
	if want := []loops.Calls{{Vendor: "qualtrics", Operation: "import contacts", Calls: 2, Saved: 9, Failed: 1, Mean: 2 * time.Second}}; !slices.Equal(n.Vendors, want) {
		t.Errorf("the calls are %v", n.Vendors)
	}
}

// sameGroups compares them without their medians.
func sameGroups(got, want []loops.Group) bool {
	return slices.EqualFunc(got, want, func(a, b loops.Group) bool {
		return a.Name == b.Name && a.Failed == b.Failed && slices.Equal(a.Funnel, b.Funnel)
	})
}

func TestVendorsOfTheReadModel(t *testing.T) {
	t.Parallel()
	_, store := followed(t)
	all, err := store.Vendors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	of := func(vendor string) loops.VendorStatus {
		at := slices.IndexFunc(all, func(s loops.VendorStatus) bool { return s.Vendor == vendor })
		if at < 0 {
			t.Fatalf("%s is not among %v", vendor, all)
		}
		return all[at]
	}
	if m := of("sap-marketing"); m.State != activity.Out || !slices.Equal(m.By, []string{topology.SAPInteractionWriter}) || m.Reason != "503 Service Unavailable" ||
		m.Waiting != 2 || m.PerMinute != 0 || m.Left != 0 {
		t.Errorf("SAP Marketing Cloud, for which 2 and 4 wait, is %+v", m)
	}
	q := of("qualtrics")
	if want := []loops.Calls{{Vendor: "qualtrics", Operation: "import contacts", Calls: 2, Saved: 9, Failed: 1, Mean: 2 * time.Second}}; !slices.Equal(q.Calls, want) || q.Saved != 9 {
		t.Errorf("the calls of Qualtrics are %+v", q.Calls)
	}
	if want := []activity.Limit{{Name: "all", Used: 300, Most: 3000}}; q.Waiting != 1 || !slices.Equal(q.Limits, want) {
		t.Errorf("Qualtrics, for which 6 waits, is %+v", q)
	}
	if a := of("awardco"); a.Waiting != 0 || len(a.Calls) != 0 {
		t.Errorf("Awardco is %+v", a)
	}
}

func TestPagesOverTheReadModel(t *testing.T) {
	t.Parallel()
	h, store := followed(t)
	root := page(t, store, "/numbers", "period=1d")
	root.says(t, "2 of 4 invited got a link; mailed 1, answered 2, acted on 2, closed 2.",
		"2 loops are closed; 2 of them (100%) within 4 h.", "13 events", "2 campaigns; the largest is C1, where 1 of 3 answered.",
		"1 rule fired; most often delivery-too-late, for 1 loop, 1 closed.", "2 calls did the work of 11: batching saved 82% of them. 1 failed.")
	at := h.hour.Format("2006-01-02T15:04:05Z")
	rows := table(t, store, "/numbers", "period=1d&format=csv&table=flow")
	row := rows[slices.IndexFunc(rows, func(row []string) bool { return row[0] == at })]
	for i, want := range map[string]string{subjects.SurveyLinkRequested: "3", subjects.SurveyLinkCreated: "1", subjects.InteractionWritten: "1", subjects.TaskCreated: "0"} {
		if got := row[slices.Index(rows[0], i)]; got != want {
			t.Errorf("%s happened %s times in the first hour, instead of %s", i, got, want)
		}
	}
	vendors := page(t, store, "/vendors", "")
	vendors.id(t, "vendor-sap-marketing").says(t, "out since", " minutes); it is asked again at", "2 loops wait for it", "cannot be told")
	vendors.id(t, "vendor-qualtrics").says(t, "healthy", "All calls 300 of 3,000 a minute (10%)", "1 loop waits for it")
	vendors.id(t, "vendor-awardco").says(t, "not called yet")
	var list numbers.VendorList
	answer, err := ask(t, store, "/vendors", "", "application/json")
	if err := json.Unmarshal(body(t, answer, err), &list); err != nil || len(list.Vendors) != 4 {
		t.Errorf("%d vendors, %v", len(list.Vendors), err)
	}
}
