package console

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// signOutKind is the kind of records about sessions that were ended, in OPERATIONS.
const signOutKind = "sign-out"

// ended are the sessions that somebody signed out of before their time was over. OPERATIONS tells every console of them.
type ended struct {
	// refresh reads what OPERATIONS holds; note records one more.
	refresh func(context.Context) error
	note    func(ctx context.Context, subject, id string, record []byte) (uint64, error)
	now     func() time.Time

	mu     sync.Mutex
	whole  bool // OPERATIONS was read to its end once
	expiry map[string]time.Time
}

// endedSession is the record of one. It names nobody: whoever has the id has the cookie.
type endedSession struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Expiry time.Time `json:"expiry"`
}

// add takes what OPERATIONS holds, if it is one of these.
func (e *ended) add(m *jetstream.RawStreamMsg) {
	id, ours := strings.CutPrefix(m.Subject, topology.SignOutSubject(""))
	var told endedSession
	if ours && json.Unmarshal(m.Data, &told) == nil && told.ID == id {
		e.keep(told)
	}
}

// keep remembers a session until its cookie is worth nothing anyhow, and forgets those of which that is true.
func (e *ended) keep(told endedSession) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.expiry == nil {
		e.expiry = map[string]time.Time{}
	}
	e.expiry[told.ID] = told.Expiry
	for id, expiry := range e.expiry {
		if !e.now().Before(expiry) {
			delete(e.expiry, id)
		}
	}
}

// firstPatience is how long a request waits for what was recorded before this console began.
const firstPatience = 5 * time.Second

// has tells that a session is over. So is each while it is not known which are: until OPERATIONS was read for the first time.
func (e *ended) has(id string) bool {
	e.mu.Lock()
	_, over := e.expiry[id]
	whole := e.whole
	e.mu.Unlock()
	if over || whole {
		return over
	}
	ctx, cancel := context.WithTimeout(context.Background(), firstPatience)
	defer cancel()
	if e.refresh(ctx) != nil {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.whole = true
	_, over = e.expiry[id]
	return over
}

// end ends a session: at once here, and at other consoles when they have read the record. The error says that they will not.
func (e *ended) end(ctx context.Context, s session) error {
	told := endedSession{ID: s.ID, Kind: signOutKind, Expiry: s.Expiry}
	e.keep(told)
	content, err := json.Marshal(told)
	if err != nil {
		return err
	}
	_, err = e.note(ctx, topology.SignOutSubject(s.ID), "signout:"+s.ID, content)
	return err
}
