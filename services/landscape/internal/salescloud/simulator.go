// Package salescloud simulates SAP Sales Cloud Version 1 (SAP Cloud for Customer) as far as closeloop meets it: tasks
// with their texts, their code lists, and the business partners that a task refers to. It is written from
// sap-sales-cloud.md and odata-v2.md. Version 2 (REST) is package version2, with the same business partners.
package salescloud

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
	"github.com/closeloop/closeloop/services/landscape/internal/odatasim/calls"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// root is the path of the service (sap-sales-cloud.md §1).
const root = "/sap/c4c/odata/v1/c4codataapi"

// Simulator is one Sales Cloud tenant. It is safe for concurrent use.
type Simulator struct {
	settings Settings
	sessions *odatasim.Sessions
	service  *odatasim.Service
	calls    *calls.Counter
	codes    map[string][]Code

	tasks     *store.Table[odatasim.Row]
	accounts  *store.Table[party[Account]]
	contacts  *store.Table[party[Contact]]
	employees *store.Table[party[Employee]]
	nextTask  func() uint64

	mu       sync.Mutex
	locks    int // writes still to be answered with a lock conflict
	parallel int
	peak     int
	second   int64 // the second that calls are counted in
	inSecond int
}

// New opens the simulator's books in st and gives a simulator that goes on with what they hold.
func New(st *store.Store, settings Settings, log *slog.Logger) (*Simulator, error) {
	s := &Simulator{settings: settings.withDefaults(), codes: codeLists(settings.CodeLists)}
	if err := s.openBooks(st, log); err != nil {
		return nil, fmt.Errorf("opening the books of SAP Sales Cloud: %w", err)
	}
	s.sessions = odatasim.NewSessions(odatasim.SessionSettings{
		Cookies:          []string{"SAP_SESSIONID_ABC_100", "sap-XSRF_ABC_100", "sap-usercontext"},
		Idle:             s.settings.SessionIdle,
		Unprotected:      s.settings.NoCSRF,
		NoRequiredHeader: !s.settings.RequiredHeader,
		Body:             s.settings.CSRFBody,
		Now:              s.settings.Now,
	})
	s.service = &odatasim.Service{
		Root:      root,
		Namespace: "c4codata",
		Called:    s.calls.Add,
		Profile: odatasim.Profile{
			Grammar:         odatasim.C4CGrammar,
			PageSize:        1000,
			ExpandPageSize:  100,
			ObjectInResults: true,
			ETag:            etagField,
			QuietHeaders:    true,
			Dates:           s.settings.Dates,
			Fault:           s.settings.ErrorBody,
			InnerError:      s.settings.InnerError,
			BatchLimit:      s.settings.BatchLimit,
			ContentID:       s.settings.ContentID,
		},
		Sets: append([]*odatasim.Set{s.taskSet()}, s.partySets()...),
	}
	for _, c := range childTypes {
		s.service.Sets = append(s.service.Sets, s.childSet(c))
	}
	s.service.Sets = append(s.service.Sets, s.codeListSets()...)
	s.service.Sets = slices.DeleteFunc(s.service.Sets, func(set *odatasim.Set) bool {
		return slices.Contains(s.settings.MissingSets, set.Name)
	})
	return s, nil
}

func (s *Simulator) openBooks(st *store.Store, log *slog.Logger) (err error) {
	if s.calls, err = calls.New(st, "salescloud.calls", log); err != nil {
		return err
	}
	if s.tasks, err = store.NewTable[odatasim.Row](st, "salescloud.tasks"); err != nil {
		return err
	}
	if s.accounts, err = store.NewTable[party[Account]](st, "salescloud.accounts"); err != nil {
		return err
	}
	if s.contacts, err = store.NewTable[party[Contact]](st, "salescloud.contacts"); err != nil {
		return err
	}
	s.nextTask = st.Sequence("salescloud.task")
	s.employees, err = store.NewTable[party[Employee]](st, "salescloud.employees")
	return err
}

// API serves the vendor's address space: everything below /sap/c4c/odata/v1/c4codataapi/.
func (s *Simulator) API() http.Handler {
	guarded := odatasim.BasicAuth(s.settings.Username, s.settings.Password, s.sessions.Guard(s.service))
	mux := http.NewServeMux()
	mux.HandleFunc(root+"/", func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(s.service.Operation(r))
		if !s.enter() {
			http.Error(w, "Too many parallel requests", s.settings.TooManyStatus)
			return
		}
		defer s.leave()
		if !s.inPace() {
			http.Error(w, "Too many requests", http.StatusTooManyRequests)
			return
		}
		guarded.ServeHTTP(w, r)
	})
	return mux
}

func (s *Simulator) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peak = max(s.peak, s.parallel+1)
	if s.settings.MaxParallel > 0 && s.parallel >= s.settings.MaxParallel {
		return false
	}
	s.parallel++
	return true
}

func (s *Simulator) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parallel--
}

// inPace counts the call, and tells whether the second has room for it.
func (s *Simulator) inPace() bool {
	if s.settings.PerSecond <= 0 {
		return true
	}
	now := s.now().Unix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now != s.second {
		s.second, s.inSecond = now, 0
	}
	s.inSecond++
	return s.inSecond <= s.settings.PerSecond
}

// ExpireSessions ends every session: each client's next write is refused until it fetches a token again.
func (s *Simulator) ExpireSessions() { s.sessions.Expire() }

// LockNext answers the next n writes with a lock conflict (sap-sales-cloud.md §1), whatever they write to.
func (s *Simulator) LockNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks = n
}

func (s *Simulator) lockConflict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks == 0 {
		return nil
	}
	s.locks--
	return odatasim.Refuse(s.settings.LockStatus, odatasim.CodeConflict, "Record locked by user %s", s.settings.Username)
}

func (s *Simulator) now() time.Time { return s.settings.Now().UTC() }
