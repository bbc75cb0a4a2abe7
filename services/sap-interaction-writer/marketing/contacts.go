package marketing

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Contact is a person as one origin knows them (sap-marketing-cloud.md §4).
type Contact struct {
	Origin, ID string
	// At is when this was true: what is older than what SAP has loses, and changes nothing.
	At                         time.Time
	Email, FirstName, LastName string
	Language                   string
}

// Check refuses a contact that SAP would not take, with the name of SAP's field.
func (p Contact) Check() error { return check(contactEntity, p.body(Form{})) }

func (p Contact) body(form Form) map[string]any {
	b := map[string]any{
		"ContactOrigin": p.Origin, "ContactID": p.ID, "OriginDataLastChgUTCDateTime": form.offset(p.At), "IsConsumer": true,
	}
	for name, value := range map[string]string{
		"EmailAddress": p.Email, "FirstName": p.FirstName, "LastName": p.LastName, "Language": p.Language,
	} {
		if value != "" {
			b[name] = value
		}
	}
	return b
}

// WriteContacts makes or refreshes contacts, each for itself, and gives an error or nil for each. A repeat changes nothing
// more, so a lost answer is [fault.Transient]. A permission is none of its business: one that is broken would sink the
// contact (§3).
func (c *Client) WriteContacts(ctx context.Context, all []Contact) []error {
	records := make([]one, len(all))
	for i, p := range all {
		key := "ContactOriginData(ContactOrigin=" + url.PathEscape(odata.Quote(p.Origin)) + ",ContactID=" + url.PathEscape(odata.Quote(p.ID)) + ")"
		records[i] = one{
			odata.Request{Method: http.MethodPut, Path: key, Body: p.body(c.Form)},
			append(outbound.Names(p.FirstName, p.LastName), p.ID, p.Email),
		}
	}
	errs := c.independently(ctx, c.Contacts, "write contacts", records)
	for i, err := range errs {
		if fault.Is(err, fault.Unknown) {
			f := *fault.From(err)
			f.Class = fault.Transient
			errs[i] = &f
		}
	}
	return errs
}
