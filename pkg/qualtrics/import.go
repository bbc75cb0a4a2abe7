package qualtrics

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/outbound"
)

// What one import takes (qualtrics.md §3.5).
const (
	MaxImportRows  = 10_000
	MaxImportBytes = 5 << 20
)

// ImportRow is a contact with one transaction. An import takes no phone and no date of the transaction; what of the
// contact is one of the transaction's fields makes the row unprocessed (qualtrics.md §3.5).
type ImportRow struct {
	Contact Contact
	// Data are strings, numbers and booleans, never null.
	Data map[string]any
}

// wireRow is a row as it is sent.
type wireRow struct {
	FirstName       string            `json:"firstName,omitempty"`
	LastName        string            `json:"lastName,omitempty"`
	Email           string            `json:"email,omitempty"`
	ExtRef          string            `json:"extRef,omitempty"`
	Language        string            `json:"language,omitempty"`
	EmbeddedData    map[string]string `json:"embeddedData,omitempty"`
	TransactionData map[string]any    `json:"transactionData"`
}

func (r ImportRow) wire() wireRow {
	c := r.Contact
	return wireRow{c.FirstName, c.LastName, c.Email, c.ExtRef, c.Language, c.EmbeddedData, r.Data}
}

// Size is how many bytes of an import's body the row takes.
func (r ImportRow) Size() int {
	encoded, err := json.Marshal(r.wire())
	if err != nil {
		return MaxImportBytes // refused by itself, whatever else is in the import
	}
	return len(encoded) + 1
}

// Import is an import that was accepted, which does not mean that it is done.
type Import struct {
	ID string
	// Unprocessed are the positions of rows that were refused.
	Unprocessed []int
}

// StartImport makes contacts, their transactions and their membership in a batch, all of it later: see
// [Client.ImportStatus] (qualtrics.md §3.5). The batch must exist and be used for nothing else. fields names every key
// of the rows' data.
//
// A repeat gives each contact one more transaction. The probe is [Client.BatchCount].
func (c *Client) StartImport(ctx context.Context, listID, batchID string, fields []string, rows []ImportRow) (Import, error) {
	body := struct {
		Meta struct {
			BatchID string   `json:"batchId"`
			Fields  []string `json:"fields"`
		} `json:"transactionMeta"`
		Contacts []wireRow `json:"contacts"`
	}{Contacts: make([]wireRow, len(rows))}
	body.Meta.BatchID, body.Meta.Fields = batchID, fields
	var personal []string
	for i, row := range rows {
		body.Contacts[i] = row.wire()
		if len(rows) == 1 { // what is said about many is not repeated
			personal = append(row.Contact.personal(), Transaction{Data: row.Data}.personal()...)
		}
	}
	call := post("create import", c.inDirectory("mailinglists", listID, "transactioncontacts"), body)
	call.Write, call.Personal, call.Mute = true, personal, len(rows) > 1
	call.InsteadOf = outbound.Records(3 * len(rows)) // contact, transaction and batch of each
	r, err := send[struct {
		ID       string `json:"id"`
		Contacts struct {
			Unprocessed []position `json:"unprocessed"`
		} `json:"contacts"`
	}](ctx, c, call)
	if err != nil {
		return Import{}, err
	}
	if r.result.ID == "" {
		return Import{}, r.answer.Malformed("there is no id")
	}
	started := Import{ID: r.result.ID}
	for _, p := range r.result.Contacts.Unprocessed {
		if p < 0 || int(p) >= len(rows) {
			return Import{}, r.answer.Malformed("row %d of %d is said to be unprocessed", p, len(rows))
		}
		started.Unprocessed = append(started.Unprocessed, int(p))
	}
	return started, nil
}

// position in a request: documented as a number, and as a text in the vendor's own schema (qualtrics.md §3.5).
type position int

func (p *position) UnmarshalJSON(data []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(data), `"`))
	*p = position(n)
	return err
}

// ImportStatus is how far an import has come.
type ImportStatus struct {
	// Done says that nothing more is going to happen.
	Done bool
	// Created is how many transactions there are. 0 at the end means that directory, list or batch do not exist, which
	// is no error for Qualtrics.
	Created int
}

// ImportStatus tells how far an import has come (qualtrics.md §3.5). It is a read.
func (c *Client) ImportStatus(ctx context.Context, listID, importID string) (ImportStatus, error) {
	type counts struct {
		Percent      float64 `json:"percentComplete"`
		Transactions struct {
			Count struct {
				Created int `json:"created"`
			} `json:"count"`
		} `json:"transactions"`
	}
	r, err := send[counts](ctx, c, outbound.Call{
		Operation: "import status", Path: c.inDirectory("mailinglists", listID, "transactioncontacts", importID),
	})
	if err != nil {
		return ImportStatus{}, notYet(err)
	}
	return ImportStatus{Done: r.result.Percent >= 100, Created: r.result.Transactions.Count.Created}, nil
}

// ImportEntry is what became of one row. Its texts for the outcome are not documented, so they are not read.
type ImportEntry struct {
	Email   string `json:"email"`
	Contact string `json:"contactId"`
	// Transaction is empty for a row of which nothing came.
	Transaction string `json:"transactionId"`
	Lookup      string `json:"contactListContactId"`
}

// ImportReport reads what became of each row, page by page (qualtrics.md §3.5). It is a read, in an envelope of its own.
func (c *Client) ImportReport(ctx context.Context, importID string) iter.Seq2[[]ImportEntry, error] {
	call := outbound.Call{Operation: "import report", Path: c.inDirectory("imports", "api-import", "jobs", importID, "report")}
	return func(yield func([]ImportEntry, error) bool) {
		for seen := map[string]bool{}; ; {
			var body struct {
				Results struct {
					Entries []ImportEntry `json:"importReportEntries"`
				} `json:"results"`
				SkipToken string `json:"skipToken"`
			}
			answer, err := c.do(ctx, call)
			if err == nil {
				err = answer.Decode(&body)
			}
			if err == nil && seen[body.SkipToken] {
				err = answer.Malformed("its pages go round in circles")
			}
			if !yield(body.Results.Entries, err) || err != nil || body.SkipToken == "" {
				return
			}
			seen[body.SkipToken] = true
			call.Query = url.Values{"skipToken": {body.SkipToken}}
		}
	}
}

// BatchCount counts the transactions in a batch, up to atMost, a hundred a call. It is the probe of
// [Client.StartImport], for a batch that is used for nothing else. between, if it is not nil, is called after each page
// that is not the last, and ends the count with its error.
func (c *Client) BatchCount(ctx context.Context, batchID string, atMost int, between func() error) (int, error) {
	count := 0
	for page, err := range pages[json.RawMessage](ctx, c, outbound.Call{
		Operation: "list transactions of batch", Path: c.inDirectory("transactionbatches", batchID, "transactions"),
		Query: url.Values{"pageSize": {"100"}},
	}) {
		if err != nil {
			return 0, notYet(err)
		}
		if count += len(page); count >= atMost {
			break
		}
		if between != nil {
			if err := between(); err != nil {
				return 0, err
			}
		}
	}
	return count, nil
}

// LinkPage is one page of a distribution's links.
type LinkPage struct {
	Links []Link
	// Next is what to ask for next; empty on the last page.
	Next string
}

func linksIn(a outbound.Answer) int {
	var body struct {
		Result struct {
			Elements []json.RawMessage `json:"elements"`
		} `json:"result"`
	}
	_ = json.Unmarshal(a.Body, &body) // what cannot be read is said when it is decoded
	return len(body.Result.Elements)
}

// LinkPage reads one page of a distribution's links: the first, or the one that the page before named. It is
// [Client.Links] for a reader who keeps each page and goes on later, since to read a page again counts toward
// contact-frequency rules.
func (c *Client) LinkPage(ctx context.Context, distributionID, surveyID, next string) (LinkPage, error) {
	call := linksCall(distributionID, surveyID)
	call.InsteadOf = linksIn
	if strings.HasPrefix(next, "http") {
		var err error
		if call, err = c.following(call, next, ""); err != nil {
			return LinkPage{}, err
		}
	} else if next != "" {
		call.Query.Set("skipToken", next)
	}
	r, err := send[page[Link]](ctx, c, call)
	if err != nil {
		return LinkPage{}, err
	}
	p := LinkPage{Links: r.result.Elements, Next: r.result.NextPage}
	if p.Next == "" {
		p.Next = r.result.SkipToken
	}
	if p.Next != "" && p.Next == next {
		return LinkPage{}, r.answer.Malformed("its pages go round in circles")
	}
	return p, nil
}
