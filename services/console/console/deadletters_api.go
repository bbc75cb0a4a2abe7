package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// letterRoutes are those of the dead letters: one address for people and programs each.
func (d *desk) letterRoutes(s *site) {
	read := func(path string, h httpdoor.Handler) { s.read(path, d.fresh(h)) }
	post := func(path string, h httpdoor.Handler) { s.operate(http.MethodPost, path, d.fresh(h)) }
	read("/dead-letters", d.list)
	read("/dead-letters/causes", d.causes)
	read("/dead-letters/jobs", d.listJobs)
	read("/dead-letters/jobs/{id}", d.oneJob)
	s.live("/dead-letters/jobs/{id}/live", d.jobKnown, d.jobLive)
	s.operate(http.MethodGet, "/dead-letters/selection", d.fresh(d.selectionPage))
	read("/dead-letters/{sequence}", d.one)
	post("/dead-letters/preview", d.preview)
	post("/dead-letters/jobs/{id}/continue", d.continueJob)
	post("/dead-letters/jobs/{id}/stop", d.stopJob)
	post("/dead-letters/{sequence}/show", d.show)
	post("/dead-letters/{sequence}/check", d.check)
	for _, kind := range []string{Replay, Discard} {
		post("/dead-letters/"+kind, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
			return formOr(r, kind, d.manyForm, d.many)(ctx)
		})
		post("/dead-letters/{sequence}/"+kind, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
			return formOr(r, kind, d.singleForm, d.single)(ctx)
		})
	}
}

// kindHandler answers a request to replay or to discard.
type kindHandler func(ctx context.Context, r *httpdoor.Request, kind string) (*httpdoor.Response, error)

// formOr has forms of our pages handled by one, and everything else by the other.
func formOr(r *httpdoor.Request, kind string, form, other kindHandler) func(context.Context) (*httpdoor.Response, error) {
	h := other
	if r.IsForm() {
		h = form
	}
	return func(ctx context.Context) (*httpdoor.Response, error) { return h(ctx, r, kind) }
}

// show records who looks at a body and why, and then shows it.
func (d *desk) show(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if r.IsForm() {
		return d.showForm(ctx, r)
	}
	var a struct {
		Why string `json:"why"`
		By  string `json:"by"`
	}
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	sequence, err := sequenceOf(r)
	if err != nil {
		return nil, err
	}
	look, err := d.person(r, a.By, "why", a.Why)
	if err != nil {
		return nil, err
	}
	w, body, err := d.whole(ctx, sequence)
	if err != nil {
		return nil, err
	}
	if err := d.looked(ctx, sequence, look); err != nil {
		return nil, err
	}
	w.reveal(body, d.book.history(w.Letter))
	return &httpdoor.Response{Body: w}, nil
}

// check tells whether a replay with a mended body would go out, and decides nothing.
func (d *desk) check(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if r.IsForm() {
		return d.checkForm(ctx, r)
	}
	var a struct {
		Body json.RawMessage `json:"body"`
	}
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	sequence, err := sequenceOf(r)
	if err != nil {
		return nil, err
	}
	if err := d.checked(ctx, sequence, a.Body); err != nil {
		return nil, err
	}
	return &httpdoor.Response{Body: struct {
		Valid bool `json:"valid"`
	}{true}}, nil
}

// checked holds a mended body against the contract, as its replay would.
func (d *desk) checked(ctx context.Context, sequence uint64, body json.RawMessage) error {
	if len(body) == 0 || body[0] != '{' {
		return web.Wrong("body", "must be an object")
	}
	if _, ok := d.book.look(sequence); !ok {
		return notFound(sequence)
	}
	_, err := d.prepare(ctx, &Operation{Kind: Replay, Letter: sequence, At: d.now(), Body: body, Edited: true})
	return err
}

// jobIDs makes the id of a job that was asked for under a key.
var jobIDs = uuid.MustParse("5b0f5d5e-1c0b-5f55-9f64-0c2f3c7b6e0a")

// begin records a job on the letters that were chosen.
func (d *desk) begin(ctx context.Context, wanted Operation, a askedMany, chosen []uint64) (*Job, error) {
	if a.Cause == "" && len(chosen) > jobMost {
		return nil, web.Wrong("sequences", fmt.Sprintf("may be %d at most", jobMost))
	}
	id := uuid.NewString()
	if wanted.Key != "" {
		id = uuid.NewSHA1(jobIDs, []byte(wanted.By+"\x00"+wanted.Key)).String()
	}
	chosen = chosen[:min(len(chosen), jobMost)] // of a larger cause the oldest; asking again takes the rest
	j := &Job{
		ID: id, Kind: jobKind, Does: wanted.Kind, State: jobWorking, Said: said(wanted, d.now()), Cause: a.Cause, Sequences: chosen,
		Again: wanted.Again, Outcome: wanted.Outcome, Edit: a.Edit, Sample: a.Sample, Total: len(chosen), Left: len(chosen),
	}
	if _, known := d.jobs.book.find(id); !known && len(chosen) == 0 {
		return nil, httpdoor.Conflict("no open dead letter is left of the selection")
	}
	return d.jobs.begin(ctx, j)
}

func said(o Operation, at time.Time) Said {
	return Said{By: o.By, Proven: o.Proven, Why: o.Why, At: at}
}

func (d *desk) listJobs(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := knownIn(r.Query, "limit", "before"); err != nil {
		return nil, err
	}
	limit, before, err := pageOf(r.Query)
	if err != nil {
		return nil, err
	}
	list := web.List[*Job, uint64]{
		Name: "dead-letter-jobs", Columns: jobColumns, Cells: jobRows,
		Find: func(_ context.Context, before uint64, limit int) ([]*Job, uint64, error) {
			found, next := cut(d.jobs.book.all(), limit, before, (*Job).place)
			shown := []*Job{}
			for _, j := range found {
				shown = append(shown, j.shown())
			}
			return shown, next, nil
		},
		Page: func(shown []*Job, next uint64) (*httpdoor.Response, error) { return d.jobsPage(r, shown, next), nil },
		JSON: func(shown []*Job, next uint64) any {
			return struct {
				Jobs []*Job `json:"jobs"`
				Next uint64 `json:"next,omitempty"`
			}{shown, next}
		},
	}
	return list.Answer(ctx, r, before, limit)
}

// Progress of a job, with what became of what it did.
type jobProgress struct {
	*Job
	// CameBack are letters of the job that failed again since, as other dead letters.
	CameBack int    `json:"cameBack"`
	Back     []Back `json:"back,omitempty"`

	letters []uint64
}

// Back is a letter that a replay came back as.
type Back struct {
	Sequence uint64 `json:"sequence"`
	As       uint64 `json:"as"`
	Reason   string `json:"reason"`
}

func (d *desk) progress(j *Job) jobProgress {
	p := jobProgress{Job: j.shown(), letters: j.Sequences}
	for _, sequence := range j.Sequences[:j.looked()] {
		s, ok := d.book.look(sequence)
		if !ok || s.FailedAgainAs == 0 || s.Last == nil || s.Last.Job != j.ID {
			continue
		}
		if p.CameBack++; len(p.Back) < failuresMost {
			back := Back{Sequence: sequence, As: s.FailedAgainAs}
			if again, ok := d.book.look(s.FailedAgainAs); ok {
				back.Reason = again.Reason
			}
			p.Back = append(p.Back, back)
		}
	}
	return p
}

func (d *desk) oneJob(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := knownIn(r.Query); err != nil {
		return nil, err
	}
	j, ok := d.jobs.book.find(r.Param("id"))
	if !ok {
		return nil, noJob()
	}
	p := d.progress(j)
	if web.FormOf(r) == web.Page {
		return d.jobPage(r, p, typed{}), nil
	}
	return &httpdoor.Response{Body: p}, nil
}

func (d *desk) jobKnown(r *httpdoor.Request) error {
	if _, ok := d.jobs.book.find(r.Param("id")); !ok {
		return noJob()
	}
	return nil
}

func (d *desk) continueJob(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	return d.alterJob(ctx, r, d.jobs.goOn)
}

func (d *desk) stopJob(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	return d.alterJob(ctx, r, d.jobs.stop)
}

// alteration is what a person changes of a job that goes on.
type alteration func(ctx context.Context, id string, by Said) (*Job, error)

func (d *desk) alterJob(ctx context.Context, r *httpdoor.Request, alter alteration) (*httpdoor.Response, error) {
	if r.IsForm() {
		return d.alterForm(ctx, r, alter)
	}
	var a struct {
		Why string `json:"why"`
		By  string `json:"by"`
	}
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	who, err := d.person(r, a.By, "why", a.Why)
	if err != nil {
		return nil, err
	}
	j, err := alter(ctx, r.Param("id"), said(who, d.now()))
	if err != nil {
		return nil, err
	}
	return &httpdoor.Response{Status: http.StatusAccepted, Body: j.shown()}, nil
}

// Preview is what a change would do to a selection.
type Preview struct {
	// Total letters are chosen; Looked at are fewer where time was over.
	Total  int `json:"total"`
	Looked int `json:"looked"`
	// Valid bodies would keep the event's contract, Invalid ones not, for these Reasons.
	Valid   int             `json:"valid"`
	Invalid int             `json:"invalid"`
	Reasons []PreviewReason `json:"reasons"`
	// Sample is what changes in the first letter whose body changes, masked.
	Sample *PreviewSample `json:"sample,omitempty"`
}

// PreviewReason is why bodies would not be taken.
type PreviewReason struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
	// First letter of them.
	First uint64 `json:"first"`
}

// PreviewSample is a body before and after, masked.
type PreviewSample struct {
	Sequence uint64          `json:"sequence"`
	Before   json.RawMessage `json:"before"`
	After    json.RawMessage `json:"after"`
}

func (d *desk) preview(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if r.IsForm() {
		return d.previewForm(ctx, r)
	}
	var a askedMany
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	p, err := d.previewed(ctx, a)
	if err != nil {
		return nil, err
	}
	return &httpdoor.Response{Body: p}, nil
}

// previewed makes the change in every body, and throws it away again.
func (d *desk) previewed(ctx context.Context, a askedMany) (*Preview, error) {
	chosen, err := d.chosen(a)
	if err == nil {
		err = checkChanges(a.Edit)
	}
	if err != nil {
		return nil, err
	}
	p := &Preview{Total: len(chosen), Reasons: []PreviewReason{}}
	by := map[string]*PreviewReason{}
	for _, sequence := range chosen {
		if over(ctx) {
			break
		}
		err := d.previewOne(ctx, a, sequence, p)
		why, never := impossible(err)
		if p.Looked++; err == nil {
			p.Valid++
			continue
		}
		if !never {
			return nil, err
		}
		p.Invalid++
		if by[why] == nil {
			by[why] = &PreviewReason{Reason: why, First: sequence}
		}
		by[why].Count++
	}
	for _, reason := range by {
		p.Reasons = append(p.Reasons, *reason)
	}
	slices.SortFunc(p.Reasons, func(x, y PreviewReason) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), strings.Compare(x.Reason, y.Reason))
	})
	return p, nil
}

func (d *desk) previewOne(ctx context.Context, a askedMany, sequence uint64, p *Preview) error {
	o := Operation{Kind: Replay, Letter: sequence, At: d.now(), Again: a.Again, changes: a.Edit}
	if _, _, err := d.judge(&o, false); err != nil {
		return err
	}
	if len(a.Edit) == 0 {
		_, err := d.prepare(ctx, &o)
		return err
	}
	after, err := d.mended(ctx, &o)
	if err != nil {
		return err
	}
	if p.Sample == nil {
		m, err := d.letter(ctx, sequence)
		if err != nil {
			return err
		}
		before, err := d.body(ctx, m)
		if err != nil {
			return err
		}
		if parsed, err := tree(before); err == nil { // with its fields in the order of those after
			before = written(parsed)
		}
		p.Sample = &PreviewSample{Sequence: sequence, Before: maskBody(before), After: maskMended(after, a.Edit)}
	}
	o.Body, o.Edited = after, true
	_, err = d.prepare(ctx, &o)
	return err
}
