package linker

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// Keys of the transaction's data that are ours. Declared in the survey flow, they come back with the answer.
const (
	dataRequestID = "requestId"
	dataLoopID    = "loopId"
	// dataExternalID is the caller's key of the transaction: the order, the cart, the case.
	dataExternalID = "transactionExternalId"
	// dataOccurredAt is when it happened, where that cannot be said otherwise.
	dataOccurredAt = "occurredAt"
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

// made is the result that the ledger keeps: the event that follows, so that a replay, a caller who waits and who looks
// later all get the same, whatever else is asked for under the same requestId.
type made struct {
	// Subject is survey.link.created or survey.link.suppressed.
	Subject string          `json:"subject"`
	Event   json.RawMessage `json:"event"`
}

func makeOf(subject string, m proto.Message) (made, error) {
	content, err := contract.Marshal(m)
	return made{Subject: subject, Event: content}, err
}

// message gives the event that follows.
func (m made) message() (proto.Message, error) {
	c, ok := subjects.Find(m.Subject)
	if !ok {
		return nil, fault.New(fault.Person, "the ledger holds the result of another service: subject %q", m.Subject)
	}
	message := c.New()
	if err := contract.Unmarshal(m.Event, message); err != nil {
		return nil, fault.New(fault.Person, "the ledger's result cannot be read: %w", err)
	}
	return message, nil
}

// make goes the five steps of qualtrics.md §1.1 for one person: contact, transaction, batch, distribution, link. Each
// step is recorded, so that a crash or a lost answer resumes instead of starting over.
func (l *linker) make(ctx context.Context, run *effect.Run, w wanted) (made, error) {
	w.data[dataLoopID] = run.LoopID() // of whoever asked first, as all that follows
	contact, err := l.contactOf(ctx, run, w)
	if err != nil {
		return made{}, err
	}
	transaction, err := l.transactionOf(ctx, run, w, &contact)
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
	return l.link(ctx, w, contact.ContactIDs, transaction, distribution)
}

// contact is the person as Qualtrics takes them.
func (w wanted) contact() qualtrics.Contact {
	c := w.request.GetContact()
	return qualtrics.Contact{
		FirstName: c.GetFirstName(), LastName: c.GetLastName(), Email: c.GetEmail(), Phone: c.GetPhone(),
		ExtRef: c.GetExternalId(), Language: c.GetLanguage(), EmbeddedData: c.GetAttributes(),
	}
}

func (l *linker) contact(w wanted) effect.Write[qualtrics.ContactIDs] {
	c := w.request.GetContact()
	return effect.Write[qualtrics.ContactIDs]{
		Send: func(ctx context.Context) (qualtrics.ContactIDs, error) {
			ids, err := l.qualtrics.CreateContact(ctx, w.mailingListID, w.contact())
			if err == nil {
				l.remember(ctx, w.mailingListID, w.contact(), ids)
			}
			return ids, err
		},
		// Whether a repeat would make a second contact depends on the directory's deduplication, hence the look-up.
		Probe: func(ctx context.Context) (qualtrics.ContactIDs, bool, error) {
			return l.qualtrics.FindContact(ctx, w.mailingListID, c.GetExternalId(), c.GetEmail())
		},
	}
}

func (l *linker) transaction(w wanted, contact person) effect.Write[string] {
	return effect.Write[string]{
		Send: func(ctx context.Context) (string, error) {
			t := qualtrics.Transaction{ContactID: contact.ID, MailingListID: w.mailingListID, Data: w.data}
			if at := w.request.GetTransaction().GetOccurredAt(); at.IsValid() {
				t.Date = at.AsTime()
			}
			return l.qualtrics.CreateTransaction(ctx, t)
		},
		Probe: func(ctx context.Context) (string, bool, error) {
			id, found, err := l.qualtrics.FindTransaction(ctx, contact.ID, dataRequestID, w.request.GetRequestId())
			if contact.Known && outbound.StatusOf(err) == http.StatusNotFound {
				return "", false, nil // it is not that it does not show yet: it is gone, and what it had with it
			}
			return id, found, err
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
	return l.distribute(qualtrics.Distribution{
		SurveyID: w.surveyID, BatchID: batch, MailingListID: w.mailingListID,
		Description: "closeloop " + w.request.GetRequestId(), // unique, so that the distribution can be found again
		ExpiresAt:   w.expiresAt,
	})
}

func (l *linker) distribute(d qualtrics.Distribution) effect.Write[string] {
	return effect.Write[string]{
		Send: func(ctx context.Context) (string, error) {
			id, err := l.qualtrics.CreateDistribution(ctx, d)
			return id, noSurvey(err)
		},
		Probe: func(ctx context.Context) (string, bool, error) {
			return l.qualtrics.FindDistribution(ctx, d.SurveyID, d.Description)
		},
	}
}

// noSurvey names the field that a distribution's 404 is about: contact, transaction and batch exist.
func noSurvey(err error) error {
	if outbound.StatusOf(err) != http.StatusNotFound {
		return err
	}
	f := *fault.From(err)
	f.Field = "survey.surveyId"
	return &f
}

// link reads the distribution's links and picks this person's. It changes nothing, but counts toward the vendor's
// contact frequency rules, so it is done once when it succeeds.
func (l *linker) link(ctx context.Context, w wanted, contact qualtrics.ContactIDs, transaction, distribution string) (made, error) {
	link, err := l.find(ctx, w, contact, transaction, distribution)
	if err != nil {
		return made{}, err
	}
	return l.outcome(w, link, contact, transaction, distribution)
}

// outcome is what is said of a link: that it is there, or that this person must not be invited.
func (l *linker) outcome(w wanted, link qualtrics.Link, contact qualtrics.ContactIDs, transaction, distribution string) (made, error) {
	request, person := w.request, &eventsv1.ContactRef{ExternalId: w.request.GetContact().GetExternalId()}
	if reason := l.suppressed(link); reason != "" {
		return makeOf(subjects.SurveyLinkSuppressed, &eventsv1.SurveyLinkSuppressed{
			RequestId: request.GetRequestId(), Reason: reason, Contact: person, Campaign: request.GetCampaign(),
		})
	}
	expires := w.expiresAt
	if !link.ExpiresAt.IsZero() {
		expires = link.ExpiresAt
	}
	return makeOf(subjects.SurveyLinkCreated, &eventsv1.SurveyLinkCreated{
		RequestId: request.GetRequestId(), Link: link.URL, ExpiresAt: timestamppb.New(expires),
		ContactId: contact.ID, ContactLookupId: contact.LookupID, TransactionId: transaction, DistributionId: distribution,
		SurveyId: w.surveyID, Campaign: request.GetCampaign(), Contact: person,
	})
}

// suppressed says why a person must not be invited now; Qualtrics leaves that to us (qualtrics.md §1.3, rule 7). Whether
// somebody who was asked too often has a link at all is not documented (§9, row 5).
func (l *linker) suppressed(link qualtrics.Link) string {
	switch {
	case link.Unsubscribed:
		return unsubscribed
	case link.ExceededContactFrequency && (l.settings.HonourFrequency || link.URL == ""):
		return contactFrequency
	case link.URL == "":
		return unsubscribed
	}
	return ""
}

// find gives the link of this transaction among those of its distribution.
func (l *linker) find(ctx context.Context, w wanted, contact qualtrics.ContactIDs, transaction, distribution string) (qualtrics.Link, error) {
	var all []qualtrics.Link
	for page, err := range l.qualtrics.Links(ctx, distribution, w.surveyID) {
		if err != nil {
			return qualtrics.Link{}, err
		}
		all = append(all, page...)
		for _, link := range page {
			// The batch is of one, so where dedupe gave the contact another reference its ids are as good.
			if link.Match(transaction, w.request.GetContact().GetExternalId(), contact) || link.Match(transaction, "", contact) {
				return link, nil
			}
		}
	}
	if len(all) == 1 && all[0].TransactionID == "" {
		return all[0], nil // the distribution is ours and of one person: a row that names nobody we know is still that one
	}
	return qualtrics.Link{}, fault.Later(0, "the distribution has no link for this transaction yet")
}

// transactionData is what the caller gave, and what ties the answer to this loop.
func transactionData(w wanted) (map[string]any, error) {
	data := map[string]any{}
	for name, value := range w.request.GetTransaction().GetData() {
		switch value.GetKind().(type) {
		case *structpb.Value_StringValue, *structpb.Value_NumberValue, *structpb.Value_BoolValue:
			data[name] = value.AsInterface()
		case *structpb.Value_NullValue: // null is invalid for Qualtrics; leaving it out says the same
		default:
			return nil, fault.At("transaction.data."+name, "must be a text, a number or a boolean")
		}
	}
	ours := map[string]string{
		dataRequestID: w.request.GetRequestId(), dataLoopID: w.loopID, dataExternalID: w.request.GetTransaction().GetExternalId(),
	}
	for name, value := range ours {
		if value == "" {
			continue
		}
		if theirs, taken := data[name]; taken && theirs != value {
			// The transaction would not be found again, or the answer would belong to another loop.
			return nil, fault.At("transaction.data."+name, "is a name that closeloop uses itself: choose another")
		}
		data[name] = value
	}
	return data, nil
}
