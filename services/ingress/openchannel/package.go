package openchannel

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
	at      string // where it stands in the package
	err     error
}

// The names of a package (§1.3).
const (
	campaignID    = "CampaignId"
	campaignName  = "Name"
	marketingArea = "MarketingAreaId"
	members       = "CampaignTargetGroupMembers"
	outboundID    = "OutboundId"
	attributeList = "TargetGroupMemberAttributeData"
)

// Parse reads a package: with any single root or none, with or without members, an empty body included (§1.2, §1.3).
// The error is a *[contract.Violations] for what cannot be read at all; members that break their contract are not
// errors here.
func Parse(body []byte, attributes *Attributes, defaultArea string) (*Package, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return &Package{}, nil
	}
	root, err := contract.Object(body)
	if err != nil {
		return nil, err
	}
	var r reader
	p := r.unwrapped(root)
	r.expectPackage(p)
	campaign := &eventsv1.Campaign{
		CampaignId: r.text(campaignID, p[campaignID]), Name: r.text(campaignName, p[campaignName]),
		MarketingArea: cmp.Or(r.text(marketingArea, p[marketingArea]), defaultArea),
	}
	result := &Package{Campaign: campaign}
	for i, item := range r.list(members, p[members]) {
		at := fmt.Sprintf("%s[%d]", members, i)
		m := r.object(at, item)
		id := strings.TrimSpace(r.text(at+"."+outboundID, m[outboundID]))
		values := r.attributes(at, m[attributeList])
		result.Members = append(result.Members, member(at, id, campaign, attributes.tree(values)))
	}
	if len(r.wrong.Fields) > 0 {
		return nil, &r.wrong
	}
	return result, nil
}

// reader reads what exports are not strict about, and collects what cannot be read.
type reader struct{ wrong contract.Violations }

func (r *reader) refuse(at, message string) {
	r.wrong.Fields = append(r.wrong.Fields, contract.Violation{Field: at, Message: message})
}

// unwrapped removes the single root that the sender may have put around the package.
func (r *reader) unwrapped(root map[string]any) map[string]any {
	if len(root) != 1 {
		return root
	}
	for name, inner := range root {
		if object, ok := inner.(map[string]any); ok && name != members {
			return object
		}
	}
	return root
}

// expectPackage refuses what may hold members under a name that is not theirs: to answer that it was taken would lose
// them. Without members a package is one all the same (§1.2), if there is nothing in it or what a campaign has.
func (r *reader) expectPackage(p map[string]any) {
	if _, there := p[members]; there {
		return
	}
	_, hasID := p[campaignID]
	_, hasName := p[campaignName]
	_, hasArea := p[marketingArea]
	campaign := hasID || hasName || hasArea
	for _, name := range slices.Sorted(maps.Keys(p)) {
		known := name == campaignID || name == campaignName || name == marketingArea || strings.HasPrefix(name, "__") // OData's own
		if !known && filled(p[name], !campaign) {
			r.refuse(contract.Shown(name), fmt.Sprintf("is not known, and there is no %s: a package has %s, %s, %s and the list %[1]s",
				members, campaignID, campaignName, marketingArea))
		}
	}
}

// filled tells that an object or a list has something in it, or with single also that a single value is there.
func filled(value any, single bool) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) > 0
	case []any:
		return len(value) > 0
	}
	return single && value != nil && value != ""
}

func (r *reader) object(at string, value any) map[string]any {
	object, ok := value.(map[string]any)
	if !ok {
		r.refuse(at, "must be a JSON object")
	}
	return object
}

// text reads a text, a number or a boolean as its text (§1.3); what is absent or null is empty.
func (r *reader) text(at string, value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case map[string]any, []any:
		r.refuse(at, "must be a single value")
		return ""
	default:
		return fmt.Sprint(value)
	}
}

// list reads an array, an OData {"results": […]}, or a single object; converters turn a list of one into an object and
// an empty one into "" (odata-v2.md §6).
func (r *reader) list(at string, value any) []any {
	switch value := value.(type) {
	case []any:
		return value
	case map[string]any:
		if results, ok := value["results"].([]any); ok {
			return results
		}
		return []any{value}
	}
	if value != nil && value != "" {
		r.refuse(at, "must be a list")
	}
	return nil
}

// attributes reads the name/value list of a member.
func (r *reader) attributes(at string, list any) map[string]string {
	values := map[string]string{}
	for i, item := range r.list(at+"."+attributeList, list) {
		here := fmt.Sprintf("%s.%s[%d]", at, attributeList, i)
		a := r.object(here, item)
		name := r.text(here+".AttributeId", a["AttributeId"])
		values[name] = r.text(at+"."+contract.Shown(name), a["Value"])
	}
	return values
}

func member(at, outboundID string, c *eventsv1.Campaign, tree map[string]any) Member {
	request := &eventsv1.SurveyLinkRequested{}
	raw, err := json.Marshal(tree)
	if err == nil {
		err = contract.Unmarshal(raw, request)
	}
	if err != nil {
		request = &eventsv1.SurveyLinkRequested{}
	}
	if request.Contact == nil { // so that what is missing is named by its attribute
		request.Contact = &eventsv1.Contact{}
	}
	request.RequestId = outboundID
	request.Campaign = &eventsv1.Campaign{
		CampaignId: c.GetCampaignId(), Name: c.GetName(), MarketingArea: c.GetMarketingArea(), OutboundId: outboundID,
	}
	return Member{Request: request, at: at, err: err}
}

// Broken tells a member whose attributes do not even have the right form, so that there is no event to store.
func (m Member) Broken() bool { return m.err != nil || m.Request.GetRequestId() == "" }

// Violations says what is wrong with the member, in the names of the campaign's export, or nil.
func (m Member) Violations(attributes *Attributes) []contract.Violation {
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
		named[i] = contract.Violation{Field: m.name(f.Field, attributes), Message: f.Message}
	}
	return named
}

// name gives a field of the event as the export calls it.
func (m Member) name(field string, attributes *Attributes) string {
	switch field {
	case "campaign.campaignId":
		return campaignID
	case "campaign.name":
		return campaignName
	case "campaign.marketingArea":
		return marketingArea
	case "requestId", "campaign.outboundId":
		return m.at + "." + outboundID
	}
	return m.at + "." + attributes.source(field)
}
