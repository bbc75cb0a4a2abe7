package console_test

import (
	"testing"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// TestTriesStandBeneathTheirEvent, one of an event that breaks its contract and has no envelope, and one of an event that is stored twice.
func TestTriesStandBeneathTheirEvent(t *testing.T) {
	f := start(t)
	bare := f.broker.Publish(subjects.SurveyLinkRequested, `{"requestID":"a typing mistake"}`)
	id := topology.Events + "-1"
	if bare.Sequence != 1 {
		t.Fatal("another event was first")
	}
	tried := func(id, loop string) {
		f.tells(activity.Attempt{Service: topology.QualtricsLinker, Events: []activity.Handled{
			{EventID: id, LoopID: loop, Type: subjects.SurveyLinkRequested, Attempt: 1, Outcome: activity.DeadLetter},
		}})
	}
	tried(id, id)
	for range 2 {
		f.invites(1)
	}
	tried("E-asked-1", "L-1")
	for loop, events := range map[string]int{id: 1, "L-1": 4} {
		var story struct {
			Timeline []struct {
				Kind, ID string
				Attempts []activity.Handled
			}
		}
		bustest.Eventually(t, "the try is there", func() bool {
			story.Timeline = nil
			got := f.Get("/loops/" + loop)
			if got.Status != 200 {
				return false
			}
			got.JSON(&story)
			return len(story.Timeline) >= events && len(story.Timeline[0].Attempts)+len(story.Timeline[len(story.Timeline)-1].Attempts) > 0
		})
		if len(story.Timeline) != events || len(story.Timeline[0].Attempts) != 1 {
			t.Errorf("%s: %+v", loop, story.Timeline)
		}
	}
}

// TestAPageThatThereIsNotIsTheCallersMistake.
func TestAPageThatThereIsNotIsTheCallersMistake(t *testing.T) {
	start(t).Get("/loops?before=yesterday").Want(400)
}
