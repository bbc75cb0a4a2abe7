package awardco

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

const (
	// reportPolls and reportWait bound the wait for a report; a run must not outlive its lease in the ledger.
	reportPolls = 8
	reportWait  = time.Second
	reportPages = 100
)

// FindInReport looks for our reference in report 5, recognition details, from that day on (§3.5). The report has private
// recognitions too, which the feed may leave out. A report that is not ready within seconds is [fault.NotYet].
func (c *Client) FindInReport(ctx context.Context, reference string, from time.Time) (Submitted, bool, error) {
	task, err := c.startReport(ctx, from)
	if err != nil {
		return Submitted{}, false, err
	}
	for range reportPolls {
		done, err := c.reportStatus(ctx, task)
		if err != nil {
			return Submitted{}, false, err
		}
		if done != nil {
			return c.searchReport(ctx, done, reference)
		}
		select {
		case <-ctx.Done():
			return Submitted{}, false, fault.New(fault.Transient, "the report was not waited for: %w", ctx.Err())
		case <-time.After(reportWait):
		}
	}
	return Submitted{}, false, fault.Later(30*time.Second, "report 5 is not ready yet")
}

func (c *Client) startReport(ctx context.Context, from time.Time) (task string, err error) {
	body, err := json.Marshal(map[string]any{"reportId": 5, "startDate": from.UTC().Format(time.DateOnly), "paginate": true})
	if err != nil {
		return "", err
	}
	answer, err := c.call(ctx, outbound.Call{
		Operation: "start report", Method: http.MethodPost, Path: "/v2/reports/5", Body: body, ContentType: "application/json",
	})
	if err != nil {
		return "", err
	}
	var started struct {
		TaskID any `json:"taskId"`
	}
	if err := answer.Decode(&started); err != nil {
		return "", err
	}
	if task = idText(started.TaskID); task == "" {
		return "", answer.Malformed("it has no taskId")
	}
	return task, nil
}

type reportDone struct {
	Status string `json:"status"`
	Pages  string `json:"paginatedApiBaseUrl"`
	// TotalPages is nil where it is not said: that is no empty report.
	TotalPages *int   `json:"totalPages"`
	ErrorCode  any    `json:"errorCode"`
	Message    string `json:"message"`
}

// reportStatus gives nil while the report is being made.
func (c *Client) reportStatus(ctx context.Context, task string) (*reportDone, error) {
	answer, err := c.call(ctx, outbound.Call{Operation: "report status", Path: "/v2/reports/tasks/" + url.PathEscape(task) + "/status"})
	if err != nil {
		return nil, err
	}
	var s reportDone
	if err := answer.Decode(&s); err != nil {
		return nil, err
	}
	switch status := strings.ToLower(s.Status); {
	case status == "completed", status == "" && s.Pages != "": // the name of the field is assumed (§10 row 16)
		if s.TotalPages == nil || *s.TotalPages < 0 {
			return nil, answer.Malformed("it does not say how many pages there are")
		}
		return &s, nil
	case status == "in progress", status == "":
		return nil, nil
	case status == "error":
		return nil, answer.Fault(fault.Transient, "the report failed: %s %s", answer.Words(idText(s.ErrorCode), 64), answer.Words(s.Message, 300))
	}
	return nil, answer.Malformed("its status is none of in progress, completed, error")
}

func (c *Client) searchReport(ctx context.Context, done *reportDone, reference string) (Submitted, bool, error) {
	base, err := url.Parse(done.Pages)
	if err != nil || base.Scheme != c.base.Scheme || base.Host != c.base.Host {
		// The key goes along: not to whatever address an answer names.
		return Submitted{}, false, fault.New(fault.Person, "awardco: the pages of report 5 are not at the host of AWARDCO_BASE_URL, so they are not read")
	}
	for page := 1; page <= min(*done.TotalPages, reportPages); page++ {
		query := base.Query()
		query.Set("page", strconv.Itoa(page))
		base.RawQuery = query.Encode()
		answer, err := c.outbound.Do(ctx, outbound.Call{
			Operation: "read report", URL: base.String(), Header: http.Header{"Apikey": {c.apiKey.Reveal()}, "Accept": {"text/csv"}}, Words: words,
		})
		if err != nil {
			return Submitted{}, false, err
		}
		found, ok, err := searchPage(answer, reference)
		if err != nil || ok {
			return found, ok, err
		}
	}
	if *done.TotalPages > reportPages {
		return Submitted{}, false, fault.New(fault.Person, "awardco: report 5 has more than %d pages since then: look for the tag %s in Awardco", reportPages, Tag(reference))
	}
	return Submitted{}, false, nil
}

// searchPage looks through one page of CSV. The names of the columns are assumed (§10 row 16): ours is found in any.
func searchPage(answer *outbound.Answer, reference string) (Submitted, bool, error) {
	r := csv.NewReader(bytes.NewReader(answer.Body))
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		return Submitted{}, false, answer.Malformed("the page is no CSV")
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return Submitted{}, false, nil
		}
		if err != nil {
			return Submitted{}, false, answer.Malformed("the page is no CSV")
		}
		for _, cell := range record {
			for tag := range strings.SplitSeq(cell, ";") {
				if Holds(tag, reference) {
					return Submitted{ID: recordID(header, record)}, true, nil
				}
			}
		}
	}
}

func recordID(header, record []string) string {
	for i, name := range header {
		if strings.EqualFold(strings.ReplaceAll(name, " ", ""), "recognitionId") && i < len(record) {
			return record[i]
		}
	}
	return ""
}
