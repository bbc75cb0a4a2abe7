package linker

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// Keys of the transaction's data that are ours. Declared in the survey flow, they come back with the answer.
const (
	dataRequestID = "requestId"
	dataLoopID    = "loopId"
	// dataExternalID is the caller's key of the transaction: the order, the cart, the case.
	dataExternalID = "transactionExternalId"
)

// Reasons of suppression.
const (
	unsubscribed     = "UNSUBSCRIBED"
	contactFrequency = "CONTACT_FREQUENCY"
)

// wanted is a request with everything filled in.
type wanted struct {
	request                 *eventsv1.SurveyLinkRequested
	loopID                  string
	surveyID, mailingListID string
	expiresAt               time.Time
	data                    map[string]any
}

// made is the result that the ledger keeps.
type made struct {
	Link            string    `json:"link,omitempty"`
	ExpiresAt       time.Time `json:"expiresAt,omitzero"`
	ContactID       string    `json:"contactId,omitempty"`
	ContactLookupID string    `json:"contactLookupId,omitempty"`
	TransactionID   string    `json:"transactionId,omitempty"`
	DistributionID  string    `json:"distributionId,omitempty"`
	SurveyID        string    `json:"surveyId,omitempty"`
	Suppressed      string    `json:"suppressed,omitempty"`
}

// make goes the five steps of qualtrics.md §1.1 for one person: contact, transaction, batch, distribution, link. Each
// step is recorded, so that a crash or a lost answer resumes instead of starting over.
func (l *linker) make(ctx context.Context, run *effect.Run, w wanted) (made, error) {
	contact, err := effect.Step(ctx, run, "contact", l.contact(w))
	if err != nil {
		return made{}, err
	}
	transaction, err := effect.Step(ctx, run, "transaction", l.transaction(w, contact))
	if err != nil {
		return made{}, err
	}
	batch, err := effect.Step(ctx, run, "batch", l.batch(transaction))
	if err != nil {
		return made{}, err
	}
	distribution, err := effect.Step(ctx, run, "distribution", l.distribution(w, batch))
	if err != nil {
		return made{}, err
	}
	return l.link(ctx, w, contact, transaction, distribution)
}

func (l *linker) contact(w wanted) effect.Write[qualtrics.ContactIDs] {
	c := w.request.GetContact()
	return effect.Write[qualtrics.ContactIDs]{
		Send: func(ctx context.Context) (qualtrics.ContactIDs, error) {
			return l.qualtrics.CreateContact(ctx, w.mailingListID, qualtrics.Contact{
				FirstName: c.GetFirstName(), LastName: c.GetLastName(), Email: c.GetEmail(), Phone: c.GetPhone(),
				ExtRef: c.GetExternalId(), Language: c.GetLanguage(), EmbeddedData: c.GetAttributes(),
			})
		},
		// Whether a repeat would make a second contact depends on the directory's deduplication, hence the look-up.
		Probe: func(ctx context.Context) (qualtrics.ContactIDs, bool, error) {
			return l.qualtrics.FindContact(ctx, w.mailingListID, c.GetExternalId(), c.GetEmail())
		},
	}
}

func (l *linker) transaction(w wanted, contact qualtrics.ContactIDs) effect.Write[string] {
	return effect.Write[string]{
		Send: func(ctx context.Context) (string, error) {
			t := qualtrics.Transaction{ContactID: contact.ID, MailingListID: w.mailingListID, Data: w.data}
			if at := w.request.GetTransaction().GetOccurredAt(); at.IsValid() {
				t.Date = at.AsTime()
			}
			return l.qualtrics.CreateTransaction(ctx, t)
		},
		Probe: func(ctx context.Context) (string, bool, error) {
			return l.qualtrics.FindTransaction(ctx, contact.ID, dataRequestID, w.request.GetRequestId())
		},
	}
}

// batch is one a request, never used again: a distribution addresses everything in its batch.
func (l *linker) batch(transaction string) effect.Write[string] {
	return effect.Write[string]{
		Send: func(ctx context.Context) (string, error) {
			return l.qualtrics.CreateBatch(ctx, []string{transaction}, time.Now())
		},
		// Nothing goes out of a batch by itself, and ours is named in the distribution: a second one stays idle. That
		// is cheaper than the look-up, which would have to read every batch of the day.
		Repeatable: true,
	}
}

func (l *linker) distribution(w wanted, batch string) effect.Write[string] {
	description := "closeloop " + w.request.GetRequestId() // unique, so that the distribution can be found again
	return effect.Write[string]{
		Send: func(ctx context.Context) (string, error) {
			return l.qualtrics.CreateDistribution(ctx, qualtrics.Distribution{
				SurveyID: w.surveyID, BatchID: batch, MailingListID: w.mailingListID,
				Description: description, ExpiresAt: w.expiresAt,
			})
		},
		Probe: func(ctx context.Context) (string, bool, error) {
			return l.qualtrics.FindDistribution(ctx, w.surveyID, description)
		},
	}
}

// link reads the distribution's links and picks this person's. It changes nothing, but counts toward the vendor's
// contact frequency rules, so it is done once when it succeeds.
func (l *linker) link(ctx context.Context, w wanted, contact qualtrics.ContactIDs, transaction, distribution string) (made, error) {
	result := made{
		ContactID: contact.ID, ContactLookupID: contact.LookupID, TransactionID: transaction,
		DistributionID: distribution, SurveyID: w.surveyID, ExpiresAt: w.expiresAt,
	}
	link, err := l.find(ctx, w, contact, transaction, distribution)
	if err != nil {
		return made{}, err
	}
	if !link.ExpiresAt.IsZero() {
		result.ExpiresAt = link.ExpiresAt
	}
	switch {
	case link.Unsubscribed || link.URL == "":
		result.Suppressed = unsubscribed
	case link.ExceededContactFrequency && l.settings.HonourFrequency:
		result.Suppressed = contactFrequency
	default:
		result.Link = link.URL
	}
	return result, nil
}

// find gives the link of this transaction among those of its distribution.
func (l *linker) find(ctx context.Context, w wanted, contact qualtrics.ContactIDs, transaction, distribution string) (qualtrics.Link, error) {
	for page, err := range l.qualtrics.Links(ctx, distribution, w.surveyID) {
		if err != nil {
			return qualtrics.Link{}, err
		}
		for _, link := range page {
			if link.Match(transaction, w.request.GetContact().GetExternalId(), contact) {
				return link, nil
			}
		}
	}
	return qualtrics.Link{}, fault.Later(0, "the distribution has no link for this transaction yet")
}

// transactionData is what the caller gave, and what ties the answer to this loop.
func transactionData(w wanted) (map[string]any, error) {
	data := map[string]any{dataRequestID: w.request.GetRequestId(), dataLoopID: w.loopID}
	if id := w.request.GetTransaction().GetExternalId(); id != "" {
		data[dataExternalID] = id
	}
	for name, value := range w.request.GetTransaction().GetData() {
		switch value.GetKind().(type) {
		case *structpb.Value_StringValue, *structpb.Value_NumberValue, *structpb.Value_BoolValue:
			data[name] = value.AsInterface()
		case *structpb.Value_NullValue: // null is invalid for Qualtrics; leaving it out says the same
		default:
			return nil, fault.At("transaction.data."+name, "must be a text, a number or a boolean")
		}
	}
	return data, nil
}
