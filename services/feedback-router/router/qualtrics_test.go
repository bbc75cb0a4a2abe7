package router_test

import (
	"maps"
	"net/http"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	token = "invented-token"
	read  = "GET /API/v3/surveys/{survey}/responses/{response}"
)

// brand has responses as qualtrics.md §3.13 has them.
type brand struct {
	*servicetest.Vendor

	mu        sync.Mutex
	responses map[string]map[string]any // values by id
	labels    map[string]any
	// late is how many reads find the response not available yet.
	late int
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
	return v
}

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
