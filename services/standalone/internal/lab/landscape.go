package lab

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// Landscape is the simulated vendors' side that no service knows: their books, their faults and their counts.
type Landscape struct {
	// URL is scheme and host.
	URL string
	// Username and Password are those of SAP Marketing Cloud.
	Username, Password string
}

// Books gives what the vendors hold.
func (l Landscape) Books(ctx context.Context) (b landscape.Books, err error) {
	err = Call(ctx, http.MethodGet, l.URL+"/landscape/books.json", nil, &b)
	return b, err
}

// Fault puts a fault on and gives its id.
func (l Landscape) Fault(ctx context.Context, f landscape.Fault) (id string, err error) {
	err = Call(ctx, http.MethodPost, l.URL+"/landscape/faults", f, &f)
	return f.ID, err
}

// Faults gives those that are on, and how often each was met.
func (l Landscape) Faults(ctx context.Context) ([]landscape.Fault, error) {
	var on struct{ Faults []landscape.Fault }
	err := Call(ctx, http.MethodGet, l.URL+"/landscape/faults", nil, &on)
	return on.Faults, err
}

// Mend takes the fault of that id off.
func (l Landscape) Mend(ctx context.Context, id string) error {
	return Call(ctx, http.MethodDelete, l.URL+"/landscape/faults/"+id, nil, nil)
}

// Switch changes how Qualtrics behaves: a JSON object, see the README of landscape.
func (l Landscape) Switch(ctx context.Context, change string) error {
	return Call(ctx, http.MethodPatch, l.URL+"/landscape/qualtrics/switches", json.RawMessage(change), nil)
}

// Calls gives the calls that came to the vendors since [Landscape.ForgetCalls].
func (l Landscape) Calls(ctx context.Context) (c landscape.Calls, err error) {
	err = Call(ctx, http.MethodGet, l.URL+"/landscape/calls", nil, &c)
	return c, err
}

// ForgetCalls begins to count calls anew.
func (l Landscape) ForgetCalls(ctx context.Context) error {
	return Call(ctx, http.MethodDelete, l.URL+"/landscape/calls", nil, nil)
}

// Invite writes what SAP Marketing Cloud itself writes when a campaign sends: a SURVEY_DISTRIBUTION for each outbound id.
func (l Landscape) Invite(ctx context.Context, outboundIDs []string) error {
	calls, err := outbound.New(outbound.Options{Vendor: landscape.Marketing, BaseURL: l.URL})
	if err != nil {
		return err
	}
	session, err := odata.New(odata.Options{
		Outbound: calls, ServiceRoot: "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV", Username: l.Username, Password: settings.SecretOf(l.Password),
	})
	if err != nil {
		return err
	}
	const atOnce = 500
	for len(outboundIDs) > 0 {
		n := min(atOnce, len(outboundIDs))
		var all []any
		for _, id := range outboundIDs[:n] {
			all = append(all, map[string]any{
				"InteractionUUID": "00000000-0000-0000-0000-000000000000", "InteractionType": "SURVEY_DISTRIBUTION",
				"InteractionTimeStampUTC": time.Now().UTC().Format(time.RFC3339), "InteractionSourceObjectType": "CUAN_CAMPAIGN_OUTBOUND",
				"InteractionSourceObject": id,
			})
		}
		var ignored json.RawMessage
		if err := session.Create(ctx, "invite", "InteractionsDeepInsert", map[string]any{"Interactions": all}, &ignored); err != nil {
			return err
		}
		outboundIDs = outboundIDs[n:]
	}
	return nil
}
