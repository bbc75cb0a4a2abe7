package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// MaxMembers is the most members of one campaign.
const MaxMembers = 10_000

// ErrMembers is returned for a campaign of fewer members than 1 or more than [MaxMembers].
var ErrMembers = fmt.Errorf("a campaign has 1 to %d members", MaxMembers)

// ErrRefused is returned by [Campaigns.Play] for a campaign of which a package was not taken.
var ErrRefused = errors.New("the campaign was refused")

// State is how far a campaign has come.
type State string

// The states of a campaign.
const (
	Queued  State = "queued"  // for its turn, or for the endpoint to answer the ping
	Running State = "running" // members are being handed over
	Sent    State = "sent"    // every member was taken
	Refused State = "refused" // a package was given up
)

// Campaign is one campaign of the demonstration.
type Campaign struct {
	// Number counts from 1, ID is the campaign's id in SAP Marketing Cloud.
	Number   int       `json:"number"`
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Members  int       `json:"members"`
	QueuedAt time.Time `json:"queuedAt"`
	State    State     `json:"state"`
	// Status is the last answer to a package; 0 before any.
	Status int `json:"status,omitempty"`
}

// plan is a campaign in the books. How far it has come is in the books of SAP Marketing Cloud.
type plan struct {
	Number   int       `json:"number"`
	Members  int       `json:"members"`
	QueuedAt time.Time `json:"queuedAt"`
}

func (p plan) id() string { return fmt.Sprintf("%010d", p.Number) }

// Endpoint is closeloop's Open Channel door: its URL and the key sent as X-API-Key, where there is one.
type Endpoint struct{ URL, Key string }

func (e Endpoint) header() http.Header {
	if e.Key == "" {
		return nil
	}
	return http.Header{"X-Api-Key": {e.Key}}
}

// Campaigns are the campaigns of the demonstration, one after the other. A campaign that was queued is played, through
// restarts, until every member was handed over. Its members' outbound ids depend on its number alone, so that a member
// who is handed over twice is still the same invitation.
type Campaigns struct {
	marketing *marketing.Simulator
	sales     *salescloud.Simulator
	endpoint  Endpoint
	log       *slog.Logger
	plans     *store.Table[plan]
	wake      chan struct{}
	waits     bool // for the endpoint, as of the last attempt; of Run alone

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
}

// NewCampaigns opens the book of campaigns in st.
func NewCampaigns(st *store.Store, m *marketing.Simulator, s *salescloud.Simulator, e Endpoint, log *slog.Logger) (*Campaigns, error) {
	plans, err := store.NewTable[plan](st, "demo.campaigns")
	if err != nil {
		return nil, fmt.Errorf("opening the book of campaigns: %w", err)
	}
	return &Campaigns{
		marketing: m, sales: s, endpoint: e, log: log, plans: plans,
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}, nil
}

// Queue notes a campaign of so many members, for [Campaigns.Run] to play, and gives its number. Errors: [ErrMembers].
func (c *Campaigns) Queue(members int) (number int, err error) {
	if members < 1 || members > MaxMembers {
		return 0, ErrMembers
	}
	if err := enlist(c.sales, members); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := plan{Number: c.plans.Len() + 1, Members: members, QueuedAt: time.Now().UTC()}
	if err := c.plans.Put(p.id(), p); err != nil {
		return 0, err
	}
	select {
	case c.wake <- struct{}{}:
	default: // Run is awake already
	}
	return p.Number, nil
}

// Play queues a campaign and waits until all of its members were handed over. When ctx ends first the campaign goes on.
// Errors: [ErrMembers], [ErrRefused], the context's.
func (c *Campaigns) Play(ctx context.Context, members int) error {
	number, err := c.Queue(members)
	if err != nil {
		return err
	}
	for {
		changed := c.nextChange()
		switch now := c.All()[number-1]; now.State {
		case Sent:
			return nil
		case Refused:
			return fmt.Errorf("%w: a package was answered with status %d", ErrRefused, now.Status)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// All gives the campaigns in the order of their numbers.
func (c *Campaigns) All() []Campaign {
	runs := c.runs()
	all := []Campaign{}
	for _, p := range c.plans.All() {
		campaign := Campaign{Number: p.Number, ID: p.id(), Name: p.name(), Members: p.Members, QueuedAt: p.QueuedAt}
		campaign.State, campaign.Status = progress(runs[p.id()])
		all = append(all, campaign)
	}
	return all
}

func (p plan) name() string { return fmt.Sprintf("Customer feedback %d", p.Number) }

// runs are the latest runs in SAP Marketing Cloud, by campaign.
func (c *Campaigns) runs() map[string]marketing.CampaignRun {
	latest := map[string]marketing.CampaignRun{}
	for _, r := range c.marketing.Books().Campaigns {
		latest[r.CampaignID] = r
	}
	return latest
}

// progress tells a campaign's state from its latest run; the zero run is none.
func progress(r marketing.CampaignRun) (State, int) {
	status, given := 0, false
	for _, p := range r.Packages {
		status = cmp.Or(p.Status, status)
		given = given || p.State == marketing.Failed
	}
	switch {
	case r.State == "" || r.State == marketing.NotStarted:
		return Queued, 0
	case r.State == marketing.Running:
		return Running, status
	case given:
		return Refused, status
	}
	return Sent, status
}

// The waits between attempts to reach an endpoint that is not there.
const (
	firstWait   = 250 * time.Millisecond
	longestWait = 30 * time.Second
)

// Run plays what is queued until ctx ends, what the last end of the process interrupted first.
func (c *Campaigns) Run(ctx context.Context) error {
	resumed, wait := false, firstWait
	for ctx.Err() == nil {
		// An interrupted campaign whose endpoint is gone must not hold up the others.
		resumed = resumed || c.managed(c.marketing.Resume(ctx))
		if c.playQueue(ctx) && resumed {
			wait = firstWait
			c.sleep(ctx, 0)
			continue
		}
		c.sleep(ctx, wait)
		wait = min(2*wait, longestWait)
	}
	return nil
}

// playQueue plays what has not been started, and tells whether all of it could be.
func (c *Campaigns) playQueue(ctx context.Context) bool {
	runs, all := c.runs(), true
	for _, p := range c.plans.All() {
		if state, _ := progress(runs[p.id()]); state != Queued || ctx.Err() != nil {
			continue
		}
		_, err := c.marketing.RunCampaign(ctx, c.campaign(p))
		all = c.managed(err) && all
	}
	return all
}

func (c *Campaigns) campaign(p plan) marketing.Campaign {
	campaign := marketing.Campaign{
		ID: p.id(), Name: p.name(), MarketingArea: "GLOBAL", URL: c.endpoint.URL, Header: c.endpoint.header(),
	}
	for i := range p.Members {
		campaign.Members = append(campaign.Members, member(p.Number, i))
	}
	return campaign
}

// managed tells those who wait that something has happened, and whether it was good.
func (c *Campaigns) managed(err error) bool {
	c.mu.Lock()
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if errors.Is(err, context.Canceled) {
		return false
	}
	if err != nil {
		level := slog.LevelWarn
		if c.waits { // it has been said
			level = slog.LevelDebug
		}
		c.log.Log(context.Background(), level, "a campaign waits", "error", err)
	}
	c.waits = err != nil
	return err == nil
}

func (c *Campaigns) nextChange() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// sleep waits until something is queued, or so long; 0 has no end.
func (c *Campaigns) sleep(ctx context.Context, wait time.Duration) {
	var after <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-after:
	case <-c.wake:
	case <-ctx.Done():
	}
}
