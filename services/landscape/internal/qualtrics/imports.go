package qualtrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of imports (qualtrics.md §3.5).
const (
	importRows      = 10_000
	importsRunning  = 25
	importsEnqueued = 100
)

// Import is a bulk import of contacts with their transactions into one batch. Its rows come into being all at once,
// when EndsAt has come.
type Import struct {
	ID        string      `json:"id"`
	ListID    string      `json:"mailingListId"`
	BatchID   string      `json:"batchId,omitempty"`
	Known     bool        `json:"known"` // directory, list and batch were there; else it ends with all counts 0
	StartsAt  time.Time   `json:"startsAt"`
	EndsAt    time.Time   `json:"endsAt"`
	Finished  bool        `json:"finished"`
	Rows      []ImportRow `json:"rows,omitempty"`
	Added     int         `json:"added"`
	Updated   int         `json:"updated"`
	Failed    int         `json:"failed"`
	Created   int         `json:"transactionsCreated"`
	Submitted int         `json:"submitted"`
}

// ImportRow is one contact of an import and, once it is finished, what became of it.
type ImportRow struct {
	Index         int               `json:"index"` // in the request
	FirstName     *string           `json:"firstName,omitempty"`
	LastName      *string           `json:"lastName,omitempty"`
	Email         *string           `json:"email,omitempty"`
	ExtRef        *string           `json:"extRef,omitempty"`
	Language      *string           `json:"language,omitempty"`
	Unsubscribed  *bool             `json:"unsubscribed,omitempty"`
	EmbeddedData  map[string]string `json:"embeddedData,omitempty"`
	Data          map[string]string `json:"transactionData,omitempty"`
	TransactionID string            `json:"transactionId,omitempty"` // chosen beforehand, so that a restart makes no second
	ContactID     string            `json:"contactId,omitempty"`
	LookupID      string            `json:"lookupId,omitempty"`
	Outcome       string            `json:"outcome,omitempty"` // added, updated or failed
}

// startImport takes an import (qualtrics.md §3.5). An unknown directory, list or batch is no error.
func startImport(c *call) (any, error) {
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	job, unprocessed, err := c.readImport(body)
	if err != nil {
		return nil, err
	}
	if job.StartsAt, err = c.importStart(job.ListID); err != nil {
		return nil, err
	}
	a := c.switches
	job.EndsAt = job.StartsAt.Add(a.ImportDuration + time.Duration(len(job.Rows))*a.ImportPerRow)
	must(c.books.imports.Put(job.ID, job))
	c.status = http.StatusAccepted
	return map[string]any{
		"id": job.ID, "contacts": map[string]any{"unprocessed": unprocessed}, "status": "inProgress",
		"tracking": map[string]any{"url": c.settings.APIURL + c.request.URL.Path + "/" + job.ID},
	}, nil
}

func (c *call) readImport(body *object) (Import, []any, error) {
	body.need("contacts")
	job := Import{ID: newID(""), ListID: c.request.PathValue("m")}
	meta := body.child("transactionMeta")
	var fields []string
	if body.has("transactionMeta") {
		meta.need("batchId", "fields")
		job.BatchID, fields = meta.text("batchId"), meta.texts("fields")
		if len(fields) == 0 {
			meta.mistake("fields", "at least one name")
		}
		body.adopt(meta)
	}
	rows := body.children("contacts")
	if len(rows) == 0 || len(rows) > importRows {
		body.mistake("contacts", "1 to 10000 contacts")
	}
	job.Submitted = len(rows)
	var unprocessed []any
	job.Rows, unprocessed = c.readRows(body, rows, fields)
	_, listKnown := c.settings.list(job.ListID)
	_, batchKnown := c.books.batches.Get(job.BatchID)
	job.Known = c.directory() == nil && listKnown && (batchKnown || job.BatchID == "")
	return job, unprocessed, body.done()
}

// readRows reads the rows, and gives the indexes of those that contradict transactionMeta.
func (c *call) readRows(body *object, rows []*object, fields []string) ([]ImportRow, []any) {
	taken, unprocessed, withData := make([]ImportRow, 0, len(rows)), []any{}, false
	for i, o := range rows {
		row := ImportRow{
			Index: i, FirstName: o.optionalText("firstName"), LastName: o.optionalText("lastName"),
			Email: o.optionalText("email"), ExtRef: o.optionalText("extRef"), Language: o.optionalText("language"),
			Unsubscribed: o.boolean("unsubscribed"),
			EmbeddedData: o.data("embeddedData", true), Data: o.data("transactionData", true),
		}
		body.adopt(o)
		withData = withData || row.Data != nil
		if !row.fits(fields) {
			unprocessed = append(unprocessed, c.rowIndex(i))
			continue
		}
		if row.Data != nil {
			row.TransactionID = newID("CTR_")
		}
		taken = append(taken, row)
	}
	if withData != body.has("transactionMeta") {
		body.mistake("transactionMeta", "it if and only if a contact has transactionData")
	}
	return taken, unprocessed
}

func (c *call) rowIndex(i int) any {
	if c.switches.UnprocessedAsText {
		return strconv.Itoa(i)
	}
	return i
}

// fits tells whether all transaction data, and none of the embedded data, is among the fields (qualtrics.md §3.5).
func (r ImportRow) fits(fields []string) bool {
	for key := range r.Data {
		if !slices.Contains(fields, key) {
			return false
		}
	}
	for key := range r.EmbeddedData {
		if slices.Contains(fields, key) {
			return false
		}
	}
	return true
}

// importStart says when a new import may start: after those of the same list, and not as more than 25 at a time.
func (c *call) importStart(listID string) (time.Time, error) {
	start := c.now()
	var ends []time.Time
	for _, job := range c.books.imports.Find(func(j Import) bool { return !j.Finished }) {
		ends = append(ends, job.EndsAt)
		if job.ListID == listID && job.EndsAt.After(start) {
			start = job.EndsAt
		}
	}
	if len(ends) >= importsRunning+importsEnqueued {
		return start, refuse(c.switches.ImportQueueStatus, "", "Too many imports are enqueued.")
	}
	if len(ends) >= importsRunning {
		slices.SortFunc(ends, time.Time.Compare)
		if free := ends[len(ends)-importsRunning]; free.After(start) {
			start = free
		}
	}
	return start, nil
}

// runImports does the work of the imports whose time has come. It is called with every call, under the lock.
func (s *Simulator) runImports() {
	now := s.now()
	for _, job := range s.books.imports.Find(func(j Import) bool { return !j.Finished && !now.Before(j.EndsAt) }) {
		if job.Known {
			s.runImport(&job)
		}
		job.Finished = true
		must(s.books.imports.Put(job.ID, job))
	}
}

// runImport may run again after a crash: contacts are matched, transactions keep their ids, the batch takes each once.
func (s *Simulator) runImport(job *Import) {
	job.Rows = slices.Clone(job.Rows)
	ch := s.changes()
	var made []Transaction
	for i := range job.Rows {
		row := &job.Rows[i]
		if !job.importContact(ch, row) || row.TransactionID == "" {
			continue
		}
		made = append(made, Transaction{
			ID: row.TransactionID, ContactID: row.ContactID, ListID: job.ListID, Date: job.EndsAt, Data: row.Data,
		})
	}
	job.Created = len(made)
	ch.write()
	s.putTransactions(made)
	if batch, found := s.books.batches.Get(job.BatchID); found {
		s.extendBatch(batch, missing(batch.TransactionIDs, made))
	}
}

func missing(have []string, made []Transaction) []string {
	known := map[string]bool{}
	for _, id := range have {
		known[id] = true
	}
	var ids []string
	for _, t := range made {
		if !known[t.ID] {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

func (job *Import) importContact(ch *changes, row *ImportRow) bool {
	if row.Email != nil && *row.Email != "" && !strings.Contains(*row.Email, "@") {
		row.Outcome = "failed"
		job.Failed++
		return false
	}
	contact, added := ch.upsert(contactFields{
		firstName: row.FirstName, lastName: row.LastName, email: row.Email, extRef: row.ExtRef, language: row.Language,
		embeddedData: row.EmbeddedData, unsubscribed: row.Unsubscribed,
	}, job.ListID)
	row.ContactID, row.LookupID = contact.ID, contact.Memberships[job.ListID].LookupID
	if added {
		row.Outcome = "added"
		job.Added++
	} else {
		row.Outcome = "updated"
		job.Updated++
	}
	return true
}

func (c *call) job() (Import, error) {
	job, found := c.books.imports.Get(c.request.PathValue("i"))
	if list := c.request.PathValue("m"); !found || list != "" && list != job.ListID {
		return Import{}, notFound("Import not found.")
	}
	return job, nil
}

// importStatus tells how far an import is; it is done at 100.
func importStatus(c *call) (any, error) {
	job, err := c.job()
	if err != nil {
		return nil, err
	}
	percent, status := 100, "complete"
	if !job.Finished {
		status = "inProgress"
		elapsed := max(0, c.now().Sub(job.StartsAt))
		percent = min(99, int(100*elapsed/max(1, job.EndsAt.Sub(job.StartsAt))))
	}
	return map[string]any{
		"percentComplete": percent, "status": status,
		"contacts":     map[string]any{"count": map[string]int{"added": job.Added, "updated": job.Updated, "failed": job.Failed}},
		"transactions": map[string]any{"count": map[string]int{"created": job.Created}},
	}, nil
}

// importReport maps the rows of a finished import to ids, all values being texts, in an envelope of its own.
func importReport(c *call) (any, error) {
	if err := c.directory(); err != nil {
		return nil, err
	}
	job, err := c.job()
	if err != nil {
		return nil, err
	}
	var rows []ImportRow
	if job.Finished && job.Known {
		rows = job.Rows
	}
	from, to, err := c.page(len(rows), 100, 100)
	if err != nil {
		return nil, err
	}
	entries := make([]any, 0, to-from)
	for _, row := range rows[from:to] {
		entries = append(entries, row.entry())
	}
	report := bare{"results": map[string]any{"importReportEntries": entries}}
	if to < len(rows) {
		report["skipToken"] = job.ID + "~" + strconv.Itoa(to)
	}
	return report, nil
}

func (r ImportRow) entry() any {
	status, code := "success", "0"
	if r.Outcome == "failed" {
		status, code = "failure", "1"
	}
	email := ""
	if r.Email != nil {
		email = *r.Email
	}
	return map[string]string{
		"sourceIndexId": strconv.Itoa(r.Index), "email": email, "phone": "", "contactId": r.ContactID,
		"importStatus": status, "importStatusCode": code,
		"transactionId": r.TransactionID, "transactionStatus": status, "transactionStatusCode": code,
		"contactListContactId": r.LookupID, "contactListContactStatus": status, "contactListContactStatusCode": code,
	}
}
