// Package qualtrics simulates Qualtrics XM as far as closeloop touches it: the directory with its contacts,
// transactions and batches, bulk imports, distributions and personal links, the survey pages behind the links,
// responses, event subscriptions and workflow tasks.
//
// It is written from qualtrics.md alone and shares no code with the client that it tests. What the vendor refuses, it
// refuses; what nobody knows is a switch in [Switches]. Its books are in a [store.Store] and survive a restart:
// events and tasks not yet delivered are sent afterwards.
package qualtrics

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/agenda"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// Simulator is one simulated brand. One lock serialises all calls: each sees and leaves consistent books.
type Simulator struct {
	settings Settings
	log      *slog.Logger
	outbox   *agenda.Agenda // of deliveries

	mu      sync.Mutex // guards what follows, and settings.Assumed
	books   books
	index   index
	limiter *limiter
	random  *mathrand.Rand
}

// books are the tables. Rows are replaced, never changed in place, so that a snapshot may share them.
type books struct {
	contacts      *store.Table[Contact]
	transactions  *store.Table[Transaction]
	batches       *store.Table[Batch]
	imports       *store.Table[Import]
	distributions *store.Table[Distribution]
	links         *store.Table[Link]
	responses     *store.Table[Response]
	subscriptions *store.Table[Subscription]
	deliveries    *store.Table[Delivery]
	tokens        *store.Table[accessToken]
	calls         *store.Table[Calls]
	erasures      *store.Table[Erasure]
}

// index finds rows without reading whole tables. It is made anew from the tables at every start.
type index struct {
	byLookup     map[string]string   // lookup id to contact
	byIdentity   map[string]string   // identity rule and values to contact
	bySearch     map[string][]string // e-mail or extRef to contacts
	members      map[string][]string // list to contacts, in the order in which they joined
	transactions map[string][]string // contact to its transactions
	links        map[string][]string // distribution to its links
}

// New opens the simulator's books in st. It fails on settings that make no sense and on unreadable books.
func New(st *store.Store, settings Settings, log *slog.Logger) (*Simulator, error) {
	if err := settings.check(); err != nil {
		return nil, fmt.Errorf("qualtrics simulator: %w", err)
	}
	s := &Simulator{
		settings: settings, log: log, outbox: agenda.New(),
		limiter: newLimiter(settings.Assumed.Limits), random: newRandom(settings.Assumed.Seed),
	}
	if err := s.open(st); err != nil {
		return nil, fmt.Errorf("qualtrics simulator: %w", err)
	}
	s.reindex()
	for _, webhook := range settings.Webhooks {
		if _, err := s.Subscribe(webhook); err != nil {
			return nil, fmt.Errorf("qualtrics simulator: %w", err)
		}
	}
	for _, response := range s.books.responses.Find(func(r Response) bool { return !r.Announced }) {
		link, _ := s.books.links.Get(response.LinkID)
		s.complete(link, response) // the process ended between storing the answer and the rest
	}
	return s, nil
}

func (s *Simulator) open(st *store.Store) error {
	b := &s.books
	return errors.Join(
		table(st, "contacts", &b.contacts),
		table(st, "transactions", &b.transactions),
		table(st, "batches", &b.batches),
		table(st, "imports", &b.imports),
		table(st, "distributions", &b.distributions),
		table(st, "links", &b.links),
		table(st, "responses", &b.responses),
		table(st, "subscriptions", &b.subscriptions),
		table(st, "deliveries", &b.deliveries),
		table(st, "tokens", &b.tokens),
		table(st, "calls", &b.calls),
		table(st, "erasures", &b.erasures),
	)
}

func table[T any](st *store.Store, name string, into **store.Table[T]) (err error) {
	*into, err = store.NewTable[T](st, "qualtrics."+name)
	return err
}

func (s *Simulator) reindex() {
	s.index = index{
		byLookup: map[string]string{}, byIdentity: map[string]string{}, bySearch: map[string][]string{}, members: map[string][]string{},
		transactions: map[string][]string{}, links: map[string][]string{},
	}
	for _, contact := range s.books.contacts.All() {
		s.indexContact(contact)
	}
	for _, t := range s.books.transactions.All() {
		s.index.transactions[t.ContactID] = append(s.index.transactions[t.ContactID], t.ID)
	}
	for _, link := range s.books.links.All() {
		s.index.links[link.DistributionID] = append(s.index.links[link.DistributionID], link.ID)
	}
	for _, d := range s.books.deliveries.All() {
		if d.State == Pending {
			s.outbox.Put(d.ID, d.DueAt)
		}
	}
}

// must ends the process's call where the books cannot be written: a simulator without its books would lie.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("qualtrics simulator: books: %v", err))
	}
}

func (s *Simulator) now() time.Time { return s.settings.Clock().UTC() }

// newID gives an id that no one can guess, about as long as Qualtrics' ids are (qualtrics.md §2.10).
func newID(prefix string) string { return prefix + rand.Text()[:16] }

const (
	dateTime = "2006-01-02 15:04:05"
	isoTime  = "2006-01-02T15:04:05Z"
	isoMilli = "2006-01-02T15:04:05.000Z"
)

// readTime takes the two ways in which times are written (qualtrics.md §2.11, §3.4, §3.6): no AM and PM, no offsets.
func readTime(text string) (time.Time, bool) {
	for _, layout := range []string{dateTime, isoTime, isoMilli} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// millis gives a time as contacts have it, null where there is none (qualtrics.md §2.11).
func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// tail is an id without its prefix.
func tail(id string) string {
	_, after, found := strings.Cut(id, "_")
	if !found {
		return id
	}
	return after
}
