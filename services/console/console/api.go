package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

func (d *desk) routes(s *site) {
	d.letterRoutes(s)
	s.read("/operations", d.fresh(d.history))
}

// fresh answers a request with what the streams hold at this moment.
func (d *desk) fresh(h httpdoor.Handler) httpdoor.Handler {
	return func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		if err := d.refresh(ctx); err != nil {
			return nil, err
		}
		return h(ctx, r)
	}
}

// The sizes of pages.
const (
	page     = 50
	pageMost = 1000
)

// filter is which letters are asked for.
type filter struct {
	service, subject, class, cause, loop string
	state                                State // empty for all
	limit                                int
	before                               uint64
}

// classes are those of dead letters.
var classes = []fault.Class{fault.Invalid, fault.Refused, fault.Person, fault.Exhausted}

// allStates in place of a state.
const allStates = "all"

func filterOf(q url.Values, alias func(id string) string) (filter, error) {
	if err := knownIn(q, "service", "subject", "class", "cause", "state", "loop", "limit", "before"); err != nil {
		return filter{}, err
	}
	f := filter{
		service: q.Get("service"), subject: q.Get("subject"), class: q.Get("class"), cause: q.Get("cause"), loop: alias(q.Get("loop")),
		state: cmp.Or(State(q.Get("state")), Open),
	}
	if !slices.Contains([]State{Open, Replayed, Discarded, allStates}, f.state) {
		return f, web.Wrong("state", "must be open, replayed, discarded or all")
	}
	if f.state == allStates {
		f.state = ""
	}
	if f.class != "" && !slices.Contains(classes, fault.Class(f.class)) {
		return f, web.Wrong("class", fmt.Sprintf("must be one of %v", classes))
	}
	var err error
	f.limit, f.before, err = pageOf(q)
	return f, err
}

// knownIn refuses what would be ignored.
func knownIn(q url.Values, names ...string) error { return web.Known(q, append(names, "format")...) }

func pageOf(q url.Values) (limit int, before uint64, err error) {
	limit = page
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > pageMost {
			return 0, 0, web.Wrong("limit", fmt.Sprintf("must be 1 to %d", pageMost))
		}
	}
	if v := q.Get("before"); v != "" {
		if before, err = strconv.ParseUint(v, 10, 64); err != nil || before == 0 {
			return 0, 0, web.Wrong("before", "must be a sequence: what came before it is shown")
		}
	}
	return limit, before, nil
}

func (f filter) match(s Standing) bool {
	is := func(wanted, have string) bool { return wanted == "" || wanted == have }
	return is(f.service, s.Service) && is(f.subject, s.Subject) && is(f.class, s.Class) && is(f.cause, s.Cause) &&
		is(f.loop, s.LoopID) && is(string(f.state), string(s.State))
}

// cut gives a page of what is sorted newest first, and the sequence before which the next one begins, 0 for none.
func cut[T any](all []T, limit int, before uint64, sequence func(T) uint64) (part []T, next uint64) {
	if before > 0 {
		all = slices.DeleteFunc(all, func(v T) bool { return sequence(v) >= before })
	}
	if len(all) <= limit {
		return all, 0
	}
	return all[:limit], sequence(all[limit-1])
}

func (d *desk) list(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	f, err := filterOf(r.Query, d.called.of)
	if err != nil {
		return nil, err
	}
	list := web.List[Standing, uint64]{
		Name: "dead-letters", Columns: letterColumns, Cells: letterRows,
		Find: func(_ context.Context, before uint64, limit int) ([]Standing, uint64, error) {
			letters, next := d.book.page(f.match, before, limit)
			return letters, next, nil
		},
		Page: func(letters []Standing, next uint64) (*httpdoor.Response, error) {
			return d.listPage(r, f, d.letterList(f, letters, next)), nil
		},
		JSON: func(letters []Standing, next uint64) any { return d.letterList(f, letters, next) },
	}
	return list.Answer(ctx, r, f.before, f.limit)
}

// letterList is a page of letters.
type letterList struct {
	Letters []Standing `json:"letters"`
	// Total and Causes are of all that match, also on other pages.
	Total  int      `json:"total"`
	Next   uint64   `json:"next,omitempty"`
	Causes []*Cause `json:"causes"`
}

// letterList adds to a page what all that match have in common.
func (d *desk) letterList(f filter, letters []Standing, next uint64) letterList {
	all := d.book.selected(f.match)
	return letterList{Letters: listed(letters), Total: len(all), Next: next, Causes: listed(causes(all))}
}

// listed makes an empty list one in JSON too.
func listed[T any](all []T) []T { return append([]T{}, all...) }

func (d *desk) causes(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	f, err := filterOf(r.Query, d.called.of)
	if err != nil {
		return nil, err
	}
	all := listed(causes(d.book.selected(f.match)))
	switch web.FormOf(r) {
	case web.Page:
		return web.Redirect("/dead-letters" + strings.TrimPrefix(web.With(r, "format", ""), r.Path)), nil
	case web.CSV:
		return causesTable(all), nil
	}
	return &httpdoor.Response{Body: struct {
		Causes []*Cause `json:"causes"`
	}{all}}, nil
}

// whole is one letter with all that is known of it.
type whole struct {
	Standing
	// Headers are those that say nothing about people; all of them where the body is shown.
	Headers map[string][]string `json:"headers"`
	// Fields are the paths of the body's fields: they show what is there without what it says.
	Fields     []string        `json:"fields"`
	Body       json.RawMessage `json:"body,omitempty"`
	Operations []*Operation    `json:"operations"`

	all nats.Header
}

// reveal shows what is about people, to somebody whose look was recorded.
func (w *whole) reveal(body []byte, operations []*Operation) {
	w.Headers, w.Body, w.Operations = w.all, shownBody(body), operations
}

// led refuses browsers, which can be led to an address by a link or a page of another site, and take along who is signed in.
func led(r *httpdoor.Request) error {
	if r.Header.Get("Cookie") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return nil
	}
	return httpdoor.NewProblem(http.StatusForbidden, "a browser shows the body on the page of the dead letter, to who says there why")
}

func (d *desk) one(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	known := []string{"body", "by"}
	if web.FormOf(r) == web.Page { // whose address must not do anything
		known = nil
	}
	if err := knownIn(r.Query, known...); err != nil {
		return nil, err
	}
	sequence, err := sequenceOf(r)
	if err != nil {
		return nil, err
	}
	answer, body, err := d.whole(ctx, sequence)
	if err != nil {
		return nil, err
	}
	if web.FormOf(r) == web.Page {
		return d.letterPage(r, letterView{whole: answer, masked: maskBody(body)}), nil
	}
	if r.Query.Has("body") {
		if err := operator(r); err != nil {
			return nil, err
		}
		if err := led(r); err != nil {
			return nil, err
		}
		look, err := d.person(r, r.Query.Get("by"), "body", r.Query.Get("body"))
		if err != nil {
			return nil, err
		}
		if err := d.looked(ctx, sequence, look); err != nil {
			return nil, err
		}
		answer.reveal(body, d.book.history(answer.Letter))
	}
	return &httpdoor.Response{Body: answer}, nil
}

// whole gives a letter with all that is known of it but its body, and its body apart.
func (d *desk) whole(ctx context.Context, sequence uint64) (whole, []byte, error) {
	s, ok := d.book.look(sequence)
	if !ok {
		return whole{}, nil, notFound(sequence)
	}
	m, err := d.letter(ctx, sequence)
	if err != nil {
		return whole{}, nil, err
	}
	body, err := d.body(ctx, m)
	if err != nil && !errors.Is(err, errGone) {
		return whole{}, nil, err
	}
	return whole{
		Standing: s, Headers: d.plainOf(m.Header), Fields: fieldsOf(body), Operations: d.book.history(s.Letter), all: m.Header,
	}, body, nil
}

func sequenceOf(r *httpdoor.Request) (uint64, error) {
	sequence, err := strconv.ParseUint(r.Param("sequence"), 10, 64)
	if err != nil || sequence == 0 {
		return 0, httpdoor.NotFound("a dead letter is named by its sequence, a number")
	}
	return sequence, nil
}

// shownBody gives the body as JSON: what is none as a text.
func shownBody(body []byte) json.RawMessage {
	if json.Valid(body) {
		return body
	}
	text, _ := json.Marshal(string(body)) // a string always can
	return text
}

// fieldsOf lists the paths of the fields of a JSON object.
func fieldsOf(body []byte) []string {
	var value any
	if json.Unmarshal(body, &value) != nil {
		return []string{}
	}
	all := outline{}
	all.take(value)
	fields := all.paths(nil, "")
	slices.Sort(fields)
	return slices.Compact(fields)
}

// outline is which fields values have: the entries of a list have one together, so that a long list takes no more than what differs
// in it.
type outline struct {
	plain  bool // something without fields stands there
	fields map[string]*outline
	entry  *outline
}

func (s *outline) take(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if s.fields[name] == nil {
				if s.fields == nil {
					s.fields = map[string]*outline{}
				}
				s.fields[name] = &outline{}
			}
			s.fields[name].take(inner)
		}
	case []any:
		if s.entry == nil {
			s.entry = &outline{}
		}
		for _, inner := range v {
			s.entry.take(inner)
		}
	default:
		s.plain = true
	}
}

// paths adds those of all that is plain.
func (s *outline) paths(to []string, path string) []string {
	if s.plain {
		to = append(to, path)
	}
	for name, inner := range s.fields {
		to = inner.paths(to, strings.TrimPrefix(path+"."+contract.Shown(name), "."))
	}
	if s.entry != nil {
		to = s.entry.paths(to, path+"[]")
	}
	return to
}

// The longest that a person may write.
const (
	whyMost = 1000
	byMost  = 200
)

// person gives an operation with who is calling and why. A user whose credentials were checked is that user; who comes with
// an API key says so himself, and cannot be one of those.
func (d *desk) person(r *httpdoor.Request, by, whyField, why string) (Operation, error) {
	by, why = strings.TrimSpace(by), strings.TrimSpace(why)
	var wrong []httpdoor.FieldError
	switch {
	case r.User != "" && by != "" && by != r.User:
		wrong = append(wrong, httpdoor.FieldError{Field: "by", Message: "is not the user of the credentials"})
	case r.User == "" && slices.ContainsFunc(d.users(), func(user string) bool { return strings.EqualFold(user, by) }):
		wrong = append(wrong, httpdoor.FieldError{Field: "by", Message: "is a user with a password here: come with that"})
	case r.User == "" && by == "":
		wrong = append(wrong, httpdoor.FieldError{Field: "by", Message: "is required without a user's credentials: who are you?"})
	case len(by) > byMost:
		wrong = append(wrong, httpdoor.FieldError{Field: "by", Message: fmt.Sprintf("must have at most %d bytes", byMost)})
	}
	switch {
	case why == "":
		wrong = append(wrong, httpdoor.FieldError{Field: whyField, Message: "is required: why do you do this?"})
	case len(why) > whyMost:
		wrong = append(wrong, httpdoor.FieldError{Field: whyField, Message: fmt.Sprintf("must have at most %d bytes", whyMost)})
	}
	if len(wrong) > 0 {
		return Operation{}, httpdoor.BadRequest("an operation is recorded with who does it and why", wrong...)
	}
	return Operation{By: cmp.Or(r.User, by), Proven: r.User != "", Why: why}, nil
}

// asked is the body of a request about one letter.
type asked struct {
	Why     string          `json:"why"`
	By      string          `json:"by"`
	Again   bool            `json:"again"`
	Outcome string          `json:"outcome"`
	Body    json.RawMessage `json:"body"`
}

// askedMany is the body of a request about a selection.
type askedMany struct {
	Why       string   `json:"why"`
	By        string   `json:"by"`
	Again     bool     `json:"again"`
	Outcome   string   `json:"outcome"`
	Sequences []uint64 `json:"sequences"`
	Cause     string   `json:"cause"`
	// UpTo leaves out letters of the cause with a greater sequence, such as those that replays of it came back as.
	UpTo  uint64 `json:"upTo"`
	Limit int    `json:"limit"`
	// Edit is made in the body of each.
	Edit []Change `json:"edit"`
	// Job has it done in the background, the first Sample letters before a person says that the rest follows.
	Job    bool `json:"job"`
	Sample int  `json:"sample"`
}

// decode reads a JSON object that somebody sent.
func decode(r *httpdoor.Request, into any) error { return web.Decode(r, into) }

// operation is what is wanted of each letter of a request.
func (d *desk) operation(r *httpdoor.Request, kind string, a asked) (Operation, error) {
	o, err := d.person(r, a.By, "why", a.Why)
	if err != nil {
		return o, err
	}
	o.Kind, o.Again, o.Outcome, o.Key = kind, a.Again, a.Outcome, r.Header.Get("Idempotency-Key")
	o.Body, o.Edited = a.Body, len(a.Body) > 0
	switch {
	case len(o.Key) > byMost:
		return o, web.Wrong("Idempotency-Key", fmt.Sprintf("must have at most %d bytes", byMost))
	case kind == Discard && o.Edited:
		return o, web.Wrong("body", "cannot be sent with what is discarded")
	case o.Edited && o.Body[0] != '{':
		return o, web.Wrong("body", "must be an object")
	case o.Edited && o.Outcome != "":
		return o, web.Wrong("outcome", "cannot be sent with a body: what was sent is decided about as it was")
	case o.Outcome != "" && (kind == Discard || o.Outcome != OutcomeNotDone):
		return o, web.Wrong("outcome", "may be "+OutcomeNotDone+", of a replay")
	}
	return o, nil
}

func (d *desk) single(ctx context.Context, r *httpdoor.Request, kind string) (*httpdoor.Response, error) {
	sequence, err := sequenceOf(r)
	if err != nil {
		return nil, err
	}
	var a asked
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	wanted, err := d.operation(r, kind, a)
	if err != nil {
		return nil, err
	}
	wanted.Letter = sequence
	done, err := d.decide(ctx, wanted)
	if err != nil {
		return nil, err
	}
	answer := &httpdoor.Response{Body: done}
	if done.Outcome == outcomeRecorded {
		answer.Status = http.StatusAccepted
	}
	return answer, nil
}

// Many is the answer to a request about a selection.
type Many struct {
	// Done are those replayed or discarded, recorded ones included.
	Done    int `json:"done"`
	Skipped int `json:"skipped"`
	Failed  int `json:"failed"`
	// Left of the selection was not looked at, since the limit or the time of the request was over: asking again goes on.
	Left int `json:"left"`
	// UpTo is the greatest sequence of a selection by cause. Who goes on sends it along, so that letters that came back
	// meanwhile are not taken again.
	UpTo    uint64 `json:"upTo,omitempty"`
	Letters []Done `json:"letters"`
}

// answerIn is the time left for the answer when a selection stops.
const answerIn = 8 * time.Second

// selection is what is wanted of each letter of a selection.
func (d *desk) selection(r *httpdoor.Request, kind string, a askedMany) (Operation, error) {
	wanted, err := d.operation(r, kind, asked{Why: a.Why, By: a.By, Again: a.Again, Outcome: a.Outcome})
	if err != nil {
		return wanted, err
	}
	wanted.changes, wanted.Edited = a.Edit, len(a.Edit) > 0
	switch {
	case kind == Discard && wanted.Edited:
		return wanted, web.Wrong("edit", "cannot be sent with what is discarded")
	case wanted.Edited && wanted.Outcome != "":
		return wanted, web.Wrong("outcome", "cannot be sent with edit: what was sent is decided about as it was")
	case a.Job && a.Limit != 0:
		return wanted, web.Wrong("limit", "does not go with a job: sample says how many come first")
	case !a.Job && a.Sample != 0:
		return wanted, web.Wrong("sample", "goes with a job: limit says how many are done")
	case a.Sample < 0:
		return wanted, web.Wrong("sample", "must be positive")
	}
	return wanted, checkChanges(a.Edit)
}

// many decides about a selection, the oldest first and one after another, so that no more than one body is in memory.
func (d *desk) many(ctx context.Context, r *httpdoor.Request, kind string) (*httpdoor.Response, error) {
	var a askedMany
	if err := decode(r, &a); err != nil {
		return nil, err
	}
	wanted, err := d.selection(r, kind, a)
	if err != nil {
		return nil, err
	}
	chosen, err := d.chosen(a)
	if err != nil {
		return nil, err
	}
	if a.Job {
		j, err := d.begin(ctx, wanted, a, chosen)
		if err != nil {
			return nil, err
		}
		return &httpdoor.Response{Status: http.StatusAccepted, Body: j.shown()}, nil
	}
	limit := cmp.Or(a.Limit, len(chosen))
	answer := Many{Letters: []Done{}}
	if a.Cause != "" && len(chosen) > 0 {
		answer.UpTo = cmp.Or(a.UpTo, chosen[len(chosen)-1])
	}
	for i, sequence := range chosen {
		if answer.Done+answer.Failed == limit || over(ctx) {
			answer.Left = len(chosen) - i
			break
		}
		wanted.Letter = sequence
		done, err := d.decide(ctx, wanted)
		if err != nil {
			if done, err = instead(sequence, err); err != nil {
				if len(answer.Letters) == 0 {
					return nil, err
				}
				answer.Left = len(chosen) - i // JetStream is away: what was done is told, and asking again goes on
				break
			}
		}
		answer.add(done)
	}
	return &httpdoor.Response{Body: answer}, nil
}

func (m *Many) add(done Done) {
	switch done.Outcome {
	case outcomeSkipped:
		m.Skipped++
	case outcomeFailed:
		m.Failed++
	default:
		m.Done++
	}
	m.Letters = append(m.Letters, done)
}

// over tells that there is just time for the answer.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < answerIn
}

// instead says what became of a letter that was not replayed, or gives back an error that is not about the letter.
func instead(sequence uint64, err error) (Done, error) {
	why, never := impossible(err)
	if !never {
		return Done{}, err
	}
	done := Done{Sequence: sequence, Outcome: outcomeFailed, Reason: why}
	if p, ok := errors.AsType[*httpdoor.Problem](err); ok && p.Status == http.StatusConflict {
		done.Outcome = outcomeSkipped
	}
	return done, nil
}

// chosen gives the letters of a selection, oldest first: those named, or the open ones of a cause.
func (d *desk) chosen(a askedMany) ([]uint64, error) {
	switch {
	case a.Limit < 0:
		return nil, web.Wrong("limit", "must be positive")
	case a.Cause != "" && len(a.Sequences) > 0:
		return nil, web.Wrong("cause", "contradicts sequences: name one of them")
	case a.Cause == "" && a.UpTo > 0:
		return nil, web.Wrong("upTo", "goes with cause")
	case a.Cause == "" && len(a.Sequences) == 0:
		return nil, web.Wrong("sequences", "are required, or cause")
	case a.Cause == "":
		sorted := slices.Sorted(slices.Values(a.Sequences))
		return slices.Compact(sorted), nil
	case a.Again || a.Outcome != "":
		return nil, web.Wrong("cause", "goes with neither again nor outcome: name the sequences")
	}
	if len(d.book.selected(filter{cause: a.Cause}.match)) == 0 {
		return nil, httpdoor.NotFound("there is no dead letter of the cause " + a.Cause)
	}
	var open []uint64
	for _, s := range d.book.selected(filter{cause: a.Cause, state: Open}.match) {
		if a.UpTo == 0 || s.Sequence <= a.UpTo {
			open = append(open, s.Sequence)
		}
	}
	slices.Reverse(open)
	return open, nil
}
