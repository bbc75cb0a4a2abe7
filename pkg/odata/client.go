package odata

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

const defaultSessionIdle = 30 * time.Minute

// Options describes one destination: a service and the technical user it is called with.
type Options struct {
	// Outbound carries the calls; its base URL is scheme and host. Required.
	Outbound *outbound.Client
	// ServiceRoot is the path of the service, escaped, with its version if it has one:
	// /sap/opu/odata/sap/API_MKT_CONTACT_SRV;v=0003. Required.
	ServiceRoot string
	// Username and Password, as it is at that moment, are sent as Basic authentication with each call. Without a Username
	// nothing is sent.
	Username string
	Password settings.Secret
	// NoCSRF leaves out the token. Default is to fetch one before the first write, and to go on where the service gives
	// none, as C4C may for technical users (odata-v2.md §2, §12).
	NoCSRF bool
	// SessionIdle is how long a session may rest before a new one is begun. Default 30 min; what SAP does is not
	// documented (odata-v2.md §12).
	SessionIdle time.Duration
	// BatchLimit is the most operations of one $batch. Default 100, as in field practice (odata-v2.md §8).
	BatchLimit int
}

// Client calls one service. It is safe for concurrent use; all its calls share one session.
type Client struct {
	out     *outbound.Client
	root    string
	session *session

	username string
	password settings.Secret

	batchLimit int
}

// New makes a client; it sends nothing.
func New(o Options) (*Client, error) {
	switch {
	case o.Outbound == nil:
		return nil, errors.New("odata: no outbound client given")
	case !strings.HasPrefix(o.ServiceRoot, "/") || strings.ContainsAny(o.ServiceRoot, "?#"):
		return nil, errors.New("odata: the service root must be a path such as /sap/opu/odata/sap/API_MKT_INTERACTION_SRV")
	case o.SessionIdle < 0:
		return nil, errors.New("odata: the idle time of a session is negative")
	case o.BatchLimit < 0:
		return nil, errors.New("odata: the limit of operations in a batch is negative")
	}
	c := &Client{
		out: o.Outbound, root: strings.TrimRight(o.ServiceRoot, "/"), username: o.Username, password: o.Password,
		batchLimit: cmp.Or(o.BatchLimit, defaultBatchLimit),
	}
	c.session = newSession(cmp.Or(o.SessionIdle, defaultSessionIdle), !o.NoCSRF, c.fetchToken)
	return c, nil
}

// header begins the header of a call.
func (c *Client) header() http.Header {
	r := http.Request{Header: http.Header{}}
	if c.username != "" {
		r.SetBasicAuth(c.username, c.password.Reveal())
	}
	return r.Header
}

// Get reads path, relative to the service root and escaped: Interactions, TasksCollection('00163E'). What it
// finds goes into into, as [Decode] says. Faults are those of [outbound.Client.Do]; a read may always be repeated.
// [outbound.StatusOf] tells a missing entity (404) from other refusals.
func (c *Client) Get(ctx context.Context, operation, path string, q url.Values, into any) error {
	return c.get(ctx, outbound.Call{Operation: operation, Path: c.root + "/" + path, Query: q}, into)
}

func (c *Client) get(ctx context.Context, call outbound.Call, into any) error {
	answer, err := c.send(ctx, call, c.session.current())
	if err != nil {
		return err
	}
	return answer.Decode(&envelope{into})
}

// Create posts body to an entity set and puts the entity of the answer into into, as [Decode] says, unless that is nil
// or the answer is empty; then into stays as it is. The texts in personal never appear in a fault.
//
// A repeat creates a second entity: after [fault.Unknown] look for the first one before calling again (odata-v2.md §3).
// A refused CSRF token is no such case: it is renewed once and the request repeated once, within this call.
// A record locked by somebody is [fault.Transient], whatever status SAP gives it.
func (c *Client) Create(ctx context.Context, operation, set string, body, into any, personal ...string) error {
	return c.write(ctx, outbound.Call{Operation: operation, Method: http.MethodPost, Path: set}, body, into, personal)
}

// DeepInsert is [Client.Create] with several records in one body, each of which would else be a call of its own.
func (c *Client) DeepInsert(ctx context.Context, operation, set string, records int, body, into any, personal ...string) error {
	return c.write(ctx, outbound.Call{Operation: operation, Method: http.MethodPost, Path: set, InsteadOf: outbound.Records(records)}, body, into, personal)
}

// Put writes body to the entity at path, which it makes where there is none (SAP's upsert, sap-marketing-cloud.md §4). A
// repeat changes nothing more. The rest is as for [Client.Create].
func (c *Client) Put(ctx context.Context, operation, path string, body any, personal ...string) error {
	return c.write(ctx, outbound.Call{Operation: operation, Method: http.MethodPut, Path: path}, body, nil, personal)
}

func (c *Client) write(ctx context.Context, call outbound.Call, body, into any, personal []string) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return c.unwritable(call.Operation, err, personal)
	}
	call.Path, call.Body, call.ContentType = c.root+"/"+call.Path, encoded, "application/json"
	call.Write, call.Personal = true, personal
	answer, err := c.modify(ctx, call)
	if err != nil {
		return err
	}
	return decode(answer, into)
}

func (c *Client) unwritable(operation string, err error, personal []string) error {
	return c.fault(fault.Invalid, "%s: the body cannot be written as JSON: %s", operation, outbound.Words(err.Error(), 300, personal...))
}

// modify sends with a token, and once more with a new one if the first was refused. The second refusal is a plain 403,
// and so [fault.Unauthorized]: going on would lock the user out (odata-v2.md §2).
func (c *Client) modify(ctx context.Context, call outbound.Call) (*outbound.Answer, error) {
	v, err := c.session.ready(ctx)
	if err != nil {
		return nil, err
	}
	first := call
	if c.session.csrf {
		first.Expect = tokenRefused
	}
	answer, err := c.send(ctx, first, v)
	if err != nil || !c.session.csrf || !tokenRefused(*answer) {
		return answer, err
	}
	if v, err = c.session.renewed(ctx, v.epoch); err != nil {
		return nil, err
	}
	return c.send(ctx, call, v)
}

// send makes one call within the session v and takes up the cookies of its answer.
func (c *Client) send(ctx context.Context, call outbound.Call, v visit) (*outbound.Answer, error) {
	header := c.header()
	maps.Copy(header, call.Header)
	call.Header = header
	v.apply(call.Header, call.Method != "") // a read names no method
	call.JSON = true
	call.Words = ErrorWords
	answer, err := c.out.Do(ctx, call)
	if answer != nil {
		c.session.update(v.epoch, answer.Header)
		if locked(answer) {
			err = answer.Fault(fault.Transient, lockedText)
		}
	}
	return answer, err
}

const lockedText = "the record is locked by another user"

// locked recognises a lock conflict by its text; its status is not documented (odata-v2.md §3, KBA 3577788). Only
// refusals count: a user "locked by the administrator" is a matter of credentials.
func locked(a *outbound.Answer) bool {
	return outbound.Classify(a.Status, true) == fault.Refused && bytes.Contains(bytes.ToLower(a.Body), []byte("locked by"))
}

// Reach reads the service root, outside of the session: a cheap call that changes nothing and finds out whether the
// service is there and takes our credentials.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.out.Do(ctx, outbound.Call{Operation: "reach", Path: c.root + "/", Header: c.header(), JSON: true, Words: ErrorWords})
	return err
}

// fetchToken begins a session: no cookies, GET and not HEAD, and a slash at the end, without which SAP redirects and
// the token is lost (odata-v2.md §2). It is no fault if the answer has no token.
func (c *Client) fetchToken(ctx context.Context) (http.Header, error) {
	header := c.header()
	header.Set(tokenHeader, "fetch")
	answer, err := c.out.Do(ctx, outbound.Call{
		Operation: "fetch token", Path: c.root + "/", Header: header, JSON: true, Words: ErrorWords,
	})
	if fault.Is(err, fault.Refused) || fault.Is(err, fault.Forbidden) { // The root knows nothing of any message.
		f := *fault.From(err)
		if f.Class == fault.Refused {
			f.Reason += ": check the service root"
		}
		f.Class = fault.Unauthorized
		return nil, &f
	}
	if err != nil {
		return nil, err
	}
	return answer.Header, nil
}

// Pages reads a list and all that follows it, one entity at a time. It reads a further page only when it is needed,
// and ends with the first fault. After limit pages with one more to come the fault is [fault.Person]: the query is too
// wide. Next links are followed as given (odata-v2.md §7), but always on the host of the base URL.
func Pages[T any](ctx context.Context, c *Client, operation, path string, q url.Values, limit int) iter.Seq2[T, error] {
	return pages[T](ctx, c, outbound.Call{Operation: operation, Path: c.root + "/" + path, Query: q}, limit)
}

// Follow reads what follows a page that a [Client.Batch] brought, by its next link, like [Pages]. An empty link is the
// end.
func Follow[T any](ctx context.Context, c *Client, operation, next string, limit int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if next == "" {
			return
		}
		address, err := c.next(operation, next)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		pages[T](ctx, c, outbound.Call{Operation: operation, URL: address}, limit)(yield)
	}
}

func pages[T any](ctx context.Context, c *Client, call outbound.Call, limit int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		call, operation := call, call.Operation // of this iteration
		for range limit {
			var page List[T]
			if err := c.get(ctx, call, &page); err != nil {
				yield(zero, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			next, err := c.next(operation, page.Next)
			if err != nil {
				yield(zero, err)
				return
			}
			call = outbound.Call{Operation: operation, URL: next}
		}
		yield(zero, c.fault(fault.Person, "%s: more than %d pages; narrow the query", operation, limit))
	}
}

// next makes a next link absolute: it may be relative to the service root. Path and query are the link's, scheme and
// host ours: SAP behind a proxy may name its inner host, and credentials go nowhere else.
func (c *Client) next(operation, link string) (string, error) {
	base := c.out.BaseURL()
	root, err := url.Parse(base.String() + c.root + "/")
	if err != nil {
		return "", c.fault(fault.Unauthorized, "%s: the service root is not a path", operation)
	}
	u, err := root.Parse(strings.ReplaceAll(link, " ", "%20"))
	if err != nil {
		return "", c.fault(fault.Transient, "%s: the next link is not an address", operation)
	}
	return base.Scheme + "://" + base.Host + u.RequestURI(), nil
}

func (c *Client) fault(class fault.Class, format string, args ...any) *fault.Fault {
	f := fault.New(class, format, args...)
	f.Vendor = c.out.Vendor()
	return f
}
