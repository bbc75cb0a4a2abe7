package console

import (
	"context"
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// markUntaken marks the events that no service takes although somebody may wait for it: feedback that becomes no task, and what is no
// event of ours. Where the broker cannot be asked, none.
func (d *desk) markUntaken(ctx context.Context, timeline []happening) {
	var filters []string
	for i := range timeline {
		h := &timeline[i]
		if h.Kind != anEvent || len(h.Attempts) > 0 || declared(h.Type) {
			continue
		}
		if filters == nil {
			if filters = d.taken(ctx); filters == nil {
				return
			}
		}
		h.Untaken = !slices.ContainsFunc(filters, func(f string) bool { return mayMatch(f, h.Type) })
	}
}

// declared tells an event that some service takes in every installation, or that one publishes by name: those that nobody takes are
// how a loop ends.
func declared(eventType string) bool {
	return slices.ContainsFunc(topology.Of(topology.Settings{}).Services, func(s topology.Service) bool {
		return slices.Contains(s.Takes, eventType) || slices.Contains(s.Publishes, eventType)
	})
}

// taken lists what services take, as their consumers say; nil where one of them does not.
func (d *desk) taken(ctx context.Context) []string {
	var filters []string
	for _, s := range topology.Of(topology.Settings{}).Services {
		if len(s.Takes) == 0 {
			continue
		}
		c, err := d.bus.JetStream().Consumer(ctx, topology.Events, s.Name)
		if err != nil {
			return nil
		}
		of := c.CachedInfo().Config
		filters = append(append(filters, of.FilterSubject), of.FilterSubjects...)
	}
	return filters
}

// mayMatch tells whether a filter may let an event pass: of one with wildcards only its beginning is looked at.
func mayMatch(filter, eventType string) bool {
	if wild := strings.IndexAny(filter, "*>"); wild >= 0 {
		return strings.HasPrefix(eventType, filter[:wild])
	}
	return filter == eventType
}
