package qualtrics

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Brand is what a service learns about its brand before it relies on it (qualtrics.md §1.3, rule 1).
type Brand struct {
	Account Account
	// Directory is the one that the client works in, with its dedupe rule. It is zero for a client without a directory.
	Directory Directory
}

// Startup asks once, when a service starts: whose credentials are these, does the directory exist and by what does it
// take two contacts for one. Credentials that Qualtrics refuses are told by [Startup.Ready]; nothing of it ends the service.
type Startup struct {
	client *Client
	log    *slog.Logger
	asked  chan struct{} // closed when Qualtrics has answered, be it that it does not know

	mu     sync.Mutex
	brand  Brand
	known  bool
	refuse error
}

// Startup prepares the questions and sends nothing. metrics takes closeloop_qualtrics_proxied, which is 1 as soon as
// Qualtrics has said of any call that it was proxied; it may be nil. To be wired as
//
//	startup, err := client.Startup(h.Log, h.Metrics)
//	h.Door.AddCheck(h.Name+" Qualtrics", nil, startup.Ready)
//	h.Go("Qualtrics start-up", startup.Run)
func (c *Client) Startup(log *slog.Logger, metrics prometheus.Registerer) (*Startup, error) {
	if metrics != nil {
		err := metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "closeloop_qualtrics_proxied",
			Help: "1 once Qualtrics has proxied a call of ours: the base URL names another data center than the brand's.",
		}, func() float64 {
			if c.proxied.Load() {
				return 1
			}
			return 0
		}))
		if err != nil {
			return nil, err
		}
	}
	return &Startup{client: c, log: log, asked: make(chan struct{})}, nil
}

// firstWait and lastWait bound how long Run waits between two tries.
const firstWait, lastWait = time.Second, 5 * time.Minute

// Run asks until Qualtrics has answered, with growing waits, and then ends with nil; also when ctx ends, and when
// Qualtrics answers that it does not know what is asked for, or that these credentials may not ask (403).
func (s *Startup) Run(ctx context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		brand, err := s.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.note(brand, err)
		if err == nil || untold(err) { // to be told the same again helps nobody
			return nil
		}
		// Drawn, so that replicas that start together do not ask together.
		pause := max(wait/2+rand.N(wait/2), fault.From(err).After)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// untold tells that Qualtrics will not say: it does not know what is asked for, or these credentials may not ask. Scopes
// that are enough for the work need not cover the questions, so this says nothing about the work.
func untold(err error) bool { return fault.Is(err, fault.Refused) || fault.Is(err, fault.Forbidden) }

// errNoDirectory is that our directory is none of those that the credentials can see.
var errNoDirectory = errors.New("QUALTRICS_DIRECTORY_ID names none that these credentials can see")

func (s *Startup) ask(ctx context.Context) (Brand, error) {
	account, err := s.client.WhoAmI(ctx)
	if err != nil || s.client.directory == "" {
		return Brand{Account: account}, err
	}
	all, err := s.client.Directories(ctx)
	if err != nil {
		return Brand{}, err
	}
	i := slices.IndexFunc(all, func(d Directory) bool { return d.ID == s.client.directory })
	if i < 0 {
		return Brand{}, s.client.fault(fault.Refused, "list directories: %w", errNoDirectory)
	}
	return Brand{Account: account, Directory: all[i]}, nil
}

// note keeps what was learned, and says what a person has to mend.
func (s *Startup) note(brand Brand, err error) {
	refused := fault.Is(err, fault.Unauthorized)
	s.mu.Lock()
	s.brand, s.known, s.refuse = brand, err == nil, nil
	if refused {
		s.refuse = err
	}
	s.mu.Unlock()
	switch {
	case refused:
		s.log.Error("Qualtrics refuses us: check base URL and credentials", "error", err)
	case errors.Is(err, errNoDirectory):
		s.log.Error("Qualtrics does not know our directory: check QUALTRICS_BASE_URL and QUALTRICS_DIRECTORY_ID", "error", err)
		close(s.asked)
	case untold(err):
		s.log.Warn("Qualtrics does not tell who we are, nor what its directory takes for one contact; the work goes on without", "error", err)
		close(s.asked)
	case err != nil:
		s.log.Warn("Qualtrics cannot be asked yet", "error", err)
	default:
		s.log.Info("Qualtrics lets us in", "brand", brand.Account.BrandID, "datacenter", brand.Account.Datacenter,
			"directory", brand.Directory.ID, "dedupe", brand.Directory.criteria())
		close(s.asked)
	}
}

// criteria names what two contacts are taken for one by.
func (d Directory) criteria() []string {
	by := d.Dedupe
	names := []string{}
	for _, criterion := range []struct {
		name string
		set  bool
	}{
		{"email", by.Email}, {"firstName", by.FirstName}, {"lastName", by.LastName},
		{"externalDataReference", by.ExternalDataReference}, {"phone", by.Phone},
	} {
		if criterion.set {
			names = append(names, criterion.name)
		}
	}
	return names
}

// Ready tells that Qualtrics refuses our credentials (401), for a readiness check. A Qualtrics that is down or busy is no
// reason not to be ready: the work waits for it. Nor is one that does not let us ask (403): the work may be allowed.
func (s *Startup) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refuse
}

// Brand gives what was learned, or false while nothing is known.
func (s *Startup) Brand() (Brand, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.brand, s.known
}

// Wait waits until Qualtrics has let us in, and gives what was learned: nothing where Qualtrics does not tell. When ctx
// ends first, it gives the last refusal as a fault, else [fault.Down].
func (s *Startup) Wait(ctx context.Context) (Brand, error) {
	select {
	case <-s.asked:
		brand, _ := s.Brand()
		return brand, nil
	case <-ctx.Done():
		return Brand{}, errors.Join(s.Ready(), s.client.fault(fault.Down, "nothing is known about the directory yet: %w", ctx.Err()))
	}
}

// hostInstead finds the host that a notice names: "Request proxied. For faster response times, use this host instead:
// sjc1.qualtrics.com" (qualtrics.md §2.1).
var hostInstead = regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9.-]*\.qualtrics\.com`)

// noticed raises the alarm, once, if Qualtrics has proxied a call: that works almost, and has damaged results
// (qualtrics.md §2.1, §8 trap 16).
func (c *Client) noticed(a *outbound.Answer, notice string) {
	if !strings.Contains(strings.ToLower(notice), "proxied") || !c.proxied.CompareAndSwap(false, true) {
		return
	}
	c.log.Error("Qualtrics proxies our calls, which damages results: set QUALTRICS_BASE_URL to the brand's own data center",
		"host", hostInstead.FindString(notice), "notice", a.Words(notice, 300))
}
