package linker

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

// firstPoll of a small import; each next one waits twice as long, up to longestPoll.
var firstPoll = time.Second

// pollOf gives the first wait for an import of so many rows: a large one takes longer, and each look at it is a call.
func pollOf(rows int) time.Duration { return firstPoll * time.Duration(min(4, 1+rows/500)) }

const (
	longestPoll = time.Minute
	// leaseSlice is how long the wave waits at most without renewing its lease.
	leaseSlice = 8 * time.Second
	// emptyReads is how often the links are read while there are none at all, before the wave is put off.
	emptyReads = 3
	// badReads is how many reads in a row may fail, as one in a hundred does (qualtrics.md §2.8), before it is.
	badReads = 4
	// stillness is how long nothing was added to a batch that is taken for complete, where nothing else tells.
	stillness = 2 * time.Minute
	// busyRetry is when to look again at a wave that another replica is at.
	busyRetry = time.Second
)

// Names of the steps of a wave. They are part of the ledger and must not change.
const (
	stepPlan         = "plan"
	stepBatch        = "batch"
	stepImport       = "import"
	stepImported     = "imported"
	stepDistribution = "distribution"
)

// plan is what a wave is for.
type plan struct {
	SurveyID      string    `json:"surveyId"`
	MailingListID string    `json:"mailingListId"`
	ExpiresAt     time.Time `json:"expiresAt"`
	Rows          int       `json:"rows"`
}

func planOf(jobs []*job) plan {
	w := jobs[0].wanted
	p := plan{SurveyID: w.surveyID, MailingListID: w.mailingListID, ExpiresAt: w.expiresAt, Rows: len(jobs)}
	for _, j := range jobs { // those that name no expiry differ by their age: nobody's link ends early
		if j.wanted.expiresAt.After(p.ExpiresAt) {
			p.ExpiresAt = j.wanted.expiresAt
		}
	}
	return p
}

// sent is an import that Qualtrics accepted.
type sent struct {
	// ID is empty where the answer was lost; the transactions in the batch tell that it was accepted.
	ID string `json:"id"`
	// Refused are the request ids of rows that were not taken.
	Refused []string `json:"refused,omitempty"`
}

// importResult is what became of the import.
type importResult struct {
	Created int `json:"created"`
}

// wave is a wave that has come to its end.
type wave struct {
	Plan plan `json:"plan"`
	Sent sent `json:"sent"`
	// Created is how many transactions the import made. With none of them there is no distribution.
	Created      int    `json:"created"`
	Distribution string `json:"distribution,omitempty"`
	Pages        int    `json:"pages,omitempty"`
	// Dissolved is a wave that made no link and never will.
	Dissolved bool `json:"dissolved,omitempty"`
}

// expected is how many transactions there are to be.
func (w wave) expected() int { return w.Plan.Rows - len(w.Sent.Refused) }

var (
	// errDissolved ends a wave of which it is not known whether its import was made, and shall not be made again: a
	// second import into the batch would give everybody a second link.
	errDissolved = errors.New("the wave is dissolved")
	// errImportRefused ends a wave whose import was refused as a whole.
	errImportRefused = errors.New("the import is refused")
	// errNoEmptyBatch ends a wave in a brand that takes no empty batch, which an import needs (qualtrics.md §9, row 2).
	errNoEmptyBatch = errors.New("an empty batch is refused")
)

// settleWave brings jobs that are part of a wave to an end.
func (l *linker) settleWave(ctx context.Context, id string, jobs []*job, fresh bool, tries *search) {
	done, ran, err := l.makeOrWait(ctx, id, jobs, fresh)
	switch {
	case errors.Is(err, errNoEmptyBatch):
		l.withoutImports(err)
		l.direct(ctx, l.leave(ctx, jobs, "there are no imports"))
	case errors.Is(err, errImportRefused):
		l.refusedTogether(ctx, l.leave(ctx, jobs, "the import was refused"), err, tries)
	case err != nil:
		fail(jobs, err)
	case done.Dissolved:
		next := uuid.NewString()
		l.continueWaves(ctx, l.enlist(ctx, jobs, effect.Place{Wave: next, From: id}), next, tries)
	case done.Created == 0:
		l.refusedTogether(ctx, l.leave(ctx, jobs, "the import made nothing"), nil, tries)
	default:
		l.deliver(ctx, id, done, jobs, ran)
	}
}

// noSuchCall tells that the vendor does not have what was called.
func noSuchCall(err error) bool {
	switch outbound.StatusOf(err) {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// withoutImports has all that follows made one by one.
func (l *linker) withoutImports(err error) {
	if l.oneByOne.CompareAndSwap(false, true) {
		l.log.Warn("this Qualtrics takes no imports: links are made one by one until the next start", "error", err)
	}
}

// makeOrWait makes the wave, or waits until another replica has. ran tells that it was made just now.
func (l *linker) makeOrWait(ctx context.Context, id string, jobs []*job, fresh bool) (done wave, ran bool, err error) {
	ctx, leave, err := l.enterList(ctx, jobs[0].wanted.mailingListID)
	if err != nil {
		return wave{}, false, err
	}
	defer leave()
	for {
		var result effect.Done[wave]
		result, err = effect.Do(ctx, l.ledger, effect.Wave(id), jobs[0].event, func(ctx context.Context, run *effect.Run) (wave, error) {
			ran = true
			w, err := l.steps(ctx, run, id, jobs, fresh)
			if errors.Is(err, errDissolved) {
				return wave{Dissolved: true}, nil
			}
			return w, err
		})
		if !errors.Is(err, effect.ErrElsewhere) {
			return result.Result, ran, err
		}
		if !sleep(ctx, busyRetry) {
			return wave{}, false, err
		}
	}
}

// enterList waits for this replica's turn at a mailing list. Qualtrics does one import of a list at a time anyway
// (qualtrics.md §3.2), and another one between an import and the reading of its links may overwrite what tells whose
// they are. What is done with the context that it gives is part of the turn.
func (l *linker) enterList(ctx context.Context, listID string) (entered context.Context, leave func(), err error) {
	if ctx.Value(turnAt(listID)) != nil {
		return ctx, func() {}, nil
	}
	turn, _ := l.lists.LoadOrStore(listID, make(chan struct{}, 1))
	one, ok := turn.(chan struct{})
	if !ok {
		panic("linker: lists holds something else")
	}
	select {
	case one <- struct{}{}:
		return context.WithValue(ctx, turnAt(listID), true), func() { <-one }, nil
	case <-ctx.Done():
		return ctx, nil, handedBack(ctx)
	}
}

// turnAt is the mailing list whose turn a context has.
type turnAt string

func handedBack(ctx context.Context) error {
	return fault.New(fault.Transient, "the wave is handed back: %w", ctx.Err())
}

// steps goes the wave's way: batch, import, distribution, pages of links. What is recorded is not done again.
func (l *linker) steps(ctx context.Context, run *effect.Run, id string, jobs []*job, fresh bool) (wave, error) {
	p, planned := effect.Marked[plan](run, stepPlan)
	begun := run.Begun(stepImport)
	if !begun && !fresh {
		return wave{}, errDissolved // who else was to be in it is not known here
	}
	if !planned {
		p = planOf(jobs)
		if err := effect.Mark(ctx, run, stepPlan, p); err != nil {
			return wave{}, err
		}
	}
	batch, err := effect.Step(ctx, run, stepBatch, l.emptyBatch())
	if err != nil {
		return wave{}, refusedAs(errNoEmptyBatch, err)
	}
	imp, err := effect.Step(ctx, run, stepImport, l.importOf(p, batch, jobs, begun))
	if err != nil {
		return wave{}, refusedAs(errImportRefused, err)
	}
	w := wave{Plan: p, Sent: imp}
	if w.Created, err = l.imported(ctx, run, w, batch); err != nil || w.Created == 0 {
		return w, err
	}
	if w.Distribution, err = effect.Step(ctx, run, stepDistribution, l.distributionOf(p, batch, id)); err != nil {
		return wave{}, forPeople(err)
	}
	w.Pages, err = l.readPages(ctx, run, id, p, w.Distribution)
	return w, err
}

// refusedAs makes the refusal of something for the whole wave, after which nothing was made, one that leads to another
// way for its requests: none of them is at fault for sure.
func refusedAs(what, err error) error {
	if fault.Is(err, fault.Refused) || fault.Is(err, fault.Invalid) {
		return &fault.Fault{Class: fault.NotYet, Reason: err.Error(), Err: errors.Join(what, err)}
	}
	return err
}

// forPeople keeps what a wave has done when its distribution is refused: whoever mends the survey and replays the
// requests gets the links of the transactions that are there.
func forPeople(err error) error {
	if fault.Is(err, fault.Refused) {
		f := *fault.From(err)
		f.Class = fault.Person
		return &f
	}
	return err
}

// emptyBatch is made for the import alone. A second one stays idle, as in [linker.batch].
func (l *linker) emptyBatch() effect.Write[string] {
	return effect.Write[string]{
		Send:       func(ctx context.Context) (string, error) { return l.qualtrics.CreateBatch(ctx, nil, time.Now()) },
		Repeatable: true,
	}
}

func (l *linker) importOf(p plan, batch string, jobs []*job, begun bool) effect.Write[sent] {
	return effect.Write[sent]{
		Send: func(ctx context.Context) (sent, error) {
			if begun {
				return sent{}, fault.New(fault.NotYet, "%w", errDissolved)
			}
			rows, fields := make([]qualtrics.ImportRow, len(jobs)), map[string]bool{}
			for i, j := range jobs {
				rows[i] = j.row
				for name := range j.row.Data {
					fields[name] = true
				}
			}
			started, err := l.qualtrics.StartImport(ctx, p.MailingListID, batch, slices.Sorted(maps.Keys(fields)), rows)
			if outbound.StatusOf(err) == http.StatusInternalServerError {
				err = l.failedFor(ctx, batch, err)
			}
			imp := sent{ID: started.ID}
			for _, row := range started.Unprocessed {
				imp.Refused = append(imp.Refused, jobs[row].wanted.request.GetRequestId())
			}
			return imp, err
		},
		Probe: func(ctx context.Context) (sent, bool, error) {
			n, err := l.qualtrics.BatchCount(ctx, batch, 1, nil)
			if noSuchCall(err) {
				err = nil // Nobody can look. Made anew in another batch, nobody gets a second link.
			}
			return sent{}, n > 0, err
		},
	}
}

// failedFor takes an import that Qualtrics itself failed at, perhaps because of one row, for refused when the batch shows
// nothing of it. Should it come after all, that batch is never distributed: nobody gets a second link, and the others
// need not wait until that is sure.
func (l *linker) failedFor(ctx context.Context, batch string, err error) error {
	if n, probed := l.qualtrics.BatchCount(ctx, batch, 1, nil); probed != nil || n > 0 {
		return err
	}
	f := *fault.From(err)
	f.Class = fault.Refused
	return &f
}

// progress tells how many transactions an import has made, and whether that is all.
type progress func(ctx context.Context) (created int, done bool, err error)

// imported waits for the end of the import and gives how many transactions it made.
func (l *linker) imported(ctx context.Context, run *effect.Run, w wave, batch string) (int, error) {
	if done, ok := effect.Marked[importResult](run, stepImported); ok {
		return done.Created, nil
	}
	if err := l.overwritten(ctx, w.Plan.MailingListID); err != nil {
		return 0, err
	}
	look := l.byStatus(w)
	if w.Sent.ID == "" { // it was lost with the answer
		look = l.byBatch(run, batch, w.expected())
	}
	bad, gone := 0, 0
	for wait := pollOf(w.Plan.Rows); ; wait = min(2*wait, longestPoll) {
		if err := l.wait(ctx, run, wait); err != nil {
			return 0, err
		}
		created, done, err := look(ctx)
		switch {
		case err == nil && done:
			// Once more: whoever was made by itself meanwhile may have been overwritten since.
			if err := l.overwritten(ctx, w.Plan.MailingListID); err != nil {
				return 0, err
			}
			return created, effect.Mark(ctx, run, stepImported, importResult{created})
		case err == nil:
			bad, gone = 0, 0
		case fault.Is(err, fault.NotYet):
			if gone++; gone == badReads { // Qualtrics does not know the import (any more)
				look = l.byBatch(run, batch, w.expected())
			}
		case fault.Is(err, fault.Transient) && bad < badReads:
			bad++
		default:
			return 0, err
		}
	}
}

func (l *linker) byStatus(w wave) progress {
	return func(ctx context.Context) (int, bool, error) {
		status, err := l.qualtrics.ImportStatus(ctx, w.Plan.MailingListID, w.Sent.ID)
		return status.Created, status.Done, err
	}
}

// byBatch counts what is in the batch, where the import itself cannot be asked: when nothing more is added for a while,
// it is over.
func (l *linker) byBatch(run *effect.Run, batch string, expected int) progress {
	most, grew := -1, time.Now()
	return func(ctx context.Context) (int, bool, error) {
		n, err := l.qualtrics.BatchCount(ctx, batch, expected, func() error { return run.Renew(ctx) })
		if err != nil {
			return 0, false, err
		}
		if n > most {
			most, grew = n, time.Now()
		}
		return n, n >= expected || time.Since(grew) >= stillness, nil
	}
}

// wait keeps the wave's record while it waits.
func (l *linker) wait(ctx context.Context, run *effect.Run, d time.Duration) error {
	for ; d > 0; d -= leaseSlice {
		if !sleep(ctx, min(d, leaseSlice)) {
			return handedBack(ctx)
		}
		if err := run.Renew(ctx); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (l *linker) distributionOf(p plan, batch, id string) effect.Write[string] {
	return l.distribute(qualtrics.Distribution{
		SurveyID: p.SurveyID, BatchID: batch, MailingListID: p.MailingListID, People: p.Rows,
		Description: "closeloop wave " + id, ExpiresAt: p.ExpiresAt,
	})
}

// readPages reads the links page by page and keeps each, since to read one again counts toward the contacts' frequency
// rules. It gives the number of pages.
func (l *linker) readPages(ctx context.Context, run *effect.Run, id string, p plan, distribution string) (int, error) {
	next, seen, empty, bad := "", map[string]bool{}, 0, 0
	for n := 1; ; {
		kept, err := effect.Do(ctx, l.ledger, effect.WavePage(id, n), pageCause(id, n), func(ctx context.Context, _ *effect.Run) (page, error) {
			read, err := l.qualtrics.LinkPage(ctx, distribution, p.SurveyID, next)
			if err == nil && n == 1 && len(read.Links) == 0 && read.Next == "" {
				return page{}, fault.Later(0, "the distribution has no links yet")
			}
			return pageOf(read), err
		})
		switch {
		case err == nil:
			if next = kept.Result.Next; next == "" || seen[next] { // pages in a circle end as well
				return n, nil
			}
			seen[next] = true
			n, bad = n+1, 0
			err = run.Renew(ctx)
		case fault.Is(err, fault.NotYet) && empty < emptyReads:
			err = l.wait(ctx, run, firstPoll<<empty)
			empty++
		case fault.Is(err, fault.Transient) && bad < badReads && ctx.Err() == nil:
			err = l.wait(ctx, run, firstPoll)
			bad++
		}
		if err != nil {
			return 0, err
		}
	}
}

// pageCause stands for an event: what a page is read for are all requests of the wave.
func pageCause(id string, n int) event.Event {
	return event.Event{ID: id + "/" + strconv.Itoa(n), LoopID: id}
}

// pages gives the pages of a wave as they were read.
func (l *linker) pages(ctx context.Context, id string, n int) ([]row, error) {
	var rows []row
	for i := 1; i <= n; i++ {
		p, err := l.page(ctx, id, i)
		if err != nil {
			return nil, err
		}
		rows = append(rows, p.Rows...)
	}
	return rows, nil
}

// page gives one page as it was read. Any replica of the ledger's bucket may answer, and one that is behind does not have it
// yet: it is given a moment.
func (l *linker) page(ctx context.Context, id string, n int) (page, error) {
	const tries, between = 30, 100 * time.Millisecond
	for range tries {
		if p, kept := effect.Outcome[page](ctx, l.ledger, effect.WavePage(id, n)); kept {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return page{}, fault.New(fault.Transient, "the service is stopping: %w", ctx.Err())
		case <-time.After(between):
		}
	}
	return page{}, fault.Later(time.Second, "page %d of the wave's links cannot be read from the ledger yet", n)
}
