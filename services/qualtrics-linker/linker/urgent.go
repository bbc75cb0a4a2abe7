package linker

import (
	"time"

	"github.com/closeloop/closeloop/pkg/event"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// nearExpiry is how long before its end an invitation cannot wait for its turn any more.
const nearExpiry = 48 * time.Hour

// moreUrgent puts invitations that expire soon first, and of these the newest: its customer remembers what is asked about,
// and has the most time left to answer.
func moreUrgent(a, b event.Event) bool {
	return expiresSoon(a) && (!expiresSoon(b) || a.Time.After(b.Time))
}

func expiresSoon(e event.Event) bool {
	request, ok := e.Data.(*eventsv1.SurveyLinkRequested)
	at := request.GetSurvey().GetExpiresAt()
	return ok && at.IsValid() && time.Until(at.AsTime()) < nearExpiry
}
