package linker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

// page is a page of a wave's links, as it is kept.
type page struct {
	Rows []row  `json:"rows"`
	Next string `json:"next,omitempty"`
}

// row is one link. Who it is for is kept as a digest, which is enough to recognise them.
type row struct {
	URL          string    `json:"url,omitempty"`
	Contact      string    `json:"contact,omitempty"`
	Transaction  string    `json:"transaction,omitempty"`
	Reference    string    `json:"reference,omitempty"`
	Mailbox      string    `json:"mailbox,omitempty"`
	Unsubscribed bool      `json:"unsubscribed,omitempty"`
	Exceeded     bool      `json:"exceeded,omitempty"`
	ExpiresAt    time.Time `json:"expiresAt,omitzero"`
}

func pageOf(p qualtrics.LinkPage) page {
	kept := page{Next: p.Next, Rows: make([]row, len(p.Links))}
	for i, link := range p.Links {
		kept.Rows[i] = row{
			URL: link.URL, Contact: link.ContactID, Transaction: link.TransactionID,
			Reference: digest(normal(link.ExternalDataReference)), Mailbox: digest(normal(link.Email)),
			Unsubscribed: link.Unsubscribed, Exceeded: link.ExceededContactFrequency, ExpiresAt: link.ExpiresAt,
		}
	}
	return kept
}

// link is the row as it was read, but for whom it names.
func (r row) link() qualtrics.Link {
	return qualtrics.Link{
		URL: r.URL, ContactID: r.Contact, TransactionID: r.Transaction,
		Unsubscribed: r.Unsubscribed, ExceededContactFrequency: r.Exceeded, ExpiresAt: r.ExpiresAt,
	}
}

// digest of a text, empty for an empty one.
func digest(s string) string {
	if s == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// trust says how far rows of links tell by themselves whose they are.
type trust int

const (
	// eachRow: no two people of a wave can be one for the directory, since none share what it compares.
	eachRow trust = iota
	// allRows: two may be one by way of a third who was there before, or what the directory compares is not known. Then a
	// row is missing or there is one too many.
	allRows
	// noRow: people with the same name or phone are one.
	noRow
)

// trusted tells how far the rows of this directory are to be trusted (qualtrics.md §3.1, §8 trap 6).
func (l *linker) trusted() trust {
	brand, known := l.startup.Brand()
	d := brand.Directory.Dedupe
	switch {
	case d.FirstName || d.LastName || d.Phone:
		return noRow
	case !known || d.Email && d.ExternalDataReference:
		return allRows
	}
	return eachRow
}

// matches are the rows of a wave by the jobs that they belong to.
type matches struct {
	rows map[*job]row
	// doubtful are jobs for which rows speak that may belong to somebody else: dedupe has merged people.
	doubtful []*job
	// missing are jobs for which no row speaks.
	missing []*job
	// nothing are jobs of which the import made nothing.
	nothing []*job
}

// match finds each job's row. References and mailboxes are different for all jobs of a wave, so a row that names both
// of a job, or the one that there is, belongs to it. One that names the reference of one and the mailbox of another
// belongs to neither for sure: whoever's data dedupe has overwritten, nobody may get another's link (qualtrics.md §8,
// trap 6).
func match(jobs []*job, rows []row, far trust) matches {
	if far == noRow {
		return matches{rows: map[*job]row{}, doubtful: jobs}
	}
	m := matchRows(jobs, rows)
	if far == allRows && len(m.doubtful)+len(m.missing) > 0 {
		return matches{rows: map[*job]row{}, doubtful: jobs}
	}
	return m
}

func matchRows(jobs []*job, rows []row) matches {
	byReference, byMailbox := map[string]*job{}, map[string]*job{}
	for _, j := range jobs {
		if j.reference != "" {
			byReference[digest(j.reference)] = j
		}
		byMailbox[digest(j.mailbox)] = j
	}
	candidates, doubt := map[*job][]row{}, map[*job]bool{}
	for _, r := range rows {
		named, mailed := byReference[r.Reference], byMailbox[r.Mailbox]
		switch {
		case named != nil && mailed != nil && named != mailed:
			doubt[named], doubt[mailed] = true, true
		case named != nil && (mailed == named || r.Mailbox == ""):
			candidates[named] = add(candidates[named], r)
		case mailed != nil && (r.Reference == "" || mailed.reference == ""):
			candidates[mailed] = add(candidates[mailed], r)
		case mailed != nil:
			// Its reference is of somebody outside this wave who shares the mailbox, and came after.
			doubt[mailed] = true
		case named != nil:
			doubt[named] = true
		}
	}
	m := matches{rows: map[*job]row{}}
	for _, j := range jobs {
		switch found := candidates[j]; {
		case doubt[j] || len(found) > 1:
			m.doubtful = append(m.doubtful, j)
		case len(found) == 1:
			m.rows[j] = found[0]
		default:
			m.missing = append(m.missing, j)
		}
	}
	return m
}

// add leaves out a row that is there already: pages may overlap.
func add(rows []row, r row) []row {
	for _, have := range rows {
		if have.URL == r.URL && have.Transaction == r.Transaction {
			return rows
		}
	}
	return append(rows, r)
}

// byReport settles jobs with the import's report, which tells each row's transaction and contact: a link that names the
// transaction is sure, and so is one of a contact that has but one row. What cannot be told apart even so is for a
// person.
func (l *linker) byReport(ctx context.Context, w wave, jobs []*job, rows []row, m *matches) error {
	entries, err := l.report(ctx, w)
	if err != nil {
		return err
	}
	find, named := finder(entries, rows)
	for _, j := range jobs {
		entry, reported := entries[digest(j.mailbox)]
		r, found := find(entry)
		switch {
		case !reported:
			m.missing = append(m.missing, j)
		case entry.Transaction == "":
			m.nothing = append(m.nothing, j)
		case found:
			m.rows[j] = r
		case !named && len(rows) > 0:
			j.err = fault.New(fault.Person, "dedupe has merged this contact with another one, and the links do not name their transactions: "+
				"look the transaction %s up in Qualtrics", entry.Transaction)
		default:
			m.missing = append(m.missing, j)
		}
	}
	return nil
}

// finder gives a function that finds the row of a report's entry, and tells whether rows name transactions.
func finder(entries map[string]qualtrics.ImportEntry, rows []row) (find func(qualtrics.ImportEntry) (row, bool), named bool) {
	byTransaction, byContact, times := map[string]row{}, map[string]row{}, map[string]int{}
	for _, r := range rows {
		if r.Transaction != "" {
			byTransaction[r.Transaction] = r
		}
		byContact[r.Contact] = r
	}
	for _, e := range entries {
		times[e.Contact]++
		times[e.Lookup]++
	}
	named = len(byTransaction) > 0
	return func(e qualtrics.ImportEntry) (row, bool) {
		if r, ok := byTransaction[e.Transaction]; ok || named {
			return r, ok
		}
		for _, id := range []string{e.Lookup, e.Contact} {
			if r, ok := byContact[id]; ok && id != "" && times[id] == 1 {
				return r, true
			}
		}
		return row{}, false
	}, named
}

// report reads what became of each row of a wave's import, by the digest of its mailbox. That it cannot be read says
// nothing about any request.
func (l *linker) report(ctx context.Context, w wave) (map[string]qualtrics.ImportEntry, error) {
	if w.Sent.ID == "" {
		return nil, fault.New(fault.Person, "the id of the import was lost with the answer, so its report cannot be read: look for the links in the distribution %s", w.Distribution)
	}
	entries := map[string]qualtrics.ImportEntry{}
	for page, err := range l.qualtrics.ImportReport(ctx, w.Sent.ID) {
		if fault.Is(err, fault.Refused) {
			return nil, fault.Later(0, "the report of the import cannot be read: %w", err)
		}
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			entries[digest(normal(e.Email))] = e
		}
	}
	return entries, nil
}
