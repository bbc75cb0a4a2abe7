package qualtrics

import (
	"context"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// ErasePersonalData has Qualtrics forget everybody with one of the e-mail addresses: contacts, responses, tickets, users
// (qualtrics.md §3.14, §6.3). It gives the id of the request, OP-…, for [Client.Erased]. It needs a brand administrator;
// without, it is [fault.Forbidden]. A repeat erases what is erased already.
func (c *Client) ErasePersonalData(ctx context.Context, emails []string) (string, error) {
	call := post("erase personal data", path("op-erase-personal-data"), struct {
		Emails     []string `json:"emails"`
		SearchOnly bool     `json:"searchOnly"`
	}{emails, false})
	call.Write, call.Personal = true, emails
	r, err := send[erasure](ctx, c, call)
	if err != nil {
		return "", explained(err, fault.Forbidden, erasers)
	}
	if r.result.RequestID == "" {
		return "", r.answer.Malformed("there is no request id")
	}
	return r.result.RequestID, nil
}

// Erased tells whether a request of [Client.ErasePersonalData] has come to its end (qualtrics.md §3.14). It is a read; that
// of a request just made may be [fault.NotYet]. One that Qualtrics has given up is [fault.Refused].
func (c *Client) Erased(ctx context.Context, requestID string) (bool, error) {
	r, err := send[erasure](ctx, c, outbound.Call{Operation: "read erasure", Path: path("op-erase-personal-data", requestID)})
	if err != nil {
		return false, explained(notYet(err), fault.Forbidden, erasers)
	}
	switch strings.ToLower(r.result.Status) {
	case "completed", "complete":
		return true, nil
	case "failed", "canceled", "cancelled":
		return false, c.fault(fault.Refused, "the erasure %s has ended as %s", requestID, strings.ToLower(r.result.Status))
	}
	return false, nil
}

// erasers says what a refusal most likely means.
const erasers = "erasing personal data needs the credentials of a brand administrator"

// erasure is a request as Qualtrics shows it. What it found is not read: of several records it lists the first alone.
type erasure struct {
	RequestID string `json:"requestId"`
	Status    string `json:"status"`
}
