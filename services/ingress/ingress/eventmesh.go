package ingress

import (
	"context"
	"net/http"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/ingress/serviceorder"
)

// eventMesh serves the webhook of SAP Event Mesh (sap-s4-event-mesh-commerce.md §2).
func (i *ingress) eventMesh(door *httpdoor.Door) {
	const path = "/s4/events"
	door.Handle(http.MethodOptions, path, httpdoor.Guarded, handshake) // it comes with the credentials of the deliveries
	door.Handle(http.MethodPost, path, httpdoor.Guarded, i.serviceOrder)
}

// handshake allows the sender that asks; without it the subscription fails and nothing is ever delivered.
func handshake(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	origin := r.Header.Get("WebHook-Request-Origin")
	if origin == "" {
		return nil, httpdoor.BadRequest("the header WebHook-Request-Origin is missing", httpdoor.FieldError{Field: "WebHook-Request-Origin", Message: "is missing"})
	}
	return &httpdoor.Response{Status: http.StatusOK, Header: http.Header{
		"Webhook-Allowed-Origin": {origin},
		"Webhook-Allowed-Rate":   {"*"},
		"Allow":                  {"OPTIONS, POST"},
	}}, nil
}

// serviceOrder stores completed service orders. Events of other kinds are answered well: 18 that are not would stop
// the sender's queue.
func (i *ingress) serviceOrder(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	order, completed, err := serviceorder.Parse(r.Header, r.Body)
	if err != nil {
		return nil, err
	}
	if !completed {
		return &httpdoor.Response{Status: http.StatusOK, Body: map[string]string{"ignored": "only completed service orders are of interest"}}, nil
	}
	e, err := event.New(i.accepting.Source, subjects.OrderCompleted, order)
	if err != nil {
		return nil, serviceorder.Renamed(err)
	}
	return i.stored(ctx, accept.Trace(e, r))
}
