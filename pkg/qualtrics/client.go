package qualtrics

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Options says how to reach a brand. Exactly one of Token and OAuth is needed.
type Options struct {
	// Outbound carries the calls; its base URL ends in /API/v3. Required.
	Outbound *outbound.Client
	// Token is the API token of a user (qualtrics.md §2.2).
	Token settings.Secret
	// OAuth are client credentials in place of a token (§2.3).
	OAuth *OAuth
	// DirectoryID is the XM Directory (POOL_…). Only WhoAmI, Directories, distributions, links and responses do without.
	DirectoryID string
	// Log gets an error, once, if Qualtrics proxies the calls. Nil means none.
	Log *slog.Logger
}

// Client calls one brand. It is safe for concurrent use.
type Client struct {
	out       *outbound.Client
	token     settings.Secret
	oauth     *bearer
	directory string
	log       *slog.Logger
	proxied   atomic.Bool
}

// New makes a client; it sends nothing. WhoAmI tells whether the credentials are good.
func New(o Options) (*Client, error) {
	switch {
	case o.Outbound == nil:
		return nil, errors.New("qualtrics: no outbound client given")
	case !strings.HasSuffix(o.Outbound.BaseURL().Path, "/API/v3"):
		return nil, errors.New("qualtrics: the base URL must end in /API/v3")
	case o.Token.IsSet() == (o.OAuth != nil):
		return nil, errors.New("qualtrics: give either an API token or OAuth client credentials")
	case o.OAuth != nil && (o.OAuth.ClientID == "" || !o.OAuth.ClientSecret.IsSet()):
		return nil, errors.New("qualtrics: OAuth needs a client id and a client secret")
	}
	c := &Client{
		out: o.Outbound, token: o.Token, directory: o.DirectoryID,
		log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
	}
	if o.OAuth != nil {
		c.oauth = newBearer(*o.OAuth, o.Outbound)
	}
	return c, nil
}

// Account is whose credentials are in use.
type Account struct {
	BrandID    string `json:"brandId"`
	UserID     string `json:"userId"`
	Datacenter string `json:"datacenter"`
	// Notice is what Qualtrics remarks on the call. One that says "proxied" means that the base URL names the wrong data
	// center, which has damaged results (§2.1).
	Notice string `json:"-"`
}

// Reach makes a cheap call that changes nothing, to find out whether Qualtrics is there and takes our credentials.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.WhoAmI(ctx)
	return err
}

// WhoAmI tells whose credentials these are (qualtrics.md §3.1). It is a read.
func (c *Client) WhoAmI(ctx context.Context) (Account, error) {
	r, err := send[Account](ctx, c, outbound.Call{Operation: "who am i", Path: "/whoami"})
	r.result.Notice = r.notice
	return r.result, err
}

// Directory is an XM Directory.
type Directory struct {
	ID      string `json:"directoryId"`
	Default bool   `json:"isDefault"`
	// Dedupe tells by what two contacts are taken for one. With none of it set, each CreateContact makes a new contact.
	Dedupe struct {
		Email                 bool `json:"email"`
		FirstName             bool `json:"firstName"`
		LastName              bool `json:"lastName"`
		ExternalDataReference bool `json:"externalDataReference"`
		Phone                 bool `json:"phone"`
	} `json:"deduplicationCriteria"`
}

// Directories lists the brand's directories with their dedupe criteria (qualtrics.md §3.1). It is a read.
func (c *Client) Directories(ctx context.Context) ([]Directory, error) {
	var all []Directory
	for page, err := range pages[Directory](ctx, c, outbound.Call{Operation: "list directories", Path: "/directories"}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
	}
	return all, nil
}

// path joins and escapes the segments of a path.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// inDirectory is the path of something in the directory, empty if there is none.
func (c *Client) inDirectory(segments ...string) string {
	if c.directory == "" {
		return ""
	}
	return path("directories", c.directory) + path(segments...)
}

// reply is a decoded answer. Every success but the import report has this form (qualtrics.md §2.4).
type reply[T any] struct {
	result T
	notice string
	answer *outbound.Answer
}

// send makes one call and decodes its result.
func send[T any](ctx context.Context, c *Client, call outbound.Call) (reply[T], error) {
	answer, err := c.do(ctx, call)
	if err != nil {
		return reply[T]{}, err
	}
	return decode[T](c, answer)
}

func decode[T any](c *Client, answer *outbound.Answer) (reply[T], error) {
	var body struct {
		Result *T `json:"result"`
		Meta   struct {
			Notice string `json:"notice"`
		} `json:"meta"`
	}
	if err := answer.Decode(&body); err != nil {
		return reply[T]{}, err
	}
	if body.Result == nil {
		return reply[T]{}, answer.Malformed("there is no result")
	}
	c.noticed(answer, body.Meta.Notice)
	return reply[T]{result: *body.Result, notice: body.Meta.Notice, answer: answer}, nil
}

// post makes a call with a JSON body. Bodies are our own types, which always encode.
func post(operation, path string, body any) outbound.Call {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic("qualtrics: " + err.Error())
	}
	return outbound.Call{Operation: operation, Method: http.MethodPost, Path: path, Body: encoded, ContentType: "application/json"}
}

// do sends with credentials. OAuth repeats once with a new token: a 401 is raised before anything is done.
func (c *Client) do(ctx context.Context, call outbound.Call) (*outbound.Answer, error) {
	switch {
	case call.URL != "":
	case call.Path == "":
		return nil, c.fault(fault.Unauthorized, "%s: no directory id is set", call.Operation)
	case strings.Contains(call.Path+"/", "//"):
		return nil, c.fault(fault.Invalid, "%s: an id is empty", call.Operation)
	}
	call.JSON, call.Words, call.Header = true, words, http.Header{}
	if c.oauth == nil {
		call.Header.Set("X-API-TOKEN", c.token.Reveal())
		return c.out.Do(ctx, call)
	}
	token, err := c.oauth.token(ctx)
	if err != nil {
		return nil, err
	}
	call.Header.Set("Authorization", "Bearer "+token)
	answer, err := c.out.Do(ctx, call)
	if outbound.StatusOf(err) == http.StatusUnauthorized {
		c.oauth.drop(token)
		if token, err = c.oauth.token(ctx); err != nil {
			return nil, err
		}
		call.Header.Set("Authorization", "Bearer "+token)
		answer, err = c.out.Do(ctx, call)
	}
	return answer, explained(err, fault.Forbidden, "the OAuth client may lack a scope for it (QUALTRICS_SCOPE)")
}

// words reads the error envelope, in which every field is optional (qualtrics.md §2.4).
func words(a outbound.Answer) (code, message string) {
	var body struct {
		Meta struct {
			Error struct {
				Code    string `json:"errorCode"`
				Message string `json:"errorMessage"`
			} `json:"error"`
		} `json:"meta"`
	}
	_ = json.Unmarshal(a.Body, &body)
	return body.Meta.Error.Code, body.Meta.Error.Message
}

// page is a part of a list. Which of the two ways to the next one is used differs per endpoint; none is the end.
type page[T any] struct {
	Elements  []T    `json:"elements"`
	NextPage  string `json:"nextPage"`
	SkipToken string `json:"skipToken"`
}

// pages gives page after page. A short or empty page is not the end (qualtrics.md §3.7).
func pages[T any](ctx context.Context, c *Client, call outbound.Call) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		seen := map[string]bool{}
		for {
			r, err := send[page[T]](ctx, c, call)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(r.result.Elements, nil) {
				return
			}
			next := cmp.Or(r.result.NextPage, r.result.SkipToken)
			if next == "" {
				return
			}
			if seen[next] {
				yield(nil, r.answer.Malformed("its pages go round in circles"))
				return
			}
			seen[next] = true
			if call, err = c.following(call, r.result.NextPage, r.result.SkipToken); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// following makes the call for the next page.
func (c *Client) following(call outbound.Call, nextPage, skipToken string) (outbound.Call, error) {
	if nextPage == "" {
		query := maps.Clone(call.Query)
		if query == nil {
			query = url.Values{}
		}
		query.Set("skipToken", skipToken)
		call.URL, call.Query = "", query
		return call, nil
	}
	u, err := url.Parse(nextPage)
	if err != nil || !c.trusted(u) {
		return call, c.fault(fault.Unauthorized, "%s: the next page is on a host that must not get our credentials: check the base URL", call.Operation)
	}
	call.URL = nextPage
	return call, nil
}

// trusted tells whether our credentials may go to u: the base host, or another one of Qualtrics, which a proxied call
// names (qualtrics.md §2.1, §3.7), and never less protected than the base.
func (c *Client) trusted(u *url.URL) bool {
	base := c.out.BaseURL()
	if u.Scheme != base.Scheme || u.User != nil {
		return false
	}
	host := strings.ToLower(u.Host) // With its port, so that only the standard one passes.
	return host == strings.ToLower(base.Host) || u.Scheme == "https" && strings.HasSuffix(host, ".qualtrics.com")
}

func (c *Client) fault(class fault.Class, format string, args ...any) *fault.Fault {
	f := fault.New(class, format, args...)
	f.Vendor = c.out.Vendor()
	return f
}

// timeLayout is how Qualtrics writes and reads most times: UTC, and no zone (qualtrics.md §2.11).
const timeLayout = time.DateTime

// FormatTime gives a time as "YYYY-MM-DD HH:MM:SS" in UTC.
func FormatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// ParseTime reads "YYYY-MM-DD HH:MM:SS" as UTC, and ISO 8601, which links and responses have (qualtrics.md §2.11).
func ParseTime(s string) (time.Time, error) {
	if t, err := time.Parse(timeLayout, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, errors.New("not a time such as 2026-01-15 09:30:00 or 2026-01-15T09:30:00Z")
	}
	return t.UTC(), nil
}
