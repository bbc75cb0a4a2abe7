// Package landscape assembles the simulated vendors into a service: Qualtrics, SAP Marketing Cloud, SAP Sales Cloud and
// Awardco, the customers who answer surveys, faults on request, and a page that shows what happened.
package landscape

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/demo"
	"github.com/closeloop/closeloop/services/landscape/internal/faults"
	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud/version2"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
	"github.com/closeloop/closeloop/services/landscape/internal/traffic"
	"github.com/closeloop/closeloop/services/landscape/internal/web"
)

// The vendors' names, as faults take them.
const (
	Qualtrics  = "qualtrics"
	Marketing  = "sap-marketing"
	SalesCloud = "sap-sales-cloud"
	Awardco    = "awardco"
)

// The surveys of the demonstration.
const (
	ServiceSurvey = qualtrics.ServiceSurvey
	CartSurvey    = qualtrics.CartSurvey
)

// AttributesFile is the OPEN_CHANNEL_ATTRIBUTES_FILE that ingress needs for the campaigns of the landscape: SAP's
// published recipe and what the demonstration's surveys need besides.
//
//go:embed attributes.yaml
var AttributesFile []byte

// Expectation is what campaigns lead to, or have led to so far.
type Expectation = demo.Expectation

// Campaign is one campaign of the demonstration and how far it has come.
type Campaign = demo.Campaign

// Fault is one way in which a vendor misbehaves on request, as POST /landscape/faults takes it.
type Fault = faults.Fault

// The kinds of fault that measurements use; the README has all.
const (
	FaultStatus     = faults.Status
	FaultLostAnswer = faults.LostAnswer
)

// Calls are the calls that came to the vendors, by vendor and operation.
type Calls = traffic.Counts

// Errors of [Landscape.PlayCampaign].
var (
	// ErrMembers is returned for a campaign with too few or too many members.
	ErrMembers = demo.ErrMembers
	// ErrRefused is returned for a campaign of which ingress did not take a package, however often it was sent.
	ErrRefused = demo.ErrRefused
)

// Landscape is the simulated landscape. It is safe for concurrent use.
type Landscape struct {
	settings  *Settings
	store     *store.Store
	desk      *faults.Desk
	traffic   *traffic.Counter
	qualtrics *qualtrics.Simulator
	marketing *marketing.Simulator
	sales     *salescloud.Simulator
	sales2    *version2.Simulator
	awardco   *awardco.Simulator
	people    *people.People // nil with LANDSCAPE_PEOPLE=off
	campaigns *demo.Campaigns
	pages     *web.Pages

	running sync.WaitGroup
	closing context.Context
	stop    context.CancelFunc
}

// New opens the vendors' books, which it makes where there are none, and sets the company of the demonstration up. It
// fails on settings that cannot work, and on books that cannot be read or that another landscape has open.
func New(s *Settings, log *slog.Logger) (*Landscape, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.DataDir != "" {
		if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("DATA_DIR: %w", err)
		}
	}
	st, err := store.Open(s.DataDir)
	if err != nil {
		return nil, fmt.Errorf("DATA_DIR: %w", err)
	}
	l := &Landscape{settings: s, store: st, desk: faults.NewDesk(), traffic: traffic.New()}
	l.closing, l.stop = context.WithCancel(context.Background())
	if err := l.assemble(log); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return l, nil
}

func (l *Landscape) assemble(log *slog.Logger) (err error) {
	s, st := l.settings, l.store
	if s.People == peopleAuto {
		delays := people.Settings{Seed: demo.Seed, MinDelay: s.PeopleDelay / 10, MaxDelay: s.PeopleDelay}
		if l.people, err = people.New(st, delays, log); err != nil {
			return err
		}
	}
	brand, err := s.qualtrics()
	if err != nil {
		return err
	}
	if l.qualtrics, err = qualtrics.New(st, brand, log); err != nil {
		return err
	}
	tenant, err := s.marketing(l.onMail(log))
	if err != nil {
		return err
	}
	if l.marketing, err = marketing.New(st, tenant, log); err != nil {
		return err
	}
	if err = l.openSales(st, s, log); err != nil {
		return err
	}
	company, err := s.awardco()
	if err != nil {
		return err
	}
	if l.awardco, err = awardco.New(st, company, log); err != nil {
		return err
	}
	if err = demo.Found(l.sales, l.awardco, s.AwardcoProgram, s.SalesProcessorID, s.AwardcoApproval); err != nil {
		return err
	}
	endpoint := demo.Endpoint{URL: s.doors() + "/sap/open-channel", Key: s.DoorsAPIKey.Reveal()}
	if l.campaigns, err = demo.NewCampaigns(st, l.marketing, l.sales, endpoint, log); err != nil {
		return err
	}
	l.pages = web.New(web.Landscape{
		Qualtrics: l.qualtrics, Marketing: l.marketing, SalesCloud: l.sales, Awardco: l.awardco, People: l.people,
		Campaigns: l.campaigns, Faults: l.desk, Traffic: l.traffic, Switches: brand.Assumed, Surveys: demo.Surveys(), Books: func() any { return l.Books() },
		Reached: l.Reached, Expected: l.Expected,
	}, log)
	return nil
}

// qualtrics is a brand with the demonstration's surveys, a subscription to their answers, and the workflows that send
// some of the answers besides.
func (s *Settings) qualtrics() (q qualtrics.Settings, err error) {
	q = qualtrics.Defaults()
	if q.Assumed, err = s.switches(); err != nil {
		return q, err
	}
	q.ClientID, q.ClientSecret, q.Dedupe = s.QualtricsClientID, s.QualtricsClientSecret.Reveal(), s.dedupe()
	q.BaseURL, q.APIURL, q.Token, q.DirectoryID = s.PublicURL, s.apis(), s.QualtricsToken.Reveal(), s.QualtricsDirectoryID
	q.MailingLists[0].ID = s.QualtricsMailingListID
	q.Surveys = demo.Surveys()
	q.Webhooks = []qualtrics.Webhook{{
		Topics: "surveyengine.completedResponse.*", URL: s.doors() + "/qualtrics/events", SharedKey: s.sharedKey(),
	}}
	q.Tasks = demo.Tasks(s.doors()+"/qualtrics/responses", s.DoorsAPIKey.Reveal())
	return q, nil
}

// marketing is a tenant that repeats a package for a while when it is not taken: whether the real one does is not
// documented (sap-marketing-cloud.md §1.2), and a demonstration must survive a door that restarts.
func (s *Settings) marketing(onMail func(context.Context, marketing.Mail)) (marketing.Settings, error) {
	tenant, err := marketing.Settings{
		Username: s.MarketingUsername, Password: s.MarketingPassword.Reveal(), PackageRepeats: 20, OnMail: onMail,
		VisibleAfter: time.Second, // nobody who watches a demonstration wants to wait for the contract's 5 s
	}.With(s.MarketingSwitches)
	if err != nil {
		return tenant, fmt.Errorf("LANDSCAPE_MARKETING: %w", err)
	}
	return tenant, nil
}

func (l *Landscape) onMail(log *slog.Logger) func(context.Context, marketing.Mail) {
	if l.people == nil {
		return nil
	}
	return func(ctx context.Context, m marketing.Mail) {
		if err := l.people.OnMail(ctx, people.Mail{ID: m.ID, To: m.To, Link: m.Link}); err != nil {
			log.Warn("a mail was not delivered", "error", err)
		}
	}
}

// Mount adds the vendors' APIs, each counted and behind the faults desk, the survey pages, and the landscape's own pages
// to a door.
func (l *Landscape) Mount(d *httpdoor.Door) {
	l.mount(d, Qualtrics, l.qualtrics.API(), "/API/v3", "/oauth2/token")
	l.mount(d, Marketing, l.marketing.API(), "/sap/opu/odata/sap")
	l.mount(d, SalesCloud, l.sales.API(), "/sap/c4c/odata")
	l.mount(d, SalesCloud, l.sales2.API(), "/sap/c4c/api/v1")
	l.mount(d, Awardco, l.awardco.API(), "/api", awardco.IntakePath)
	d.Mount("/jfe/form", l.qualtrics.Pages())
	d.Mount("/landscape", l.pages)
}

// mount adds a vendor's API at its addresses. Its calls are named without the first.
func (l *Landscape) mount(d *httpdoor.Door, vendor string, api http.Handler, bases ...string) {
	counted := l.traffic.Wrap(vendor, bases[0], api, l.desk.Wrap(vendor, api))
	for _, base := range bases {
		d.Mount(base, counted)
	}
}

// Calls gives the calls that came to the vendors since the process began or [Landscape.ForgetCalls].
func (l *Landscape) Calls() Calls { return l.traffic.Counts() }

// ForgetCalls begins to count calls, and refusals by Qualtrics's limits, anew.
func (l *Landscape) ForgetCalls() {
	l.traffic.Reset()
	l.qualtrics.ForgetCalls()
}

// SwitchQualtrics changes how Qualtrics behaves from now on: change is a YAML or JSON object as LANDSCAPE_QUALTRICS, and
// switches that it does not name stay as they are. It fails, and changes nothing, on names and values that are wrong.
func (l *Landscape) SwitchQualtrics(change string) error { return l.qualtrics.Change([]byte(change)) }

// playFirst queues the campaign of the first start; later starts find it in the books.
func (l *Landscape) playFirst() error {
	if l.settings.Campaign == 0 || len(l.campaigns.All()) > 0 {
		return nil
	}
	_, err := l.campaigns.Queue(l.settings.Campaign)
	return err
}

// Run sends webhooks, plays campaigns and lets the customers act until ctx ends or the landscape is closed. What is
// undone by then is done by the next Run, after a restart too where there is a DATA_DIR.
func (l *Landscape) Run(ctx context.Context) error {
	l.running.Add(1)
	defer l.running.Done()
	if err := l.playFirst(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()
	parts := []func(context.Context) error{l.qualtrics.Run, l.campaigns.Run, l.awardco.Run}
	if l.people != nil {
		parts = append(parts, l.people.Run)
	}
	var all sync.WaitGroup
	errs := make([]error, len(parts))
	for i, part := range parts {
		all.Go(func() { errs[i] = part(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close ends Run, waits for it, and closes the books. The door must not serve the landscape any more.
func (l *Landscape) Close() error {
	l.stop()
	l.running.Wait()
	l.sales2.Close()
	return l.store.Close()
}

// PlayCampaign plays one more campaign, the members of which are asked by turns about a service visit and about a cart
// that they left. It waits until Run has handed all of them over to ingress, not until they have answered; when ctx ends
// first, Run goes on with it. Errors: [ErrMembers], [ErrRefused], the context's.
func (l *Landscape) PlayCampaign(ctx context.Context, members int) error {
	return l.campaigns.Play(ctx, members)
}

// Campaigns gives all campaigns ever asked for, the first first.
func (l *Landscape) Campaigns() []Campaign { return l.campaigns.All() }

// Expected tells what one campaign of so many members leads to with the rules that come with closeloop.
func (l *Landscape) Expected(members int) Expectation { return demo.Expected(members, l.people != nil) }

// Reached tells what has come of all campaigns, and of everything else, so far.
func (l *Landscape) Reached() Expectation { return l.Books().reached() }

// Books are what the vendors hold at one moment. They carry customers' data and survey links, and no credentials.
type Books struct {
	Qualtrics  qualtrics.Books  `json:"qualtrics"`
	Marketing  marketing.Books  `json:"marketing"`
	SalesCloud salescloud.Books `json:"salesCloud"`
	// SalesCloud2 is Version 2 of it.
	SalesCloud2 version2.Books `json:"salesCloud2"`
	Awardco     awardco.Books  `json:"awardco"`
	// Visits are the simulated customers' mails and what became of them.
	Visits []people.Visit `json:"visits"`
	// Campaigns are those of the demonstration.
	Campaigns []Campaign `json:"campaigns"`
}

// Books gives a copy of everything.
func (l *Landscape) Books() Books {
	b := Books{
		Qualtrics: l.qualtrics.Books(), Marketing: l.marketing.Books(), SalesCloud: l.sales.Books(), SalesCloud2: l.sales2.Books(), Awardco: l.awardco.Books(),
		Campaigns: l.campaigns.All(),
	}
	if l.people != nil {
		b.Visits = l.people.Visits()
	}
	return b
}

func (b Books) reached() Expectation {
	e := Expectation{
		Links: len(b.Qualtrics.Links), Mails: len(b.Marketing.Mails) - b.Marketing.WithoutAddressee,
		Answers: len(b.Qualtrics.Responses), Tasks: len(b.SalesCloud.Tasks) + len(b.SalesCloud2.Tasks), Recognitions: len(b.Awardco.Recognitions),
	}
	for _, i := range b.Marketing.Interactions {
		if i.Type == "SURVEY_LINK_CREATED" {
			e.Interactions++
		}
	}
	return e
}

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: "landscape",
		Doc: "Simulates Qualtrics, SAP Marketing Cloud, SAP Sales Cloud and Awardco from their published contracts, with customers who " +
			"answer surveys and faults on request. /landscape/ shows what happened. For demonstrations and tests only: its pages " +
			"ask nobody for credentials.",
		Settings: s,
		NoBroker: true,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	l, err := New(s, h.Log)
	if err != nil {
		return err
	}
	l.Mount(h.Door)
	h.OnStop(func(context.Context) {
		if err := l.Close(); err != nil {
			h.Log.Error("the books could not be closed", "error", err)
		}
	})
	h.Go("landscape", l.Run)
	return nil
}
