package ingress

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/ingress/openchannel"
)

type ingress struct {
	settings   *Settings
	ledger     *effect.Ledger
	attributes *openchannel.Attributes
	fields     httpdoor.FieldMaps
	accepting  *accept.Events
	log        *slog.Logger
	// ignored counts events of Qualtrics by status.
	ignored *prometheus.CounterVec
	// repeated counts those of completed responses that were told before.
	repeated prometheus.Counter
}

// openChannel serves an Open Channel campaign (sap-marketing-cloud.md §1), also under the path of SAP's published
// recipe, whose runtime takes any case (§8).
func (i *ingress) openChannel(door *httpdoor.Door) {
	const ours, recipe = "/sap/open-channel", "/http/OCEndpoint"
	for _, path := range []string{ours, recipe} {
		door.Handle(http.MethodGet, path, httpdoor.Open, ping, httpdoor.IgnoreCase())
		door.Handle(http.MethodPost, path, httpdoor.Guarded, i.campaign, httpdoor.IgnoreCase(), httpdoor.BodyLimit(i.settings.BodyLimit))
	}
}

// ping answers what comes before a campaign; a token is echoed to senders that ask for one (§1.2).
func ping(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	response, err := ok(ctx, r)
	if r.Header.Get("X-Csrf-Token") != "" {
		response.Header = http.Header{"X-Csrf-Token": {"not-required"}}
	}
	return response, err
}

// campaign takes a package of members. The answer comes after every one of them is stored.
func (i *ingress) campaign(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	p, err := openchannel.Parse(r.Body, i.attributes, i.settings.MarketingArea)
	if err != nil {
		return nil, err
	}
	events := make([]event.Event, 0, len(p.Members))
	var wrong contract.Violations
	for _, member := range p.Members {
		violations := member.Violations(i.attributes)
		if len(violations) > 0 && (i.settings.BadMembers == refuse || member.Broken()) {
			wrong.Fields = append(wrong.Fields, violations...)
			continue
		}
		// With dead-letter a member that breaks its contract is stored all the same: the linker puts it into the dead
		// letters, where a person can mend and replay it.
		events = append(events, accept.Trace(event.Unchecked(i.accepting.Source, subjects.SurveyLinkRequested, member.Request), r).AsSaid())
	}
	if len(wrong.Fields) > 0 {
		return nil, once(&wrong)
	}
	receipts, err := i.accepting.Store(ctx, events)
	if err != nil {
		return nil, err
	}
	status := http.StatusAccepted
	if len(receipts) == 0 {
		status = http.StatusOK // an empty package is normal: nothing to do (§1.2)
	}
	i.log.Info("campaign package accepted", "members", len(receipts))
	return &httpdoor.Response{Status: status, Body: map[string]any{"accepted": len(receipts), "events": receipts}}, nil
}

// once leaves out repetitions: what is wrong with the campaign is wrong with each member.
func once(v *contract.Violations) *contract.Violations {
	seen := map[contract.Violation]bool{}
	v.Fields = slices.DeleteFunc(v.Fields, func(f contract.Violation) bool {
		again := seen[f]
		seen[f] = true
		return again
	})
	return v
}
