package linker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// importBytes is the most that the rows of one import take: Qualtrics' limit, with room for what is around them.
const importBytes = qualtrics.MaxImportBytes - 256<<10

// ledgerCalls is how many requests of a wave are recorded and published at a time.
const ledgerCalls = 32

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
	// twin is an earlier job with the same request id: what comes of that one is this one's too.
	twin bool
}

// waveKey tells which requests go together: one import is for one list, one distribution for one survey and expiry.
func (l *linker) waveKey(e event.Event) string {
	m, ok := e.Data.(*eventsv1.SurveyLinkRequested)
	if !ok {
		return ""
	}
	w, err := l.wanted(e, m)
	if err != nil || l.settings.BulkPhone == phoneDirect && m.GetContact().GetPhone() != "" {
		return ""
	}
	key := w.mailingListID + " " + w.surveyID
	if m.GetSurvey().GetExpiresAt().IsValid() {
		key += " " + qualtrics.FormatTime(w.expiresAt)
	}
	return key
}

// together handles requests that came at the same time: a few of them one by one, more of them in waves.
func (l *linker) together(ctx context.Context, events []event.Event) []error {
	jobs := l.jobs(events)
	open := left(jobs)
	if len(open) < l.settings.BulkFrom {
		l.direct(ctx, open)
	} else {
		for _, some := range split(open) {
			l.bulk(ctx, some)
		}
	}
	for _, j := range jobs {
		if j.twin {
			j.err = l.handle(ctx, j.event)
		}
	}
	errs := make([]error, len(jobs))
	for i, j := range jobs {
		errs[i] = j.err
	}
	return errs
}

// jobs prepares the requests.
func (l *linker) jobs(events []event.Event) []*job {
	jobs, seen := make([]*job, len(events)), map[string]bool{}
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
		j.twin = seen[m.GetRequestId()]
		seen[m.GetRequestId()] = true
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

// left gives the jobs that have no outcome yet.
func left(jobs []*job) []*job {
	return slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.err != nil || j.twin })
}

// divide parts jobs by what is said of them.
func divide(jobs []*job, is func(*job) bool) (yes, no []*job) {
	for _, j := range jobs {
		if is(j) {
			yes = append(yes, j)
		} else {
			no = append(no, j)
		}
	}
	return yes, no
}

// split divides jobs into groups that can each go in one import: whose references and mailboxes are all different, so
// that a row of links belongs to one of them whatever dedupe merges (qualtrics.md §8, traps 6 and 7); of which no
// attribute of a contact has the name of a transaction's field (trap 10); and which is no larger than an import may be.
func split(jobs []*job) [][]*job {
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
	jobs                 []*job
	references, mailboxs map[string]bool
	fields, attributes   map[string]bool
	size                 int
}

func newGroup() *group {
	return &group{references: map[string]bool{}, mailboxs: map[string]bool{}, fields: map[string]bool{}, attributes: map[string]bool{}}
}

// add takes the job if it can go with those that are there.
func (g *group) add(j *job) bool {
	switch {
	case len(g.jobs) >= qualtrics.MaxImportRows || g.size+j.size > importBytes:
		return false
	case j.reference != "" && g.references[j.reference] || g.mailboxs[j.mailbox]:
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
	g.references[j.reference], g.mailboxs[j.mailbox] = true, true
	for name := range j.row.Data {
		g.fields[name] = true
	}
	for name := range j.row.Contact.EmbeddedData {
		g.attributes[name] = true
	}
}

// bulk makes the links of jobs that can go in one wave.
func (l *linker) bulk(ctx context.Context, jobs []*job) {
	if len(jobs) < l.settings.BulkFrom {
		l.direct(ctx, jobs)
		return
	}
	wave := uuid.NewString()
	l.settleAll(ctx, wave, l.enlist(ctx, jobs, wave, ""), true)
}

// settleAll brings jobs to an end that have been enlisted, each where its record says that it belongs: ours is the wave
// that is new.
func (l *linker) settleAll(ctx context.Context, ours string, jobs []*job, fresh bool) {
	byWave, single := map[string][]*job{}, []*job(nil)
	for _, j := range jobs {
		if wave := j.member.Record().Wave; wave != "" {
			byWave[wave] = append(byWave[wave], j)
		} else {
			single = append(single, j) // done, or begun by itself
		}
	}
	if mine := byWave[ours]; fresh && len(mine) > 0 && len(mine) < l.settings.BulkFrom {
		delete(byWave, ours)
		single = append(single, l.leave(ctx, mine, "too few for a wave")...)
	}
	for wave, jobs := range byWave {
		l.ride(ctx, wave, jobs, fresh && wave == ours)
	}
	l.direct(ctx, single)
}

// enlist makes jobs part of a wave, and gives those that have no outcome.
func (l *linker) enlist(ctx context.Context, jobs []*job, wave, from string) []*job {
	l.each(jobs, func(j *job) {
		item := effect.Item{Key: effect.Link(j.wanted.request.GetRequestId()), Cause: j.event}
		if j.member, j.err = l.ledger.Enlist(ctx, item, wave, from); j.err == nil {
			j.row.Data[dataLoopID] = j.member.Record().LoopID // of whoever asked first, as all that follows
		}
	})
	return left(jobs)
}

// leave takes jobs out of their wave, which made nothing for them, and gives those that have no outcome.
func (l *linker) leave(ctx context.Context, jobs []*job, reason string) []*job {
	l.each(jobs, func(j *job) { j.err = j.member.Leave(ctx, reason) })
	return left(jobs)
}

// direct makes the links one by one. What turns out to be part of a wave goes with that.
func (l *linker) direct(ctx context.Context, jobs []*job) {
	var mu sync.Mutex
	inWave := map[string][]*job{}
	parallel(jobs, l.settings.Parallel, func(j *job) {
		j.err = l.single(ctx, j.event, j.wanted)
		if in, ok := errors.AsType[*effect.InWaveError](j.err); ok {
			mu.Lock()
			defer mu.Unlock()
			inWave[in.Wave] = append(inWave[in.Wave], j)
		}
	})
	for wave, jobs := range inWave {
		for _, j := range jobs {
			j.err = nil
		}
		// What it says of their wave is news only if that has come to an end meanwhile.
		l.settleAll(ctx, wave, l.enlist(ctx, jobs, wave, ""), false)
	}
}

func (l *linker) each(jobs []*job, do func(*job)) { parallel(jobs, ledgerCalls, do) }

func parallel(jobs []*job, atATime int, do func(*job)) {
	var all sync.WaitGroup
	turns := make(chan struct{}, atATime)
	for _, j := range jobs {
		turns <- struct{}{}
		all.Go(func() {
			do(j)
			<-turns
		})
	}
	all.Wait()
}

// fail gives jobs the same outcome.
func fail(jobs []*job, err error) {
	for _, j := range jobs {
		j.err = err
	}
}

// refusedTogether finds out what it means that an import was refused, or came to nothing, as a whole: the first and the
// last request are made by themselves, where Qualtrics' answer says what is wrong. When both are refused alike, so are
// all; else the rest is tried again in halves.
func (l *linker) refusedTogether(ctx context.Context, jobs []*job) {
	canaries := []*job{jobs[0], jobs[len(jobs)-1]}
	rest := jobs[1:max(1, len(jobs)-1)]
	l.direct(ctx, slices.Compact(canaries))
	first, last := canaries[0].err, canaries[1].err
	switch {
	case len(rest) == 0:
	case fault.Is(first, fault.Refused) && fault.Is(last, fault.Refused) && outbound.StatusOf(first) == outbound.StatusOf(last):
		fail(rest, first)
	case first != nil && fault.From(first).Class.VendorOut():
		fail(rest, first)
	default:
		half := (len(rest) + 1) / 2
		l.bulk(ctx, rest[:half])
		if len(rest) > half {
			l.bulk(ctx, rest[half:])
		}
	}
}
