// Package marketing writes interactions to SAP Marketing Cloud (API_MKT_INTERACTION_SRV), as in
// sap-marketing-cloud.md §2.
package marketing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// ServiceRoot is the path of the interaction service (sap-marketing-cloud.md §2).
const ServiceRoot = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV"

// newKey is sent on create; the server assigns the real one (§2.3).
const newKey = "00000000-0000-0000-0000-000000000000"

// Types of interactions that closeloop writes (§2.2).
const (
	SurveyLinkCreated = "SURVEY_LINK_CREATED"
	SurveyResponse    = "SURVEY_RESPONSE"
)

// Lengths of the fields that we fill (§2.2).
const (
	maxSourceObject = 50
	maxSubject      = 255
	maxContactID    = 255
)

// Interaction is what is to be written. Type and SourceObject together are our idempotency key: they are what the
// look-up finds it by.
type Interaction struct {
	Type         string
	At           time.Time
	SourceObject string
	// SourceObjectType is CUAN_CAMPAIGN_OUTBOUND where SourceObject is an outbound id: Marketing derives the contact
	// from it, so none is sent (§2.3).
	SourceObjectType string
	// AdditionalID, Contact…, Medium, Content… and Sentiment are for answers (§5, marked assumed).
	AdditionalID             string
	ContactOrigin, ContactID string
	Medium                   string
	ContentSubject, Content  string
	Sentiment                *int16
	// Link is not filterable, so nothing can be found by it.
	Link string
	// Custom are the tenant's extension fields (YY1_…).
	Custom map[string]string
}

// Written is an interaction that exists. ID is empty where the tenant's answer does not tell it.
type Written struct {
	ID string `json:"id"`
}

// WriteMode chooses the entity set that interactions are posted to.
type WriteMode string

// The write modes. Auto begins with the deep insert of the published flow and falls back to Interactions where the
// tenant has no such set.
const (
	Auto         WriteMode = "auto"
	DeepInsert   WriteMode = "deep-insert"
	Interactions WriteMode = "interactions"
)

// Client writes and finds interactions.
type Client struct {
	odata *odata.Client
	mode  WriteMode
	// noDeepInsert is set when the tenant turned out not to have the set.
	noDeepInsert atomic.Bool
}

// New makes a client on a session for [ServiceRoot].
func New(session *odata.Client, mode WriteMode) *Client { return &Client{odata: session, mode: mode} }

// Write creates the interaction, which is to pass [Interaction.Check] first. Every repeat makes one more (§ "Twelve rules" 2), so a lost answer is settled by
// [Client.Find].
func (c *Client) Write(ctx context.Context, i Interaction) (Written, error) {
	if c.mode == Interactions || c.noDeepInsert.Load() {
		return c.insert(ctx, i)
	}
	w, err := c.deepInsert(ctx, i)
	if c.mode == Auto && isMissing(err) {
		c.noDeepInsert.Store(true)
		return c.insert(ctx, i)
	}
	return w, err
}

func (c *Client) deepInsert(ctx context.Context, i Interaction) (Written, error) {
	var answer struct {
		Interactions odata.Array[reference] `json:"Interactions"`
	}
	body := map[string]any{"Interactions": []any{i.body()}}
	if err := c.odata.Create(ctx, "deep insert interactions", "InteractionsDeepInsert", body, &answer, i.personal()...); err != nil {
		return Written{}, err
	}
	if len(answer.Interactions) == 0 {
		return Written{}, nil
	}
	return Written{ID: answer.Interactions[0].UUID}, nil
}

func (c *Client) insert(ctx context.Context, i Interaction) (Written, error) {
	var answer reference
	if err := c.odata.Create(ctx, "create interaction", "Interactions", i.body(), &answer, i.personal()...); err != nil {
		return Written{}, err
	}
	return Written{ID: answer.UUID}, nil
}

type reference struct {
	UUID string `json:"InteractionUUID"`
}

// Find looks for an interaction of that type and source object, the documented guard before every post (§2.3).
func (c *Client) Find(ctx context.Context, kind, sourceObject string) (Written, bool, error) {
	q := url.Values{
		"$filter": {fmt.Sprintf("InteractionType eq %s and InteractionSourceObject eq %s", odata.Quote(kind), odata.Quote(sourceObject))},
		"$select": {"InteractionUUID"},
		"$top":    {"1"},
	}
	var found odata.Array[reference]
	if err := c.odata.Get(ctx, "find interaction", "Interactions", q, &found); err != nil {
		return Written{}, false, err
	}
	if len(found) == 0 {
		return Written{}, false, nil
	}
	return Written{ID: found[0].UUID}, true, nil
}

// Check refuses what the vendor would refuse or, worse, cut (§12): a [fault.Invalid] with the name of the vendor's field.
func (i Interaction) Check() error {
	for _, field := range []struct {
		name, value string
		limit       int
	}{
		{"InteractionSourceObject", i.SourceObject, maxSourceObject},
		{"InteractionSourceObjectAddlID", i.AdditionalID, maxSourceObject},
		{"InteractionContactId", i.ContactID, maxContactID},
	} {
		if n := utf8.RuneCountInString(field.value); n > field.limit {
			return fault.At(field.name, "has %d characters, %s in SAP Marketing Cloud holds %d", n, field.name, field.limit)
		}
	}
	if i.SourceObject == "" {
		return fault.At("InteractionSourceObject", "is empty: without it the interaction could not be found again")
	}
	return nil
}

func (i Interaction) body() map[string]any {
	b := map[string]any{
		"InteractionUUID":         newKey,
		"InteractionType":         i.Type,
		"InteractionTimeStampUTC": i.At.UTC().Format("2006-01-02T15:04:05Z"),
		"InteractionSourceObject": i.SourceObject,
	}
	for name, value := range map[string]string{
		"InteractionSourceObjectType":   i.SourceObjectType,
		"InteractionSourceObjectAddlID": i.AdditionalID,
		"InteractionSourceDataURL":      i.Link,
		"CommunicationMedium":           i.Medium,
		"InteractionContentSubject":     cut(i.ContentSubject, maxSubject),
		"InteractionContent":            i.Content,
	} {
		if value != "" {
			b[name] = value
		}
	}
	if i.ContactID != "" && i.ContactOrigin != "" { // one without the other names nobody
		b["InteractionContactOrigin"], b["InteractionContactId"] = i.ContactOrigin, i.ContactID
	}
	if i.Sentiment != nil {
		b["InteractionSentimentValue"] = *i.Sentiment
	}
	maps.Copy(b, anyOf(i.Custom))
	return b
}

func anyOf(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// personal lists what must never appear in an error text; of an answer, each line of "question: text".
func (i Interaction) personal() []string {
	all := []string{i.Link, i.Content, i.ContactID}
	for line := range strings.Lines(i.Content) {
		_, text, _ := strings.Cut(line, ": ")
		all = append(all, text)
	}
	return all
}

func cut(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit])
}

// isMissing tells that the tenant does not have the entity set.
func isMissing(err error) bool {
	var status *outbound.StatusError
	if !errors.As(err, &status) {
		return false
	}
	return status.Status == http.StatusNotFound || status.Status == http.StatusMethodNotAllowed || status.Status == http.StatusNotImplemented
}
