package writer_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	root       = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV"
	fetch      = "GET " + root + "/{$}"
	deepInsert = "POST " + root + "/InteractionsDeepInsert"
	insert     = "POST " + root + "/Interactions"
	find       = "GET " + root + "/Interactions"
	user       = "MKT_USER"
	password   = "marketing-secret"
)

// tenant takes interactions as sap-marketing-cloud.md §2 and odata-v2.md §2 have it: every post makes one more, even
// when it is identical; a session with its token; fields of a known name and length.
type tenant struct {
	*servicetest.Vendor

	mu           sync.Mutex
	interactions []map[string]any
	// sessions counts them; only the newest is good.
	sessions int
	// noDeepInsert says that the tenant has no such set.
	noDeepInsert bool
	// answer makes the answer to a deep insert; nil is the assumed one.
	answer func(id string) servicetest.Reply
}

// lengths of the fields that may be sent (§2.2); 0 has none.
var lengths = map[string]int{
	"InteractionUUID": 36, "InteractionContactOrigin": 20, "InteractionContactId": 255, "CommunicationMedium": 20, "InteractionType": 20,
	"InteractionTimeStampUTC": 0, "InteractionSourceObjectType": 30, "InteractionSourceObject": 50, "MarketingArea": 40, "CampaignID": 10,
	"InteractionSourceObjectAddlID": 50, "InteractionSourceDataURL": 0, "InteractionContentSubject": 255, "InteractionContent": 0,
	"InteractionSentimentValue": 0, "YY1_SurveyObjType_MIA": 60, "YY1_SurveyObjId_MIA": 60,
}

func newTenant(t *testing.T) *tenant {
	v := &tenant{Vendor: servicetest.NewVendor(t)}
	for pattern, h := range map[string]servicetest.Handler{fetch: v.fetch, deepInsert: v.deepInsert, insert: v.insert, find: v.find} {
		v.Handle(pattern, func(c servicetest.Call) servicetest.Reply {
			v.mu.Lock()
			defer v.mu.Unlock()
			switch {
			case c.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)):
				return refused(http.StatusUnauthorized, "Logon failed")
			case c.Header.Get("Accept") != "application/json":
				return servicetest.Reply{Header: http.Header{"Content-Type": {"application/atom+xml"}}, Body: "<feed/>"}
			}
			return h(c)
		})
	}
	return v
}

func refused(status int, message string) servicetest.Reply {
	return servicetest.Reply{Status: status, Body: map[string]any{"error": map[string]any{
		"code": "ZZ/001", "message": map[string]any{"lang": "en", "value": message},
	}}}
}

func (v *tenant) fetch(c servicetest.Call) servicetest.Reply {
	if c.Header.Get("X-Csrf-Token") != "fetch" {
		return refused(http.StatusBadRequest, "no token was asked for")
	}
	v.sessions++
	return servicetest.Reply{
		Header: http.Header{
			"X-Csrf-Token": {fmt.Sprintf("token-%d", v.sessions)},
			"Set-Cookie":   {fmt.Sprintf("SAP_SESSIONID_ABC_100=s%d; path=/; secure; HttpOnly", v.sessions), "sap-usercontext=sap-client=100; path=/"},
		},
		Body: map[string]any{"d": map[string]any{"EntitySets": []string{"Interactions"}}},
	}
}

// expire ends the session, as its idle time or a restart does.
func (v *tenant) expire() { v.mu.Lock(); defer v.mu.Unlock(); v.sessions += 100 }

// session refuses a write without the token of the session that its cookies name.
func (v *tenant) session(c servicetest.Call) *servicetest.Reply {
	cookies := fmt.Sprintf("SAP_SESSIONID_ABC_100=s%d; sap-usercontext=sap-client=100", v.sessions)
	if v.sessions > 0 && c.Header.Get("X-Csrf-Token") == fmt.Sprintf("token-%d", v.sessions) && c.Header.Get("Cookie") == cookies {
		return nil
	}
	return &servicetest.Reply{Status: http.StatusForbidden, Header: http.Header{"X-Csrf-Token": {"Required"}}, Body: "CSRF token validation failed"}
}

func (v *tenant) deepInsert(c servicetest.Call) servicetest.Reply {
	if v.noDeepInsert {
		return refused(http.StatusNotFound, "Resource not found for the segment 'InteractionsDeepInsert'")
	}
	if reply := v.session(c); reply != nil {
		return *reply
	}
	var sent struct{ Interactions []map[string]any }
	if err := c.Decode(&sent); err != nil || len(sent.Interactions) != 1 {
		return refused(http.StatusBadRequest, "the body is not as it must be")
	}
	id, wrong := v.create(sent.Interactions[0])
	if wrong != "" {
		return refused(http.StatusBadRequest, wrong)
	}
	if v.answer != nil {
		return v.answer(id)
	}
	return servicetest.Reply{Status: http.StatusCreated, Body: map[string]any{"d": map[string]any{
		"Interactions": map[string]any{"results": []any{map[string]any{"InteractionUUID": id}}},
	}}}
}

func (v *tenant) insert(c servicetest.Call) servicetest.Reply {
	if reply := v.session(c); reply != nil {
		return *reply
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(c.Body), &sent); err != nil {
		return refused(http.StatusBadRequest, "the body is not as it must be")
	}
	id, wrong := v.create(sent)
	if wrong != "" {
		return refused(http.StatusBadRequest, wrong)
	}
	return servicetest.Reply{Status: http.StatusCreated, Body: map[string]any{"d": map[string]any{"InteractionUUID": id}}}
}

var isoTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)

func (v *tenant) create(sent map[string]any) (id, wrong string) {
	for name, value := range sent {
		limit, known := lengths[name]
		text, isText := value.(string)
		switch {
		case !known:
			return "", "Property " + name + " is not known"
		case limit > 0 && len([]rune(text)) > limit:
			return "", "Property " + name + " is too long"
		case !isText && name != "InteractionSentimentValue", isText && text == "":
			return "", "Property " + name + " has a wrong value"
		}
	}
	if sent["InteractionUUID"] != "00000000-0000-0000-0000-000000000000" || !isoTime.MatchString(fmt.Sprint(sent["InteractionTimeStampUTC"])) ||
		!slices.Contains([]any{"SURVEY_LINK_CREATED", "SURVEY_RESPONSE"}, sent["InteractionType"]) {
		return "", "key, time or type is wrong"
	}
	v.interactions = append(v.interactions, sent)
	return uuid(len(v.interactions)), ""
}

func uuid(n int) string { return fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012d", n) }

var filter = regexp.MustCompile(`^InteractionType eq '(\w+)' and InteractionSourceObject eq '((?:[^']|'')+)'$`)

func (v *tenant) find(c servicetest.Call) servicetest.Reply {
	m := filter.FindStringSubmatch(c.Query.Get("$filter"))
	if m == nil || c.Query.Get("$top") != "1" {
		return refused(http.StatusBadRequest, "the set requires a filter")
	}
	found := []any{}
	for n, have := range v.interactions {
		if have["InteractionType"] == m[1] && have["InteractionSourceObject"] == strings.ReplaceAll(m[2], "''", "'") {
			found = append(found, map[string]any{"InteractionUUID": uuid(n + 1)})
			break
		}
	}
	return servicetest.Reply{Body: map[string]any{"d": map[string]any{"results": found}}}
}

func (v *tenant) count() int { v.mu.Lock(); defer v.mu.Unlock(); return len(v.interactions) }

// has gives the tenant an interaction that somebody else wrote.
func (v *tenant) has(kind, sourceObject string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.interactions = append(v.interactions, map[string]any{"InteractionType": kind, "InteractionSourceObject": sourceObject})
}

// written gives the nth interaction.
func (v *tenant) written(n int) map[string]any {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.interactions[n]
}
