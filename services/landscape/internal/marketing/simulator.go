// Package marketing simulates SAP Marketing Cloud as far as closeloop meets it: the interaction service
// API_MKT_INTERACTION_SRV, the survey import, the contact service, Open Channel campaigns that call closeloop, and the trigger campaign that mails a survey
// link for each 'Survey Link Created' interaction. It is written from sap-marketing-cloud.md and odata-v2.md.
package marketing

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
	"github.com/closeloop/closeloop/services/landscape/internal/odatasim/calls"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// root is the path of the service (sap-marketing-cloud.md §2).
const root = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV"

// Simulator is one Marketing Cloud tenant. It is safe for concurrent use.
type Simulator struct {
	settings Settings
	log      *slog.Logger
	sessions *odatasim.Sessions
	services []*odatasim.Service
	calls    *calls.Counter

	interactions *store.Table[interaction]
	outbounds    *store.Table[outbound]
	mails        *store.Table[mail]
	runs         *store.Table[run]
	members      *store.Table[[]Member]
	packages     *store.Table[pack]
	surveys      *store.Table[odatasim.Row]
	responses    *store.Table[response]
	contacts     *store.Table[odatasim.Row]
	nextRun      func() uint64

	mu       sync.RWMutex
	bySource map[string][]string // keys of interactions by source object: the read that every client makes
}

// New opens the simulator's books in st and gives a simulator that goes on with what they hold.
func New(st *store.Store, settings Settings, log *slog.Logger) (*Simulator, error) {
	s := &Simulator{settings: settings.withDefaults(), log: log, bySource: map[string][]string{}}
	if err := s.openBooks(st); err != nil {
		return nil, fmt.Errorf("opening the books of SAP Marketing Cloud: %w", err)
	}
	for _, i := range s.interactions.All() {
		s.index(i)
	}
	s.sessions = odatasim.NewSessions(odatasim.SessionSettings{
		Cookies:          []string{"SAP_SESSIONID_ABC_100", "sap-usercontext"},
		Idle:             s.settings.SessionIdle,
		NoRequiredHeader: s.settings.NoRequiredHeader,
		Body:             s.settings.CSRFBody,
		Now:              s.settings.Now,
	})
	s.services = []*odatasim.Service{s.newService(), s.surveyService(), s.contactService(""), s.contactService(";v=0003")}
	return s, nil
}

func (s *Simulator) openBooks(st *store.Store) (err error) {
	if s.calls, err = calls.New(st, "marketing.calls", s.log); err != nil {
		return err
	}
	if s.interactions, err = store.NewTable[interaction](st, "marketing.interactions"); err != nil {
		return err
	}
	if s.outbounds, err = store.NewTable[outbound](st, "marketing.outbounds"); err != nil {
		return err
	}
	if s.mails, err = store.NewTable[mail](st, "marketing.mails"); err != nil {
		return err
	}
	if s.runs, err = store.NewTable[run](st, "marketing.runs"); err != nil {
		return err
	}
	if s.members, err = store.NewTable[[]Member](st, "marketing.members"); err != nil {
		return err
	}
	if s.surveys, err = store.NewTable[odatasim.Row](st, "marketing.surveys"); err != nil {
		return err
	}
	if s.responses, err = store.NewTable[response](st, "marketing.responses"); err != nil {
		return err
	}
	if s.contacts, err = store.NewTable[odatasim.Row](st, "marketing.contacts"); err != nil {
		return err
	}
	s.nextRun = st.Sequence("marketing.run")
	s.packages, err = store.NewTable[pack](st, "marketing.packages")
	return err
}

// odata is a service of the tenant without any set.
func (s *Simulator) odata(root, namespace string) *odatasim.Service {
	return &odatasim.Service{
		Root:      root,
		Namespace: namespace,
		Called:    s.calls.Add,
		Profile: odatasim.Profile{
			Grammar:        odatasim.GatewayGrammar,
			PageSize:       s.settings.PageSize,
			EchoChildren:   true,
			Dates:          s.settings.Dates,
			Arrays:         s.settings.Arrays,
			CutLong:        s.settings.CutLongValues,
			NoOffset:       s.settings.NoOffset,
			Nested:         s.settings.Nested,
			InnerError:     s.settings.InnerError,
			BatchLimit:     s.settings.BatchLimit,
			NoBatch:        s.settings.NoBatch,
			LongestAddress: s.settings.LongestAddress,
			ContentID:      s.settings.ContentID,
		},
	}
}

func (s *Simulator) newService() *odatasim.Service {
	service := s.odata(root, "API_MKT_INTERACTION_SRV")
	entity := interactionType(s.settings.CustomFields)
	service.Sets = append(service.Sets, s.interactionSet(entity))
	for _, c := range childTypes {
		service.Sets = append(service.Sets, s.childSet(c))
	}
	if !s.settings.NoDeepInsert {
		service.Sets = append(service.Sets, s.deepInsertSet())
	}
	return service
}

// API serves the vendor's address space: the services below /sap/opu/odata/sap/.
func (s *Simulator) API() http.Handler {
	mux := http.NewServeMux()
	for _, service := range s.services {
		guarded := odatasim.BasicAuth(s.settings.Username, s.settings.Password, s.sessions.Guard(service))
		mux.HandleFunc(service.Root+"/", func(w http.ResponseWriter, r *http.Request) {
			s.calls.Add(service.Operation(r))
			guarded.ServeHTTP(w, r)
		})
	}
	return mux
}

// ExpireSessions ends every session: each client's next write is refused until it fetches a token again.
func (s *Simulator) ExpireSessions() { s.sessions.Expire() }

func (s *Simulator) now() time.Time { return s.settings.Now().UTC() }
