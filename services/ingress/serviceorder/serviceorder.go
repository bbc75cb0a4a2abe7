// Package serviceorder reads the service-order events of SAP S/4HANA (sap-s4-event-mesh-commerce.md §1).
package serviceorder

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

const completedType = "sap.s4.beh.serviceorder.v1.ServiceOrder.Completed.v1"

// data is what the event holds: keys and few header fields. Tenants may add the others.
type data struct {
	ServiceOrder  string `json:"ServiceOrder"`
	ContactPerson string `json:"ContactPerson"`
	SoldToParty   string `json:"SoldToParty"`
	ChangedAt     string `json:"ServiceDocChangedDateTime"`
}

type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	Type        string          `json:"type"`
	Time        string          `json:"time"`
	Data        json.RawMessage `json:"data"`
}

// Parse reads a CloudEvent in structured or binary mode, whatever its content type calls the JSON. It tells whether it
// is a completed service order. Errors are *contract.Violations naming the field.
func Parse(header http.Header, body []byte) (*eventsv1.OrderCompleted, bool, error) {
	e, err := envelope(header, body)
	if err != nil {
		return nil, false, err
	}
	// In the topic the parts are divided by slashes, in the type by dots.
	if strings.ReplaceAll(e.Type, "/", ".") != completedType {
		return nil, false, nil
	}
	var d data
	if err := json.Unmarshal(e.Data, &d); err != nil {
		if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && typed.Field != "" {
			return nil, false, contract.Broken("data."+typed.Field, "must be a text")
		}
		return nil, false, contract.Broken("data", "must be a JSON object with the keys of the service order")
	}
	if d.ServiceOrder == "" {
		return nil, false, contract.Broken("data.ServiceOrder", "is missing")
	}
	order := &eventsv1.OrderCompleted{ServiceOrder: d.ServiceOrder, ContactPerson: d.ContactPerson, SoldToParty: d.SoldToParty}
	at, ok := changed(d.ChangedAt, e.Time)
	if !ok {
		// Without it a second completion could not be told from a repeat of the first.
		return nil, false, contract.Broken("time", "must be a time as in 2026-07-24T09:30:00Z")
	}
	order.ChangedAt = timestamppb.New(at)
	return order, true, nil
}

func envelope(header http.Header, body []byte) (cloudEvent, error) {
	if header.Get("Ce-Type") != "" { // binary mode
		e := cloudEvent{SpecVersion: header.Get("Ce-Specversion"), Type: header.Get("Ce-Type"), Time: header.Get("Ce-Time"), Data: body}
		return e, checkVersion(e)
	}
	if mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type")); err == nil && strings.HasSuffix(mediaType, "-batch+json") {
		return cloudEvent{}, contract.Broken("Content-Type", "batches are not understood")
	}
	var e cloudEvent
	if err := json.Unmarshal(body, &e); err != nil {
		return e, contract.Broken("", "must be the JSON of a CloudEvent")
	}
	if e.Type == "" {
		return e, contract.Broken("type", "is missing")
	}
	return e, checkVersion(e)
}

func checkVersion(e cloudEvent) error {
	if e.SpecVersion != "1.0" {
		return contract.Broken("specversion", "must be 1.0")
	}
	return nil
}

// changed takes the first of the texts that is a time, in either form that SAP writes.
func changed(texts ...string) (time.Time, bool) {
	for _, s := range texts {
		var t odata.DateTimeOffset
		if raw, err := json.Marshal(s); err == nil && json.Unmarshal(raw, &t) == nil && !t.IsZero() {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// Renamed gives an error about the event's fields in SAP's names.
func Renamed(err error) error {
	f := fault.From(err)
	names := map[string]string{
		"serviceOrder": "data.ServiceOrder", "contactPerson": "data.ContactPerson", "soldToParty": "data.SoldToParty",
	}
	if name, ok := names[f.Field]; ok && f.Class == fault.Invalid {
		return contract.Broken(name, "%s", f.Reason)
	}
	return err
}
