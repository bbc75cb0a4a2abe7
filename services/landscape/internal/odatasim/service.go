// Package odatasim is the server side of SAP's OData v2, as far as the simulated systems need it: sessions with CSRF
// tokens, envelopes and faults, $filter, paging, deep insert, $batch and $metadata (odata-v2.md).
//
// A simulator describes its entity types and gives functions that list, create and change rows; this package speaks
// HTTP. It shares no code with closeloop's client.
package odatasim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// maxBody bounds what is read of one request.
const maxBody = 32 << 20

// NestedForm is the form of nested data in answers.
type NestedForm string

// The forms in which nested data occur (odata-v2.md §6); which one a tenant answers is assumed (§12).
const (
	NestedResults NestedForm = ""       // {"results":[…]}
	NestedArray   NestedForm = "array"  // […]
	NestedSingle  NestedForm = "single" // an object where there is exactly one, else {"results":[…]}
)

// Profile is what differs between the systems that speak OData v2 (odata-v2.md, "What to build on" and §12).
type Profile struct {
	Grammar Grammar
	// PageSize is the most rows of one answer, ExpandPageSize the same with $expand. Default: 1,000, and PageSize.
	PageSize, ExpandPageSize int
	// ObjectInResults puts single entities under d.results, as C4C does, instead of d.
	ObjectInResults bool
	// ETag names the property that is the concurrency token; empty: entities have none.
	ETag string
	// QuietHeaders honours C4C's request headers odata-no-codedescs and odata-no-response-payload.
	QuietHeaders bool
	// EchoChildren shows the children in the answer to a deep insert.
	EchoChildren bool
	// Dates are the forms of dates accepted on write.
	Dates DateForms
	// Arrays are the forms of nested data accepted on write.
	Arrays ArrayForms
	// CutLong cuts over-long text silently instead of refusing it.
	CutLong bool
	// NoOffset leaves the offset out of /Date(…+0000)/.
	NoOffset bool
	// Nested is the form of expanded children.
	Nested NestedForm
	// Fault is the form of faults for callers that asked for JSON. Default: JSONFault. Others get XML.
	Fault FaultBody
	// InnerError adds innererror to faults in JSON.
	InnerError bool
	// BatchLimit is the most operations of one $batch. Default: 100.
	BatchLimit int
	// NoBatch answers $batch as an unknown resource.
	NoBatch bool
	// LongestAddress is the most characters of an address, of an operation inside a batch too; 0: no limit.
	LongestAddress int
	// ContentID says where the answer to a $batch repeats the Content-ID of an operation.
	ContentID ContentIDEcho
}

// Set is an entity set: its type and what can be done with it. An operation whose function is nil is answered 405.
// A Fault that a function returns is answered as such; any other error is a 500.
type Set struct {
	Name string
	Type *EntityType
	// Unlisted keeps the set out of the service document and the metadata.
	Unlisted bool
	// RequiresFilter refuses a list read without $filter.
	RequiresFilter bool
	// CreateStatus is the status of a create's answer: 201 (default), 200, or 204 without a body.
	CreateStatus int
	// List gives the rows of the set, or at least all that match the filter.
	List func(*Filter) []Row
	// Get gives the row of a key (see KeyOf). Left nil it is looked for in List.
	Get func(key string) (Row, bool)
	// Create stores a new row and gives it as stored. What it stores it must store through Commit.
	Create func(context.Context, Row) (Row, error)
	// Update stores the changed row, through Commit.
	Update func(context.Context, Row) error
	// Upsert stores the row of a PUT, whether or not there is one with its key, through Commit. It goes before Update.
	Upsert func(context.Context, Row) error
	// Delete removes a row, through Commit.
	Delete func(context.Context, Row) error
}

func (s *Set) get(key string) (Row, error) {
	if s.Get != nil {
		if row, ok := s.Get(key); ok {
			return row, nil
		}
	} else if s.List != nil {
		for _, row := range s.List(nil) {
			if s.Type.KeyOf(row) == key {
				return row, nil
			}
		}
	}
	return Row{}, Refuse(http.StatusNotFound, CodeNotFound, "Resource not found for segment %s", s.Name)
}

// Service is an http.Handler that serves one OData service under Root. Authentication and CSRF are for handlers
// around it.
type Service struct {
	// Root is the path of the service, without a slash at the end.
	Root string
	// Namespace is the schema's namespace.
	Namespace string
	Sets      []*Set
	Profile   Profile
	// Called is told of every operation inside a $batch, as "$batch POST Interactions".
	Called func(operation string)

	changes sync.Mutex // one change at a time: a change reads, merges and writes
}

// Operation names the operation of a call: method and entity set, "token" for the fetch of a token.
func (s *Service) Operation(r *http.Request) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, s.Root), "/")
	if rest == "" && strings.EqualFold(r.Header.Get(tokenHeader), "fetch") {
		return "token"
	}
	name, _, _ := strings.Cut(rest, "(")
	return r.Method + " " + name
}

// ServeHTTP answers one call.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("DataServiceVersion", "2.0")
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), s.Root+"/")
	switch {
	case !ok:
		s.exchange(w, r).fault(Refuse(http.StatusNotFound, CodeNotFound, "No service found"))
	case rest == "$batch" && r.Method == http.MethodPost && !s.Profile.NoBatch:
		s.batch(w, r)
	default:
		s.serve(w, r, rest)
	}
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request, rest string) {
	x := s.exchange(w, r)
	if longest := s.Profile.LongestAddress; longest > 0 && len(r.URL.RequestURI()) > longest {
		x.fault(Refuse(http.StatusRequestURITooLong, CodeBadQuery, "The address is longer than %d characters", longest))
		return
	}
	if err := x.route(rest); err != nil {
		x.fault(err)
	}
}

func (s *Service) set(name string) (*Set, error) {
	for _, set := range s.Sets {
		if set.Name == name {
			return set, nil
		}
	}
	return nil, Refuse(http.StatusNotFound, CodeNotFound, "Resource not found for segment %s", name)
}

// exchange is one call and its answer.
type exchange struct {
	*Service
	w    http.ResponseWriter
	r    *http.Request
	base string // the absolute address of the service
	json bool   // the caller asked for JSON; else it gets Atom
}

func (s *Service) exchange(w http.ResponseWriter, r *http.Request) *exchange {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return &exchange{s, w, r, scheme + "://" + r.Host + s.Root, wantsJSON(r)}
}

// wantsJSON tells whether JSON was asked for; $format goes before Accept, and without either the answer is Atom.
func wantsJSON(r *http.Request) bool {
	switch r.URL.Query().Get("$format") {
	case "json":
		return true
	case "atom":
		return false
	}
	return strings.Contains(strings.ToLower(r.Header.Get("Accept")), "application/json")
}

func (x *exchange) fault(err error) {
	form := XMLFault
	if x.json {
		form = x.Profile.Fault
	}
	writeFault(x.w, asFault(err), form, x.Profile.InnerError)
}

func (x *exchange) route(rest string) error {
	if x.r.Method == http.MethodHead {
		return notAllowed("HEAD is not supported")
	}
	if rest == "" || rest == "$metadata" {
		return x.document(rest)
	}
	path, err := parsePath(rest)
	if err != nil {
		return err
	}
	set, err := x.set(path[0].name)
	if err != nil {
		return err
	}
	switch {
	case len(path) == 1 && !path[0].hasKey:
		return x.collection(set)
	case len(path) == 2 && !path[0].hasKey && path[1].name == "$count":
		return x.count(set)
	case !path[0].hasKey:
		return Refuse(http.StatusNotFound, CodeNotFound, "Resource not found for segment %s", path[1].name)
	}
	values, err := set.Type.parseKey(path[0].key)
	if err != nil {
		return err
	}
	key := set.Type.KeyOf(Row{Values: values})
	switch {
	case len(path) == 1 && x.r.Method == http.MethodPut && set.Upsert != nil:
		return x.upsert(set, Row{Values: values})
	case len(path) == 1:
		return x.entity(set, key)
	}
	return x.children(set, key, path[1:])
}

func (x *exchange) document(name string) error {
	switch {
	case x.r.Method != http.MethodGet:
		return notAllowed("The service document can only be read")
	case name == "$metadata":
		write(x.w, http.StatusOK, "application/xml", x.metadata())
	case x.json:
		x.answer(http.StatusOK, map[string]any{"EntitySets": x.setNames()})
	default:
		write(x.w, http.StatusOK, "application/atomsvc+xml", x.atomService())
	}
	return nil
}

func (x *exchange) collection(set *Set) error {
	switch {
	case x.r.Method == http.MethodGet && set.List != nil:
		return x.list(set, set.List, set.RequiresFilter)
	case x.r.Method == http.MethodPost && set.Create != nil:
		return x.create(set, nil)
	}
	return notAllowed("%s is not possible on %s", x.r.Method, set.Name)
}

func (x *exchange) entity(set *Set, key string) error {
	var act func(*Set, Row) error
	switch method := x.r.Method; {
	case method == http.MethodGet && (set.Get != nil || set.List != nil):
		return x.withEntity(set, key, x.single)
	case set.Update != nil && (method == http.MethodPut || method == http.MethodPatch || method == "MERGE"):
		act = x.update
	case set.Delete != nil && method == http.MethodDelete:
		act = x.delete
	default:
		return notAllowed("%s is not possible on an entity of %s", method, set.Name)
	}
	x.changes.Lock()
	defer x.changes.Unlock()
	return x.withEntity(set, key, act)
}

func (x *exchange) withEntity(set *Set, key string, act func(*Set, Row) error) error {
	row, err := set.get(key)
	if err != nil {
		return err
	}
	return act(set, row)
}

// children serves Parent(key)/Navigation and Parent(key)/Navigation/$count.
func (x *exchange) children(parent *Set, key string, path []segment) error {
	navigation, ok := parent.Type.navigation(path[0].name)
	if !ok || path[0].hasKey || len(path) > 2 || len(path) == 2 && path[1].name != "$count" {
		return Refuse(http.StatusNotFound, CodeNotFound, "Resource not found for segment %s", path[0].name)
	}
	set, err := x.set(navigation.Set)
	if err != nil {
		return err
	}
	row, err := parent.get(key)
	if err != nil {
		return err
	}
	rows := func(*Filter) []Row { return row.Children[navigation.Name] }
	switch {
	case x.r.Method == http.MethodGet && len(path) == 2:
		write(x.w, http.StatusOK, "text/plain", fmt.Append(nil, len(rows(nil))))
		return nil
	case x.r.Method == http.MethodGet:
		return x.list(set, rows, false)
	case x.r.Method == http.MethodPost && set.Create != nil:
		return x.create(set, map[string]string{navigation.ParentKey: key})
	}
	return notAllowed("%s is not possible on %s", x.r.Method, navigation.Name)
}

func (x *exchange) list(set *Set, rows func(*Filter) []Row, requiresFilter bool) error {
	q, err := x.parseQuery(x.r.URL.RawQuery, set.Type)
	if err != nil {
		return err
	}
	if requiresFilter && q.filter == nil {
		return badQuery("entity set %s requires a $filter", set.Name)
	}
	p := q.take(rows(q.filter), x.pageSize(q))
	next := ""
	if p.next > 0 {
		next = x.base + strings.TrimPrefix(x.r.URL.EscapedPath(), x.Root) + "?" + q.nextQuery(p.next)
	}
	if !x.json {
		write(x.w, http.StatusOK, "application/atom+xml;type=feed", x.atomFeed(set, p, q, next))
		return nil
	}
	results := make([]any, 0, len(p.rows))
	for _, row := range p.rows {
		results = append(results, x.render(set, row, q.selects, q.expands))
	}
	body := map[string]any{"results": results}
	if q.count {
		body["__count"] = fmt.Sprint(p.total)
	}
	if next != "" {
		body["__next"] = next
	}
	x.answer(http.StatusOK, body)
	return nil
}

func (x *exchange) pageSize(q query) int {
	size := x.Profile.PageSize
	if size == 0 {
		size = 1000
	}
	if len(q.expands) > 0 && x.Profile.ExpandPageSize > 0 {
		return x.Profile.ExpandPageSize
	}
	return size
}

func (x *exchange) count(set *Set) error {
	q, err := x.parseQuery(x.r.URL.RawQuery, set.Type)
	switch {
	case err != nil:
		return err
	case x.r.Method != http.MethodGet || set.List == nil:
		return notAllowed("%s is not possible on %s/$count", x.r.Method, set.Name)
	case set.RequiresFilter && q.filter == nil:
		return badQuery("entity set %s requires a $filter", set.Name)
	}
	write(x.w, http.StatusOK, "text/plain", fmt.Append(nil, q.take(set.List(q.filter), 1).total))
	return nil
}

func (x *exchange) single(set *Set, row Row) error {
	q, err := x.parseQuery(x.r.URL.RawQuery, set.Type)
	if err != nil {
		return err
	}
	if q.filter != nil || q.order != nil {
		return badQuery("$filter and $orderby are for collections")
	}
	x.answerEntity(http.StatusOK, set, row, q.selects, q.expands)
	return nil
}

func (x *exchange) create(set *Set, fixed map[string]string) error {
	row, err := x.readEntity(set.Type)
	if err != nil {
		return err
	}
	maps.Copy(row.Values, fixed)
	created, err := set.Create(x.r.Context(), row)
	if err != nil {
		return err
	}
	status := set.CreateStatus
	if status == 0 {
		status = http.StatusCreated
	}
	if len(set.Type.keys()) > 0 {
		x.w.Header().Set("Location", x.uri(set, created))
	}
	if status == http.StatusNoContent || x.quiet("odata-no-response-payload") {
		x.setETag(created)
		x.w.WriteHeader(status)
		return nil
	}
	var expand []string
	if x.Profile.EchoChildren {
		expand = slices.Sorted(maps.Keys(created.Children))
	}
	x.answerEntity(status, set, created, nil, expand)
	return nil
}

func (x *exchange) update(set *Set, row Row) error {
	if err := x.checkMatch(row); err != nil {
		return err
	}
	body, err := x.readBody()
	if err != nil {
		return err
	}
	changed, err := x.merge(set.Type, row, body, x.r.Method == http.MethodPut)
	if err != nil {
		return err
	}
	if err := set.Update(x.r.Context(), changed); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// upsert makes the entity of its key what the body says, new or not.
func (x *exchange) upsert(set *Set, key Row) error {
	body, err := x.readBody()
	if err != nil {
		return err
	}
	x.changes.Lock()
	defer x.changes.Unlock()
	row, err := x.merge(set.Type, key, body, false)
	if err != nil {
		return err
	}
	if err := missing(set.Type, row, body); err != nil {
		return err
	}
	if err := set.Upsert(x.r.Context(), row); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (x *exchange) delete(set *Set, row Row) error {
	if err := x.checkMatch(row); err != nil {
		return err
	}
	if err := set.Delete(x.r.Context(), row); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// checkMatch holds If-Match against the entity's etag. A call without If-Match is let through.
func (x *exchange) checkMatch(row Row) error {
	match := x.r.Header.Get("If-Match")
	if match == "" || match == "*" || x.Profile.ETag == "" || match == x.etag(row) {
		return nil
	}
	return Refuse(http.StatusPreconditionFailed, CodeConflict, "The entity was changed in the meantime")
}

func (x *exchange) quiet(header string) bool {
	return x.Profile.QuietHeaders && strings.EqualFold(x.r.Header.Get(header), "true")
}

func (x *exchange) readBody() (map[string]any, error) {
	media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, Refuse(http.StatusUnsupportedMediaType, CodeBadBody, "The body must be application/json")
	}
	decoder := json.NewDecoder(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	decoder.UseNumber()
	var body map[string]any
	if err := decoder.Decode(&body); err != nil || body == nil {
		return nil, Refuse(http.StatusBadRequest, CodeBadBody, "Error while parsing a JSON object from the request body")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, Refuse(http.StatusBadRequest, CodeBadBody, "The body goes on after its JSON object")
	}
	return body, nil
}

func (x *exchange) readEntity(t *EntityType) (Row, error) {
	body, err := x.readBody()
	if err != nil {
		return Row{}, err
	}
	return x.parseEntity(t, body)
}

// parseEntity checks a body for a create, children included.
func (s *Service) parseEntity(t *EntityType, body map[string]any) (Row, error) {
	row := Row{Values: map[string]string{}, Children: map[string][]Row{}}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if name == "__metadata" {
			continue
		}
		if navigation, ok := t.navigation(name); ok {
			children, err := s.parseChildren(navigation, body[name])
			if err != nil {
				return Row{}, err
			}
			row.Children[name] = children
			continue
		}
		property, ok := t.property(name)
		switch {
		case !ok:
			return Row{}, unknownProperty(name, t)
		case property.ServerSet:
			continue
		case property.ReadOnly || property.CodeText:
			return Row{}, Refuse(http.StatusBadRequest, CodeReadOnly, "Property %s is read-only", name)
		}
		text, err := property.parse(body[name], s.values())
		if err != nil {
			return Row{}, err
		}
		if text != "" {
			row.Values[name] = text
		}
	}
	return row, missing(t, row, body)
}

func missing(t *EntityType, row Row, body map[string]any) error {
	for _, p := range t.Properties {
		switch {
		case p.Required && row.Values[p.Name] == "":
			return Refuse(http.StatusBadRequest, CodeBadValue, "Property %s is required", p.Name)
		case p.NotNull && body[p.Name] == nil:
			return Refuse(http.StatusBadRequest, CodeBadValue, "Property %s must not be null", p.Name)
		}
	}
	return nil
}

// parseChildren takes nested data as an array, under results, or as a single object (odata-v2.md §6).
func (s *Service) parseChildren(n *Navigation, nested any) ([]Row, error) {
	set, err := s.set(n.Set)
	if err != nil {
		return nil, err
	}
	list, ok := nested.([]any)
	if object, isObject := nested.(map[string]any); isObject {
		if list, ok = object["results"].([]any); !ok {
			list, ok = []any{object}, true
		}
	}
	_, plain := nested.([]any)
	if !ok || s.Profile.Arrays == PlainArraysOnly && !plain || s.Profile.Arrays == ResultsOnly && plain {
		return nil, Refuse(http.StatusBadRequest, CodeBadValue, "Navigation %s must be an array of objects", n.Name)
	}
	rows := []Row{}
	for _, element := range list {
		body, ok := element.(map[string]any)
		if !ok {
			return nil, Refuse(http.StatusBadRequest, CodeBadValue, "Navigation %s must be an array of objects", n.Name)
		}
		row, err := s.parseEntity(set.Type, body)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// merge applies the body of a PUT (everything changeable is replaced) or PATCH to a row.
func (s *Service) merge(t *EntityType, row Row, body map[string]any, replace bool) (Row, error) {
	changed := row.Clone()
	if replace {
		for _, p := range t.Properties {
			if !p.fixed() {
				delete(changed.Values, p.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		property, ok := t.property(name)
		switch {
		case name == "__metadata":
			continue
		case !ok:
			return Row{}, unknownProperty(name, t)
		case property.CodeText || property.Name == s.Profile.ETag:
			continue
		}
		text, err := property.parse(body[name], s.values())
		switch {
		case err != nil:
			return Row{}, err
		case property.fixed() && text != row.Values[name]:
			return Row{}, Refuse(http.StatusBadRequest, CodeReadOnly, "Property %s cannot be changed", name)
		}
		changed.Values[name] = text
	}
	return changed, nil
}

func (p *Property) fixed() bool {
	return p.Key || p.ReadOnly || p.CreateOnly || p.ServerSet || p.CodeText
}

func (s *Service) values() valueRules { return valueRules{s.Profile.Dates, s.Profile.CutLong} }

func unknownProperty(name string, t *EntityType) error {
	return Refuse(http.StatusBadRequest, CodeUnknownProperty, "Property %s is not known in entity type %s", name, t.Name)
}

func notAllowed(format string, args ...any) error {
	return Refuse(http.StatusMethodNotAllowed, CodeNotAllowed, format, args...)
}
