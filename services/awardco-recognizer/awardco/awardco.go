// Package awardco submits recognitions to Awardco, as in awardco.md.
package awardco

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Recognition is what is to be submitted, for one recipient: with several the outcome would be unclear when one is
// unknown (awardco.md §9 trap 4).
type Recognition struct {
	// Reference is ours, sent along so that a lost answer can be looked up: the response id.
	Reference string
	// InNote writes the reference at the end of the note instead of into a tag, where tags must exist beforehand (§10).
	InNote bool
	// Recipient is an employee id, e-mail address or username, never a name (§6).
	Recipient string
	// Aliases are what else the recipient is called: not sent, and kept out of errors, as the Personal of an [outbound.Call].
	Aliases []string
	// Giver is an employee id or e-mail address; empty is the company's recognition bot.
	Giver string
	// Note is what the customer said, without our reference.
	Note string
	// Title of at most 50 characters, where the programme asks for one; empty sends none.
	Title string
	// ProgramID is the id of the recognition programme, ProgramName its name; one of them is given, and the id counts.
	ProgramID, ProgramName string
	// Amount is whole cash value in the company's base currency; 0 is none.
	Amount int64
	// Budget is needed with an amount where the programme uses access budgets.
	Budget string
	Public bool
}

// text is the note as it is sent.
func (r Recognition) text() string {
	if !r.InNote {
		return r.Note
	}
	return strings.TrimSpace(r.Note + " " + Mark(r.Reference))
}

func (r Recognition) tags() []string {
	if r.InNote {
		return []string{}
	}
	return []string{Tag(r.Reference)}
}

// personal is what must not be repeated in an error.
func (r Recognition) personal() []string {
	return slices.Concat(r.Aliases, outbound.Answers(r.Note), []string{r.Recipient, r.Giver, r.Title})
}

// Submitted is a recognition that Awardco took. ID is empty where the answer does not tell it (§3.1).
type Submitted struct {
	ID string `json:"id"`
}

// Client calls Awardco. Its base URL ends in /api.
type Client struct {
	outbound *outbound.Client
	base     *url.URL
	apiKey   settings.Secret
}

// New makes a client for the base URL that calls has, with the key of the header apikey (§2.1).
func New(calls *outbound.Client, base *url.URL, apiKey settings.Secret) *Client {
	return &Client{outbound: calls, base: base, apiKey: apiKey}
}

type request struct {
	Recipients []string `json:"recipients"`
	Giver      string   `json:"giver"`
	Note       string   `json:"note"`
	TagNames   []string `json:"tagNames"`
	Amount     int64    `json:"amount"`
	IsPublic   bool     `json:"isPublic"`
	ProgramID  string   `json:"recognitionProgramId,omitempty"`
	Program    string   `json:"recognitionProgramName,omitempty"`
	Budget     string   `json:"budgetName,omitempty"`
	Title      string   `json:"title,omitempty"`
}

// Submit posts the recognition (POST /recognize, §3.1). Awardco has no idempotency key: a repeat recognises, and pays,
// twice. A lost answer, and one that says neither yes nor no, is [fault.Unknown]; [Client.Look] may settle it.
func (c *Client) Submit(ctx context.Context, r Recognition) (Submitted, error) {
	q := request{
		Recipients: []string{r.Recipient}, Giver: r.Giver, Note: r.text(), TagNames: r.tags(), Amount: r.Amount, IsPublic: r.Public,
		ProgramID: r.ProgramID, Program: r.ProgramName, Budget: r.Budget, Title: r.Title,
	}
	if q.ProgramID != "" {
		q.Program = "" // one or the other (§3.1)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return Submitted{}, err
	}
	answer, err := c.call(ctx, outbound.Call{
		Operation: "recognize", Method: http.MethodPost, Path: "/recognize", Write: true,
		Body: body, ContentType: "application/json", Personal: r.personal(),
	})
	if err != nil {
		return Submitted{}, err
	}
	var result result
	if err := answer.Decode(&result); err != nil {
		return Submitted{}, err
	}
	if result.Success == nil && result.id() == "" { // neither a yes nor a no
		return Submitted{}, answer.Malformed("it says neither success nor recognitionId")
	}
	return result.submitted(answer)
}

// result is the answer to a recognition.
type result struct {
	Success       *bool  `json:"success"`
	RecognitionID any    `json:"recognitionId"`
	ID            any    `json:"id"`
	Message       string `json:"message"`
}

func (r result) id() string { return cmp.Or(idText(r.RecognitionID), idText(r.ID)) }

// submitted reads a refusal, which may come with status 200 (§9 trap 2), from the id of what was made.
func (r result) submitted(answer *outbound.Answer) (Submitted, error) {
	if r.Success != nil && !*r.Success {
		message := answer.Words(r.Message, 300)
		return Submitted{}, answer.Fault(fault.Refused, "not accepted: %s", cmp.Or(message, "no reason given"))
	}
	return Submitted{ID: r.id()}, nil
}

const (
	feedPage  = 100
	feedPages = 10
)

// Look is what a look through the feed has found.
type Look struct {
	Submitted
	// Found tells that the recognition is in the feed. The rest is of the entries before it, or of all that were read.
	Found bool
	// Later and Earlier tell whether the feed shows these two others, Whole that it was read to its end.
	Later, Earlier, Whole bool
}

// Look looks through the newest recognitions of the feed (GET /v1/custom-feed, §3.4) for our tag, and for two other
// references of ours; empty ones are not looked for. Finding it is certain; not finding it is not, since the feed's
// completeness is not documented (§10).
func (c *Client) Look(ctx context.Context, reference, later, earlier string) (look Look, err error) {
	for page := 1; page <= feedPages; page++ {
		answer, err := c.feed(ctx, "read feed", page, feedPage)
		if err != nil {
			return look, err
		}
		var content any
		if err := answer.Decode(&content); err != nil {
			return look, err
		}
		items, isFeed := entries(content)
		if !isFeed { // to take it for an empty feed could mean to recognise twice
			return look, answer.Malformed("there is no list in it")
		}
		for _, item := range items {
			if Holds(item, reference) {
				look.Submitted, look.Found = Submitted{ID: itemID(item)}, true
				return look, nil
			}
			look.Later = look.Later || later != "" && Holds(item, later)
			look.Earlier = look.Earlier || earlier != "" && Holds(item, earlier)
		}
		if look.Whole = len(items) == 0; look.Whole {
			break
		}
	}
	return look, nil
}

func (c *Client) feed(ctx context.Context, operation string, page, limit int) (*outbound.Answer, error) {
	return c.call(ctx, outbound.Call{
		Operation: operation, Method: http.MethodGet, Path: "/v1/custom-feed",
		Query: url.Values{"page": {strconv.Itoa(page)}, "limit": {strconv.Itoa(limit)}},
	})
}

// Reach reads the newest entry of the feed: a cheap call that changes nothing, to find out whether Awardco is there and takes
// our key.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.feed(ctx, "reach", 1, 1)
	return err
}

func (c *Client) call(ctx context.Context, call outbound.Call) (*outbound.Answer, error) {
	call.JSON = true
	call.Header = http.Header{"Apikey": {c.apiKey.Reveal()}, "Accept": {"application/json"}}
	call.Words = words
	return c.outbound.Do(ctx, call)
}

// Tag is our reference in Awardco. Whether tags must exist beforehand is not documented (§10, assumed: they need not).
func Tag(reference string) string { return "ref-" + reference }

// Mark is our reference within a note.
func Mark(reference string) string { return "[" + Tag(reference) + "]" }

var mark = regexp.MustCompile(`\[ref-([^\]\s]+)\]`)

// References gives the references of ours that stand in the texts of an item: as a tag of its own, or within a note.
func References(item any) []string {
	var found []string
	switch item := item.(type) {
	case string:
		if tag, ours := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(item), "#"), Tag("")); ours && !strings.ContainsAny(tag, " \t\r\n") {
			found = append(found, tag)
		}
		for _, m := range mark.FindAllStringSubmatch(item, -1) {
			found = append(found, m[1])
		}
	case []any:
		for _, v := range item {
			found = append(found, References(v)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(item)) {
			found = append(found, References(item[name])...)
		}
	}
	return found
}

// Holds tells whether an item bears the reference, as a tag of its own or within a note, whatever its case and with or
// without the sign of a tag.
func Holds(item any, reference string) bool {
	switch item := item.(type) {
	case string:
		return strings.EqualFold(strings.TrimPrefix(strings.TrimSpace(item), "#"), Tag(reference)) ||
			strings.Contains(strings.ToLower(item), strings.ToLower(Mark(reference)))
	case []any:
		return slices.ContainsFunc(item, func(v any) bool { return Holds(v, reference) })
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(item)), func(v any) bool { return Holds(v, reference) })
	}
	return false
}

// words takes the vendor's message out of an error's body (§8).
func words(a outbound.Answer) (code, message string) {
	var body struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(a.Body, &body) != nil {
		return "", ""
	}
	return "", body.Message
}

// entries gives what the lists of a page hold; its outer shape is not documented (§3.4). isFeed tells whether there is
// any list.
func entries(page any) (items []any, isFeed bool) {
	switch page := page.(type) {
	case []any:
		return page, true
	case map[string]any:
		for _, part := range page {
			more, found := entries(part)
			items, isFeed = append(items, more...), isFeed || found
		}
	}
	return items, isFeed
}

func itemID(item any) string {
	fields, ok := item.(map[string]any)
	if !ok {
		return ""
	}
	for _, name := range []string{"recognitionId", "id"} {
		if id := idText(fields[name]); id != "" {
			return id
		}
	}
	return ""
}

func idText(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}
