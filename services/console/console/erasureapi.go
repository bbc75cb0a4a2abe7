package console

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// erasurePages are the addresses of erasures, for people and programs.
type erasurePages struct {
	desk      *desk
	forgetter *forgetter
}

func (p *erasurePages) routes(s *site) {
	s.read("/erasures", p.desk.fresh(p.list))
	s.operate(http.MethodPost, "/erasures", p.desk.fresh(p.erase))
	s.read("/erasures/{id}", p.desk.fresh(p.one))
	s.live("/erasures/{id}/live", func(r *httpdoor.Request) error { _, err := p.find(r); return err }, p.live)
}

// shown are all erasures as callers see them, newest first.
func (p *erasurePages) shown() []*Erasure {
	all := []*Erasure{}
	for _, e := range p.forgetter.book.all() {
		all = append(all, e.shown())
	}
	return all
}

func (p *erasurePages) list(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := knownIn(r.Query, "limit", "before"); err != nil {
		return nil, err
	}
	limit, before, err := pageOf(r.Query)
	if err != nil {
		return nil, err
	}
	if web.FormOf(r) == web.JSON && !r.Query.Has("limit") { // programs are told of all
		limit = math.MaxInt
	}
	list := web.List[*Erasure, uint64]{
		Name: "erasures", Columns: erasureColumns, Cells: erasureRows,
		Find: func(_ context.Context, before uint64, limit int) ([]*Erasure, uint64, error) {
			all, next := cut(p.shown(), limit, before, (*Erasure).place)
			return all, next, nil
		},
		Page: func(all []*Erasure, next uint64) (*httpdoor.Response, error) {
			return erasuresPage(r, all, next, typed{}), nil
		},
		JSON: func(all []*Erasure, next uint64) any {
			return struct {
				Erasures []*Erasure `json:"erasures"`
				Next     uint64     `json:"next,omitempty"`
			}{all, next}
		},
	}
	return list.Answer(ctx, r, before, limit)
}

func (p *erasurePages) one(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := knownIn(r.Query); err != nil {
		return nil, err
	}
	e, err := p.find(r)
	if err != nil {
		return nil, err
	}
	if web.FormOf(r) == web.Page {
		return erasurePage(r, e), nil
	}
	return &httpdoor.Response{Body: e}, nil
}

// find gives the erasure that a request names, as callers see it.
func (p *erasurePages) find(r *httpdoor.Request) (*Erasure, error) {
	e, ok := p.forgetter.book.find(r.Param("id"))
	if !ok {
		return nil, httpdoor.NotFound("there is no such erasure; its receipt may have expired")
	}
	return e.shown(), nil
}

// askedErasure is the body of a request to forget somebody. Whom, and not whom to keep: what is left out is not known.
type askedErasure struct {
	Why string `json:"why"`
	By  string `json:"by"`
	// Email is the person's address; all who share it are forgotten with them.
	Email string `json:"email"`
	// ExternalID is contact.externalId, the person's key in the systems that ask for invitations. Case counts.
	ExternalID string `json:"externalId"`
	Phone      string `json:"phone"`
	// ContactID is Qualtrics' CID_…, or the id of the contact in SAP Sales Cloud.
	ContactID string `json:"contactId"`
	// ResponseID is an answer and RequestID an invitation of theirs, where neither has an address or a key.
	ResponseID string `json:"responseId"`
	RequestID  string `json:"requestId"`
}

// The longest that a person may be named by, and the shortest phone number that is one.
const (
	namedMost   = 255
	phoneDigits = 7
)

// whom reads who is to be forgotten.
func (a askedErasure) whom() (*person, error) {
	p := newPerson()
	var wrong []httpdoor.FieldError
	refuse := func(name, message string) { wrong = append(wrong, httpdoor.FieldError{Field: name, Message: message}) }
	email := plainEmail(a.Email)
	if parsed, err := mail.ParseAddress(email); email != "" && (err != nil || parsed.Address != email || len(email) > namedMost) {
		refuse("email", "is no e-mail address")
	}
	if a.Phone != "" && len(plainPhone(a.Phone)) < phoneDigits {
		refuse("phone", "is no phone number with its area code")
	}
	id := func(name, value string) string {
		if len(value) > namedMost {
			refuse(name, "is too long")
		}
		return strings.TrimSpace(value)
	}
	externalID, contactID := id("externalId", a.ExternalID), id("contactId", a.ContactID)
	requestID, responseID := id("requestId", a.RequestID), id("responseId", a.ResponseID)
	if strings.HasPrefix(contactID, "CGC_") || strings.HasPrefix(contactID, "MLRP_") {
		refuse("contactId", "is Qualtrics' id in one mailing list: give that of the contact, CID_…, or SAP Sales Cloud's")
	}
	if email+externalID+contactID+requestID+responseID == "" {
		refuse("email", "is required, or externalId, contactId, responseId or requestId: who is to be forgotten? With email and externalId both, most is found")
	}
	p.Emails.add(email)
	p.ExternalIDs.add(externalID)
	p.Phones.add(plainPhone(a.Phone))
	if strings.HasPrefix(contactID, "CID_") {
		p.Contacts.add(contactID)
	} else {
		p.ExternalIDs.add(contactID)
	}
	p.Requests.add(requestID)
	p.Responses.add(responseID)
	p.Asked.add(requestID, responseID)
	p.nameBy(requestID)
	words := sight{leaves: []leaf{{"", a.Why}, {"", a.By}}}
	saidIn := func(id string) bool { return len(id) >= phoneDigits && strings.Contains(a.Why+"\n"+a.By, id) }
	if p.mentions(words) || saidIn(externalID) || saidIn(contactID) {
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
func (p *erasurePages) erase(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if r.IsForm() {
		return p.eraseForm(ctx, r)
	}
	var a askedErasure
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	e, err := p.asked(ctx, r, a)
	if err != nil {
		return nil, err
	}
	return &httpdoor.Response{Status: http.StatusAccepted, Body: e}, nil
}

// asked checks and records what was asked for. The same person who asks again under the same key is told of the first.
func (p *erasurePages) asked(ctx context.Context, r *httpdoor.Request, a askedErasure) (*Erasure, error) {
	o, err := p.desk.person(r, a.By, "why", a.Why)
	if err != nil {
		return nil, err
	}
	whom, err := a.whom()
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		id = uuid.NewSHA1(erasureIDs, []byte(o.By+"\x00"+key)).String()
	}
	if e, ok := p.forgetter.book.find(id); ok {
		return e.shown(), nil
	}
	e := &Erasure{
		ID: id, Kind: erasureKind, State: erasureWorking, By: o.By, Proven: o.Proven, Why: o.Why, At: p.desk.now(),
		Deleted: map[string]int{}, LookedAt: map[string]uint64{}, Vendors: []AtVendor{},
		Work: &work{Person: whom, Fence: map[string]uint64{}, Letters: map[uint64]bool{}, Made: map[string]int{}},
	}
	if err := p.forgetter.begin(ctx, e); err != nil {
		return nil, httpdoor.Unavailable("JetStream did not take the request; nothing was deleted, and the same request may be sent again", 2*time.Second)
	}
	p.desk.done.WithLabelValues(erasureKind).Inc()
	return e.shown(), nil
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
