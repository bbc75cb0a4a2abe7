package qualtrics

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Transaction is one interaction with a contact, with the values of its time (qualtrics.md §1.1, §3.3).
type Transaction struct {
	// ContactID is the CID_….
	ContactID string
	// MailingListID is the CG_….
	MailingListID string
	// Date is when it happened. Zero leaves it to the server, presumably now (§9, row 9).
	Date time.Time
	// Data are strings, numbers and booleans. Put a key of ours into it: it is what [Client.FindTransaction] finds.
	Data map[string]any
}

// personal is all of Data that is text.
func (t Transaction) personal() []string {
	var texts []string
	for _, v := range t.Data {
		if s, ok := v.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// check refuses what Qualtrics does not take: null and objects (qualtrics.md §3.3, trap 10).
func (t Transaction) check() error {
	for _, name := range slices.Sorted(maps.Keys(t.Data)) {
		encoded, err := json.Marshal(t.Data[name])
		if err != nil || bytes.ContainsAny(encoded[:1], "n[{") { // n is null
			return fault.At("transaction.data."+name, "must be a string, a number or true or false")
		}
	}
	return nil
}

// transactionKey is the name of the one transaction in a request; the answer speaks of it by that.
const transactionKey = "transaction"

// CreateTransaction makes a transaction and gives its id, CTR_… (qualtrics.md §3.3). The answer may be a success and
// the transaction not processed: that is [fault.Refused], with the code in the [outbound.StatusError].
//
// A repeat makes a second transaction. The probe is [Client.FindTransaction].
func (c *Client) CreateTransaction(ctx context.Context, t Transaction) (string, error) {
	if err := t.check(); err != nil {
		return "", err
	}
	type wire struct {
		ContactID     string         `json:"contactId"`
		MailingListID string         `json:"mailingListId"`
		Date          string         `json:"transactionDate,omitempty"`
		Data          map[string]any `json:"data,omitempty"`
	}
	w := wire{ContactID: t.ContactID, MailingListID: t.MailingListID, Data: t.Data}
	if !t.Date.IsZero() {
		w.Date = FormatTime(t.Date)
	}
	call := post("create transaction", c.inDirectory("transactions"), map[string]wire{transactionKey: w})
	call.Write, call.Personal = true, t.personal()

	type outcome struct {
		Created     map[string]created     `json:"createdTransactions"`
		Unprocessed map[string]unprocessed `json:"unprocessedTransactions"`
	}
	r, err := send[outcome](ctx, c, call)
	if err != nil {
		return "", err
	}
	if why, failed := r.result.Unprocessed[transactionKey]; failed {
		return "", why.fault(r.answer, call.Operation)
	}
	id := r.result.Created[transactionKey].ID
	if id == "" {
		return "", r.answer.Malformed("the transaction is neither created nor unprocessed")
	}
	return id, nil
}

type created struct {
	ID string `json:"id"`
}

type unprocessed struct {
	Code    string `json:"error"`
	Message string `json:"errorMessage"`
}

func (u unprocessed) fault(a *outbound.Answer, operation string) *fault.Fault {
	code, message := a.Words(u.Code, 64), a.Words(u.Message, 300)
	f := a.Fault(fault.Refused, "not processed: %s: %s", cmp.Or(code, "no code"), cmp.Or(message, "no message"))
	f.Err = &outbound.StatusError{Vendor: f.Vendor, Operation: operation, Status: a.Status, Code: code}
	return f
}

// FindTransaction looks through a contact's transactions for one whose data has this value, and gives its id. Values
// are compared as text, since Qualtrics gives back strings (qualtrics.md §8, trap 10). It is the probe of
// [Client.CreateTransaction] and costs one read per hundred transactions. A contact not readable yet is [fault.NotYet].
func (c *Client) FindTransaction(ctx context.Context, contactID, name, value string) (string, bool, error) {
	type transaction struct {
		ID   string         `json:"transactionId"`
		Data map[string]any `json:"data"`
	}
	call := outbound.Call{
		Operation: "list transactions of contact", Path: c.inDirectory("contacts", contactID, "transactions"),
		Query: url.Values{"withData": {"true"}, "pageSize": {"100"}}, Personal: []string{value},
	}
	for page, err := range pages[transaction](ctx, c, call) {
		if err != nil {
			return "", false, notYet(err)
		}
		for _, t := range page {
			if have, ok := t.Data[name]; ok && fmt.Sprint(have) == value {
				return t.ID, true, nil
			}
		}
	}
	return "", false, nil
}

// CreateBatch makes a batch of transactions and gives its id, BT_… (qualtrics.md §3.4). A distribution addresses all
// that is in a batch, so a batch is for one wave and never used again.
//
// A repeat makes a second batch, harmless until it is distributed.
func (c *Client) CreateBatch(ctx context.Context, transactionIDs []string, created time.Time) (string, error) {
	call := post("create batch", c.inDirectory("transactionbatches"), struct {
		TransactionIDs []string `json:"transactionIds"`
		CreationDate   string   `json:"creationDate"`
	}{append([]string{}, transactionIDs...), FormatTime(created)}) // An empty list and not null.
	call.Write = true
	return c.create(ctx, call)
}

// create makes something of which the answer tells no more than the id.
func (c *Client) create(ctx context.Context, call outbound.Call) (string, error) {
	r, err := send[created](ctx, c, call)
	if err != nil {
		return "", err
	}
	if r.result.ID == "" {
		return "", r.answer.Malformed("there is no id")
	}
	return r.result.ID, nil
}

// timestamp reads a time in any of the forms Qualtrics uses, epoch milliseconds among them (qualtrics.md §2.11); what
// it cannot read is the zero time.
type timestamp struct{ time.Time }

func (t *timestamp) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		t.Time, _ = ParseTime(s)
	}
	var millis int64
	if json.Unmarshal(data, &millis) == nil && millis != 0 {
		t.Time = time.UnixMilli(millis).UTC()
	}
	if year := t.Year(); year < 1 || year > 9999 { // no event could say it
		t.Time = time.Time{}
	}
	return nil
}
