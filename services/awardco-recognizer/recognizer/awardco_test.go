package recognizer_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	apiKey    = "invented-api-key"
	recognize = "POST /api/recognize"
	feed      = "GET /api/v1/custom-feed"
	program   = "Customer praise"
)

// company takes recognitions as awardco.md has it: no idempotency key, so each call is one more.
type company struct {
	*servicetest.Vendor

	mu    sync.Mutex
	made  []recognition
	shape func([]any) any // of a page of the feed, which is not documented
	// before is called with the id of a recognition that is made, before its answer goes out.
	before func(id string)
}

type recognition struct {
	Recipients    []string `json:"recipients"`
	Giver         *string  `json:"giver"`
	Note          *string  `json:"note"`
	TagNames      []string `json:"tagNames"`
	Amount        *int     `json:"amount"`
	IsPublic      *bool    `json:"isPublic"`
	ProgramID     string   `json:"recognitionProgramId"`
	ProgramName   string   `json:"recognitionProgramName"`
	BudgetName    string   `json:"budgetName"`
	Title         string   `json:"title"`
	recognitionID string
}

func newCompany(t *testing.T) *company {
	v := &company{Vendor: servicetest.NewVendor(t), shape: func(items []any) any {
		return map[string]any{"success": true, "page": 1, "data": items}
	}}
	v.Handle(recognize, v.guarded(v.recognize))
	v.Handle(feed, v.guarded(v.feed))
	return v
}

func (v *company) guarded(h servicetest.Handler) servicetest.Handler {
	return func(c servicetest.Call) servicetest.Reply {
		v.mu.Lock()
		defer v.mu.Unlock()
		if c.Header.Get("apikey") != apiKey {
			return refused(http.StatusUnauthorized, "The key is not valid")
		}
		return h(c)
	}
}

func (v *company) recognize(c servicetest.Call) servicetest.Reply {
	var r recognition
	if err := c.Decode(&r); err != nil {
		return refused(http.StatusBadRequest, err.Error())
	}
	switch {
	case len(r.Recipients) != 1 || !slices.Contains([]string{"E1001", "rep@example.com"}, r.Recipients[0]):
		return refused(http.StatusBadRequest, "Recipient not found")
	case r.Giver == nil || r.Note == nil || r.Amount == nil || r.IsPublic == nil || r.TagNames == nil:
		return refused(http.StatusBadRequest, "A field is missing")
	case r.ProgramID != "" || r.ProgramName != program:
		return refused(http.StatusBadRequest, "Program not found")
	case *r.Amount > 0 && r.BudgetName == "" || *r.Amount == 0 && r.BudgetName != "":
		return refused(http.StatusBadRequest, "Budget is missing or not wanted")
	case len(r.Title) > 50:
		return refused(http.StatusBadRequest, "Title is too long")
	}
	r.recognitionID = fmt.Sprintf("REC-%d", 1001+len(v.made))
	v.made = append(v.made, r)
	if v.before != nil {
		v.before(r.recognitionID)
	}
	return servicetest.Reply{Body: map[string]any{"success": true, "recognitionId": r.recognitionID}}
}

// feed shows the newest first.
func (v *company) feed(c servicetest.Call) servicetest.Reply {
	page, _ := strconv.Atoi(c.Query.Get("page"))
	limit, _ := strconv.Atoi(c.Query.Get("limit"))
	if page < 1 || limit < 1 {
		return refused(http.StatusBadRequest, "page and limit must be given")
	}
	items := []any{}
	for _, r := range slices.Backward(v.made) {
		tags := []any{}
		for _, tag := range r.TagNames {
			tags = append(tags, map[string]any{"name": tag})
		}
		items = append(items, map[string]any{"recognitionId": r.recognitionID, "note": *r.Note, "tags": tags})
	}
	from := min((page-1)*limit, len(items))
	return servicetest.Reply{Body: v.shape(items[from:min(from+limit, len(items))])}
}

func (v *company) count() int { v.mu.Lock(); defer v.mu.Unlock(); return len(v.made) }

// others are recognitions that somebody else made, so that ours is not the only one in the feed.
func (v *company) others(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	note := "ref-R_1 is not a tag here"
	for i := range n {
		v.made = append(v.made, recognition{Note: &note, TagNames: []string{"teamwork"}, recognitionID: fmt.Sprintf("OTHER-%d", i)})
	}
}

func refused(status int, message string) servicetest.Reply {
	return servicetest.Reply{Status: status, Body: map[string]any{"success": false, "message": message}}
}
