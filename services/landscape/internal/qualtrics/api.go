package qualtrics

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
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
	request *http.Request
	body    []byte
	status  int // of success
}

// bare is an answer that has no envelope.
type bare map[string]any

// operation acts on a call, under the simulator's lock. A nil result leaves "result" out of the envelope.
type operation func(c *call) (result any, err error)

// API serves /API/v3 and /oauth2/token.
func (s *Simulator) API() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", s.issueToken)
	for pattern, act := range operations {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" "+apiPath+path, s.operation(pattern, act))
	}
	mux.Handle("/", s.operation("unknown path", func(*call) (any, error) {
		return nil, &refusal{status: http.StatusNotFound, noRequestID: true}
	}))
	return mux
}

var operations = map[string]operation{
	"GET /whoami":      whoami,
	"GET /directories": listDirectories,

	"POST /directories/{d}/contacts":                                createContact,
	"POST /directories/{d}/contacts/search":                         searchContacts,
	"GET /directories/{d}/contacts/{c}":                             getContact,
	"PUT /directories/{d}/contacts/{c}":                             updateContact,
	"DELETE /directories/{d}/contacts/{c}":                          deleteContact,
	"GET /directories/{d}/contacts/{c}/transactions":                listContactTransactions,
	"POST /directories/{d}/mailinglists/{m}/contacts":               createContact,
	"GET /directories/{d}/mailinglists/{m}/contacts":                listContacts,
	"GET /directories/{d}/mailinglists/{m}/contacts/{c}":            getContact,
	"PUT /directories/{d}/mailinglists/{m}/contacts/{c}":            updateContact,
	"DELETE /directories/{d}/mailinglists/{m}/contacts/{c}":         deleteContact,
	"GET /directories/{d}/mailinglists/{m}/optedOutContacts":        listOptedOut,
	"POST /directories/{d}/transactions":                            createTransactions,
	"GET /directories/{d}/transactions/{t}":                         getTransaction,
	"DELETE /directories/{d}/transactions/{t}":                      deleteTransaction,
	"POST /directories/{d}/transactionbatches":                      createBatch,
	"GET /directories/{d}/transactionbatches":                       listBatches,
	"GET /directories/{d}/transactionbatches/{b}":                   getBatch,
	"DELETE /directories/{d}/transactionbatches/{b}":                deleteBatch,
	"GET /directories/{d}/transactionbatches/{b}/transactions":      listBatchTransactions,
	"POST /directories/{d}/transactionbatches/{b}/transactions":     addBatchTransactions,
	"POST /directories/{d}/mailinglists/{m}/transactioncontacts":    startImport,
	"GET /directories/{d}/mailinglists/{m}/transactioncontacts/{i}": importStatus,
	"GET /directories/{d}/imports/api-import/jobs/{i}/report":       importReport,

	"POST /distributions":            createDistribution,
	"GET /distributions":             listDistributions,
	"GET /distributions/{e}":         getDistribution,
	"DELETE /distributions/{e}":      deleteDistribution,
	"GET /distributions/{e}/links":   listLinks,
	"GET /distributions/{e}/history": listHistory,
	"POST /eventsubscriptions":       createSubscription,
	"GET /eventsubscriptions":        listSubscriptions,
	"GET /eventsubscriptions/{u}":    getSubscription,
	"DELETE /eventsubscriptions/{u}": deleteSubscription,
	"GET /surveys/{s}/responses/{r}": getResponse,
}

// operation authenticates, counts, and runs an operation in the envelope of qualtrics.md §2.4.
func (s *Simulator) operation(name string, act operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		c := &call{Simulator: s, request: r, body: body, status: http.StatusOK}
		var result any
		if err != nil {
			err = tooLarge(err)
		} else {
			result, err = c.run(name, act)
		}
		if err != nil {
			s.writeRefusal(w, err)
			return
		}
		w.Header().Set("request-time", strconv.FormatInt(time.Since(began).Milliseconds(), 10))
		s.writeResult(w, c.status, result)
	})
}

func tooLarge(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "", "The request body is larger than 5 MB.")
	}
	return badRequest("The request body could not be read.")
}

func (c *call) run(name string, act operation) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.authenticated() {
		return nil, refuse(http.StatusUnauthorized, "", "The API token or access token is missing or invalid.")
	}
	_, err := c.books.calls.Update(name, func(calls Calls, _ bool) (Calls, bool) {
		return Calls{Operation: name, Count: calls.Count + 1}, true
	})
	must(err)
	c.runImports()
	return act(c)
}

// authenticated takes an API token or an OAuth bearer token (qualtrics.md §2.2, §2.3).
func (c *call) authenticated() bool {
	if token := c.request.Header.Get("X-API-TOKEN"); token != "" {
		return c.settings.Token != "" && equal(token, c.settings.Token)
	}
	scheme, bearer, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	token, found := c.books.tokens.Get(bearer)
	return found && c.now().Before(token.ExpiresAt)
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

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
		result["nextPage"] = c.nextPage(c.settings.BaseURL, lastID, to)
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

func (s *Simulator) writeResult(w http.ResponseWriter, status int, result any) {
	if answer, ok := result.(bare); ok {
		writeJSON(w, status, answer)
		return
	}
	meta := map[string]any{"httpStatus": statusText(status), "requestId": uuid.NewString(), "notice": nil}
	if s.settings.Assumed.ProxiedTo != "" {
		meta["notice"] = "Request proxied. For faster response times, use this host instead: " + s.settings.Assumed.ProxiedTo
	}
	answer := map[string]any{"meta": meta}
	if result != nil {
		answer["result"] = result
	}
	writeJSON(w, status, answer)
}

func (s *Simulator) writeRefusal(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = refuse(http.StatusInternalServerError, "", "Internal Server Error")
		s.log.Error("qualtrics simulator: an operation failed", "error", err)
	}
	meta := map[string]any{"httpStatus": statusText(r.status), "requestId": uuid.NewString()}
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
	writeJSON(w, r.status, map[string]any{"meta": meta})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // the client may be gone; there is nobody else to tell
}

func statusText(status int) string { return strconv.Itoa(status) + " - " + http.StatusText(status) }

// issueToken is the client credentials grant of OAuth (qualtrics.md §2.3).
func (s *Simulator) issueToken(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok || s.settings.ClientID == "" || !equal(id, s.settings.ClientID) || !equal(secret, s.settings.ClientSecret) {
		w.Header().Set("WWW-Authenticate", `Basic realm="oauth2"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	form, err := s.tokenForm(w, r)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	if form.Get("grant_type") != "client_credentials" {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	token := accessToken{Token: newID(""), Scope: form.Get("scope"), ExpiresAt: s.now().Add(24 * time.Hour)}
	must(s.books.tokens.Put(token.Token, token))
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": token.Token, "token_type": "bearer", "expires_in": 86400, "scope": token.Scope,
	})
}

func (s *Simulator) tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, err
	case kind == "application/x-www-form-urlencoded":
		err = r.ParseForm()
	case kind == "multipart/form-data" && !s.settings.Assumed.OAuthFormOnly:
		err = r.ParseMultipartForm(1 << 16)
	default:
		err = errors.New("neither form encoding")
	}
	return r.PostForm, err
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
