package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/console/web"
)

// PageSettings are those of the pages.
type PageSettings struct {
	Readers    settings.Secrets `envconfig:"CONSOLE_READERS" desc:"who may read and change nothing, as user:password, several separated by commas; those of INGRESS_BASIC_USERS may do everything"`
	SessionKey settings.Secret  `envconfig:"CONSOLE_SESSION_KEY" desc:"key that authenticates the cookies of those who signed in and makes aliases of ids that hold an address, 32 characters or more, the same at all replicas; default: a random one, which ends with the process"`
	Links      []string         `envconfig:"CONSOLE_LINKS" desc:"links in the header of each page, as name=https://… or name=/path, several separated by commas"`
	Vendors    VendorLinks
}

// VendorLinks are where vendors show what our ids name.
type VendorLinks struct {
	Task        string `envconfig:"CONSOLE_LINK_TASK" desc:"where a task is shown, with {id} for its id; default: the address that task.created tells"`
	Response    string `envconfig:"CONSOLE_LINK_RESPONSE" desc:"where a survey's answer is shown, with {id} for responseId"`
	Recognition string `envconfig:"CONSOLE_LINK_RECOGNITION" desc:"where a recognition is shown, with {id}"`
	Interaction string `envconfig:"CONSOLE_LINK_INTERACTION" desc:"where an interaction is shown, with {id}"`
	Contact     string `envconfig:"CONSOLE_LINK_CONTACT" desc:"where a contact is shown, with {id} for contact.externalId"`
	Order       string `envconfig:"CONSOLE_LINK_ORDER" desc:"where an order is shown, with {id}"`
	Request     string `envconfig:"CONSOLE_LINK_REQUEST" desc:"where an invitation is shown, as the mail of it, with {id} for requestId"`
}

// idPlace stands for the id in the address of a vendor's page.
const idPlace = "{id}"

// keyLeast is how long a key must be at least.
const keyLeast = 32

// Validate reports what cannot work.
func (s *PageSettings) Validate() error {
	wrong := []error{httpdoor.CheckUsers("CONSOLE_READERS", s.Readers)}
	long := func(key string) error {
		if len(key) < keyLeast {
			return fmt.Errorf("CONSOLE_SESSION_KEY must have at least %d characters", keyLeast)
		}
		return nil
	}
	if s.SessionKey.IsSet() {
		s.SessionKey.Accept(long)
		wrong = append(wrong, long(s.SessionKey.Reveal()))
	}
	for _, link := range s.Links {
		if name, address, _ := strings.Cut(link, "="); strings.TrimSpace(name) == "" || !reachable(address) {
			wrong = append(wrong, fmt.Errorf("CONSOLE_LINKS: %q is no name=https://… or name=/path", link))
		}
	}
	for setting, template := range map[string]string{
		"CONSOLE_LINK_TASK": s.Vendors.Task, "CONSOLE_LINK_RESPONSE": s.Vendors.Response, "CONSOLE_LINK_RECOGNITION": s.Vendors.Recognition,
		"CONSOLE_LINK_INTERACTION": s.Vendors.Interaction, "CONSOLE_LINK_CONTACT": s.Vendors.Contact, "CONSOLE_LINK_ORDER": s.Vendors.Order,
		"CONSOLE_LINK_REQUEST": s.Vendors.Request,
	} {
		if template != "" && (!reachable(template) || !strings.Contains(template, idPlace)) {
			wrong = append(wrong, fmt.Errorf("%s must be an address with http, https or a path, and %s in it", setting, idPlace))
		}
	}
	return errors.Join(wrong...)
}

// reachable tells an address that a page may lead to.
func reachable(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (web.Local(address) || u.Host != "" && (u.Scheme == "https" || u.Scheme == "http"))
}

func (s *PageSettings) links() []web.NamedLink {
	var links []web.NamedLink
	for _, link := range s.Links {
		name, address, _ := strings.Cut(link, "=")
		links = append(links, web.NamedLink{Name: strings.TrimSpace(name), URL: address})
	}
	return links
}

// liveMost is how long a page is kept up to date in one go. Then it asks again, with the credentials that count by then.
const liveMost = 10 * time.Minute

// site is where the console's routes are: it knows who may use them, and puts pages into their frame.
type site struct {
	door     *httpdoor.Door
	sessions *sessions
	links    []web.NamedLink
	// open says that everybody is let in, and nobody signs in.
	open    bool
	options []httpdoor.RouteOption
}

func newSite(door *httpdoor.Door, s *Settings, over *ended) *site {
	all := &site{
		door: door, sessions: newSessions(s.BasicUsers, s.Pages.Readers, s.Pages.SessionKey, over), links: s.Pages.links(), open: s.Auth == "none",
	}
	all.options = []httpdoor.RouteOption{
		httpdoor.Welcome(httpdoor.Guests{Users: s.Pages.Readers, Known: all.sessions.known}),
		httpdoor.SameOrigin(),
		httpdoor.Problems(func(r *httpdoor.Request, p *httpdoor.Problem) *httpdoor.Response {
			return all.framed(web.Problem(r, p))
		}),
	}
	return all
}

// routes are those of the frame itself.
func (s *site) routes() {
	s.door.Handle(http.MethodGet, "/assets/{name}", httpdoor.Open, web.Asset)
	s.handle(http.MethodGet, "/sign-in", httpdoor.Open, s.signInPage)
	s.handle(http.MethodPost, "/sign-in", httpdoor.Open, s.signIn)
	s.handle(http.MethodPost, "/sign-out", httpdoor.Open, s.signOut)
	s.handle(http.MethodGet, "/", httpdoor.Open, func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		return web.Redirect("/loops"), nil
	})
	s.read("/openapi.yaml", document)
}

// read adds a route that changes nothing, for everybody who may read.
func (s *site) read(path string, h httpdoor.Handler) {
	s.handle(http.MethodGet, path, httpdoor.Guarded, h)
}

// live adds a stream of what changes on a page, for everybody who may read.
func (s *site) live(path string, check func(*httpdoor.Request) error, h httpdoor.Streamer) {
	s.door.Stream(path, httpdoor.Guarded, check, func(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
		ctx, cancel := context.WithTimeout(ctx, liveMost)
		defer cancel()
		if web.Person(r).Session {
			go s.endWith(ctx, r, cancel)
		}
		return h(ctx, r, to)
	}, s.options...)
}

// endWith ends what is sent to somebody when their session is over.
func (s *site) endWith(ctx context.Context, r *httpdoor.Request, end func()) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, in := s.sessions.known(r); !in {
			end()
			return
		}
	}
}

// operate adds a route for those alone who may do more than read.
func (s *site) operate(method, path string, h httpdoor.Handler) {
	s.handle(method, path, httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		if err := operator(r); err != nil {
			return nil, err
		}
		return h(ctx, r)
	})
}

// operator refuses who may only read; also for handlers that show personal data only sometimes.
func operator(r *httpdoor.Request) error {
	if web.Person(r).Operates {
		return nil
	}
	return httpdoor.NewProblem(http.StatusForbidden, "you may read here, and not change anything or see personal data; sign in as somebody who may")
}

func (s *site) handle(method, path string, access httpdoor.Access, h httpdoor.Handler) {
	s.door.Handle(method, path, access, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		answer, err := h(ctx, r)
		if err != nil || answer == nil {
			return answer, err
		}
		if method != http.MethodGet {
			web.Remember(r, answer)
		}
		return s.framed(answer), nil
	}, s.options...)
}

// framed adds to a page what is in the frame of all.
func (s *site) framed(answer *httpdoor.Response) *httpdoor.Response {
	if answer == nil {
		return nil
	}
	if page, ok := answer.Body.(*web.Rendered); ok {
		page.Links = s.links
	}
	return answer
}

// names are those of everybody who has a password here.
func (s *sessions) names() []string {
	var names []string
	for _, entry := range slices.Concat(s.operators.Reveal(), s.readers.Reveal()) {
		name, _, _ := strings.Cut(entry, ":")
		names = append(names, name)
	}
	return names
}
