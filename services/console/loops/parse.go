package loops

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// message is what the read model takes of one message of a stream.
type message struct {
	seq   uint64
	at    int64
	notes []loopNote
	// about is up to where EVENTS must have been read for what it speaks of to be there.
	about uint64
	// Of attempts: the calls, and how many events the service has done for a vendor.
	calls []activity.Call
	done  map[string]int
	told  *told
}

// loopNote is a note with its loop; operations do not say one, but their letter's is.
type loopNote struct {
	loop string
	note
}

// told is what a service said last of something: a vendor, its quota, its rules.
type told struct {
	kind, service, name string
	at                  int64
	value               []byte
}

// textMost bounds a text that is kept, and idMost an id: a longer one is no id of ours.
const (
	textMost = 300
	idMost   = 255
)

func cut(s string) string {
	if len(s) <= textMost {
		return s
	}
	return strings.ToValidUTF8(s[:textMost], "")
}

// parse reads a message. What cannot be read has a place all the same.
func parse(from source, m *jetstream.RawStreamMsg) message {
	out := message{seq: m.Sequence, at: nanos(m.Time)}
	switch from {
	case fromEvents:
		out.notes = []loopNote{eventNote(m)}
	case fromLetters:
		out.notes = []loopNote{letterNote(m)}
	case fromOperations:
		out.notes = operationNote(m)
	case fromActivity:
		out.activity(m)
	}
	return out
}

// fields are those of all events that say what belongs together, and when.
type fields struct {
	RequestID  string `json:"requestId"`
	ResponseID string `json:"responseId"`
	ErasureID  string `json:"erasureId"`
	Contact    struct {
		ExternalID string `json:"externalId"`
	} `json:"contact"`
	ContactID       string `json:"contactId"`
	ContactLookupID string `json:"contactLookupId"`
	RecipientID     string `json:"recipientId"`
	ContactPerson   string `json:"contactPerson"`
	Transaction     struct {
		ExternalID string `json:"externalId"`
	} `json:"transaction"`
	ServiceOrder  string `json:"serviceOrder"`
	TaskID        string `json:"taskId"`
	ObjectID      string `json:"objectId"`
	RecognitionID string `json:"recognitionId"`
	InteractionID string `json:"interactionId"`
	Kind          string `json:"kind"`
	State         string `json:"state"`
	Survey        struct {
		SurveyID string `json:"surveyId"`
	} `json:"survey"`
	SurveyID string `json:"surveyId"`
	Campaign struct {
		CampaignID string `json:"campaignId"`
		Name       string `json:"name"`
	} `json:"campaign"`
	ExpiresAt string `json:"expiresAt"`
}

// fieldsOf reads them from a body, as far as it can be read.
func fieldsOf(subject string, body []byte) *fields {
	if bytes.Contains(body, []byte(`_id"`)) { // the contract's own names are read too: request_id
		body = renamed(subject, body)
	}
	f := &fields{}
	_ = json.Unmarshal(body, f) // a field of a wrong type keeps no other from being read
	return f
}

// renamed gives a body with the names that are usual in JSON; one that breaks its contract is left as it is.
func renamed(subject string, body []byte) []byte {
	c, ok := subjects.Find(subject)
	if !ok {
		return body
	}
	data := c.New()
	if contract.Unmarshal(body, data) != nil {
		return body
	}
	if usual, err := contract.Marshal(data); err == nil {
		return usual
	}
	return body
}

// ids gives those by which the loop of an event is found.
func (f *fields) ids(eventID string) []ID {
	all := make([]ID, 0, 6)
	add := func(kind IDKind, values ...string) {
		for _, v := range values {
			if id := (ID{kind, v}); v != "" && len(v) <= idMost && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	add(Event, eventID)
	add(Request, f.RequestID)
	add(Response, f.ResponseID)
	add(Order, f.Transaction.ExternalID, f.ServiceOrder)
	add(Contact, f.Contact.ExternalID, f.ContactID, f.ContactLookupID, f.RecipientID, f.ContactPerson)
	add(Task, f.TaskID, f.ObjectID)
	add(Recognition, f.RecognitionID)
	add(Interaction, f.InteractionID)
	add(erasure, f.ErasureID)
	return all
}

// erasure is the id of one, which nobody looks for.
const erasure IDKind = "erasure"

// eventNote reads an event.
func eventNote(m *jetstream.RawStreamMsg) loopNote {
	origin := event.Origin{Stream: topology.Events, Sequence: m.Sequence, Time: m.Time}
	return eventOf(fromEvents, m, m.Subject, origin)
}

func eventOf(from source, m *jetstream.RawStreamMsg, subject string, origin event.Origin) loopNote {
	e, body, _ := event.Open(subject, m.Header, m.Data, origin)
	f := fieldsOf(subject, body)
	n := loopNote{e.LoopID, note{
		source: from, seq: m.Sequence, at: nanos(m.Time), event: e.ID, what: subject, ids: f.ids(e.ID),
		campaign: cut(cmp.Or(f.Campaign.CampaignID, f.Campaign.Name)), survey: cut(cmp.Or(f.SurveyID, f.Survey.SurveyID)), kind: cut(f.Kind),
	}}
	n.when = sane(e.Time, n.at)
	n.begun = sane(e.LoopStart, n.when)
	if subject == subjects.RecognitionSubmitted {
		n.kind = cut(f.State)
	}
	if subject == subjects.SurveyLinkCreated {
		if t, err := time.Parse(time.RFC3339Nano, f.ExpiresAt); err == nil {
			n.expires = nanos(t)
		}
	}
	return n
}

// sane gives a time that a caller may have said, unless it is later than when it was heard.
func sane(t time.Time, heard int64) int64 {
	if ns := nanos(t); ns != 0 && ns < heard {
		return ns
	}
	return heard
}

// letterNote reads a dead letter. It has the ids of its event, which may have left EVENTS before.
func letterNote(m *jetstream.RawStreamMsg) loopNote {
	h := m.Header
	origin := event.Origin{Stream: h.Get(bus.HeaderStream), Time: m.Time}
	origin.Sequence, _ = strconv.ParseUint(h.Get(bus.HeaderSequence), 10, 64)
	if origin.Stream == "" {
		origin = event.Origin{Stream: topology.DeadLetters, Sequence: m.Sequence, Time: m.Time}
	}
	n := eventOf(fromLetters, m, h.Get(bus.HeaderSubject), origin)
	n.loop = cmp.Or(h.Get(bus.HeaderLoopID), n.loop)
	n.event = cmp.Or(h.Get(bus.HeaderEventID), n.event)
	n.expires = 0
	if origin.Stream == topology.Events {
		n.origin = origin.Sequence
	}
	n.service = strings.TrimPrefix(m.Subject, topology.DeadLetterSubject(""))
	n.class, n.reason = h.Get(bus.HeaderClass), cut(h.Get(bus.HeaderReason))
	n.operation = h.Get(bus.HeaderReplay)
	return n
}

// Kinds of records in OPERATIONS that decide about a letter; sent notes what became of a replay.
const (
	replayed  = "replay"
	discarded = "discard"
	sent      = "sent"
)

// operationNote reads what a person did with a letter; what decides nothing is left out.
func operationNote(m *jetstream.RawStreamMsg) []loopNote {
	var o struct {
		ID     string `json:"id"`
		Kind   string `json:"kind"`
		Letter uint64 `json:"letter"`
		Failed string `json:"failed"`
	}
	if json.Unmarshal(m.Data, &o) != nil || o.Kind != replayed && o.Kind != discarded && o.Kind != sent {
		return nil
	}
	tokens := strings.Split(m.Subject, ".")
	if len(tokens) != 3 {
		return nil
	}
	if o.Letter == 0 {
		o.Letter, _ = strconv.ParseUint(tokens[2], 10, 64)
	}
	return []loopNote{{"", note{
		source: fromOperations, seq: m.Sequence, at: nanos(m.Time), kind: tokens[1], outcome: o.Kind, letter: o.Letter,
		operation: cmp.Or(o.ID, "OPERATIONS-"+strconv.FormatUint(m.Sequence, 10)), failed: cut(o.Failed),
	}}}
}

// activity reads what a service told.
func (out *message) activity(m *jetstream.RawStreamMsg) {
	tokens := strings.Split(m.Subject, ".")
	switch tokens[len(tokens)-1] {
	case activity.KindAttempt:
		var a activity.Attempt
		if json.Unmarshal(m.Data, &a) == nil {
			out.attempt(&a)
		}
	case activity.KindVendor:
		var v activity.Vendor
		if json.Unmarshal(m.Data, &v) == nil {
			out.told = &told{activity.KindVendor, v.Service, v.Vendor, nanos(v.At), m.Data}
		}
	case activity.KindQuota:
		var q activity.Quota
		if json.Unmarshal(m.Data, &q) == nil {
			out.told = &told{activity.KindQuota, q.Service, q.Vendor, nanos(q.At), m.Data}
		}
	case activity.KindRules:
		var r activity.RuleSet
		if json.Unmarshal(m.Data, &r) == nil {
			out.told = &told{activity.KindRules, r.Service, "", nanos(r.At), m.Data}
		}
	}
}

func (out *message) attempt(a *activity.Attempt) {
	out.calls = a.Calls
	out.notes = make([]loopNote, len(a.Events))
	for i := range a.Events {
		h := &a.Events[i]
		n := &out.notes[i]
		n.loop = h.LoopID
		n.note = note{
			source: fromActivity, seq: out.seq, at: out.at, event: h.EventID, what: h.Type, service: a.Service, outcome: h.Outcome,
			class: string(h.Class), vendor: h.Vendor, ruled: len(h.Rules) > 0,
		}
		switch {
		case h.Stream != topology.Events || h.Sequence == 0:
			out.about = math.MaxUint64 // all of it
		default:
			n.origin = h.Sequence
			out.about = max(out.about, n.origin)
		}
		switch h.Outcome {
		case activity.Done:
			if vendor := vendorOf(a.Service, h.Type); vendor != "" {
				if out.done == nil {
					out.done = map[string]int{}
				}
				out.done[vendor]++
			}
		default:
			n.reason, n.next = cut(h.Reason), nanos(h.Next)
		}
		for _, d := range h.Rules {
			if d.Fired {
				n.rules = append(n.rules, cut(d.Rule))
			}
		}
	}
}

// vendorOf tells which vendor a service asks for an event; "" for none.
func vendorOf(service, eventType string) string {
	if service == topology.FeedbackRouter && eventType != subjects.SurveyResponseNotified {
		return "" // it came with its answers
	}
	return vendors[service]
}

// vendors are those of each service.
var vendors = func() map[string]string {
	all := map[string]string{}
	for _, s := range topology.Of(topology.Settings{}).Services {
		if len(s.Vendors) > 0 {
			all[s.Name] = s.Vendors[0]
		}
	}
	return all
}()
