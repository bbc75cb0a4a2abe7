package loops

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// vendor tells how one is.
func (s *story) vendor(service, vendor, state string, since time.Time) {
	s.at = s.at.Add(time.Second)
	m := nats.NewMsg(topology.ActivitySubject(service, activity.KindVendor))
	m.Data = must(json.Marshal(activity.Vendor{
		Service: service, Vendor: vendor, State: state, Since: since, Until: since.Add(time.Hour), Reason: "it answers 503", At: s.at,
	}))
	s.emit(m)
}

// stand gives the loops of a state, in pages of a few, and holds each against its own page.
func stand(t *testing.T, s *Store, q Query) []string {
	t.Helper()
	all := []string{}
	for q.Limit = 3; ; {
		page, err := s.Find(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, sum := range page.Loops {
			if l := loopOf(t, s, sum.ID); l.State != q.State || l.Summary != sum {
				t.Errorf("in the list of %s it is %+v, on its page %+v", q.State, sum, l.Summary)
			}
			all = append(all, sum.ID)
		}
		if q.Before = page.Next; q.Before == "" {
			slices.Sort(all)
			return all
		}
	}
}

// TestWhatWaitsForAVendorThatIsOut is tried again, in list, filter and page alike, until the vendor is back, whether much waits for
// it or little.
func TestWhatWaitsForAVendorThatIsOut(t *testing.T) {
	for name, c := range map[string]struct{ waiting, linked int }{"most": {12, 3}, "few": {2, 60}} {
		t.Run(name, func(t *testing.T) {
			s, tale := open(t), newStory()
			var waiting, linked, retry []string
			for i := range c.linked {
				e := tale.request(i)
				created := tale.link(e, i, 2000*time.Hour)
				tale.attempt(topology.QualtricsLinker, nil, e)
				tale.mail(created, i)
				tale.attempt(topology.SAPInteractionWriter, nil, created)
				linked = append(linked, e.LoopID)
			}
			for i := range c.waiting {
				waiting = append(waiting, tale.request(1000+i).LoopID)
			}
			tried := tale.request(2000)
			tale.tried(topology.QualtricsLinker, tried, activity.Paused, fault.Down, time.Hour)
			retry = append(retry, tried.LoopID)
			slices.Sort(waiting)
			slices.Sort(linked)
			all := slices.Sorted(slices.Values(slices.Concat(waiting, linked)))
			tale.tell(t, s)
			check := func(wantRetry, wantProcessing []string) {
				t.Helper()
				for _, q := range []Query{{}, {Stage: Invited}, {Campaign: "C1"}, {IDs: map[IDKind]string{Request: "A1000"}}} {
					wanted := func(want []string) []string {
						if q.IDs == nil {
							return want
						}
						return slices.DeleteFunc(slices.Clone(want), func(id string) bool { return !slices.ContainsFunc(loopOf(t, s, id).IDs, ID{Request, "A1000"}.same) })
					}
					q.State = Retry
					if got, want := stand(t, s, q), wanted(wantRetry); !slices.Equal(got, want) {
						t.Errorf("%+v: to be tried again are %d, want %d", q, len(got), len(want))
					}
					q.State = Processing
					if got, want := stand(t, s, q), wanted(wantProcessing); !slices.Equal(got, want) {
						t.Errorf("%+v: processing are %d, want %d", q, len(got), len(want))
					}
				}
			}
			check(retry, all)

			changes := s.Watch(t.Context())
			since := tale.at.Add(time.Minute)
			tale.messages = nil
			tale.vendor(topology.QualtricsLinker, "qualtrics", activity.Out, since)
			tale.tell(t, s)
			check(slices.Sorted(slices.Values(slices.Concat(retry, waiting))), linked)
			l := loopOf(t, s, waiting[0])
			if w := l.Waiting[0]; w.For != ForVendor || w.Vendor != "qualtrics" || !w.Since.Equal(l.Places[0].At) || !w.Until.Equal(since.Add(time.Hour)) || w.Reason != "it answers 503" || l.Waits != "qualtrics" {
				t.Errorf("it waits for %+v", w)
			}
			if ids := <-changes; len(ids) > 0 {
				t.Errorf("to who watches is said that %q changed, not that all may have", ids)
			}

			tale.messages = nil
			tale.vendor(topology.QualtricsLinker, "qualtrics", activity.Healthy, since.Add(time.Hour))
			tale.tell(t, s)
			check(retry, all)
		})
	}
}

// TestAFilterShowsWhatStandsSoNow is of a link that has expired since the loop was indexed: it is in no list of what is processing.
func TestAFilterShowsWhatStandsSoNow(t *testing.T) {
	s, tale := open(t), newStory()
	e := tale.request(1)
	created := tale.link(e, 1, 2000*time.Hour)
	tale.mail(created, 1)
	tale.tell(t, s)
	l := loopOf(t, s, e.LoopID)
	if got := stand(t, s, Query{State: l.State}); l.State != Processing || len(got) != 1 {
		t.Fatalf("before: %s, %q", l.State, got)
	}
	var packed []byte
	var n int64
	if err := s.read.QueryRow("SELECT n, record FROM loop").Scan(&n, &packed); err != nil {
		t.Fatal(err)
	}
	r, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.notes {
		if r.notes[i].expires != 0 {
			r.notes[i].expires = time.Now().Add(-time.Minute).UnixNano()
		}
	}
	if _, err := s.write.Exec("UPDATE loop SET record = ? WHERE n = ?", (&packer{}).pack(r), n); err != nil {
		t.Fatal(err)
	}
	if got := stand(t, s, Query{State: Processing}); len(got) > 0 {
		t.Errorf("in the list of what is processing is %q, which is %s", got, loopOf(t, s, e.LoopID).State)
	}
}

// TestAnEventThatIsStoredTwiceFlowsOnce is of one that was published again when the broker did not remember it any more.
func TestAnEventThatIsStoredTwiceFlowsOnce(t *testing.T) {
	for name, order := range map[string][]int{"in order": {0, 1, 2}, "together": nil} {
		t.Run(name, func(t *testing.T) {
			s, tale := open(t), newStory()
			e := tale.request(1)
			tale.say(e)
			tale.say(e)
			if order == nil {
				var some []message
				for _, m := range tale.messages {
					some = append(some, m.message)
				}
				if err := s.apply(t.Context(), part{fromEvents, some, 0, 3}); err != nil {
					t.Fatal(err)
				}
			} else {
				tale.tell(t, s)
			}
			flowed := func() int {
				n, err := s.Numbers(t.Context(), Span{})
				if err != nil {
					t.Fatal(err)
				}
				count := 0
				for _, h := range n.Flow {
					count += h.Counts[subjects.SurveyLinkRequested]
				}
				return count
			}
			for _, gone := range []uint64{1, 3, 2} {
				if got := flowed(); got != 1 {
					t.Errorf("before %d is gone it is counted %d times", gone, got)
				}
				if err := s.withdraw(t.Context(), fromEvents, []uint64{gone}); err != nil {
					t.Fatal(err)
				}
			}
			if got := flowed(); got != 0 {
				t.Errorf("when all are gone it is counted %d times", got)
			}
		})
	}
}
