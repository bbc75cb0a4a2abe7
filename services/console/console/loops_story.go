package console

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

// story is one loop with what happened to it. As JSON it is the answer to programs.
type story struct {
	loops.Loop
	// Links lead to the vendors' own pages of the loop's ids.
	Links []idLink `json:"links"`
	// Timeline is what happened, in order.
	Timeline []happening `json:"timeline"`
}

// idLink is where a vendor shows what an id names.
type idLink struct {
	loops.ID
	URL string `json:"url"`
}

// happening is one thing that happened to a loop: an event with the attempts to handle it, an attempt whose event is not there or
// stands before its dead letter, a dead letter, or what a person did with one.
type happening struct {
	// Kind: event, attempt, letter, operation.
	Kind string `json:"kind"`
	// At is when it was stored, and Happened when it happened, where that is clearly earlier.
	At       time.Time   `json:"at"`
	Happened time.Time   `json:"happened,omitzero"`
	Place    loops.Place `json:"place"`
	// Type, ID and By are those of the event: its subject, its id and the service that published it.
	Type string `json:"type,omitempty"`
	ID   string `json:"id,omitempty"`
	By   string `json:"by,omitempty"`
	// Fields are those of the event, masked.
	Fields   json.RawMessage `json:"fields,omitempty"`
	Attempts []attempt       `json:"attempts,omitempty"`
	// Event is where that of an attempt by itself stands, nil where it is not there.
	Event  *loops.Place `json:"event,omitempty"`
	Letter *Standing    `json:"letter,omitempty"`
	Done   *Operation   `json:"operation,omitempty"`
	// Changes are what kind of changes the operation made in the letter's body, where it was one of many.
	Changes []Change `json:"changes,omitempty"`
	// Untaken says that no service takes such an event.
	Untaken bool `json:"untaken,omitempty"`
	// Gone says that the stream does not hold it any more.
	Gone bool `json:"gone,omitempty"`
	// TooLarge says that the loop's messages together are too large for this one's fields to be shown here.
	TooLarge bool `json:"tooLarge,omitempty"`
}

// attempt is one try to handle an event.
type attempt struct {
	activity.Handled
	Service string          `json:"service"`
	At      time.Time       `json:"at"`
	Took    time.Duration   `json:"took"`
	Wave    int             `json:"wave,omitempty"`
	Calls   []activity.Call `json:"calls"`
}

// The kinds of happenings.
const (
	anEvent     = "event"
	anAttempt   = "attempt"
	aLetter     = "letter"
	anOperation = "operation"
)

func (p *loopPages) one(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := web.Known(r.Query, "format"); err != nil {
		return nil, err
	}
	s, err := p.story(ctx, p.desk.called.id(r.Param("id")))
	if err != nil {
		return nil, unreadable(err)
	}
	if web.FormOf(r) == web.Page {
		if s.ID != r.Param("id") { // nobody's address stays in the browser's
			return web.Redirect(loopPath(s.ID)), nil
		}
		return p.onePage(r, s), nil
	}
	return &httpdoor.Response{Body: s}, nil
}

// story reads what happened to a loop.
func (p *loopPages) story(ctx context.Context, id string) (*story, error) {
	l, err := p.store.Loop(ctx, id)
	if err != nil {
		return nil, err
	}
	s := &story{Loop: l}
	err = p.reader.Use(ctx, l.Places, func(entries []loops.Entry) { s.Links, s.Timeline = p.linksOf(l.IDs, entries), p.timeline(entries) })
	if err != nil {
		return nil, err
	}
	p.desk.markUntaken(ctx, s.Timeline)
	s.Summary, s.IDs = p.masked(s.Summary), slices.Clone(s.IDs)
	for i := range s.IDs {
		s.IDs[i].Value = shownID(s.IDs[i].Value)
	}
	s.name(p.desk.called)
	return s, nil
}

// name calls loops and events in it what they are called.
func (s *story) name(called *aliases) {
	for i := range s.Waiting {
		s.Waiting[i].EventID = called.of(s.Waiting[i].EventID)
	}
	for i := range s.Timeline {
		h := &s.Timeline[i]
		h.ID = called.of(h.ID)
		for j := range h.Attempts {
			a := &h.Attempts[j]
			a.EventID, a.LoopID = called.of(a.EventID), called.of(a.LoopID)
			for k := range a.Calls {
				a.Calls[k].EventID = called.of(a.Calls[k].EventID)
			}
		}
	}
}

// timeline puts messages in order: beneath each event the attempts to handle it, and between them letters and what was done
// with those, and attempts after that.
func (p *loopPages) timeline(entries []loops.Entry) []happening {
	all, tried := []happening{}, triedEvents{stored: map[uint64]int{}, named: map[string]int{}, failed: map[sibling]time.Time{}}
	for _, e := range entries {
		switch e.Stream {
		case topology.Events:
			one := happeningOf(e)
			tried.add(one, len(all))
			all = append(all, one)
		case topology.DeadLetters:
			some := p.letterAndDone(e)
			tried.fail(some[0])
			all = append(all, some...)
		}
	}
	for _, e := range entries {
		if e.Stream != topology.Activity || e.Attempt == nil {
			continue
		}
		for _, a := range attemptsOf(*e.Attempt) {
			at, there := tried.event(a)
			if there && !tried.failedBefore(a) {
				all[at].Attempts = append(all[at].Attempts, a)
				continue
			}
			alone := happening{Kind: anAttempt, At: a.At, Place: e.Place, Type: a.Type, ID: a.EventID, Attempts: []attempt{a}}
			if there {
				place := all[at].Place
				alone.Event = &place
			}
			all = append(all, alone)
		}
	}
	slices.SortStableFunc(all, func(x, y happening) int { return x.At.Compare(y.At) })
	return all
}

// triedEvents finds the event of an attempt, and tells whether it had become a dead letter by then.
type triedEvents struct {
	// stored are events by their sequence, and named by their id, of those with the same the first.
	stored map[uint64]int
	named  map[string]int
	// failed is when an event first became a dead letter of a service.
	failed map[sibling]time.Time
}

func (t triedEvents) add(event happening, at int) {
	t.stored[event.Place.Sequence] = at
	if _, twice := t.named[event.ID]; !twice {
		t.named[event.ID] = at
	}
}

func (t triedEvents) fail(letter happening) {
	if letter.Letter == nil {
		return
	}
	of := letter.Letter.sibling()
	if first, ok := t.failed[of]; !ok || letter.At.Before(first) {
		t.failed[of] = letter.At
	}
}

// event finds the one that was tried: the same id may be there more than once.
func (t triedEvents) event(a attempt) (at int, there bool) {
	if a.Stream == topology.Events {
		at, there = t.stored[a.Sequence]
	} else {
		at, there = t.named[a.EventID]
	}
	return at, there
}

// failedBefore tells an attempt that began after the event had become a dead letter: somebody had it replayed.
func (t triedEvents) failedBefore(a attempt) bool {
	failed, ok := t.failed[sibling{a.Service, Place{Stream: a.Stream, Sequence: a.Sequence}}]
	return ok && a.At.After(failed)
}

// happeningOf is an event as its message says it.
func happeningOf(e loops.Entry) happening {
	// One that breaks its contract has an envelope, or what stands in for it, all the same.
	envelope, _, _ := event.Open(e.Type, e.Header, e.Body, event.Origin{Stream: e.Stream, Sequence: e.Sequence, Time: e.At})
	if e.TooLarge {
		envelope = *e.Event
	}
	one := happening{Kind: anEvent, At: e.At, Place: e.Place, Type: e.Type, ID: envelope.ID, By: envelope.Source, Gone: e.Gone, TooLarge: e.TooLarge}
	if e.Event != nil {
		if !e.Event.Time.IsZero() && e.At.Sub(e.Event.Time) > time.Second {
			one.Happened = e.Event.Time
		}
	}
	if !e.Gone && !e.TooLarge {
		one.Fields = maskBody(e.Body)
	}
	return one
}

// letterAndDone is a dead letter with what people did with it.
func (p *loopPages) letterAndDone(e loops.Entry) []happening {
	letter, known := p.desk.book.look(e.Sequence)
	if !known {
		return []happening{{Kind: aLetter, At: e.At, Place: e.Place, Gone: true}}
	}
	all := []happening{{Kind: aLetter, At: e.At, Place: e.Place, Type: letter.Subject, ID: letter.EventID, By: letter.Service, Letter: &letter}}
	for _, o := range p.desk.book.history(letter.Letter) {
		done := happening{
			Kind: anOperation, At: o.At, Type: o.Kind, By: o.By, Done: o, Letter: &letter,
			Place: loops.Place{Stream: topology.Operations, Sequence: o.Sequence, At: o.At},
		}
		if job, known := p.desk.jobs.book.find(o.Job); known {
			done.Changes = shapes(job.Edit)
		}
		all = append(all, done)
	}
	return all
}

// attemptsOf gives a round of work for each of its events.
func attemptsOf(a activity.Attempt) []attempt {
	var all []attempt
	for _, h := range a.Events {
		all = append(all, attempt{Handled: h, Service: a.Service, At: a.At, Took: a.Took, Wave: a.Wave, Calls: listed(a.Calls)})
	}
	return all
}

// linksOf gives the ids that a vendor has a page for: a task's is what the event says where no setting does.
func (p *loopPages) linksOf(ids []loops.ID, entries []loops.Entry) []idLink {
	told := map[string]string{}
	for _, e := range entries {
		if e.Event == nil {
			continue
		}
		if task, ok := e.Event.Data.(*eventsv1.TaskCreated); ok {
			told[task.GetTaskId()], told[task.GetObjectId()] = task.GetUrl(), task.GetUrl()
		}
	}
	links := []idLink{}
	for _, id := range ids {
		address := p.links.of(id)
		if to := told[id.Value]; id.Kind == loops.Task && !web.Local(to) { // an event leads to no page of ours
			address = cmp.Or(address, to)
		}
		if plain.MatchString(id.Value) && reachable(address) {
			links = append(links, idLink{id, address})
		}
	}
	return links
}

// of gives the address of the vendor's page of an id, "" for none.
func (v VendorLinks) of(id loops.ID) string {
	template := map[loops.IDKind]string{
		loops.Task: v.Task, loops.Response: v.Response, loops.Recognition: v.Recognition, loops.Interaction: v.Interaction,
		loops.Contact: v.Contact, loops.Order: v.Order, loops.Request: v.Request,
	}[id.Kind]
	escaped := strings.ReplaceAll(url.QueryEscape(id.Value), "+", "%20") // good in a path too, and adds no parameter to a query
	return strings.ReplaceAll(template, idPlace, escaped)
}
