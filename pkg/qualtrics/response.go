package qualtrics

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Response is an answered survey.
type Response struct {
	ID string `json:"responseId"`
	// Values are answers by question id, and beside them embedded data and transaction data by name, as far as the survey
	// flow declares them, as strings (qualtrics.md §3.13). Numbers are float64, lists []any.
	Values map[string]any `json:"values"`
	// Labels are the texts of choices: a string, or a list of them.
	Labels map[string]any `json:"labels"`
}

// Status tells what kind of response it is: 0 normal, 1 preview, 2 test, 4 imported, 8 spam, 16 offline, 17 offline
// preview, 256 synthetic (qualtrics.md §3.13). A finished response that states none counts as normal: [Response.Stated]
// tells. It is -1 where there is none that can be read.
func (r *Response) Status() int {
	switch v := r.Values["status"].(type) {
	case nil:
		if r.finished() {
			return 0
		}
	case float64:
		return int(v)
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n
		}
	}
	return -1
}

// Stated tells whether Qualtrics gave the status. It is documented as always there (qualtrics.md §3.13, required in
// values); some brands leave it out.
func (r *Response) Stated() bool { return r.Values["status"] != nil }

func (r *Response) finished() bool {
	switch v := r.Values["finished"].(type) {
	case bool:
		return v
	case float64:
		return v == 1
	case string:
		return v == "1" || strings.EqualFold(v, "true")
	}
	return false
}

// Response reads a response (qualtrics.md §3.13). It is a read. The event may overtake the store: the response that is
// not there yet is [fault.NotYet]; a survey or response that does not exist is [fault.Refused] with status 404.
func (c *Client) Response(ctx context.Context, surveyID, responseID string) (*Response, error) {
	answer, err := c.do(ctx, outbound.Call{Operation: "read response", Path: path("surveys", surveyID, "responses", responseID)})
	if err != nil {
		return nil, err
	}
	if answer.Status == http.StatusAccepted {
		return nil, answer.Fault(fault.NotYet, "the response is not available yet")
	}
	r, err := decode[Response](c, answer)
	if err != nil {
		return nil, err
	}
	if r.result.ID == "" || r.result.Values == nil {
		return nil, answer.Malformed("there is no response id or no values")
	}
	if r.result.Status() < 0 { // A preview or a test must not pass for an answer.
		return nil, answer.Malformed("there is no status that can be read")
	}
	return &r.result, nil
}
