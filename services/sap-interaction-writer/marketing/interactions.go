package marketing

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// newKey is sent on create; the server assigns the real one (sap-marketing-cloud.md §2.3).
const newKey = "00000000-0000-0000-0000-000000000000"

// Types of interactions (§2.2).
const (
	SurveyLinkCreated = "SURVEY_LINK_CREATED"
	SurveyResponse    = "SURVEY_RESPONSE"
	// SurveyDistribution is Marketing's own, for each member of a campaign that it has sent (§1.4).
	SurveyDistribution = "SURVEY_DISTRIBUTION"
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

// Ref gives what the interaction is found by.
func (i Interaction) Ref() Ref { return Ref{i.Type, i.SourceObject} }

// Check refuses an interaction that SAP would not take, with the name of SAP's field.
func (i Interaction) Check() error {
	if i.SourceObject == "" {
		return fault.At("InteractionSourceObject", "is empty: without it the interaction could not be found again")
	}
	return check(interactionEntity, i.body(Form{}))
}

func (i Interaction) body(form Form) map[string]any {
	b := map[string]any{
		"InteractionUUID":         newKey,
		"InteractionType":         i.Type,
		"InteractionTimeStampUTC": form.offset(i.At),
		"InteractionSourceObject": i.SourceObject,
	}
	for name, value := range map[string]string{
		"InteractionSourceObjectType":   i.SourceObjectType,
		"InteractionSourceObjectAddlID": i.AdditionalID,
		"InteractionSourceDataURL":      i.Link,
		"CommunicationMedium":           i.Medium,
		"InteractionContentSubject":     cut(interactionEntity, "InteractionContentSubject", i.ContentSubject),
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
	for name, value := range i.Custom {
		if value != "" {
			b[name] = value
		}
	}
	return b
}

// personal lists what must never appear in an error text.
func (i Interaction) personal() []string {
	return slices.AppendSeq(append(outbound.Answers(i.Content), i.Link, i.ContactID), maps.Values(i.Custom))
}

// InteractionsPerCall is the most interactions that one [Client.Write] should be given.
func (c *Client) InteractionsPerCall() int {
	switch c.mode(c.PerCall) {
	case DeepInsert:
		return c.PerCall
	case Batch:
		return c.Options.Interactions.BatchLimit()
	}
	return singly
}

// mode is how so many interactions are written with what is known of the tenant. Where one batch takes them all it is
// as few calls as a deep insert, and what is wrong with one record is no matter of the others.
func (c *Client) mode(n int) WriteMode {
	mode := c.Mode
	if mode == Auto {
		mode = DeepInsert
		if fits := n > 1 && n <= c.Options.Interactions.BatchLimit(); c.noDeepInsert.Load() || c.hasBatch.Load() && fits {
			mode = Batch
		}
	}
	if mode == Batch && c.noBatch.Load() {
		return Interactions
	}
	return mode
}

// Write creates interactions, which are to pass [Interaction.Check] first. Its error counts for all of them, and where it
// is a refusal nothing was written; else there is an outcome for each.
//
// Every repeat makes one more (§ "Twelve rules" 2), so a lost answer is settled by [Client.Find].
func (c *Client) Write(ctx context.Context, all []Interaction) ([]Outcome, error) {
	if c.mode(len(all)) != DeepInsert {
		return c.insert(ctx, all), nil
	}
	written, err := c.deepInsert(ctx, all)
	switch {
	case c.Mode == Auto && isMissing(err):
		c.noDeepInsert.Store(true)
		return c.insert(ctx, all), nil
	case c.Mode == Auto && c.hasBatch.Load() && len(all) > 1 && fault.Is(err, fault.Refused): // for one of them
		return c.insert(ctx, all), nil
	}
	return written, err
}

// created is an interaction as an answer shows it.
type created struct {
	UUID         string `json:"InteractionUUID"`
	Type         string `json:"InteractionType"`
	SourceObject string `json:"InteractionSourceObject"`
}

func (c *Client) deepInsert(ctx context.Context, all []Interaction) ([]Outcome, error) {
	var answer struct {
		Interactions odata.Array[created] `json:"Interactions"`
	}
	bodies, personal := make([]any, len(all)), []string(nil)
	for n, i := range all {
		bodies[n], personal = i.body(c.Form), append(personal, i.personal()...)
	}
	body := map[string]any{"Interactions": c.Form.array(bodies)}
	err := c.Options.Interactions.DeepInsert(ctx, "deep insert interactions", "InteractionsDeepInsert", len(all), body, &answer, personal...)
	if outbound.Malformed(err) {
		answer.Interactions, err = nil, nil // It was done; what the answer holds is not documented (§12), and its keys are no need.
	}
	if err != nil {
		return nil, err
	}
	return match(all, answer.Interactions), nil
}

// match gives each interaction the key that the answer has for it. An answer need not have any (§12).
func match(all []Interaction, answer []created) []Outcome {
	keys := map[Ref]string{}
	for _, a := range answer {
		keys[Ref{a.Type, a.SourceObject}] = a.UUID
	}
	outcomes := make([]Outcome, len(all))
	for n, i := range all {
		id, told := keys[i.Ref()]
		if !told && len(answer) == len(all) && answer[n].SourceObject == "" { // in the order of the request
			id = answer[n].UUID
		}
		outcomes[n].Written.ID = id
	}
	return outcomes
}

func (c *Client) insert(ctx context.Context, all []Interaction) []Outcome {
	records, answers := make([]one, len(all)), make([]created, len(all))
	for n, i := range all {
		records[n] = one{
			odata.Request{Method: http.MethodPost, Path: "Interactions", Body: i.body(c.Form), Into: &answers[n]}, i.personal(),
		}
	}
	outcomes := make([]Outcome, len(all))
	var errs []error
	if c.Mode == Interactions {
		errs = c.oneByOne(ctx, c.Options.Interactions, "create interaction", records)
	} else {
		errs = c.independently(ctx, c.Options.Interactions, "create interactions", records)
	}
	for n, err := range errs {
		outcomes[n] = Outcome{Written{answers[n].UUID}, err}
	}
	return outcomes
}
