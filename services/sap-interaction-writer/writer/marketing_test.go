package writer_test

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	root        = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV"
	fetch       = "GET " + root + "/{$}"
	deepInsert  = "POST " + root + "/InteractionsDeepInsert"
	batch       = "POST " + root + "/$batch"
	insert      = "POST " + root + "/Interactions"
	find        = "GET " + root + "/Interactions"
	user        = "MKT_USER"
	surveyRoot  = "/sap/opu/odata/sap/CUAN_SURVEY_IMPORT_SRV"
	surveys     = "POST " + surveyRoot + "/SurveySet"
	contactRoot = "/sap/opu/odata/sap/API_MKT_CONTACT_SRV"
	contact     = "PUT " + contactRoot + "/{key}"
	password    = "marketing-secret"
)

// tenant takes interactions as sap-marketing-cloud.md §2 and odata-v2.md §2 have it: every post makes one more, even
// when it is identical; a session with its token; fields of a known name and length.
type tenant struct {
	*servicetest.Vendor

	mu           sync.Mutex
	interactions []map[string]any
	// sessions counts them; only the newest is good.
	sessions int
	// noDeepInsert says that the tenant has no such set, noBatch that it has no $batch.
	noDeepInsert, noBatch bool
	// noDistribution says that Marketing's own interactions are not there.
	noDistribution bool
	// unreadable is a source object that a filter must not name.
	unreadable string
	// blocked is a source object that is refused.
	blocked string
	// failing is a source object for which the tenant always fails with 500: alone in its operation of a batch or, wholly,
	// with all that the call holds.
	failing string
	wholly  bool
	// batched counts the operations that came in batches.
	batched int
	// answer makes the answer to a deep insert; nil is the assumed one.
	answer func(id string) servicetest.Reply
	// refuse answers a call in the tenant's place, which then does nothing; nil, or an answer of nil, leaves it alone.
	refuse func(pattern string, c servicetest.Call) *servicetest.Reply
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
	v.Handle("GET "+surveyRoot+"/{$}", func(servicetest.Call) servicetest.Reply { return servicetest.Reply{} })
	v.Handle("GET "+contactRoot+"/{$}", func(servicetest.Call) servicetest.Reply { return servicetest.Reply{} })
	for pattern, h := range map[string]servicetest.Handler{
		fetch: v.fetch, deepInsert: v.deepInsert, insert: v.insert, find: v.find, batch: v.batch,
	} {
		v.Handle(pattern, func(c servicetest.Call) servicetest.Reply {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.refuse != nil {
				if r := v.refuse(pattern, c); r != nil {
					return *r
				}
			}
			switch {
			case v.wholly && v.fails(c.Body):
				return refused(http.StatusInternalServerError, "Short dump")
			case c.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)):
				return refused(http.StatusUnauthorized, "Logon failed")
			case c.Header.Get("Accept") != map[bool]string{true: "multipart/mixed", false: "application/json"}[pattern == batch]:
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
	if err := c.Decode(&sent); err != nil || len(sent.Interactions) == 0 {
		return refused(http.StatusBadRequest, "the body is not as it must be")
	}
	before := len(v.interactions)
	var created []any
	for _, one := range sent.Interactions {
		id, wrong := v.create(one)
		if wrong != "" { // all or nothing
			v.interactions = v.interactions[:before]
			return refused(http.StatusBadRequest, wrong)
		}
		created = append(created, map[string]any{"InteractionUUID": id})
	}
	if v.answer != nil {
		return v.answer(uuid(before + 1))
	}
	return servicetest.Reply{Status: http.StatusCreated, Body: map[string]any{"d": map[string]any{
		"Interactions": map[string]any{"results": created},
	}}}
}

// batch takes reads, and changesets of one write each, and answers with boundaries of its own (odata-v2.md §8).
func (v *tenant) batch(c servicetest.Call) servicetest.Reply {
	if v.noBatch {
		return refused(http.StatusNotFound, "Resource not found for the segment '$batch'")
	}
	if reply := v.session(c); reply != nil {
		return *reply
	}
	var out strings.Builder
	for _, p := range multiparts(c.Header.Get("Content-Type"), c.Body) {
		changeset := strings.HasPrefix(p.kind, "multipart/")
		if changeset {
			p = multiparts(p.kind, p.content)[0]
		}
		v.batched++
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.Replace(p.content, " ", " /", 1))))
		if err != nil {
			return refused(http.StatusBadRequest, "an operation is malformed")
		}
		body, _ := io.ReadAll(request.Body)
		reply := v.operation(request, string(body))
		answer, _ := json.Marshal(reply.Body)
		inner := fmt.Sprintf("Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 %d X\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s\r\n", cmp.Or(reply.Status, 200), len(answer), answer)
		if changeset && reply.Status < 400 {
			inner = "Content-Type: multipart/mixed; boundary=R2\r\n\r\n--R2\r\n" + inner + "--R2--\r\n"
		}
		out.WriteString("--R1\r\n" + inner)
	}
	return servicetest.Reply{Status: http.StatusAccepted, Header: http.Header{"Content-Type": {"multipart/mixed; boundary=R1"}}, Body: out.String() + "--R1--\r\n"}
}

func (v *tenant) fails(text string) bool { return v.failing != "" && strings.Contains(text, v.failing) }

func (v *tenant) operation(r *http.Request, body string) servicetest.Reply {
	if v.fails(r.URL.RawQuery) || v.fails(body) {
		return refused(http.StatusInternalServerError, "Short dump")
	}
	if r.Method == http.MethodGet && r.URL.Path == "/Interactions" {
		return v.find(servicetest.Call{Query: r.URL.Query()})
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(body), &sent); err != nil || r.URL.Path != "/Interactions" {
		return refused(http.StatusBadRequest, "the operation is not as it must be")
	}
	id, wrong := v.create(sent)
	if wrong != "" {
		return refused(http.StatusBadRequest, wrong)
	}
	return servicetest.Reply{Status: http.StatusCreated, Body: map[string]any{"d": map[string]any{"InteractionUUID": id}}}
}

type multipart struct{ kind, content string }

// multiparts cuts a body by its boundary: the CRLF before a delimiter belongs to the delimiter.
func multiparts(contentType, body string) []multipart {
	_, boundary, _ := strings.Cut(contentType, "boundary=")
	var all []multipart
	pieces := strings.Split("\r\n"+body, "\r\n--"+boundary)
	for _, piece := range pieces[1 : len(pieces)-1] {
		head, content, _ := strings.Cut(strings.TrimPrefix(piece, "\r\n"), "\r\n\r\n")
		_, kind, _ := strings.Cut(head, "Content-Type: ")
		kind, _, _ = strings.Cut(kind, "\r\n")
		all = append(all, multipart{kind, content})
	}
	return all
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
	if sent["InteractionSourceObject"] == v.blocked {
		return "", "The interaction is blocked"
	}
	v.interactions = append(v.interactions, sent)
	return uuid(len(v.interactions)), ""
}

func uuid(n int) string { return fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012d", n) }

var (
	filter  = regexp.MustCompile(`^InteractionType eq '(\w+)' and (?:InteractionSourceObject eq '(?:[^']|'')+'|\((?:InteractionSourceObject eq '(?:[^']|'')+'(?: or )?)+\))$`)
	sources = regexp.MustCompile(`InteractionSourceObject eq '((?:[^']|'')+)'`)
)

// find gives every interaction that matches, oldest first, duplicates too.
func (v *tenant) find(c servicetest.Call) servicetest.Reply {
	text := c.Query.Get("$filter")
	m := filter.FindStringSubmatch(text)
	if m == nil || c.Query.Get("$select") != "InteractionUUID,InteractionSourceObject" || len(c.Query.Encode()) > 4000 {
		return refused(http.StatusBadRequest, "the set requires a filter")
	}
	found := []any{}
	for _, source := range sources.FindAllStringSubmatch(text, -1) {
		id := strings.ReplaceAll(source[1], "''", "'")
		if id == v.unreadable {
			return refused(http.StatusBadRequest, "the filter is not understood")
		}
		if m[1] == "SURVEY_DISTRIBUTION" && !v.noDistribution {
			found = append(found, map[string]any{"InteractionUUID": "0a1b2c3d-0000-4000-8000-distribution", "InteractionSourceObject": id})
		}
		for n, have := range v.interactions {
			if have["InteractionType"] == m[1] && have["InteractionSourceObject"] == id {
				found = append(found, map[string]any{"InteractionUUID": uuid(n + 1), "InteractionSourceObject": id})
			}
		}
	}
	if c.Query.Get("$top") == "1" {
		found = found[:min(1, len(found))]
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

// set changes the tenant while it is called.
func (v *tenant) set(change func(*tenant)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}
