package router_test

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	token = "invented-token"
	read  = "GET /API/v3/surveys/{survey}/responses/{response}"
	who   = "GET /API/v3/whoami"
	list  = "GET /API/v3/distributions"
	hist  = "GET /API/v3/distributions/{distribution}/history"
)

// brand has responses as qualtrics.md §3.13 has them.
type brand struct {
	*servicetest.Vendor

	mu        sync.Mutex
	responses map[string]map[string]any // values by id
	labels    map[string]any
	// late is how many reads find the response not available yet.
	late int
	// hold keeps whoami from answering until it is closed; barred is how many times it then refuses.
	hold   chan struct{}
	barred int
	// stall keeps the first history that is read from being answered until it is closed.
	stall chan struct{}
	// sent are the distributions of SV_cart, in the order in which they were made.
	sent []*sending
}

// sending is a distribution as qualtrics.md §3.6 and §3.8 have it.
type sending struct {
	id   string
	at   time.Time
	rows []map[string]any
	// stats are left out where they are nil.
	stats map[string]any
}

func newBrand(t *testing.T) *brand {
	v := &brand{Vendor: servicetest.NewVendor(t), responses: map[string]map[string]any{}}
	v.Handle(read, func(c servicetest.Call) servicetest.Reply {
		v.mu.Lock()
		defer v.mu.Unlock()
		values, there := v.responses[c.Value("response")]
		switch {
		case c.Header.Get("X-API-TOKEN") != token:
			return refused(http.StatusUnauthorized, "", "Token is not valid")
		case c.Value("survey") != "SV_cart" || !there:
			return refused(http.StatusNotFound, "GSI_2", "Survey not found.")
		case v.late > 0:
			v.late--
			return servicetest.Reply{Status: http.StatusAccepted, Body: map[string]any{
				"result": map[string]any{"message": "The Survey Response is not yet available. Please try again later."},
			}}
		}
		return servicetest.Reply{Body: map[string]any{
			"result": map[string]any{
				"responseId": c.Value("response"), "values": values, "labels": v.labels,
				"displayedFields": []string{"QID1"}, "displayedValues": map[string]any{"QID2": []int{1, 2}},
			},
			"meta": map[string]any{"httpStatus": "200 - OK", "requestId": nil},
		}}
	})
	v.Handle(who, func(c servicetest.Call) servicetest.Reply {
		if v.hold != nil {
			<-v.hold
		}
		if c.Header.Get("X-API-TOKEN") != token || len(v.Calls(who)) <= v.barred {
			return refused(http.StatusUnauthorized, "", "Token is not valid")
		}
		return servicetest.Reply{Body: map[string]any{"result": map[string]any{"brandId": "simbrand", "datacenter": "eu"}}}
	})
	v.Handle(list, v.distributions)
	v.Handle(hist, v.history)
	return v
}

// distributions lists those that were sent since the date given, one a page.
func (v *brand) distributions(c servicetest.Call) servicetest.Reply {
	v.mu.Lock()
	defer v.mu.Unlock()
	since, err := time.Parse(time.RFC3339, c.Query.Get("sendStartDate"))
	if err != nil {
		return refused(http.StatusBadRequest, "", "Invalid value for sendStartDate.")
	}
	if c.Query.Get("surveyId") != "SV_cart" {
		return refused(http.StatusNotFound, "GSI_2", "Survey not found.")
	}
	var elements []map[string]any
	for _, s := range v.sent {
		if s.at.Before(since) {
			continue
		}
		element := map[string]any{"id": s.id, "sendDate": s.at.Format(time.RFC3339), "requestType": "GeneratedInvite"}
		if s.stats != nil {
			element["stats"] = s.stats
		}
		elements = append(elements, element)
	}
	at, _ := strconv.Atoi(c.Query.Get("skipToken"))
	result := map[string]any{"elements": elements[min(at, len(elements)):min(at+1, len(elements))], "nextPage": nil}
	if at+1 < len(elements) {
		result["nextPage"] = v.URL + "/API/v3/distributions?surveyId=SV_cart&sendStartDate=" + url.QueryEscape(c.Query.Get("sendStartDate")) + "&skipToken=" + strconv.Itoa(at+1)
	}
	return servicetest.Reply{Body: map[string]any{"result": result}}
}

// history gives the rows of a distribution in a short page and an empty one.
func (v *brand) history(c servicetest.Call) servicetest.Reply {
	if v.stall != nil && len(v.Calls(hist)) == 1 {
		<-v.stall
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.sent {
		switch {
		case s.id != c.Value("distribution"):
		case c.Query.Has("skipToken"):
			return servicetest.Reply{Body: map[string]any{"result": map[string]any{"elements": []any{}}}}
		default:
			return servicetest.Reply{Body: map[string]any{"result": map[string]any{
				"elements": s.rows, "nextPage": v.URL + c.Path + "?skipToken=x",
			}}}
		}
	}
	return refused(http.StatusNotFound, "GED_3", "Distribution not found.")
}

// row is one invitation of a distribution.
func row(status, responseID string, completedAt time.Time) map[string]any {
	r := map[string]any{
		"contactId": "CID_1", "contactLookupId": "CGC_1", "status": status, "responseId": nil, "responseCompletedAt": nil,
		"surveyLink": "https://simbrand.eu.qualtrics.com/jfe/form/SV_cart?Q_DL=secret", "contactFrequencyRuleId": nil,
	}
	if responseID != "" {
		r["responseId"], r["responseCompletedAt"] = responseID, completedAt.UTC().Format(time.RFC3339)
	}
	return r
}

// distributed gives the brand a distribution made that long ago.
func (v *brand) distributed(id string, age time.Duration, rows ...map[string]any) *sending {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &sending{id: id, at: time.Now().UTC().Add(-age), rows: rows}
	v.sent = append(v.sent, s)
	return s
}

// now changes what is there.
func (v *brand) now(change func()) { v.mu.Lock(); defer v.mu.Unlock(); change() }

func refused(status int, code, message string) servicetest.Reply {
	return servicetest.Reply{Status: status, Body: map[string]any{"meta": map[string]any{
		"error": map[string]any{"errorCode": code, "errorMessage": message},
	}}}
}

// answered gives the brand a normal response with these values.
func (v *brand) answered(id string, values map[string]any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[string]any{
		"startDate": "2026-07-24T09:28:11Z", "endDate": "2026-07-24T09:29:58Z", "recordedDate": "2026-07-24T09:29:58.734Z",
		"status": 0, "finished": 1, "progress": 100, "duration": 107,
	}
	maps.Copy(all, values)
	v.responses[id] = all
}
