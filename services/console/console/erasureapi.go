package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
)

func (d *desk) erasureRoutes(s *site, f *forgetter) {
	s.operate(http.MethodPost, "/erasures", d.fresh(func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		return d.erase(ctx, r, f)
	}))
	s.read("/erasures", d.fresh(func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		if err := knownIn(r.Query); err != nil {
			return nil, err
		}
		all := []*Erasure{}
		for _, e := range f.book.all() {
			all = append(all, e.shown())
		}
		return &httpdoor.Response{Body: struct {
			Erasures []*Erasure `json:"erasures"`
		}{all}}, nil
	}))
	s.read("/erasures/{id}", d.fresh(func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		e, ok := f.book.find(r.Param("id"))
		if !ok {
			return nil, httpdoor.NotFound("there is no such erasure; its receipt may have expired")
		}
		return &httpdoor.Response{Body: e.shown()}, nil
	}))
}

// askedErasure is the body of a request to forget somebody. Whom, and not whom to keep: what is left out is not known.
type askedErasure struct {
	Why string `json:"why"`
	By  string `json:"by"`
	// Email is the person's address; all who share it are forgotten with them.
	Email string `json:"email"`
	// ExternalID is contact.externalId, the person's key in the systems that ask for invitations.
	ExternalID string `json:"externalId"`
	Phone      string `json:"phone"`
	// ContactID is Qualtrics' CID_….
	ContactID string `json:"contactId"`
}

// The longest that a person may be named, and the shortest phone number that is one.
const (
	namedMost   = 255
	phoneDigits = 7
)

// whom reads who is to be forgotten.
func (a askedErasure) whom() (*person, error) {
	p := newPerson()
	var wrong []httpdoor.FieldError
	refuse := func(name, message string) { wrong = append(wrong, httpdoor.FieldError{Field: name, Message: message}) }
	email, externalID, contactID := plainEmail(a.Email), strings.TrimSpace(a.ExternalID), strings.TrimSpace(a.ContactID)
	if parsed, err := mail.ParseAddress(email); email != "" && (err != nil || parsed.Address != email || len(email) > namedMost) {
		refuse("email", "is no e-mail address")
	}
	if len(externalID) > namedMost {
		refuse("externalId", "is too long")
	}
	if a.Phone != "" && len(digits(a.Phone)) < phoneDigits {
		refuse("phone", "is no phone number with its area code")
	}
	if contactID != "" && !strings.HasPrefix(contactID, "CID_") {
		refuse("contactId", "is Qualtrics' id of a contact: CID_…")
	}
	if email == "" && externalID == "" && contactID == "" {
		refuse("email", "is required, or externalId, or contactId: who is to be forgotten? With email and externalId both, most is found")
	}
	p.Emails.add(email)
	p.ExternalIDs.add(externalID)
	p.Phones.add(digits(a.Phone))
	p.Contacts.add(contactID)
	words := sight{leaves: []leaf{{"", a.Why}, {"", a.By}}}
	if p.mentions(words) || externalID != "" && len(externalID) >= phoneDigits && strings.Contains(a.Why, externalID) {
		refuse("why", "must not name the person, and by neither: they stay in the receipt")
	}
	if len(wrong) > 0 {
		return nil, httpdoor.BadRequest("it must be said who is to be forgotten", wrong...)
	}
	return p, nil
}

// erasureIDs makes the id of an erasure that was asked for under a key.
var erasureIDs = uuid.MustParse("a8f8c1de-6d0c-5d5e-8f0e-6b6f3c1f0f52")

// erase records that a person is to be forgotten; it is done in the background.
func (d *desk) erase(ctx context.Context, r *httpdoor.Request, f *forgetter) (*httpdoor.Response, error) {
	var a askedErasure
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	o, err := d.person(r, a.By, "why", a.Why)
	if err != nil {
		return nil, err
	}
	p, err := a.whom()
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		id = uuid.NewSHA1(erasureIDs, []byte(o.By+"\x00"+key)).String()
	}
	if e, ok := f.book.find(id); ok {
		return accepted(e), nil
	}
	e := &Erasure{
		ID: id, Kind: erasureKind, State: erasureWorking, By: o.By, Proven: o.Proven, Why: o.Why, At: d.now(),
		Deleted: map[string]int{}, LookedAt: map[string]uint64{}, Vendors: []AtVendor{},
		Work: &work{Person: p, Fence: map[string]uint64{}, Letters: map[uint64]bool{}, Made: map[string]int{}},
	}
	if err := f.begin(ctx, e); err != nil {
		return nil, httpdoor.Unavailable("JetStream did not take the request; nothing was deleted, and the same request may be sent again", 2*time.Second)
	}
	d.done.WithLabelValues(erasureKind).Inc()
	return accepted(e), nil
}

func accepted(e *Erasure) *httpdoor.Response {
	return &httpdoor.Response{Status: http.StatusAccepted, Body: e.shown()}
}

// begin records an erasure with where the streams end at this moment.
func (f *forgetter) begin(ctx context.Context, e *Erasure) error {
	for _, name := range searched {
		s, err := f.stream(ctx, name)
		if err != nil {
			return err
		}
		e.Work.Fence[name] = s.CachedInfo().State.LastSeq
	}
	content, err := json.Marshal(e)
	if err != nil {
		return err
	}
	sequence, err := f.bus.Record(ctx, topology.ErasureSubject(e.ID), "erasure:"+e.ID, content, 0)
	if errors.Is(err, bus.ErrOvertaken) {
		return nil // the same request, by another way
	}
	if err != nil {
		return err
	}
	e.sequence = sequence
	kept, err := e.copied()
	if err != nil {
		return err
	}
	f.book.keep(kept)
	return nil
}
