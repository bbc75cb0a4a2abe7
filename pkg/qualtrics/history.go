package qualtrics

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"time"

	"github.com/closeloop/closeloop/pkg/outbound"
)

// Sending is a distribution as the list of a survey's distributions has it (qualtrics.md §3.6).
type Sending struct {
	ID string
	// SentAt is when its links were made; zero where Qualtrics does not say.
	SentAt time.Time
	// Finished is how many responses it has led to, -1 where Qualtrics does not say.
	Finished int
}

// UnmarshalJSON reads what is documented, of which everything but the id may be missing.
func (s *Sending) UnmarshalJSON(data []byte) error {
	var w struct {
		ID     string    `json:"id"`
		SentAt timestamp `json:"sendDate"`
		Stats  struct {
			Finished *int `json:"finished"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*s = Sending{ID: w.ID, SentAt: w.SentAt.Time, Finished: -1}
	if w.Stats.Finished != nil {
		s.Finished = *w.Stats.Finished
	}
	return nil
}

// Distributions reads the distributions of a survey that were sent at that time or later, page by page
// (qualtrics.md §3.6). It ends with the first fault. It is a read. SMS distributions are not among them. The format of
// the date is not documented; ISO 8601 is what other dates of distributions have.
func (c *Client) Distributions(ctx context.Context, surveyID string, since time.Time) iter.Seq2[[]Sending, error] {
	return pages[Sending](ctx, c, outbound.Call{
		Operation: "list distributions", Path: path("distributions"),
		Query: url.Values{
			"surveyId": {surveyID}, "sendStartDate": {since.UTC().Format(time.RFC3339)},
			"pageSize": {"100"}, "useNewPaginationScheme": {"true"},
		},
	})
}

// SurveyFinished is the status of an [Outcome] with a completed response (qualtrics.md §3.8).
const SurveyFinished = "SurveyFinished"

// Outcome is what became of one invitation of a distribution. Name and address, which Qualtrics may give beside it, are
// not read.
type Outcome struct {
	// ContactID is a CID_…, LookupID a CGC_….
	ContactID string
	LookupID  string
	// Status is one of those of qualtrics.md §3.8.
	Status string
	// Link is the personal link, empty where Qualtrics does not give it.
	Link string
	// ResponseID is empty as long as there is no response, and where the survey keeps its responses anonymous.
	ResponseID  string
	CompletedAt time.Time
}

// Finished tells whether there is a completed response.
func (o Outcome) Finished() bool { return o.Status == SurveyFinished }

// UnmarshalJSON reads null and missing fields, and "Anonymous" for a response without an id.
func (o *Outcome) UnmarshalJSON(data []byte) error {
	var w struct {
		ContactID   string    `json:"contactId"`
		LookupID    string    `json:"contactLookupId"`
		Status      string    `json:"status"`
		Link        string    `json:"surveyLink"`
		ResponseID  string    `json:"responseId"`
		CompletedAt timestamp `json:"responseCompletedAt"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if w.ResponseID == "Anonymous" {
		w.ResponseID = ""
	}
	*o = Outcome{w.ContactID, w.LookupID, w.Status, w.Link, w.ResponseID, w.CompletedAt.Time}
	return nil
}

// History reads what became of the invitations of a distribution, page by page (qualtrics.md §3.8): where lost webhooks
// are made up for. Pages may be short without being the last, and rows may be missing for days. It ends with the first
// fault; a test e-mail distribution is [fault.Refused]. It is a read, limited to 300 a minute for the brand.
func (c *Client) History(ctx context.Context, distributionID string) iter.Seq2[[]Outcome, error] {
	return pages[Outcome](ctx, c, outbound.Call{Operation: "read history", Path: path("distributions", distributionID, "history")})
}
