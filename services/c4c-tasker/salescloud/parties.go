package salescloud

import (
	"context"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// home is a set where parties are, and the field of their human id (sap-sales-cloud.md §2, "Party resolution").
type home struct{ set, id string }

// homes by kind; an account may be a company or a person.
var homes = map[sales.Kind][]home{
	sales.Account:   {{"CorporateAccountCollection", "AccountID"}, {"IndividualCustomerCollection", "CustomerID"}},
	sales.Contact:   {{"ContactCollection", "ContactID"}},
	sales.Processor: {{"EmployeeCollection", "BusinessPartnerID"}},
	sales.Owner:     {{"EmployeeCollection", "BusinessPartnerID"}},
}

// explain names the party for whose sake a task was refused: by the vendor's words, else by looking everybody up. Where
// something is to be done for guests, words alone are not enough: a task must not be dropped for a mention. A refusal
// for another reason stays as it is.
func (c *Client) explain(ctx context.Context, err error, t sales.Task) error {
	if !fault.Is(err, fault.Refused) {
		return err
	}
	blamed, _ := sales.Blame(err, t, partyFields)
	if c.options.Lookup != LookupNever && (blamed == nil || c.options.Guests) {
		found := c.lookUp(ctx, t)
		if missing := sales.UnknownParty(found); missing != nil {
			return found
		}
		if c.options.Guests && found != nil && !fault.From(found).Class.Final() && !fault.Is(found, fault.Forbidden) {
			return found // nothing was made: it is tried again when the vendor can tell who is missing
		}
	}
	if blamed != nil {
		return blamed.Refused(Vendor)
	}
	return err // whatever else the look-up met: the refusal is what counts
}

// lookUp refuses the first party that is not there.
func (c *Client) lookUp(ctx context.Context, t sales.Task) error {
	known := map[string]bool{} // processor and owner are often the same
	for _, p := range t.Parties() {
		key := homes[p.Kind][0].set + p.ID
		if known[key] {
			continue
		}
		found, err := c.exists(ctx, p)
		if err != nil {
			return err
		}
		if !found {
			return (&sales.PartyError{Party: p, Missing: true}).Refused(Vendor)
		}
		known[key] = true
	}
	return nil
}

// exists takes any answer that is not empty for a yes: only a vendor that surely does not know somebody makes a guest.
func (c *Client) exists(ctx context.Context, p sales.Party) (bool, error) {
	for _, h := range homes[p.Kind] {
		found, err := query[struct{ ObjectID string }](ctx, c, "find "+string(p.Kind), h.set, equals, h.id, p.ID, "ObjectID", 1)
		if err != nil || len(found) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}
