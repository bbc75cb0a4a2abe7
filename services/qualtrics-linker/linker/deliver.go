package linker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

// looks are how long requests wait whose link was not among those read, by the times that it was looked for.
var looks = []time.Duration{15 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute}

// deliver gives each job of a wave its link. ran tells that the wave has just come to its end; else its links were read
// before, and what was missing then is looked for again.
func (l *linker) deliver(ctx context.Context, id string, w wave, jobs []*job, ran bool) {
	jobs, refused := partition(jobs, func(j *job) bool { return !slices.Contains(w.Sent.Refused, j.wanted.request.GetRequestId()) })
	rows, err := l.pages(ctx, id, w.Pages)
	if err != nil {
		fail(jobs, err)
		return
	}
	m := l.assign(ctx, w, jobs, rows)
	if due, early := partition(m.missing, func(j *job) bool { return !ran && j.event.Attempts > 0 }); len(due) > 0 {
		found := l.assign(ctx, w, due, append(rows, l.again(ctx, w, due)...))
		maps.Copy(m.rows, found.rows)
		m.missing, m.nothing = append(early, found.missing...), append(m.nothing, found.nothing...)
	}
	for _, j := range m.missing {
		j.err = fault.Later(looks[min(j.event.Attempts, len(looks)-1)], "the distribution %s does not show its link yet", w.Distribution)
	}
	l.each(slices.Collect(maps.Keys(m.rows)), func(j *job) { j.err = l.conclude(ctx, w, j, m.rows[j]) })
	// Of these nothing was made: by themselves, Qualtrics says what is wrong with them.
	l.direct(ctx, l.leave(ctx, append(refused, m.nothing...), "the import made nothing of this row"))
}

// assign finds each job's row. What the rows alone do not tell, the import's report does: for jobs that dedupe has mixed
// up, whose rows may name others so that theirs seem to be missing, and, where the import made less than was sent, for
// those of which it made nothing.
func (l *linker) assign(ctx context.Context, w wave, jobs []*job, rows []row) matches {
	m := match(jobs, rows, l.trusted())
	if len(m.doubtful) == 0 && (len(m.missing) == 0 || w.Created >= w.expected()) {
		return m
	}
	unsure := append(m.doubtful, m.missing...)
	m.doubtful, m.missing = nil, nil
	if err := l.byReport(ctx, w, unsure, rows, &m); err != nil {
		fail(unsure, err)
	}
	return m
}

// again looks once more for links that were not among those read: Qualtrics is known to leave some out at first, and a
// few for days (qualtrics.md §3.7, §3.8). The history is asked first, since reading the pages again counts toward the
// contacts' frequency rules; then in turn. What cannot be found is looked for later.
func (l *linker) again(ctx context.Context, w wave, missing []*job) []row {
	look := l.fromHistory
	if missing[0].event.Attempts%2 == 0 {
		look = l.fromPages
	}
	rows, err := look(ctx, w, missing)
	if err != nil {
		l.log.Warn("looking again for missing links", "distribution", w.Distribution, "missing", len(missing), "error", err)
	}
	return rows
}

func (l *linker) fromPages(ctx context.Context, w wave, _ []*job) (rows []row, err error) {
	for links, err := range l.qualtrics.Links(ctx, w.Distribution, w.Plan.SurveyID) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, pageOf(qualtrics.LinkPage{Links: links}).Rows...)
	}
	return rows, nil
}

// fromHistory joins the import's report, which knows the ids of a row's contact, with the distribution's history, which
// knows that contact's link. A contact with several rows is left alone: it cannot be told whose link it is.
func (l *linker) fromHistory(ctx context.Context, w wave, missing []*job) (rows []row, err error) {
	entries, err := l.report(ctx, w)
	if err != nil {
		return nil, err
	}
	links, several := map[string]string{}, map[string]bool{"": true}
	for outcomes, err := range l.qualtrics.History(ctx, w.Distribution) {
		if err != nil {
			return nil, err
		}
		for _, o := range outcomes {
			_, twice := links[o.LookupID]
			several[o.LookupID] = several[o.LookupID] || twice || o.LookupID == ""
			links[o.LookupID] = o.Link
		}
	}
	for _, j := range missing {
		e := entries[digest(j.mailbox)]
		if link := links[e.Lookup]; link != "" && !several[e.Lookup] {
			rows = append(rows, row{URL: link, Contact: e.Lookup, Transaction: e.Transaction, Reference: digest(j.reference), Mailbox: digest(j.mailbox)})
		}
	}
	return rows, nil
}

// conclude records and publishes a request's link.
func (l *linker) conclude(ctx context.Context, w wave, j *job, r row) error {
	ids := qualtrics.ContactIDs{LookupID: r.Contact}
	if strings.HasPrefix(r.Contact, "CID_") {
		ids = qualtrics.ContactIDs{ID: r.Contact}
	}
	j.wanted.expiresAt = w.Plan.ExpiresAt
	result, err := l.outcome(j.wanted, r.link(), ids, r.Transaction, w.Distribution)
	if err != nil {
		return err
	}
	if err := j.member.Confirm(ctx, result); err != nil {
		return err
	}
	return l.follow(ctx, j.event.InLoop(j.member.Record().LoopID), result)
}

func (l *linker) follow(ctx context.Context, cause event.Event, result made) error {
	follows, err := result.message()
	if err != nil {
		return err
	}
	return l.bus.Follow(ctx, cause, result.Subject, follows)
}
