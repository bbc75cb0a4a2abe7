// Package version2 simulates SAP Sales Cloud Version 2 as far as closeloop meets it: tasks with notes over REST, logins,
// the daily quota, and events about changes. It is written from sap-sales-cloud.md §4; what that leaves open is a switch.
package version2

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim/calls"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const (
	root    = "/sap/c4c/api/v1"
	maxBody = 1 << 20
	day     = 24 * time.Hour
)

// Directory knows the tenant's business partners by their UUIDs.
type Directory interface {
	HasAccount(uuid string) bool
	HasContact(uuid string) bool
	HasEmployee(uuid string) bool
}

// Simulator is one tenant of Version 2. It is safe for concurrent use.
type Simulator struct {
	settings  Settings
	directory Directory
	log       *slog.Logger
	calls     *calls.Counter
	tasks     *store.Table[Task]
	nextTask  func() uint64
	mux       *http.ServeMux
	telling   sync.WaitGroup

	mu       sync.Mutex
	tokens   map[string]bool
	logins   int
	day      time.Time // when the quota's day began
	used     int
	changing sync.Mutex // a change reads, checks and writes
}

// New opens the simulator's books in st and gives a simulator that goes on with what they hold.
func New(st *store.Store, settings Settings, directory Directory, log *slog.Logger) (*Simulator, error) {
	s := &Simulator{settings: settings.withDefaults(), directory: directory, log: log, tokens: map[string]bool{}, mux: http.NewServeMux()}
	var err error
	if s.calls, err = calls.New(st, "salescloud2.calls", log); err != nil {
		return nil, err
	}
	if s.tasks, err = store.NewTable[Task](st, "salescloud2.tasks"); err != nil {
		return nil, fmt.Errorf("opening the books of SAP Sales Cloud Version 2: %w", err)
	}
	s.nextTask = st.Sequence("salescloud2.task")
	for pattern, handle := range map[string]func(*http.Request) (answer, error){
		"GET /iam-service/token":              s.token,
		"POST /task-service/tasks":            s.create,
		"GET /task-service/tasks":             s.list,
		"GET /task-service/tasks/{id}":        s.read,
		"PATCH /task-service/tasks/{id}":      s.patch,
		"POST /task-service/tasks/{id}/notes": s.addNote,
		"GET /task-service/tasks/{id}/notes":  s.notes,
	} {
		s.handle(pattern, handle)
	}
	return s, nil
}

// Books is what the tenant holds at one moment.
type Books struct {
	Tasks []Task `json:"tasks"`
	// Calls counts the calls of the API by operation: "POST /task-service/tasks".
	Calls map[string]int `json:"calls"`
	// Logins is how many tokens were given since the simulator started.
	Logins int `json:"logins"`
	// Used is how much of the day's quota is used.
	Used int `json:"used"`
}

// Books gives a copy of everything, oldest first.
func (s *Simulator) Books() Books {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Books{Tasks: s.tasks.All(), Calls: s.calls.ByOperation(), Logins: s.logins, Used: s.used}
}

// ExpireTokens ends every login: each call with a token is 401 until its client logs in again.
func (s *Simulator) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Close waits until all changes are told.
func (s *Simulator) Close() { s.telling.Wait() }

// answer is what a handler answers; a body stands under value.
type answer struct {
	status int
	etag   string
	body   any
	plain  bool // the body as it is
}

// refusal is an error that is answered. Its message names fields and ids, nothing else.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

func (s *Simulator) handle(pattern string, act func(*http.Request) (answer, error)) {
	method, path, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" "+root+path, func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(pattern)
		if wait := s.spend(); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
			fail(w, http.StatusTooManyRequests, "The daily quota of API calls and events is used up")
			return
		}
		if !s.admits(r) {
			fail(w, http.StatusUnauthorized, "Authentication failed")
			return
		}
		a, err := act(r)
		if err != nil {
			status := http.StatusInternalServerError
			if refused, ok := err.(*refusal); ok { //nolint:errorlint // handlers return it bare
				status = refused.status
			}
			fail(w, status, err.Error())
			return
		}
		a.write(w)
	})
}

func (a answer) write(w http.ResponseWriter) {
	if a.etag != "" {
		w.Header().Set("ETag", a.etag)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	body := a.body
	if !a.plain {
		body = map[string]any{"value": a.body}
	}
	writeJSON(w, a.status, body)
}

func fail(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": strconv.Itoa(status), "message": message}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}

// API serves the vendor's address space: everything below /sap/c4c/api/v1/.
func (s *Simulator) API() http.Handler { return s.mux }

// spend takes one of the day's quota, or gives how long the day still lasts.
func (s *Simulator) spend() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.settings.Now()
	if now.Sub(s.day) >= day {
		s.day, s.used = now, 0
	}
	if s.settings.Quota >= 0 && s.used >= s.settings.Quota {
		return s.day.Add(day).Sub(now)
	}
	s.used++
	return 0
}

func (s *Simulator) admits(r *http.Request) bool {
	if user, password, ok := r.BasicAuth(); ok {
		return equal(user, s.settings.Username) && equal(password, s.settings.Password)
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[token] && !strings.HasSuffix(r.URL.Path, "/iam-service/token")
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Simulator) token(*http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := rand.Text()
	s.tokens[token] = true
	s.logins++
	return answer{
		status: http.StatusOK, plain: s.settings.PlainToken,
		body: map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600},
	}, nil
}

// readBody reads a JSON object of that media type.
func readBody(r *http.Request, media string) (map[string]any, error) {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || got != media {
		return nil, refuse(http.StatusUnsupportedMediaType, "The body must be %s", media)
	}
	var body map[string]any
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody)).Decode(&body); err != nil || body == nil {
		return nil, refuse(http.StatusBadRequest, "The body is no JSON object")
	}
	return body, nil
}

// tell sends a CloudEvent about a change. Each delivery counts for the quota (sap-sales-cloud.md, rule 10); what is above
// it is not delivered.
func (s *Simulator) tell(ctx context.Context, kind string, before *Task, current Task) {
	if s.settings.Webhook == "" || s.spend() > 0 {
		return
	}
	data := map[string]any{"currentImage": current.json()}
	if before != nil {
		data["beforeImage"] = before.json()
	}
	event, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": uuid.NewString(), "source": root, "type": "sap.crm.taskservice.entity.task." + kind,
		"subject": current.ID, "time": s.settings.Now().UTC().Format(time.RFC3339), "datacontenttype": "application/json", "data": data,
	})
	if err != nil {
		s.log.Error("a change was not told", "error", err)
		return
	}
	s.telling.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.settings.Webhook, bytes.NewReader(event))
		if err != nil {
			s.log.Warn("a change was not told", "error", err)
			return
		}
		r.Header.Set("Content-Type", "application/cloudevents+json")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			s.log.Warn("a change was not told", "error", err)
			return
		}
		_ = response.Body.Close()
	})
}
