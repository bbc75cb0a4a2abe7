package qualtrics

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	apiPath = "/API/v3"
	maxBody = 5 << 20 // qualtrics.md §4.1: body 5 MB
)

// call is one API call on its way.
type call struct {
	*Simulator
	request  *http.Request
	body     []byte
	status   int      // of success
	switches Switches // in force when it was admitted
}

// bare is an answer that has no envelope.
type bare map[string]any

// operation acts on a call, under the simulator's lock. A nil result leaves "result" out of the envelope.
type operation func(c *call) (result any, err error)

// API serves /API/v3 and /oauth2/token.
func (s *Simulator) API() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", s.issueToken)
	for pattern, e := range endpoints {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" "+apiPath+path, s.serve(pattern, e))
	}
	mux.Handle("/", s.serve("unknown path", endpoint{act: func(*call) (any, error) {
		return nil, &refusal{status: http.StatusNotFound, noRequestID: true}
	}}))
	return mux
}

// endpoint is an operation, the group of limits that it counts for besides the brand's (qualtrics.md §4.1; empty where
// the table there does not name it), and the resource whose scope it needs (qualtrics.md §2.3).
type endpoint struct {
	act      operation
	group    string
	resource string
}

var endpoints = map[string]endpoint{
	"GET /whoami":      {whoami, "whoami", "users"},
	"GET /directories": {listDirectories, "", "directories"},

	"POST /directories/{d}/contacts":                                {createContact, "directoryContacts", "directory_contacts"},
	"POST /directories/{d}/contacts/search":                         {searchContacts, "directoryContacts", "directory_contacts"},
	"GET /directories/{d}/contacts/{c}":                             {getContact, "contactReads", "directory_contacts"},
	"PUT /directories/{d}/contacts/{c}":                             {updateContact, "directoryContacts", "directory_contacts"},
	"DELETE /directories/{d}/contacts/{c}":                          {deleteContact, "directoryContacts", "directory_contacts"},
	"GET /directories/{d}/contacts/{c}/history":                     {listContactHistory, "contactReads", "directory_contacts"},
	"GET /directories/{d}/contacts/{c}/transactions":                {listContactTransactions, "", "contact_transactions"},
	"POST /directories/{d}/mailinglists/{m}/contacts":               {createContact, "listContacts", "directory_contacts"},
	"GET /directories/{d}/mailinglists/{m}/contacts":                {listContacts, "contactReads", "directory_contacts"},
	"GET /directories/{d}/mailinglists/{m}/contacts/{c}":            {getContact, "contactReads", "directory_contacts"},
	"PUT /directories/{d}/mailinglists/{m}/contacts/{c}":            {updateContact, "listContacts", "directory_contacts"},
	"DELETE /directories/{d}/mailinglists/{m}/contacts/{c}":         {deleteContact, "listContacts", "directory_contacts"},
	"GET /directories/{d}/mailinglists/{m}/contacts/{c}/history":    {listContactHistory, "contactReads", "directory_contacts"},
	"GET /directories/{d}/mailinglists/{m}/optedOutContacts":        {listOptedOut, "contactReads", "directory_contacts"},
	"POST /directories/{d}/transactions":                            {createTransactions, "transactions", "contact_transactions"},
	"GET /directories/{d}/transactions/{t}":                         {getTransaction, "", "contact_transactions"},
	"DELETE /directories/{d}/transactions/{t}":                      {deleteTransaction, "transactions", "contact_transactions"},
	"POST /directories/{d}/transactionbatches":                      {createBatch, "batches", "transaction_batches"},
	"GET /directories/{d}/transactionbatches":                       {listBatches, "batchContents", "transaction_batches"},
	"GET /directories/{d}/transactionbatches/{b}":                   {getBatch, "batchContents", "transaction_batches"},
	"DELETE /directories/{d}/transactionbatches/{b}":                {deleteBatch, "batches", "transaction_batches"},
	"GET /directories/{d}/transactionbatches/{b}/transactions":      {listBatchTransactions, "batchContents", "transaction_batches"},
	"POST /directories/{d}/transactionbatches/{b}/transactions":     {addBatchTransactions, "batchContents", "transaction_batches"},
	"POST /directories/{d}/mailinglists/{m}/transactioncontacts":    {startImport, "imports", "directory_contacts"},
	"GET /directories/{d}/mailinglists/{m}/transactioncontacts/{i}": {importStatus, "importStatus", "directory_contacts"},
	"GET /directories/{d}/imports/api-import/jobs/{i}/report":       {importReport, "", "directory_contacts"},

	"POST /distributions":            {createDistribution, "distributions", "distributions"},
	"GET /distributions":             {listDistributions, "distributions", "distributions"},
	"GET /distributions/{e}":         {getDistribution, "distributions", "distributions"},
	"DELETE /distributions/{e}":      {deleteDistribution, "", "distributions"},
	"GET /distributions/{e}/links":   {listLinks, "links", "distributions"},
	"GET /distributions/{e}/history": {listHistory, "history", "distributions"},
	"POST /eventsubscriptions":       {createSubscription, "subscriptions", "event_subscriptions"},
	"GET /eventsubscriptions":        {listSubscriptions, "subscriptions", "event_subscriptions"},
	"GET /eventsubscriptions/{u}":    {getSubscription, "subscriptions", "event_subscriptions"},
	"DELETE /eventsubscriptions/{u}": {deleteSubscription, "subscriptions", "event_subscriptions"},
	"GET /surveys/{s}/responses/{r}": {getResponse, "responses", "survey_responses"},

	"POST /op-erase-personal-data":    {requestErasure, "erasures", "erasure_requests"},
	"GET /op-erase-personal-data/{o}": {getErasure, "erasures", "erasure_requests"},
}

// serve answers the calls of one endpoint in the envelope of qualtrics.md §2.4.
func (s *Simulator) serve(name string, e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		c := &call{Simulator: s, request: r, body: body, status: http.StatusOK}
		if err != nil {
			err = tooLarge(err)
		}
		result, err := c.run(name, e, err)
		if late := c.linger(began); err == nil && late {
			err = timedOut()
		}
		if err != nil {
			c.writeRefusal(w, err)
			return
		}
		w.Header().Set("request-time", strconv.FormatInt(time.Since(began).Milliseconds(), 10))
		c.writeResult(w, result)
	})
}

// linger lets a call take as long as the switches say, for a client that has gone as well, and tells whether that is
// longer than the server waits.
func (c *call) linger(began time.Time) (late bool) {
	latency, limit := c.switches.Latency, c.switches.ServerTimeout
	if latency > 0 {
		timer := time.NewTimer(time.Until(began.Add(min(latency, limit))))
		defer timer.Stop()
		<-timer.C
	}
	return latency > limit
}

func tooLarge(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "", "The request body is larger than 5 MB.")
	}
	return badRequest("The request body could not be read.")
}

// run admits a call and lets its operation act. A body that could not be read is refused only then.
func (c *call) run(name string, e endpoint, unread error) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.switches = c.settings.Assumed
	if err := c.admit(name, e); err != nil {
		return nil, err
	}
	if unread != nil {
		return nil, unread
	}
	c.runImports()
	c.runErasures()
	return c.mishap(e.act)
}

// admit authenticates, counts the call, and refuses it where it is over a limit or lacks a scope.
func (c *call) admit(name string, e endpoint) error {
	token, err := c.authenticate()
	if err != nil {
		return err
	}
	refused := c.limiter.admit(name, e.group, c.now())
	_, err = c.books.calls.Update(name, func(calls Calls, _ bool) (Calls, bool) {
		calls.Operation, calls.Count = name, calls.Count+1
		if refused != nil {
			calls.Refused++
		}
		return calls, true
	})
	must(err)
	if refused != nil {
		return refused
	}
	return c.checkScope(token, name, e.resource)
}

// mishap lets an operation act, unless this is one of the calls that fail by themselves (qualtrics.md §2.8).
func (c *call) mishap(act operation) (any, error) {
	failed, late := c.chance(c.switches.ErrorRate), c.chance(c.switches.TimeoutRate)
	if failed && !c.switches.ErrorActs {
		return nil, internalError()
	}
	result, err := act(c)
	switch {
	case err != nil:
		return nil, err
	case failed:
		return nil, internalError()
	case late:
		return nil, timedOut()
	}
	return result, nil
}

// chance is true at random, for that part of the times that it is asked.
func (s *Simulator) chance(part float64) bool { return part > 0 && s.random.Float64() < part }

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// object parses the body as a JSON object.
func (c *call) object() (*object, error) {
	if kind, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "", "The Content-Type must be application/json.")
	}
	return parseObject(c.body)
}

func (c *call) query(name string) string { return c.request.URL.Query().Get(name) }

// flag reads a query parameter that is true or false.
func (c *call) flag(name string) (bool, error) {
	switch c.query(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, badRequest("Invalid value for %s: expected true or false.", name)
}

// directory refuses a call to a directory that is not there.
func (c *call) directory() error {
	if c.request.PathValue("d") != c.settings.DirectoryID {
		return notFound("Directory not found.")
	}
	return nil
}

// page reads pageSize and skipToken for a list of so many elements, and gives the part of it that is asked for.
func (c *call) page(total, size, maximum int) (from, to int, err error) {
	if text := c.query("pageSize"); text != "" {
		size, err = strconv.Atoi(text)
		if err != nil || size < 1 || size > maximum {
			return 0, 0, badRequest("Invalid value for pageSize: expected 1 to %d.", maximum)
		}
	}
	from, err = c.skip()
	if err != nil {
		return 0, 0, err
	}
	from = min(from, total)
	return from, min(from+size, total), nil
}

// skip reads a skipToken, which is the last id of the page before and the place to go on from.
func (c *call) skip() (int, error) {
	token := c.query("skipToken")
	if token == "" {
		return 0, nil
	}
	_, place, found := strings.Cut(token, "~")
	from, err := strconv.Atoi(place)
	if !found || err != nil || from < 0 {
		return 0, badRequest("Invalid value for skipToken.")
	}
	return from, nil
}

// listing is a page of a list with nextPage, an absolute URL or null (qualtrics.md §3.7).
func (c *call) listing(elements []any, lastID string, to int, more bool) map[string]any {
	result := map[string]any{"elements": elements, "nextPage": nil}
	if more {
		result["nextPage"] = c.nextPage(c.settings.APIURL, lastID, to)
	}
	return result
}

func (c *call) nextPage(base, lastID string, to int) string {
	query := c.request.URL.Query()
	query.Set("skipToken", lastID+"~"+strconv.Itoa(to))
	return base + c.request.URL.Path + "?" + query.Encode()
}

// paged is the common case of page and listing: rows with an id each.
func paged[T any](c *call, rows []T, size, maximum int, show func(T) (id string, element any)) (any, error) {
	from, to, err := c.page(len(rows), size, maximum)
	if err != nil {
		return nil, err
	}
	elements, last := make([]any, 0, to-from), ""
	for _, row := range rows[from:to] {
		id, element := show(row)
		elements, last = append(elements, element), id
	}
	return c.listing(elements, last, to, to < len(rows)), nil
}

func (c *call) writeResult(w http.ResponseWriter, result any) {
	if answer, ok := result.(bare); ok {
		writeJSON(w, c.status, answer)
		return
	}
	answer := map[string]any{"meta": c.meta(c.status)}
	if result != nil {
		answer["result"] = result
	}
	writeJSON(w, c.status, answer)
}

// meta is that part of the envelope that every answer has (qualtrics.md §2.1, §2.4).
func (c *call) meta(status int) map[string]any {
	meta := map[string]any{"httpStatus": statusText(status), "requestId": uuid.NewString(), "notice": nil}
	if c.switches.ProxiedTo != "" {
		meta["notice"] = "Request proxied. For faster response times, use this host instead: " + c.switches.ProxiedTo
	}
	return meta
}

func (c *call) writeRefusal(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = internalError()
		c.log.Error("qualtrics simulator: an operation failed", "error", err)
	}
	meta := c.meta(r.status)
	if r.noRequestID {
		meta["requestId"] = nil
	}
	told := map[string]any{}
	if r.message != "" {
		told["errorMessage"] = r.message
	}
	if r.code != "" {
		told["errorCode"] = r.code
	}
	if len(told) > 0 {
		meta["error"] = told
	}
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	writeJSON(w, r.status, map[string]any{"meta": meta})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // the client may be gone; there is nobody else to tell
}

// statusText is httpStatus, in which 503 has words of its own (qualtrics.md §2.6).
func statusText(status int) string {
	text := http.StatusText(status)
	if status == http.StatusServiceUnavailable {
		text = "Temporary Internal Server Error"
	}
	return strconv.Itoa(status) + " - " + text
}

func whoami(c *call) (any, error) {
	return map[string]any{
		"brandId": c.settings.Brand, "userId": "UR_simulated", "userName": "api@" + c.settings.Brand,
		"accountType": "UT_BRANDADMIN", "firstName": "API", "lastName": "User", "email": "api@example.com",
		"datacenter": c.settings.Datacenter,
	}, nil
}

func listDirectories(c *call) (any, error) {
	used := map[string]bool{}
	for _, criterion := range criteria {
		used[criterion] = false
	}
	for _, rule := range c.settings.Dedupe {
		for _, criterion := range rule {
			used[criterion] = true
		}
	}
	directory := map[string]any{
		"directoryId": c.settings.DirectoryID, "name": c.settings.DirectoryName,
		"contactCount": c.books.contacts.Len(), "isDefault": true, "deduplicationCriteria": used,
	}
	return map[string]any{"elements": []any{directory}, "nextPage": nil}, nil
}
