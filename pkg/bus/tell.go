package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
)

// Tell says something about the service's work to whoever may look; kind is one of pkg/activity's, and v becomes JSON. It is
// said once and in passing: without an acknowledgement, and dropped when it cannot be said now, which only a metric notes.
// Nothing may depend on it. v must hold nothing personal.
func (b *Bus) Tell(kind string, v any) {
	if err := b.tell(kind, v); err != nil {
		b.metrics.untold.Inc()
		b.log.Debug("not told", "kind", kind, "error", err)
	}
}

func (b *Bus) tell(kind string, v any) error {
	if b.mute.Load() {
		return fmt.Errorf("the broker denies %s the right to tell", b.service)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.nc.Publish(topology.ActivitySubject(b.service, kind), body) // refused at once while there is no connection
}

// mayNotTell notes that the broker refused what was told, if err says so: its users are of an earlier version. Work goes on, and
// nothing more is told on this connection.
func (b *Bus) mayNotTell(err error) bool {
	if !strings.Contains(err.Error(), `"`+topology.ActivitySubject(b.service, "")) {
		return false
	}
	b.metrics.untold.Inc()
	if b.mute.CompareAndSwap(false, true) {
		b.log.Warn("the broker does not let this service tell about its work, which goes on: give it the users of `topology permissions`", "error", err)
	}
	return true
}

// note keeps what is to be told of a delivery that is settled.
func (d *delivery) note(f *fault.Fault, outcome string, delay time.Duration) {
	h := &d.became
	h.EventID, h.LoopID, h.Type = d.event.ID, d.event.LoopID, d.subject
	h.Stream, h.Sequence = d.origin.Stream, d.origin.Sequence
	h.Outcome = outcome
	if f.Class != "" {
		h.Class, h.Vendor, h.Reason = f.Class, f.Vendor, f.Error()
	}
	if delay > 0 {
		h.Next = time.Now().Add(delay).UTC()
	}
}

// tell says what became of deliveries that were handled together, when all are settled.
func (c *Consuming) tell(r *activity.Recorder, started time.Time, deliveries ...*delivery) {
	a := activity.Attempt{
		Service: c.bus.service, At: started.UTC(), Took: time.Since(started), Events: make([]activity.Handled, len(deliveries)), Wave: len(deliveries),
	}
	for i, d := range deliveries {
		a.Events[i] = d.became
	}
	r.End(&a)
	for _, part := range a.Parts() {
		c.bus.Tell(activity.KindAttempt, part)
	}
}

// sameTime is by how much the end of an outage may move without people being told: all events of a wave find the vendor out
// within moments.
const sameTime = 100 * time.Millisecond

// vendorAgain is how often it is told that a vendor is as it was: what was told before is not kept for ever.
const vendorAgain = time.Hour

// tellVendor says how a vendor is, if that is another state than the last one told. reason is why it is out, where the caller
// found that.
func (c *Consuming) tellVendor(g *gate, reason string) {
	g.telling.Lock()
	defer g.telling.Unlock()
	v := g.state(time.Now())
	news := v.State != g.known.State || v.Until.Sub(g.known.Until).Abs() >= sameTime || v.At.Sub(g.known.At) >= vendorAgain
	switch {
	case v.Vendor == "" || !news:
	case v.State != activity.Healthy && reason == "": // whoever found it out is about to tell
	default:
		if v.State != activity.Healthy {
			v.Reason = reason
		} else if g.known.State == activity.Healthy {
			v.Since = g.known.Since
		}
		v.Service, g.known = c.bus.service, v
		c.bus.Tell(activity.KindVendor, v)
	}
}

func reasonOf(f *fault.Fault) string {
	if f == nil {
		return ""
	}
	return f.Reason
}
