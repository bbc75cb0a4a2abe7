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

// matches are the rows of a wave by the jobs that they belong to.
type matches struct {
	rows map[*job]row
	// doubtful are jobs for which rows speak that may belong to somebody else: dedupe has merged people.
	doubtful []*job
	// missing are jobs for which no row speaks.
	missing []*job
}

// match finds each job's row. References and mailboxes are different for all jobs of a wave, so a row that names both
// of a job, or the one that there is, belongs to it. One that names the reference of one and the mailbox of another
// belongs to neither for sure: whoever's data dedupe has overwritten, nobody may get another's link (qualtrics.md §8,
// trap 6).
func match(jobs []*job, rows []row) matches {
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

// byReport settles jobs with the import's report, which tells each row's transaction: a link that names it is sure.
// What cannot be told apart even so is for a person. Jobs of which the import made nothing are given back.
func (l *linker) byReport(ctx context.Context, w wave, jobs []*job, rows []row, m *matches) (nothing []*job, err error) {
	entries, err := l.report(ctx, w)
	if err != nil {
		return nil, err
	}
	byTransaction := map[string]row{}
	for _, r := range rows {
		if r.Transaction != "" {
			byTransaction[r.Transaction] = r
		}
	}
	for _, j := range jobs {
		entry, reported := entries[digest(j.mailbox)]
		switch r, found := byTransaction[entry.Transaction]; {
		case !reported:
			m.missing = append(m.missing, j)
		case entry.Transaction == "":
			nothing = append(nothing, j)
		case found:
			m.rows[j] = r
		case len(byTransaction) == 0 && len(rows) > 0:
			j.err = fault.New(fault.Person, "dedupe has merged this contact with another one, and the links do not name their transactions: "+
				"look the transaction %s up in Qualtrics", entry.Transaction)
		default:
			m.missing = append(m.missing, j)
		}
	}
	return nothing, nil
}

// report reads what became of each row of a wave's import, by the digest of its mailbox.
func (l *linker) report(ctx context.Context, w wave) (map[string]qualtrics.ImportEntry, error) {
	if w.Sent.ID == "" {
		return nil, fault.New(fault.Person, "the id of the import was lost with the answer, so its report cannot be read: look for the links in the distribution %s", w.Distribution)
	}
	entries := map[string]qualtrics.ImportEntry{}
	for page, err := range l.qualtrics.ImportReport(ctx, w.Sent.ID) {
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			entries[digest(normal(e.Email))] = e
		}
	}
	return entries, nil
}
