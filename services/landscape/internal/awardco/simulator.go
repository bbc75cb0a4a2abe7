// Package awardco simulates Awardco's API as far as closeloop meets it: recognitions, the approvals queue of external
// programmes with an intake of their own, the reads that find a recognition again (custom feed, reports, users), and the
// webhook that tells of recognitions. It is written from awardco.md. Bulk upload is not simulated.
package awardco

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/agenda"
	"github.com/closeloop/closeloop/services/landscape/internal/odatasim/calls"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const maxBody = 1 << 20

// Simulator is one Awardco company. It is safe for concurrent use.
type Simulator struct {
	settings Settings
	log      *slog.Logger
	calls    *calls.Counter

	users        *store.Table[User]
	programs     *store.Table[Program]
	budgets      *store.Table[Budget]
	recognitions *store.Table[Recognition]
	answers      *store.Table[answer]
	reports      *store.Table[report]
	nextID       func() uint64
	nextReport   func() uint64
	deliveries   *store.Table[Delivery]
	nextDelivery func() uint64
	outbox       *agenda.Agenda

	mu     sync.Mutex // held while a recognition is checked and stored, so that a budget is not spent twice
	rate   sync.Mutex
	second int64
	inRate int
}

// New opens the simulator's books in st and gives a simulator that goes on with what they hold.
func New(st *store.Store, settings Settings, log *slog.Logger) (*Simulator, error) {
	s := &Simulator{settings: settings.withDefaults(), log: log, outbox: agenda.New()}
	if err := s.openBooks(st); err != nil {
		return nil, fmt.Errorf("opening the books of Awardco: %w", err)
	}
	if err := s.found(); err != nil {
		return nil, fmt.Errorf("opening the books of Awardco: %w", err)
	}
	s.resume()
	return s, nil
}

func (s *Simulator) openBooks(st *store.Store) (err error) {
	if s.calls, err = calls.New(st, "awardco.calls", s.log); err != nil {
		return err
	}
	if s.users, err = store.NewTable[User](st, "awardco.users"); err != nil {
		return err
	}
	if s.programs, err = store.NewTable[Program](st, "awardco.programs"); err != nil {
		return err
	}
	if s.budgets, err = store.NewTable[Budget](st, "awardco.budgets"); err != nil {
		return err
	}
	if s.recognitions, err = store.NewTable[Recognition](st, "awardco.recognitions"); err != nil {
		return err
	}
	if s.answers, err = store.NewTable[answer](st, "awardco.answers"); err != nil {
		return err
	}
	s.nextID, s.nextReport = st.Sequence("awardco.recognition"), st.Sequence("awardco.report")
	s.nextDelivery = st.Sequence("awardco.delivery")
	if s.deliveries, err = store.NewTable[Delivery](st, "awardco.deliveries"); err != nil {
		return err
	}
	s.reports, err = store.NewTable[report](st, "awardco.reports")
	return err
}

// API serves Awardco's base address /api (awardco.md §2.1), and the intake at [IntakePath].
func (s *Simulator) API() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, operation string, h func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.calls.Add(strings.Replace(pattern, "/api", "", 1))
			s.serve(w, r, operation, h)
		})
	}
	handle("POST /api/recognize", Recognize, s.postRecognize)
	handle("POST /api/recognize/no-program", Recognize, s.postRecognizeNoProgram)
	handle("GET /api/v1/custom-feed", Feed, s.getFeed)
	handle("POST /api/v2/reports/{report}", Reports, s.postReport)
	handle("GET /api/v2/reports/tasks/{task}/status", Reports, s.getReportStatus)
	handle("GET /api/v2/reports/tasks/{task}/pages", Reports, s.getReportPage)
	handle("GET /api/users", Users, s.getUsers)
	mux.HandleFunc("POST "+IntakePath+"/{token}", s.intake)
	return mux
}

// refusal is an error as the caller sees it. Its message names fields, never their contents.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

func bad(format string, args ...any) error { return refuse(http.StatusBadRequest, format, args...) }

// csvPage is an answer that is a page of a report.
type csvPage []byte

func (s *Simulator) serve(w http.ResponseWriter, r *http.Request, operation string, h func(*http.Request) (any, error)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	err := s.admit(r, operation)
	var result any
	if err == nil {
		result, err = h(r)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	if page, ok := result.(csvPage); ok {
		w.Header().Set("Content-Type", "text/csv")
		_, _ = w.Write(page) // the caller may be gone
		return
	}
	s.write(w, http.StatusOK, result)
}

// admit checks the key, what it may do, and the rate (awardco.md §2.1, §2.2).
func (s *Simulator) admit(r *http.Request, operation string) error {
	operations, known := s.settings.Keys[r.Header.Get("apikey")]
	switch {
	case !known:
		return refuse(http.StatusUnauthorized, "Invalid API key")
	case len(operations) > 0 && !slices.Contains(operations, operation):
		return refuse(s.settings.MissingPermissionStatus, "The API key has no permission for this endpoint")
	case !s.withinRate():
		return refuse(http.StatusTooManyRequests, "Too many requests")
	}
	return nil
}

func (s *Simulator) withinRate() bool {
	if s.settings.RateLimit == 0 {
		return true
	}
	s.rate.Lock()
	defer s.rate.Unlock()
	if now := s.settings.Now().Unix(); now != s.second {
		s.second, s.inRate = now, 0
	}
	s.inRate++
	return s.inRate <= s.settings.RateLimit
}

func (s *Simulator) refuse(w http.ResponseWriter, err error) {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		s.log.Error("books not kept", "error", err)
		r = &refusal{http.StatusInternalServerError, "The simulator could not keep its books"}
	}
	if r.status == http.StatusTooManyRequests && !s.settings.NoRetryAfter {
		w.Header().Set("Retry-After", "1")
	}
	switch {
	case s.settings.Errors == TextError:
		http.Error(w, r.message, r.status)
	case s.settings.Errors == HTMLError:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(r.status)
		_, _ = fmt.Fprintf(w, "<html><body><h1>%d</h1><p>%s</p></body></html>", r.status, html.EscapeString(r.message))
	case s.settings.Errors == OKError && r.status == http.StatusBadRequest:
		s.write(w, http.StatusOK, failure{Message: r.message})
	default:
		s.write(w, r.status, failure{Message: r.message})
	}
}

type failure struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

func (s *Simulator) write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}

// read decodes a body and says which field is wrong.
func (s *Simulator) read(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return refuse(http.StatusRequestEntityTooLarge, "The body is too large")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if !s.settings.AcceptUnknownFields {
		decoder.DisallowUnknownFields()
	}
	err = decoder.Decode(into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return bad("Field %s must be of another type than %s", wrong.Field, wrong.Value)
	}
	if err != nil && strings.Contains(err.Error(), "unknown field") {
		return bad("The body has an %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, more := decoder.Token(); err != nil || !errors.Is(more, io.EOF) {
		return bad("The body is not one JSON object")
	}
	return nil
}

// paging reads page (1) and limit (10) of a query.
func paging(r *http.Request) (page, limit int, err error) {
	if page, err = positive(r, "page", 1); err != nil {
		return 0, 0, err
	}
	limit, err = positive(r, "limit", 10)
	return page, limit, err
}

func positive(r *http.Request, name string, value int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return value, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 10000 {
		return 0, bad("Parameter %s must be a number from 1", name)
	}
	return n, nil
}

func slicePage[T any](all []T, page, limit int) []T {
	from := min((page-1)*limit, len(all))
	return all[from:min(from+limit, len(all))]
}

func (s *Simulator) now() time.Time { return s.settings.Now().UTC() }
