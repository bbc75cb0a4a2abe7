package qualtrics

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	formType    = "application/x-www-form-urlencoded"
	atOnce      = 8                // deliveries on their way at the same time
	longestWait = 5 * time.Minute  // between two attempts of an event
	taskWait    = time.Hour        // between two attempts of a task
	taskRetries = 24 * time.Hour   // qualtrics.md §3.11
	taskTimeout = 16 * time.Second // qualtrics.md §3.11
	taskAnswer  = 1 << 20          // qualtrics.md §3.11: a response body is at most 1 MB
)

// wants tells whether a task starts for a response.
func (t WebServiceTask) wants(r Response) bool {
	if t.Survey != "" && t.Survey != r.SurveyID {
		return false
	}
	for name, want := range t.If {
		if r.Embedded[name] != want && r.Words[name] != want {
			return false
		}
	}
	return true
}

// delivery fills the task's templates in. In JSON nothing is escaped, so an answer with a quote makes invalid JSON:
// that is what Qualtrics sends (qualtrics.md §3.11).
func (t WebServiceTask) delivery(r Response) Delivery {
	d := Delivery{
		Kind: TaskDelivery, Name: t.Name, ResponseID: r.ID, Method: cmp.Or(t.Method, http.MethodPost),
		URL: pipe(t.URL, r.piped), Header: map[string]string{"Content-Type": "application/json"},
		Body: pipe(t.JSON, r.piped), State: Pending, NoRetry: t.NoRetry,
	}
	if t.JSON == "" {
		form := url.Values{}
		for name, template := range t.Form {
			form.Set(name, pipe(template, r.piped))
		}
		d.Body, d.Header["Content-Type"] = form.Encode(), formType
	}
	for name, template := range t.Header {
		d.Header[name] = pipe(template, r.piped)
	}
	return d
}

// enqueue stores a delivery for after a wait.
func (s *Simulator) enqueue(d Delivery, wait time.Duration) {
	d.ID = newID("")
	d.CreatedAt = time.Now().UTC() // the real time: a test's clock must not hold deliveries up
	d.DueAt = d.CreatedAt.Add(wait)
	s.settle(d)
}

// settle writes how a delivery stands.
func (s *Simulator) settle(d Delivery) {
	must(s.books.deliveries.Put(d.ID, d))
	if d.State == Pending {
		s.outbox.Put(d.ID, d.DueAt)
	} else {
		s.outbox.Drop(d.ID)
	}
}

// Run sends events and tasks until ctx ends. What is not delivered by then is sent by the next Run, after a restart too.
func (s *Simulator) Run(ctx context.Context) error {
	s.outbox.Run(ctx, atOnce, s.deliver)
	return nil
}

// deliver makes one attempt and books its outcome. An attempt that the end of Run cuts off does not count.
func (s *Simulator) deliver(ctx context.Context, id string) {
	d, _ := s.books.deliveries.Get(id)
	timeout := s.Switches().EventTimeout
	if d.Kind == TaskDelivery {
		timeout = taskTimeout
	}
	status := s.send(ctx, d, timeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, _ := s.books.deliveries.Get(id); now.State != Pending {
		return // its subscription was deleted meanwhile
	}
	if ctx.Err() == nil || success(status) {
		d = s.outcome(d, status)
	}
	s.settle(d)
}

func success(status int) bool { return status >= 200 && status <= 299 }

// outcome is how a delivery stands after an attempt.
func (s *Simulator) outcome(d Delivery, status int) Delivery {
	d.Attempts++
	d.LastStatus = status
	if success(status) {
		d.State = Delivered
		s.countSuccess(d)
		return d
	}
	wait, again := s.retry(d)
	d.DueAt = time.Now().UTC().Add(wait)
	if !again {
		d.State = GivenUp
		s.log.Warn("qualtrics simulator: a delivery was given up", slog.String("kind", d.Kind),
			slog.String("name", d.Name), slog.Int("attempts", d.Attempts), slog.Int("status", status))
	}
	return d
}

func (s *Simulator) countSuccess(d Delivery) {
	sub, found := s.books.subscriptions.Get(d.SubscriptionID)
	if found && d.Kind == EventDelivery {
		sub.SuccessfulCalls++
		must(s.books.subscriptions.Put(sub.ID, sub))
	}
}

// retry says whether and when a failed delivery is tried again: the wait doubles with each attempt.
func (s *Simulator) retry(d Delivery) (time.Duration, bool) {
	wait, longest := s.settings.Assumed.EventBackoff, longestWait
	again := d.Attempts < s.settings.Assumed.EventAttempts
	if d.Kind == TaskDelivery {
		wait, longest = s.settings.Assumed.TaskBackoff, taskWait
		again = time.Since(d.CreatedAt) < taskRetries
	}
	for range min(d.Attempts-1, 16) { // no further: it has reached the longest by then
		wait *= 2
	}
	return min(wait, longest), again && !d.NoRetry
}

// send gives the status of the answer, 0 where there was none in time.
func (s *Simulator) send(ctx context.Context, d Delivery, timeout time.Duration) int {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, d.Method, d.URL, strings.NewReader(d.Body))
	if err != nil {
		return 0
	}
	for name, value := range d.Header {
		request.Header.Set(name, value)
	}
	response, err := s.settings.Client.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.Copy(io.Discard, io.LimitReader(response.Body, taskAnswer+1))
	if err != nil || read > taskAnswer {
		return 0
	}
	return response.StatusCode
}
