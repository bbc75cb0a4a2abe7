// Package people simulates the customers: they get mails, open the survey link in them as a browser does, and fill the
// form in, each in its own way, or do nothing.
//
// They know nothing of the systems around them but what is on the page. A mail is stored before it is acted upon, so
// that a restart loses none.
package people

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/agenda"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// Settings say how the customers behave.
type Settings struct {
	// Seed decides who does what; the same seed gives the same people.
	Seed uint64
	// AnswerAll makes everybody answer.
	AnswerAll bool
	// MinDelay and MaxDelay bound the time between a mail and its answer.
	MinDelay, MaxDelay time.Duration
	// RetryDelay is the wait before a page that could not be opened is tried again, doubled for each further time; 0
	// means 1 s. RetryFor is when a person gives up; 0 means 24 hours.
	RetryDelay, RetryFor time.Duration
	// Client opens the pages; nil means one that waits 30 s for an answer.
	Client *http.Client
}

// Mail is a mail with a survey link in it. The same id is the same mail, however often it is delivered.
type Mail struct {
	ID   string `json:"id"`
	To   string `json:"to"`
	Link string `json:"link"`
}

// What became of a mail.
const (
	Waiting  = "waiting"  // for the person to find the time, or for the page
	Answered = "answered" // the survey took the answers
	Ignored  = "ignored"  // the person does not answer
	Refused  = "refused"  // the link is unknown, used or expired, or the answers were not taken
	GivenUp  = "given up" // the page could not be opened for too long
)

// Visit is a mail and what became of it.
type Visit struct {
	Mail
	ReceivedAt time.Time `json:"receivedAt"`
	DueAt      time.Time `json:"dueAt"`
	Attempts   int       `json:"attempts"`
	State      string    `json:"state"`
	LastStatus int       `json:"lastStatus,omitempty"` // of the page; 0: no answer
}

// People are the customers.
type People struct {
	settings Settings
	log      *slog.Logger
	visits   *store.Table[Visit]
	agenda   *agenda.Agenda
}

const atOnce = 8 // visits at the same time

// New opens the customers' mails in st.
func New(st *store.Store, settings Settings, log *slog.Logger) (*People, error) {
	if settings.MinDelay < 0 || settings.MaxDelay < settings.MinDelay {
		return nil, fmt.Errorf("people: the delay must be from 0 up, and the most not below the least")
	}
	if settings.RetryDelay == 0 {
		settings.RetryDelay = time.Second
	}
	if settings.RetryFor == 0 {
		settings.RetryFor = 24 * time.Hour
	}
	if settings.Client == nil {
		settings.Client = &http.Client{Timeout: 30 * time.Second}
	}
	visits, err := store.NewTable[Visit](st, "people.visits")
	if err != nil {
		return nil, fmt.Errorf("people: %w", err)
	}
	p := &People{settings: settings, log: log, visits: visits, agenda: agenda.New()}
	for _, v := range visits.Find(func(v Visit) bool { return v.State == Waiting }) {
		p.agenda.Put(v.ID, v.DueAt)
	}
	return p, nil
}

// OnMail takes a mail; it is stored when OnMail returns nil. A mail without id, addressee or a usable link is refused.
func (p *People) OnMail(_ context.Context, mail Mail) error {
	link, err := url.Parse(mail.Link)
	if err != nil || link.Scheme != "http" && link.Scheme != "https" || mail.ID == "" || mail.To == "" {
		return errors.New("people: a mail needs an id, an addressee and a link that begins with http:// or https://")
	}
	isNew := false
	visit, err := p.visits.Update(mail.ID, func(known Visit, found bool) (Visit, bool) {
		isNew = !found
		if found {
			return known, false
		}
		return p.plan(mail), true
	})
	if err != nil {
		return fmt.Errorf("people: %w", err)
	}
	if isNew && visit.State == Waiting {
		p.agenda.Put(visit.ID, visit.DueAt)
	}
	return nil
}

// plan decides what the person does about a mail, and when.
func (p *People) plan(mail Mail) Visit {
	person, now := PersonOf(p.settings.Seed, mail.To), time.Now().UTC()
	delay := p.settings.MinDelay + time.Duration(person.Patience*float64(p.settings.MaxDelay-p.settings.MinDelay))
	v := Visit{Mail: mail, ReceivedAt: now, DueAt: now.Add(delay), State: Waiting}
	if !person.Answers && !p.settings.AnswerAll {
		v.State = Ignored
	}
	return v
}

// Run lets the customers act until ctx ends. What they have not done by then they do in the next Run, after a restart too.
func (p *People) Run(ctx context.Context) error {
	p.agenda.Run(ctx, atOnce, p.act)
	return nil
}

// Visits gives all mails and what became of them, first received first.
func (p *People) Visits() []Visit { return p.visits.All() }

// act lets a person answer one mail.
func (p *People) act(ctx context.Context, id string) {
	v, _ := p.visits.Get(id)
	state, status := p.visit(ctx, v)
	if ctx.Err() == nil || state != Waiting {
		v.Attempts++
		v.State, v.LastStatus = state, status
	}
	if v.State == Waiting && ctx.Err() == nil {
		v = p.postpone(v)
	}
	if err := p.visits.Put(v.ID, v); err != nil {
		p.log.Error("people: a visit could not be stored", "error", err)
	}
	if v.State == Waiting {
		p.agenda.Put(v.ID, v.DueAt)
	}
}

func (p *People) postpone(v Visit) Visit {
	if time.Since(v.ReceivedAt) > p.settings.RetryFor {
		v.State = GivenUp
		return v
	}
	wait := p.settings.RetryDelay << min(v.Attempts-1, 10)
	v.DueAt = time.Now().UTC().Add(min(wait, time.Hour))
	return v
}

// visit opens the page and sends the form filled in. Waiting means that it is worth another try.
func (p *People) visit(ctx context.Context, v Visit) (state string, status int) {
	page, err := p.fetch(ctx, http.MethodGet, v.Link, nil)
	if err != nil || page.status != http.StatusOK {
		return stateOf(page.status), page.status
	}
	f, err := readForm(strings.NewReader(page.text))
	if err != nil {
		return Refused, page.status
	}
	target, err := page.address.Parse(f.action)
	if err != nil {
		return Refused, page.status
	}
	thanks, err := p.fetch(ctx, http.MethodPost, target.String(), f.fill(PersonOf(p.settings.Seed, v.To)))
	if err == nil && thanks.status == http.StatusOK {
		return Answered, thanks.status
	}
	return stateOf(thanks.status), thanks.status
}

// stateOf tells refusals from troubles that may pass.
func stateOf(status int) string {
	if status >= 400 && status <= 499 && status != http.StatusTooManyRequests {
		return Refused
	}
	return Waiting
}

// page is what a browser has after a request; status 0 means no answer.
type page struct {
	address *url.URL
	status  int
	text    string
}

func (p *People) fetch(ctx context.Context, method, address string, filled url.Values) (page, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(filled.Encode()))
	if err != nil {
		return page{}, err
	}
	request.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := p.settings.Client.Do(request)
	if err != nil {
		return page{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return page{}, err
	}
	return page{response.Request.URL, response.StatusCode, string(text)}, nil
}
