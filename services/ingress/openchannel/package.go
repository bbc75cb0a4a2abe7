package openchannel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/closeloop/closeloop/pkg/event/contract"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// Package is one call of a campaign.
type Package struct {
	Campaign *eventsv1.Campaign
	Members  []Member
}

// Member is one person of a package. The request may still break its contract: a missing e-mail address.
type Member struct {
	Request *eventsv1.SurveyLinkRequested
	err     error
}

// list reads an array, an OData {"results": […]}, or a single object: converters turn a list of one into an object
// (odata-v2.md §6).
type list[T any] []T

func (l *list[T]) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) > 0 && raw[0] == '[':
		return json.Unmarshal(raw, (*[]T)(l))
	case string(raw) == "null":
		return nil
	}
	var wrapped struct {
		Results *[]T `json:"results"`
	}
	if err := json.Unmarshal(raw, &wrapped); err == nil && wrapped.Results != nil {
		*l = *wrapped.Results
		return nil
	}
	var one T
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

// scalar reads a text, number or boolean as its text: exports are not strict about it (§1.3).
type scalar string

func (s *scalar) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	switch {
	case string(raw) == "null":
		return nil
	case len(raw) > 0 && raw[0] == '"':
		return json.Unmarshal(raw, (*string)(s))
	case len(raw) > 0 && (raw[0] == '{' || raw[0] == '['):
		return fmt.Errorf("is a group where one value is expected")
	}
	*s = scalar(raw)
	return nil
}

type payload struct {
	CampaignID    scalar `json:"CampaignId"`
	Name          scalar `json:"Name"`
	MarketingArea scalar `json:"MarketingAreaId"`
	Members       list[struct {
		OutboundID scalar `json:"OutboundId"`
		Attributes list[struct {
			ID    scalar `json:"AttributeId"`
			Value scalar `json:"Value"`
		}] `json:"TargetGroupMemberAttributeData"`
	}] `json:"CampaignTargetGroupMembers"`
}

// Parse reads a package: with any single root or none, with or without members, an empty body included (§1.2, §1.3).
// The error is a *[contract.Violations] for what cannot be read at all; members that break their contract are not
// errors here.
func Parse(body []byte, attributes *Attributes, defaultArea string) (*Package, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return &Package{}, nil
	}
	inner, err := unwrap(body)
	if err != nil {
		return nil, err
	}
	var p payload
	if err := json.Unmarshal(inner, &p); err != nil {
		return nil, contract.Broken(badField(err), "%s", badKind(err))
	}
	campaign := &eventsv1.Campaign{
		CampaignId: string(p.CampaignID), Name: string(p.Name), MarketingArea: string(p.MarketingArea),
	}
	if campaign.MarketingArea == "" {
		campaign.MarketingArea = defaultArea
	}
	result := &Package{Campaign: campaign, Members: make([]Member, 0, len(p.Members))}
	for _, m := range p.Members {
		values := make(map[string]string, len(m.Attributes))
		for _, a := range m.Attributes {
			values[string(a.ID)] = string(a.Value)
		}
		result.Members = append(result.Members, member(strings.TrimSpace(string(m.OutboundID)), campaign, attributes.tree(values)))
	}
	return result, nil
}

func member(outboundID string, c *eventsv1.Campaign, tree map[string]any) Member {
	request := &eventsv1.SurveyLinkRequested{}
	raw, err := json.Marshal(tree)
	if err == nil {
		err = contract.Unmarshal(raw, request)
	}
	if err != nil {
		request = &eventsv1.SurveyLinkRequested{}
	}
	request.RequestId = outboundID
	request.Campaign = &eventsv1.Campaign{
		CampaignId: c.GetCampaignId(), Name: c.GetName(), MarketingArea: c.GetMarketingArea(), OutboundId: outboundID,
	}
	return Member{Request: request, err: err}
}

// Broken tells a member whose attributes do not even have the right form, so that there is no event to store.
func (m Member) Broken() bool { return m.err != nil || m.Request.GetRequestId() == "" }

// Violations says what is wrong with the member, in the names of the campaign's export, or nil.
func (m Member) Violations(at string, attributes *Attributes) []contract.Violation {
	err := m.err
	if err == nil {
		err = contract.Validate(m.Request)
	}
	v, ok := contract.AsViolations(err)
	if !ok {
		return nil
	}
	named := make([]contract.Violation, len(v.Fields))
	for i, f := range v.Fields {
		name := attributes.source(f.Field)
		if f.Field == "requestId" || f.Field == "campaign.outboundId" {
			name = "OutboundId"
		}
		named[i] = contract.Violation{Field: at + "." + name, Message: f.Message}
	}
	return named
}

// unwrap removes the single root that the sender may have put around the package.
func unwrap(body []byte) ([]byte, error) {
	var root map[string]json.RawMessage
	if err := json.Unmarshal(body, &root); err != nil {
		return nil, contract.Broken("", "must be a JSON object: %s", badKind(err))
	}
	if len(root) != 1 {
		return body, nil
	}
	for name, inner := range root {
		if name != "CampaignTargetGroupMembers" && bytes.HasPrefix(bytes.TrimSpace(inner), []byte("{")) {
			return inner, nil
		}
	}
	return body, nil
}

func badField(err error) string {
	if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) {
		return typed.Field
	}
	return ""
}

func badKind(err error) string {
	if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) {
		return "is a " + typed.Value + " where another kind is expected"
	}
	if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
		return fmt.Sprintf("no valid JSON at byte %d", syntax.Offset)
	}
	return "cannot be read"
}
