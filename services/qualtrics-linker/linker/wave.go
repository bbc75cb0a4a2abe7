package linker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

const (
	// firstPoll of an import; each next one waits twice as long, up to longestPoll, which the ledger's lease outlives.
	firstPoll   = time.Second
	longestPoll = 15 * time.Second
	// emptyReads is how often the links are read while there are none at all, before the wave is put off.
	emptyReads = 3
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

// sent is an import that Qualtrics accepted.
type sent struct {
	// ID is empty where the answer was lost; the transactions in the batch tell that it was accepted.
	ID string `json:"id"`
	// Refused are the request ids of rows that were not taken.
	Refused []string `json:"refused,omitempty"`
}

// imported is what became of the import.
type imported struct {
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

var (
	// errDissolved ends a wave of which it is not known whether its import was made, and shall not be made again: a
	// second import into the batch would give everybody a second link.
	errDissolved = errors.New("the wave is dissolved")
	// errImportRefused ends a wave whose import was refused as a whole.
	errImportRefused = errors.New("the import is refused")
)

// ride brings jobs that are part of a wave to an end.
func (l *linker) ride(ctx context.Context, id string, jobs []*job, fresh bool) {
	done, ran, err := l.run(ctx, id, jobs, fresh)
	switch {
	case errors.Is(err, errImportRefused):
		l.refusedTogether(ctx, l.leave(ctx, jobs, "the import was refused"))
	case err != nil:
		fail(jobs, err)
	case done.Dissolved:
		next := uuid.NewString()
		l.settleAll(ctx, next, l.enlist(ctx, jobs, next, id), true)
	case done.Created == 0:
		l.refusedTogether(ctx, l.leave(ctx, jobs, "the import made nothing"))
	default:
		l.deliver(ctx, id, done, jobs, ran)
	}
}

// run makes the wave, or waits until another replica has. ran tells that it was made just now.
func (l *linker) run(ctx context.Context, id string, jobs []*job, fresh bool) (done wave, ran bool, err error) {
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
		if !fault.Is(err, fault.Busy) {
			return result.Result, ran, err
		}
		if !sleep(ctx, busyRetry) {
			return wave{}, false, err
		}
	}
}

// steps goes the wave's way: batch, import, distribution, pages of links. What is recorded is not done again.
func (l *linker) steps(ctx context.Context, run *effect.Run, id string, jobs []*job, fresh bool) (wave, error) {
	p, planned := effect.Marked[plan](run, stepPlan)
	begun := run.Begun(stepImport)
	if !begun && !fresh {
		return wave{}, errDissolved // who else was to be in it is not known here
	}
	if !planned {
		w := jobs[0].wanted
		p = plan{SurveyID: w.surveyID, MailingListID: w.mailingListID, ExpiresAt: w.expiresAt, Rows: len(jobs)}
		if err := effect.Mark(ctx, run, stepPlan, p); err != nil {
			return wave{}, err
		}
	}
	batch, err := effect.Step(ctx, run, stepBatch, l.emptyBatch())
	if err != nil {
		return wave{}, err
	}
	imp, err := effect.Step(ctx, run, stepImport, l.importOf(p, batch, jobs, begun))
	if err != nil {
		return wave{}, refusedAsAWhole(err)
	}
	if err := l.overwritten(ctx, p.MailingListID); err != nil {
		return wave{}, err
	}
	created, err := l.imported(ctx, run, p, batch, imp)
	if err != nil || created == 0 {
		return wave{Plan: p, Sent: imp}, err
	}
	distribution, err := effect.Step(ctx, run, stepDistribution, l.distributionOf(p, batch, id))
	if err != nil {
		return wave{}, forPeople(err)
	}
	pages, err := l.readPages(ctx, run, id, p, distribution)
	return wave{Plan: p, Sent: imp, Created: created, Distribution: distribution, Pages: pages}, err
}

// refusedAsAWhole makes the refusal of an import, after which nothing was made, one that leads to its being divided.
func refusedAsAWhole(err error) error {
	if fault.Is(err, fault.Refused) || fault.Is(err, fault.Invalid) {
		return &fault.Fault{Class: fault.NotYet, Reason: err.Error(), Err: errors.Join(errImportRefused, err)}
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
			imp := sent{ID: started.ID}
			for _, row := range started.Unprocessed {
				imp.Refused = append(imp.Refused, jobs[row].wanted.request.GetRequestId())
			}
			return imp, err
		},
		Probe: func(ctx context.Context) (sent, bool, error) {
			n, err := l.qualtrics.BatchCount(ctx, batch, 1)
			return sent{}, n > 0, err
		},
	}
}

// imported waits for the end of the import and gives how many transactions it made.
func (l *linker) imported(ctx context.Context, run *effect.Run, p plan, batch string, imp sent) (int, error) {
	if done, ok := effect.Marked[imported](run, stepImported); ok {
		return done.Created, nil
	}
	expected := p.Rows - len(imp.Refused)
	look := func() (int, bool, error) {
		status, err := l.qualtrics.ImportStatus(ctx, p.MailingListID, imp.ID)
		return status.Created, status.Done, err
	}
	if imp.ID == "" { // its id was lost with the answer: when nothing more is added, it is over
		last, unchanged := -1, 0
		look = func() (int, bool, error) {
			n, err := l.qualtrics.BatchCount(ctx, batch, expected)
			if n == last {
				unchanged++
			}
			last = n
			return n, n >= expected || unchanged == 2, err
		}
	}
	for wait := firstPoll; ; wait = min(2*wait, longestPoll) {
		if err := l.wait(ctx, run, wait); err != nil {
			return 0, err
		}
		created, done, err := look()
		if err != nil && !fault.Is(err, fault.NotYet) {
			return 0, err
		}
		if done && err == nil {
			return created, effect.Mark(ctx, run, stepImported, imported{created})
		}
	}
}

// wait keeps the wave's record while it waits.
func (l *linker) wait(ctx context.Context, run *effect.Run, d time.Duration) error {
	if err := run.Renew(ctx); err != nil {
		return err
	}
	if !sleep(ctx, d) {
		return fault.New(fault.Transient, "the wave is handed back: %w", ctx.Err())
	}
	return run.Renew(ctx)
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
		SurveyID: p.SurveyID, BatchID: batch, MailingListID: p.MailingListID,
		Description: "closeloop wave " + id, ExpiresAt: p.ExpiresAt,
	})
}

// readPages reads the links page by page and keeps each, since to read one again counts toward the contacts' frequency
// rules. It gives the number of pages.
func (l *linker) readPages(ctx context.Context, run *effect.Run, id string, p plan, distribution string) (int, error) {
	next, empty := "", 0
	for n := 1; ; n++ {
		kept, err := effect.Do(ctx, l.ledger, effect.WavePage(id, n), pageCause(id, n), func(ctx context.Context, _ *effect.Run) (page, error) {
			read, err := l.qualtrics.LinkPage(ctx, distribution, p.SurveyID, next)
			if err == nil && n == 1 && len(read.Links) == 0 && read.Next == "" {
				return page{}, fault.Later(0, "the distribution has no links yet")
			}
			return pageOf(read), err
		})
		if fault.Is(err, fault.NotYet) && n == 1 && empty < emptyReads {
			if err := l.wait(ctx, run, firstPoll<<empty); err != nil {
				return 0, err
			}
			empty++
			n--
			continue
		}
		if err != nil {
			return 0, err
		}
		if err := run.Renew(ctx); err != nil {
			return 0, err
		}
		if next = kept.Result.Next; next == "" {
			return n, nil
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
		record, err := l.ledger.Look(ctx, effect.WavePage(id, i))
		if err != nil {
			return nil, fmt.Errorf("the wave's page %d: %w", i, err)
		}
		p, err := effect.ResultOf[page](record)
		if err != nil {
			return nil, err
		}
		rows = append(rows, p.Rows...)
	}
	return rows, nil
}
