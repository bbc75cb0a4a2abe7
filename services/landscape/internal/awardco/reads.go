package awardco

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type feedItem struct {
	RecognitionID string    `json:"recognitionId"`
	Giver         string    `json:"giver"`
	Recipients    []string  `json:"recipients"`
	Note          string    `json:"note"`
	Title         string    `json:"title"`
	Tags          []string  `json:"tagNames"`
	Amount        int       `json:"amount"`
	Program       string    `json:"recognitionProgramName"`
	CreatedAt     time.Time `json:"createdAt"`
}

// getFeed answers GET /v1/custom-feed, newest first (awardco.md §3.4). The fields and the envelope are assumed, and so
// is that the feed shows public, granted recognitions only; report 5 has them all.
func (s *Simulator) getFeed(r *http.Request) (any, error) {
	page, limit, err := paging(r)
	if err != nil {
		return nil, err
	}
	shown := s.recognitions.Find(func(r Recognition) bool { return r.Public && r.State == Granted })
	slices.Reverse(shown)
	items := []feedItem{}
	for _, r := range slicePage(shown, page, limit) {
		items = append(items, feedItem{r.ID, r.Giver, r.Recipients, r.Note, r.Title, r.Tags, r.Amount, r.Program, r.CreatedAt})
	}
	return map[string]any{"success": true, "page": page, "limit": limit, "total": len(shown), "data": items}, nil
}

// Reports that are simulated (awardco.md §3.5): 5 has every granted recognition, 7 every one with its state.
const (
	reportDetails = "5"
	reportStatus  = "7"
)

// report is a report task in the books. Its lines are those of the recognitions that existed when it was started.
type report struct {
	ID     string    `json:"id"`
	Report string    `json:"report"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Count  int       `json:"count"`
	Polls  int       `json:"polls"`
}

// reportRequest is the body that starts a report; dates are ISO 8601, the last day or instant included.
type reportRequest struct {
	ReportID        json.RawMessage `json:"reportId"`
	StartDate       string          `json:"startDate"`
	EndDate         string          `json:"endDate"`
	SelectedColumns []string        `json:"selectedColumns"`
	SelectedFilters map[string]any  `json:"selectedFilters"`
	Timezone        string          `json:"timezone"`
	TimeRangeOption string          `json:"timeRangeOption"`
	Paginate        bool            `json:"paginate"`
}

func (s *Simulator) postReport(r *http.Request) (any, error) {
	kind := r.PathValue("report")
	if kind != reportDetails && kind != reportStatus {
		return nil, refuse(http.StatusNotFound, "This report is not simulated")
	}
	var q reportRequest
	if r.ContentLength != 0 {
		if err := s.read(r, &q); err != nil {
			return nil, err
		}
	}
	if len(q.SelectedColumns) > 0 || len(q.SelectedFilters) > 0 || (q.TimeRangeOption != "" && q.TimeRangeOption != "all time") {
		return nil, refuse(http.StatusNotImplemented, "Columns, filters and named time ranges are not simulated")
	}
	task := report{ID: strconv.FormatUint(s.nextReport(), 10), Report: kind, Count: s.recognitions.Len()}
	var err error
	if task.From, err = reportDate("startDate", q.StartDate, 0); err != nil {
		return nil, err
	}
	if task.To, err = reportDate("endDate", q.EndDate, 24*time.Hour-1); err != nil {
		return nil, err
	}
	if err := s.reports.Put(task.ID, task); err != nil {
		return nil, err
	}
	return map[string]any{"success": true, "taskId": json.Number(task.ID)}, nil
}

// reportDate reads a date, to which it adds day, or a time in UTC.
func reportDate(field, text string, day time.Duration) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.Add(day), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, bad("Field %s must be an ISO 8601 date", field)
}

type statusAnswer struct {
	Status              string      `json:"status"`
	TaskID              json.Number `json:"taskId"`
	PaginatedAPIBaseURL string      `json:"paginatedApiBaseUrl,omitempty"`
	TotalPages          int         `json:"totalPages,omitempty"`
	DownloadURL         string      `json:"downloadUrl,omitempty"`
}

// getReportStatus answers "in progress" for the first polls, then where the pages are (awardco.md §3.5).
func (s *Simulator) getReportStatus(r *http.Request) (any, error) {
	id := r.PathValue("task")
	task, err := s.reports.Update(id, func(t report, found bool) (report, bool) {
		t.Polls++
		return t, found
	})
	if err != nil {
		return nil, err
	}
	a := statusAnswer{Status: "in progress", TaskID: json.Number(id)}
	switch {
	case task.ID == "":
		return nil, refuse(http.StatusNotFound, "Report task not found")
	case task.Polls <= s.settings.ReportPolls:
		return a, nil
	}
	pages := max(1, (len(s.lines(task))+s.settings.ReportPageSize-1)/s.settings.ReportPageSize)
	a.Status, a.TotalPages = "completed", pages
	a.PaginatedAPIBaseURL = fmt.Sprintf("%s://%s/api/v2/reports/tasks/%s/pages", scheme(r), r.Host, id)
	a.DownloadURL = a.PaginatedAPIBaseURL + "?page=all"
	return a, nil
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// getReportPage answers one page of CSV, each with the header line; pages count from 1.
func (s *Simulator) getReportPage(r *http.Request) (any, error) {
	task, ok := s.reports.Get(r.PathValue("task"))
	if !ok || task.Polls <= s.settings.ReportPolls {
		return nil, refuse(http.StatusNotFound, "Report task not found")
	}
	lines := s.lines(task)
	if r.URL.Query().Get("page") != "all" {
		page, err := positive(r, "page", 1)
		if err != nil {
			return nil, err
		}
		lines = slicePage(lines, page, s.settings.ReportPageSize)
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(append([][]string{reportHeader}, lines...)); err != nil {
		return nil, err
	}
	return csvPage(b.Bytes()), nil
}

// reportHeader are the columns of both reports; their names are assumed (awardco.md §10 row 16).
var reportHeader = []string{
	"Recognition Id", "Recognition Date", "From User", "To User", "To Email", "Note", "Title", "Tags", "Amount", "Budget Name", "Program Name", "Public/Private", "Status",
}

// lines are the report's lines: one for each recipient of each recognition.
func (s *Simulator) lines(task report) [][]string {
	var lines [][]string
	for _, r := range s.recognitions.All()[:task.Count] {
		switch {
		case task.Report == reportDetails && r.State != Granted,
			r.CreatedAt.Before(task.From),
			!task.To.IsZero() && r.CreatedAt.After(task.To):
			continue
		}
		for _, id := range r.Recipients {
			lines = append(lines, s.line(r, id))
		}
	}
	return lines
}

func (s *Simulator) line(r Recognition, recipient string) []string {
	visibility := "Private"
	if r.Public {
		visibility = "Public"
	}
	u, _ := s.users.Get(recipient)
	return []string{
		r.ID, r.CreatedAt.Format(time.RFC3339), r.Giver, recipient, u.Email, r.Note, r.Title, strings.Join(r.Tags, ";"),
		strconv.Itoa(r.Amount), r.Budget, r.Program, visibility, string(r.State),
	}
}
