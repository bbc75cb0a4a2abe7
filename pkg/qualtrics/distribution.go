package qualtrics

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Distribution asks for one personal link for each transaction of a batch. Nothing is sent to anybody
// (qualtrics.md §3.6, schema ii).
type Distribution struct {
	SurveyID string
	BatchID  string
	// MailingListID goes beside the batch, as SAP's own flow has it.
	MailingListID string
	// Description is what [Client.FindDistribution] finds it by: make it unique.
	Description string
	// People is how many are in the batch; 0 and 1 are one.
	People int
	// ExpiresAt is when the links end. Zero means 60 days, which is Qualtrics' own default.
	ExpiresAt time.Time
}

// CreateDistribution generates the links and gives the id, EMD_… (qualtrics.md §3.6). The survey must be active.
//
// A repeat gives everybody in the batch a second valid link. The probe is [Client.FindDistribution].
func (c *Client) CreateDistribution(ctx context.Context, d Distribution) (string, error) {
	if d.Description == "" {
		return "", c.fault(fault.Invalid, "create distribution: it has no description to find it by")
	}
	expires := ""
	if !d.ExpiresAt.IsZero() {
		expires = FormatTime(d.ExpiresAt)
	}
	call := post("create distribution", path("distributions"), struct {
		Action        string `json:"action"`
		SurveyID      string `json:"surveyId"`
		LinkType      string `json:"linkType"`
		BatchID       string `json:"transactionBatchId"`
		MailingListID string `json:"mailingListId,omitempty"`
		Description   string `json:"description"`
		Expires       string `json:"expirationDate,omitempty"`
	}{"CreateTransactionBatchDistribution", d.SurveyID, "Individual", d.BatchID, d.MailingListID, d.Description, expires})
	call.Write, call.InsteadOf = true, outbound.Records(d.People)
	return c.create(ctx, call)
}

// FindDistribution looks through a survey's distributions for one with this description, and gives its id. It is the
// probe of [Client.CreateDistribution] and costs one read per hundred distributions of the survey.
func (c *Client) FindDistribution(ctx context.Context, surveyID, description string) (string, bool, error) {
	type distribution struct {
		ID          string `json:"id"`
		Description string `json:"description"`
	}
	if surveyID == "" || description == "" {
		return "", false, c.fault(fault.Invalid, "find distribution: survey or description is not given")
	}
	for page, err := range pages[distribution](ctx, c, outbound.Call{
		Operation: "list distributions", Path: path("distributions"),
		Query: url.Values{"surveyId": {surveyID}, "pageSize": {"100"}, "useNewPaginationScheme": {"true"}},
	}) {
		if err != nil {
			return "", false, err
		}
		for _, d := range page {
			if d.Description == description {
				return d.ID, true, nil
			}
		}
	}
	return "", false, nil
}

// Link is a personal survey link. The name, which Qualtrics gives beside it, is not read.
type Link struct {
	// URL is the link, opaque, and empty for somebody who unsubscribed.
	URL string
	// ContactID is a CID_…, a CGC_… or an older MLRP_…: which, is not documented.
	ContactID string
	// TransactionID is empty where Qualtrics does not name it.
	TransactionID string
	// ExternalDataReference is the contact's extRef, or empty.
	ExternalDataReference string
	// Email is the contact's, or empty. Where dedupe merged two people, reference and e-mail may be of different ones.
	Email string
	// Unsubscribed and ExceededContactFrequency are for us to honour: Qualtrics does not stop us from mailing.
	Unsubscribed             bool
	ExceededContactFrequency bool
	// ExpiresAt is zero if it is not given.
	ExpiresAt time.Time
	// Status is "Email not sent" for a generated link.
	Status string
}

// UnmarshalJSON reads the field sets of 2019 and of now (qualtrics.md §3.7): null and missing fields, and booleans that
// are "0" or 0.
func (l *Link) UnmarshalJSON(data []byte) error {
	var w struct {
		URL           string    `json:"link"`
		ContactID     string    `json:"contactId"`
		TransactionID string    `json:"transactionId"`
		ExtRef        string    `json:"externalDataReference"`
		Email         string    `json:"email"`
		Unsubscribed  flag      `json:"unsubscribed"`
		Exceeded      flag      `json:"exceededContactFrequency"`
		ExpiresAt     timestamp `json:"linkExpiration"`
		Status        string    `json:"status"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*l = Link{
		URL: w.URL, ContactID: w.ContactID, TransactionID: w.TransactionID, ExternalDataReference: w.ExtRef, Email: w.Email,
		Unsubscribed: bool(w.Unsubscribed), ExceededContactFrequency: bool(w.Exceeded), ExpiresAt: w.ExpiresAt.Time, Status: w.Status,
	}
	return nil
}

// Match tells whether the link belongs to a transaction of a contact, by the first of these that both sides know: the
// transaction's id, the external reference, and the link's contact id against both ids of the contact
// (qualtrics.md §1.3, rule 5). Give an empty extRef where dedupe may have overwritten it (§8, trap 6).
func (l Link) Match(transactionID, extRef string, contact ContactIDs) bool {
	switch {
	case l.TransactionID != "" && transactionID != "":
		return l.TransactionID == transactionID
	case l.ExternalDataReference != "" && extRef != "":
		// Qualtrics compares so itself (§3.2).
		return strings.EqualFold(strings.TrimSpace(l.ExternalDataReference), strings.TrimSpace(extRef))
	}
	return l.ContactID != "" && (l.ContactID == contact.ID || l.ContactID == contact.LookupID)
}

// Links reads the links of a distribution page by page, at most 100 a page (qualtrics.md §3.7). It ends with the first
// fault. Links may be missing at first, and a few later too: reconcile the count.
//
// It is a read, but no harmless one: each counts toward contact-frequency rules. Read once and store each page.
func (c *Client) Links(ctx context.Context, distributionID, surveyID string) iter.Seq2[[]Link, error] {
	return pages[Link](ctx, c, linksCall(distributionID, surveyID))
}

func linksCall(distributionID, surveyID string) outbound.Call {
	return outbound.Call{
		Operation: "list links", Path: path("distributions", distributionID, "links"), Query: url.Values{"surveyId": {surveyID}},
	}
}

// flag is a boolean in any of the forms Qualtrics uses.
type flag bool

func (f *flag) UnmarshalJSON(data []byte) error {
	switch strings.ToLower(strings.Trim(string(data), `"`)) {
	case "true", "1":
		*f = true
	case "false", "0", "", "null":
		*f = false
	default: // To guess could mean to mail somebody who opted out.
		return errors.New("a boolean is neither true, false, 0 nor 1")
	}
	return nil
}
