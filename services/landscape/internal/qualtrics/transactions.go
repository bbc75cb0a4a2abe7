package qualtrics

import (
	"maps"
	"slices"
)

// createTransactions takes a map of transactions under keys of the caller's (qualtrics.md §3.3). A contact or list
// that is not there fails its item only; the call is 200 all the same.
func createTransactions(c *call) (any, error) {
	created, unprocessed := map[string]any{}, map[string]any{}
	result := map[string]any{"createdTransactions": created, "unprocessedTransactions": unprocessed}
	if err := c.directory(); err != nil {
		if c.switches.UnknownDirectoryIsEmpty {
			return result, nil
		}
		return nil, err
	}
	items, err := c.transactionItems()
	if err != nil {
		return nil, err
	}
	var made []Transaction
	for _, key := range slices.Sorted(maps.Keys(items)) {
		if refused := c.checkTransaction(items[key]); refused != "" {
			unprocessed[key] = map[string]any{"error": "INVALID_TRANSACTION", "errorMessage": refused}
			continue
		}
		made = append(made, items[key])
		created[key] = map[string]any{"id": items[key].ID}
	}
	c.putTransactions(made)
	return result, nil
}

func (c *call) transactionItems() (map[string]Transaction, error) {
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	if most := c.switches.MaxTransactions; most > 0 && len(body.fields) > most {
		return nil, badRequest("At most %d transactions can be created in one call.", most)
	}
	if len(body.fields) == 0 {
		return nil, badRequest("The request holds no transaction.")
	}
	items := map[string]Transaction{}
	for key := range body.fields {
		item := body.child(key)
		items[key] = c.readTransaction(item)
		body.adopt(item)
	}
	return items, body.done()
}

func (c *call) readTransaction(o *object) Transaction {
	o.need("contactId", "mailingListId")
	t := Transaction{
		ID: newID("CTR_"), ContactID: o.text("contactId"), ListID: o.text("mailingListId"),
		Date: c.now(), Data: o.data("data", true),
	}
	if text := o.optionalText("transactionDate"); text != nil {
		date, ok := readTime(*text)
		if !ok {
			o.mistake("transactionDate", "YYYY-MM-DD HH:MM:SS in UTC")
		}
		t.Date = date
	}
	return t
}

// checkTransaction says why a transaction cannot be made, or nothing. The contact is known by its CID_ only.
func (s *Simulator) checkTransaction(t Transaction) string {
	contact, found := s.books.contacts.Get(t.ContactID)
	if !found {
		return "The contact was not found."
	}
	if _, member := contact.Memberships[t.ListID]; !member {
		return "The contact is not in the mailing list."
	}
	return ""
}

func (s *Simulator) putTransactions(made []Transaction) {
	must(s.books.transactions.PutAll(made, func(t Transaction) string { return t.ID }))
	for _, t := range made {
		s.index.transactions[t.ContactID] = append(s.index.transactions[t.ContactID], t.ID)
	}
}

func (c *call) transaction() (Transaction, error) {
	if err := c.directory(); err != nil {
		return Transaction{}, err
	}
	t, found := c.books.transactions.Get(c.request.PathValue("t"))
	if !found {
		return Transaction{}, notFound("Transaction not found.")
	}
	return t, nil
}

func getTransaction(c *call) (any, error) {
	t, err := c.transaction()
	if err != nil {
		return nil, err
	}
	return showTransaction(t, true), nil
}

func deleteTransaction(c *call) (any, error) {
	t, err := c.transaction()
	if err != nil {
		return nil, err
	}
	c.forgetTransaction(t)
	return nil, nil
}

func (s *Simulator) forgetTransaction(t Transaction) {
	must(s.books.transactions.Delete(t.ID))
	s.index.transactions[t.ContactID] = slices.DeleteFunc(s.index.transactions[t.ContactID],
		func(id string) bool { return id == t.ID })
}

// listContactTransactions gives a contact's transactions, with their data where withData is true.
func listContactTransactions(c *call) (any, error) {
	contact, _, err := c.contact()
	if err != nil {
		return nil, err
	}
	withData, err := c.flag("withData")
	if err != nil {
		return nil, err
	}
	sorted, err := c.flag("sortByTransactionDate")
	if err != nil {
		return nil, err
	}
	transactions := c.transactionsOf(c.index.transactions[contact.ID])
	if sorted {
		slices.SortStableFunc(transactions, func(a, b Transaction) int { return a.Date.Compare(b.Date) })
	}
	return paged(c, transactions, 100, 100, func(t Transaction) (string, any) { return t.ID, showTransaction(t, withData) })
}

// transactionsOf gives those of the transactions that are still there.
func (s *Simulator) transactionsOf(ids []string) []Transaction {
	var all []Transaction
	for _, id := range ids {
		if t, found := s.books.transactions.Get(id); found {
			all = append(all, t)
		}
	}
	return all
}

func showTransaction(t Transaction, withData bool) map[string]any {
	shown := map[string]any{
		"transactionId": t.ID, "contactId": t.ContactID, "mailingListId": t.ListID,
		"transactionDate": t.Date.Format(dateTime),
	}
	if withData {
		shown["data"] = orEmpty(t.Data)
	}
	return shown
}

// createBatch makes a batch of transactions that are there (qualtrics.md §3.4).
func createBatch(c *call) (any, error) {
	if err := c.directory(); err != nil {
		return nil, err
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	body.need("transactionIds", "creationDate")
	ids := body.texts("transactionIds")
	created, ok := readTime(body.text("creationDate"))
	if !ok {
		body.mistake("creationDate", "YYYY-MM-DD HH:MM:SS in UTC")
	}
	if err := body.done(); err != nil {
		return nil, err
	}
	if len(ids) == 0 && c.switches.RefuseEmptyBatch {
		return nil, badRequest("transactionIds must not be empty.")
	}
	if err := c.checkBatch(nil, ids); err != nil {
		return nil, err
	}
	batch := Batch{ID: newID("BT_"), CreatedAt: created, TransactionIDs: ids}
	must(c.books.batches.Put(batch.ID, batch))
	return map[string]any{"id": batch.ID}, nil
}

// checkBatch refuses transactions that are not there, are there already, or are too many.
func (c *call) checkBatch(have, ids []string) error {
	seen := map[string]bool{}
	for _, id := range have {
		seen[id] = true
	}
	for _, id := range ids {
		if _, found := c.books.transactions.Get(id); !found {
			return badRequest("Transaction %s was not found.", id)
		}
		if seen[id] {
			return badRequest("Transaction %s is in the batch already.", id)
		}
		seen[id] = true
	}
	if most := c.switches.MaxBatch; most > 0 && len(seen) > most {
		return badRequest("A batch holds at most %d transactions.", most)
	}
	return nil
}

func (c *call) batch() (Batch, error) {
	if err := c.directory(); err != nil {
		return Batch{}, err
	}
	batch, found := c.books.batches.Get(c.request.PathValue("b"))
	if !found {
		return Batch{}, notFound("Transaction batch not found.")
	}
	return batch, nil
}

func showBatch(batch Batch) any {
	return map[string]any{"batchId": batch.ID, "creationDate": batch.CreatedAt.Format(dateTime)}
}

func listBatches(c *call) (any, error) {
	if err := c.directory(); err != nil {
		return nil, err
	}
	return paged(c, c.books.batches.All(), 100, 100, func(b Batch) (string, any) { return b.ID, showBatch(b) })
}

func getBatch(c *call) (any, error) {
	batch, err := c.batch()
	if err != nil {
		return nil, err
	}
	return showBatch(batch), nil
}

func deleteBatch(c *call) (any, error) {
	batch, err := c.batch()
	if err != nil {
		return nil, err
	}
	must(c.books.batches.Delete(batch.ID))
	return nil, nil
}

// listBatchTransactions gives a batch's transactions without their data, 100 a page.
func listBatchTransactions(c *call) (any, error) {
	batch, err := c.batch()
	if err != nil {
		return nil, err
	}
	return paged(c, c.transactionsOf(batch.TransactionIDs), 100, 100,
		func(t Transaction) (string, any) { return t.ID, showTransaction(t, false) })
}

func addBatchTransactions(c *call) (any, error) {
	batch, err := c.batch()
	if err != nil {
		return nil, err
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	body.need("transactionIds")
	ids := body.texts("transactionIds")
	if err := body.done(); err != nil {
		return nil, err
	}
	if err := c.checkBatch(batch.TransactionIDs, ids); err != nil {
		return nil, err
	}
	c.extendBatch(batch, ids)
	return nil, nil
}

func (s *Simulator) extendBatch(batch Batch, ids []string) {
	batch.TransactionIDs = slices.Concat(batch.TransactionIDs, ids)
	must(s.books.batches.Put(batch.ID, batch))
}
