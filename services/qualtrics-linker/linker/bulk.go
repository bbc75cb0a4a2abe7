package linker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/parallel"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

const (
	// importBytes is the most that the rows of one import take: Qualtrics' limit, with room for what is around them.
	importBytes = qualtrics.MaxImportBytes - 256<<10
	// ledgerCalls is how many requests of a wave are recorded and published at a time.
	ledgerCalls = 32
	// fewRefused is how many requests are made by themselves when their import was refused as a whole: they take as long as
	// another import. More of them are divided into refusedParts, as long as no more than importsTried are made: enough for
	// one bad row of 10,000, or two of 1,000. refusedRetry is when the rest is tried again.
	fewRefused   = 20
	refusedParts = 4
	importsTried = 32
	refusedRetry = time.Minute
	// wavesTried is how often a request is tried in waves, which takes some two minutes.
	wavesTried = 8
)

// job is one request of those that are handled together.
type job struct {
	event  event.Event
	wanted wanted
	// reference and mailbox are what a row of links is found by, as Qualtrics compares them (qualtrics.md §3.2).
	reference, mailbox string
	row                qualtrics.ImportRow
	size               int
	// member is the request's place in a wave.
	member *effect.Member
	err    error
	// first is an earlier job with the same request id: what comes of that one is this one's too.
	first *job
}

// about tells what is made for the request, for whoever goes on with its wave.
func (j *job) about() string { return digest(j.reference) + "/" + digest(j.mailbox) }

// waveKey tells which requests go together: one import is for one list, one distribution for one survey and expiry.
func (l *linker) waveKey(e event.Event) string {
	m, ok := e.Data.(*eventsv1.SurveyLinkRequested)
	if !ok {
		return ""
	}
	w, err := l.wanted(e, m)
	if err != nil || l.oneByOne.Load() || l.settings.BulkPhone == phoneDirect && m.GetContact().GetPhone() != "" {
		return ""
	}
	key := w.mailingListID + " " + w.surveyID
	if m.GetSurvey().GetExpiresAt().IsValid() {
		key += " " + qualtrics.FormatTime(w.expiresAt)
	}
	return key
}

// handleMany handles requests that came at the same time: a few of them one by one, more of them in waves.
func (l *linker) handleMany(ctx context.Context, events []event.Event) []error {
	jobs := l.jobs(events)
	// Whatever keeps the others from being made together, after so many tries these are made by themselves.
	many, few := partition(open(jobs), func(j *job) bool { return j.event.Attempts < wavesTried })
	for _, group := range groupForImports(many) {
		if len(group) < l.settings.BulkFrom {
			few = append(few, group...)
		} else {
			l.makeWave(ctx, group, nil)
		}
	}
	l.direct(ctx, few)
	errs := make([]error, len(jobs))
	for i, j := range jobs {
		if j.first != nil {
			if j.err = j.first.err; j.err == nil {
				j.err = l.handle(activity.About(ctx, j.event.ID), j.event) // which finds what the first one has made
			}
		}
		errs[i] = j.err
	}
	return errs
}

// jobs prepares the requests.
func (l *linker) jobs(events []event.Event) []*job {
	jobs, first := make([]*job, len(events)), map[string]*job{}
	for i, e := range events {
		j := &job{event: e}
		jobs[i] = j
		m, ok := e.Data.(*eventsv1.SurveyLinkRequested)
		if !ok {
			j.err = notALink(e)
			continue
		}
		if j.wanted, j.err = l.wanted(e, m); j.err != nil {
			continue
		}
		if j.first = first[m.GetRequestId()]; j.first == nil {
			first[m.GetRequestId()] = j
		}
		j.prepare()
	}
	return jobs
}

// prepare makes the row of an import. It takes neither phone nor the transaction's date, so the latter goes into the
// data (qualtrics.md §3.5).
func (j *job) prepare() {
	contact := j.wanted.contact()
	contact.Phone = ""
	data := maps.Clone(j.wanted.data)
	if at := j.wanted.request.GetTransaction().GetOccurredAt(); at.IsValid() {
		if _, taken := data[dataOccurredAt]; !taken {
			data[dataOccurredAt] = qualtrics.FormatTime(at.AsTime())
		}
	}
	j.row = qualtrics.ImportRow{Contact: contact, Data: data}
	j.size = j.row.Size()
	j.reference, j.mailbox = normal(contact.ExtRef), normal(contact.Email)
}

// normal writes a reference or an e-mail as Qualtrics compares it.
func normal(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// open gives the jobs that have no outcome yet.
func open(jobs []*job) []*job {
	undone, _ := partition(jobs, func(j *job) bool { return j.err == nil && j.first == nil })
	return undone
}

// partition parts jobs by what is said of them.
func partition(jobs []*job, is func(*job) bool) (yes, no []*job) {
	for _, j := range jobs {
		if is(j) {
			yes = append(yes, j)
		} else {
			no = append(no, j)
		}
	}
	return yes, no
}

// groupForImports divides jobs into groups that can each go in one import: whose references and mailboxes are all
// different, so that a row of links belongs to one of them whatever dedupe merges (qualtrics.md §8, traps 6 and 7); of
// which no attribute of a contact has the name of a transaction's field (trap 10); and which is no larger than an
// import may be.
func groupForImports(jobs []*job) [][]*job {
	var groups []*group
	for _, j := range jobs {
		if !slices.ContainsFunc(groups, func(g *group) bool { return g.add(j) }) {
			g := newGroup()
			g.take(j) // alone it goes whatever it is: the vendor's answer says what is wrong
			groups = append(groups, g)
		}
	}
	all := make([][]*job, len(groups))
	for i, g := range groups {
		all[i] = g.jobs
	}
	return all
}

type group struct {
	jobs                  []*job
	references, mailboxes map[string]bool
	fields, attributes    map[string]bool
	size                  int
}

func newGroup() *group {
	return &group{references: map[string]bool{}, mailboxes: map[string]bool{}, fields: map[string]bool{}, attributes: map[string]bool{}}
}

// add takes the job if it can go with those that are there.
func (g *group) add(j *job) bool {
	switch {
	case len(g.jobs) >= qualtrics.MaxImportRows || g.size+j.size > importBytes:
		return false
	case j.reference != "" && g.references[j.reference] || g.mailboxes[j.mailbox]:
		return false
	}
	for name := range j.row.Data {
		if g.attributes[name] || j.row.Contact.EmbeddedData[name] != "" {
			return false
		}
	}
	for name := range j.row.Contact.EmbeddedData {
		if g.fields[name] {
			return false
		}
	}
	g.take(j)
	return true
}

func (g *group) take(j *job) {
	g.jobs, g.size = append(g.jobs, j), g.size+j.size
	g.references[j.reference], g.mailboxes[j.mailbox] = true, true
	for name := range j.row.Data {
		g.fields[name] = true
	}
	for name := range j.row.Contact.EmbeddedData {
		g.attributes[name] = true
	}
}

// makeWave makes the links of jobs that can go in one import. tries is given where that is to find what is wrong with one
// that was refused as a whole.
func (l *linker) makeWave(ctx context.Context, jobs []*job, tries *search) {
	if len(jobs) < l.settings.BulkFrom {
		l.direct(ctx, jobs)
		return
	}
	wave := uuid.NewString()
	enlisted := l.enlist(ctx, jobs, effect.Place{Wave: wave})
	for _, j := range jobs {
		if j.err != nil && !fault.Is(j.err, fault.Busy) && !fault.Is(j.err, fault.Invalid) {
			// It may be a member all the same, and the wave would never have heard of it. Nothing has begun: next time
			// all of them form another one.
			fail(enlisted, j.err)
			return
		}
	}
	l.continueWaves(ctx, enlisted, wave, tries)
}

// continueWaves brings enlisted jobs to an end, each where its record says that it belongs. fresh is the wave that is
// new, if there is one.
func (l *linker) continueWaves(ctx context.Context, jobs []*job, fresh string, tries *search) {
	byWave, single := map[string][]*job{}, []*job(nil)
	for _, j := range jobs {
		if wave := j.member.Record().Wave; wave != "" {
			byWave[wave] = append(byWave[wave], j)
		} else {
			single = append(single, j) // done, or begun by itself
		}
	}
	if mine := byWave[fresh]; len(mine) > 0 && len(mine) < l.settings.BulkFrom {
		delete(byWave, fresh)
		single = append(single, l.leave(ctx, mine, "too few for a wave")...)
	}
	for wave, members := range byWave {
		l.settleWave(ctx, wave, members, wave == fresh, tries)
	}
	l.direct(ctx, single)
}

// enlist makes jobs part of a wave, and gives those that have no outcome.
func (l *linker) enlist(ctx context.Context, jobs []*job, place effect.Place) []*job {
	l.each(jobs, func(j *job) {
		place := place
		place.About = j.about()
		item := effect.Item{Key: effect.Link(j.wanted.request.GetRequestId()), Cause: j.event}
		if j.member, j.err = l.ledger.Enlist(ctx, item, place); j.err == nil {
			j.enlisted()
		}
	})
	return open(jobs)
}

// enlisted takes over what the record says of a member.
func (j *job) enlisted() {
	record := j.member.Record()
	j.row.Data[dataLoopID] = record.LoopID // of whoever asked first, as all that follows
	if record.Wave != "" && record.About != j.about() {
		j.err = fault.At("requestId", "is already in use for another person's link")
	}
}

// leave takes jobs out of their wave, which made nothing for them, and gives those that have no outcome.
func (l *linker) leave(ctx context.Context, jobs []*job, reason string) []*job {
	l.each(jobs, func(j *job) { j.err = j.member.Leave(ctx, reason) })
	return open(jobs)
}

// direct makes the links one by one. What turns out to be part of a wave goes with that.
func (l *linker) direct(ctx context.Context, jobs []*job) {
	var mu sync.Mutex
	var members []*job
	parallel.Each(jobs, l.settings.Parallel, func(j *job) {
		j.err = l.single(activity.About(ctx, j.event.ID), j.event, j.wanted)
		if _, in := errors.AsType[*effect.InWaveError](j.err); !in {
			return
		}
		member, err := l.ledger.Member(ctx, effect.Link(j.wanted.request.GetRequestId()))
		if err != nil || member.Record().Wave == "" {
			return // it has come to an end meanwhile: found when it comes back
		}
		j.member, j.err = member, nil
		if j.enlisted(); j.err == nil {
			mu.Lock()
			defer mu.Unlock()
			members = append(members, j)
		}
	})
	if len(members) > 0 {
		l.continueWaves(ctx, members, "", nil)
	}
}

func (l *linker) each(jobs []*job, do func(*job)) { parallel.Each(jobs, ledgerCalls, do) }

// fail gives jobs the same outcome.
func fail(jobs []*job, err error) {
	for _, j := range jobs {
		j.err = err
	}
}

// search is for what is wrong with an import that was refused, or came to nothing, as a whole.
type search struct {
	// left is how many imports may still be tried.
	left atomic.Int32
	// all is what is wrong with all of its requests, once that is known.
	all func() error
}

// refusedTogether finds out what it means that an import was refused, or came to nothing, as a whole. A few requests are
// made by themselves, where Qualtrics' answer says what is wrong. Of many, three are; when those are refused in the same
// words, so are all. Meanwhile the rest is tried again in parts, at the same time, as long as there are tries left.
func (l *linker) refusedTogether(ctx context.Context, jobs []*job, refusal error, tries *search) {
	if len(jobs) <= fewRefused {
		l.direct(ctx, jobs)
		if noSuchCall(refusal) && len(jobs) > 0 && sameRefusal(jobs) == nil { // it is not their list
			l.withoutImports(refusal)
		}
		return
	}
	if tries == nil {
		entered, leave, err := l.enterList(ctx, jobs[0].wanted.mailingListID)
		if err != nil {
			fail(jobs, err)
			return
		}
		defer leave()
		ctx = entered
		canaries := []*job{jobs[0], jobs[len(jobs)/2], jobs[len(jobs)-1]}
		jobs, _ = partition(jobs, func(j *job) bool { return !slices.Contains(canaries, j) })
		tries = &search{all: sync.OnceValue(func() error {
			l.direct(ctx, canaries)
			return sameRefusal(canaries)
		})}
		tries.left.Store(importsTried)
		if refusal != nil && !noSuchCall(refusal) { // one of the rows may be at fault
			var found sync.WaitGroup
			found.Go(func() { _ = tries.all() }) // asked again by whoever needs it
			l.inParts(ctx, jobs, tries)
			found.Wait()
			return
		}
	}
	switch err := tries.all(); {
	case err != nil:
		fail(jobs, err)
	case noSuchCall(refusal): // and by themselves they were made
		l.withoutImports(refusal)
		l.direct(ctx, jobs)
	default:
		l.inParts(ctx, jobs, tries)
	}
}

// inParts makes waves of parts of jobs, at the same time and in one turn at their list: no two of them are about the same
// contact.
func (l *linker) inParts(ctx context.Context, jobs []*job, tries *search) {
	if tries.left.Add(-refusedParts) < 0 {
		fail(jobs, fault.Later(refusedRetry, "imports are refused as a whole, and what is wrong was not found yet"))
		return
	}
	ctx, leave, err := l.enterList(ctx, jobs[0].wanted.mailingListID)
	if err != nil {
		fail(jobs, err)
		return
	}
	defer leave()
	var work sync.WaitGroup
	for part := range slices.Chunk(jobs, (len(jobs)+refusedParts-1)/refusedParts) {
		work.Go(func() { l.makeWave(ctx, part, tries) })
	}
	work.Wait()
}

// sameRefusal gives what all jobs were refused for, or failed with, in the same words, or nothing; a vendor that is out
// counts as well.
func sameRefusal(jobs []*job) error {
	first := jobs[0].err
	for _, j := range jobs {
		if j.err == nil || j.err.Error() != first.Error() {
			return nil
		}
	}
	switch class := fault.From(first).Class; {
	case class == fault.Refused, class == fault.Unknown, class == fault.Transient, class.VendorOut():
		return first
	}
	return nil
}
