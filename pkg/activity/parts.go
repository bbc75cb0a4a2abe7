package activity

import "slices"

// What one message may hold, so that it stays well below what the broker takes (1 MiB): some 300 bytes each without a reason.
const (
	partEvents = 500
	partCalls  = 250
	// fewCalls for all events are told in each part, so that each part shows what was done for its events.
	fewCalls = 100
)

// Parts divides an attempt into what fits into one message each: one, where that is enough. Calls that were made for one event
// are with it. Those for all are in each part, marked as [Call.Repeated] after the first; where they are many, each is in one.
func (a Attempt) Parts() []Attempt {
	if len(a.Events) <= partEvents && len(a.Calls) <= partCalls {
		return []Attempt{a}
	}
	all, own := a.callsByEvent()
	parts := a.eventsInParts(own)
	if len(all) <= fewCalls {
		for i := range parts {
			parts[i].Calls = append(repeated(all, i > 0), parts[i].Calls...)
		}
		return parts
	}
	for some := range slices.Chunk(all, partCalls) {
		rest := a
		rest.Events, rest.Calls = nil, some
		parts = append(parts, rest)
	}
	return parts
}

// callsByEvent parts calls that were made for all events, or for none of them, from those that were made for one.
func (a Attempt) callsByEvent() (all []Call, own map[string][]Call) {
	own = make(map[string][]Call, len(a.Events))
	for _, e := range a.Events {
		own[e.EventID] = nil
	}
	for _, c := range a.Calls {
		if _, ours := own[c.EventID]; ours {
			own[c.EventID] = append(own[c.EventID], c)
		} else {
			all = append(all, c)
		}
	}
	return all, own
}

func (a Attempt) eventsInParts(own map[string][]Call) []Attempt {
	var parts []Attempt
	var last *Attempt
	for _, e := range a.Events {
		calls := own[e.EventID]
		delete(own, e.EventID) // an id may be there twice
		if last == nil || len(last.Events) == partEvents || len(last.Calls)+len(calls) > partCalls {
			parts = append(parts, a)
			last = &parts[len(parts)-1]
			last.Events, last.Calls = nil, nil
		}
		last.Events, last.Calls = append(last.Events, e), append(last.Calls, calls...)
	}
	return parts
}

func repeated(calls []Call, again bool) []Call {
	some := slices.Clone(calls)
	for i := range some {
		some[i].Repeated = again
	}
	return some
}

// Only gives what a says of some of its events: with the calls that were made for them alone, and those for all.
func (a Attempt) Only(keep func(Handled) bool) Attempt {
	others := map[string]bool{}
	var events []Handled
	for _, e := range a.Events {
		if keep(e) {
			events = append(events, e)
		} else {
			others[e.EventID] = true
		}
	}
	for _, e := range events {
		delete(others, e.EventID)
	}
	a.Events = events
	a.Calls = slices.DeleteFunc(slices.Clone(a.Calls), func(c Call) bool { return others[c.EventID] })
	return a
}
