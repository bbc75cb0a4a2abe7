package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/rules"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// SweepSettings say how responses are looked for whose webhook never came.
type SweepSettings struct {
	Interval time.Duration `envconfig:"QUALTRICS_SWEEP_INTERVAL" default:"15m" desc:"how often responses are looked for whose event never came; 0 means never"`
	Lookback time.Duration `envconfig:"QUALTRICS_SWEEP_LOOKBACK" default:"336h" desc:"age up to which a distribution is looked at"`
	Grace    time.Duration `envconfig:"QUALTRICS_SWEEP_GRACE" default:"5m" desc:"how long after its completion a response is left to its event"`
	Surveys  []string      `envconfig:"QUALTRICS_SWEEP_SURVEYS" desc:"surveys to look at, separated by commas; default: QUALTRICS_SURVEY_ID, those that rules name, and those of which any answer ever came"`
	SurveyID string        `envconfig:"QUALTRICS_SURVEY_ID" desc:"survey of the invitations, as qualtrics-linker has it; looked at too"`
}

// Validate reports what cannot work.
func (s *SweepSettings) Validate() error {
	if s.Interval < 0 || s.Lookback < 0 || s.Grace < 0 {
		return errors.New("QUALTRICS_SWEEP_INTERVAL, QUALTRICS_SWEEP_LOOKBACK and QUALTRICS_SWEEP_GRACE must not be below 0")
	}
	for _, id := range slices.Concat(s.Surveys, []string{s.SurveyID}) {
		if id != "" && !strings.HasPrefix(id, "SV_") {
			return errors.New("QUALTRICS_SWEEP_SURVEYS and QUALTRICS_SURVEY_ID: a survey is SV_…")
		}
	}
	return nil
}

// firstLook is the age up to which a distribution without any finished response is left alone, and longestGap how long
// one is left alone at most: the numbers that Qualtrics gives with a distribution are trusted only for so long.
const firstLook, longestGap = time.Hour, 24 * time.Hour

// sweeper looks through the history of distributions for completed responses of which no event ever came
// (qualtrics.md §3.8, §3.10: nobody guarantees that an event comes), and makes up for the event.
type sweeper struct {
	settings  SweepSettings
	bus       *bus.Bus
	ledger    *effect.Ledger
	qualtrics *qualtrics.Client
	rules     *rules.Live
	log       *slog.Logger
	owner     string

	responses *prometheus.CounterVec
	histories prometheus.Counter
	sweeps    *prometheus.CounterVec
	last      prometheus.Gauge

	known  sync.Map // surveys that are in the ledger
	warned map[string]bool
}

func newSweeper(r *router, metrics prometheus.Registerer) *sweeper {
	w := &sweeper{
		settings: r.settings.Sweep, bus: r.bus, ledger: r.ledger, qualtrics: r.qualtrics, rules: r.rules, log: r.log,
		owner: uuid.NewString(), warned: map[string]bool{},
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_sweep_responses_total",
			Help: "Completed responses that sweeps have come across: known, or late when no event of them had come.",
		}, []string{"outcome"}),
		histories: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "closeloop_sweep_histories_total", Help: "Histories of distributions that sweeps have read.",
		}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_sweeps_total", Help: "Sweeps of this replica, by outcome: ok or failed.",
		}, []string{"outcome"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "closeloop_sweep_last_success_timestamp_seconds", Help: "When a sweep of this replica last came to its end.",
		}),
	}
	for _, outcome := range []string{"known", "late"} { // so that a rate can be taken from the first one on
		w.responses.WithLabelValues(outcome)
	}
	metrics.MustRegister(w.responses, w.histories, w.sweeps, w.last)
	return w
}

// run sweeps until ctx ends, whenever it is this replica's turn.
func (w *sweeper) run(ctx context.Context) error {
	for {
		wait, err := w.turn(ctx)
		switch {
		case err != nil:
			w.log.Warn("the ledger does not tell whose turn it is to sweep", "error", err)
			wait = min(w.settings.Interval, time.Minute)
		case wait == 0:
			w.sweep(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// turn is whose turn it is. It lasts one interval, which makes it the pace of the fleet as well: whoever comes first
// after its end takes the next one, so a replica that dies costs one interval at most.
type turn struct {
	Owner string    `json:"owner"`
	Until time.Time `json:"until"`
}

// turn takes the next turn and gives 0, or tells how long somebody has it.
func (w *sweeper) turn(ctx context.Context) (wait time.Duration, err error) {
	next := turn{w.owner, time.Now().UTC().Add(w.settings.Interval)}
	err = effect.Change(ctx, w.ledger, effect.SweepTurn(), func(now turn) (turn, bool) {
		mine := now.Owner == next.Owner && now.Until.Equal(next.Until) // written, and the answer was lost
		wait = 0
		if left := time.Until(now.Until); left > 0 && !mine {
			wait = left
		}
		return next, wait == 0 && !mine
	})
	return wait, err
}

// errTurnLost ends a sweep that took so long that another replica began the next one.
var errTurnLost = errors.New("another replica has the turn")

// keepTurn prolongs the turn of a sweep that takes longer than an interval.
func (w *sweeper) keepTurn(ctx context.Context) error {
	lost := false
	err := effect.Change(ctx, w.ledger, effect.SweepTurn(), func(now turn) (turn, bool) {
		lost = now.Owner != w.owner
		next := turn{w.owner, time.Now().UTC().Add(w.settings.Interval)}
		return next, !lost && time.Until(now.Until) < w.settings.Interval/2
	})
	if err == nil && lost {
		return errTurnLost
	}
	return err
}

// sweep looks at every survey once.
func (w *sweeper) sweep(ctx context.Context) {
	outcome := "ok"
	for _, survey := range w.surveys(ctx) {
		err := w.survey(ctx, survey)
		if ctx.Err() != nil || errors.Is(err, errTurnLost) {
			return
		}
		if err == nil {
			continue
		}
		outcome = "failed"
		w.complain(survey, err)
		if class := fault.From(err).Class; class.VendorOut() && class != fault.Forbidden { // which may be this survey alone
			break
		}
	}
	w.sweeps.WithLabelValues(outcome).Inc()
	if outcome == "ok" {
		w.last.SetToCurrentTime()
	}
}

// complain says that a survey could not be looked at; of one that does not exist, once.
func (w *sweeper) complain(survey string, err error) {
	level, refused := slog.LevelWarn, fault.Is(err, fault.Refused)
	if refused && w.warned[survey] {
		level = slog.LevelDebug
	}
	if fault.Is(err, fault.Unauthorized) || fault.Is(err, fault.Forbidden) {
		level = slog.LevelError
	}
	w.warned[survey] = refused
	w.log.Log(context.Background(), level, "responses whose event never came cannot be looked for", "survey", survey, "error", err)
}

// surveys are those to look at.
func (w *sweeper) surveys(ctx context.Context) []string {
	if len(w.settings.Surveys) > 0 {
		return w.settings.Surveys
	}
	answered, _, err := effect.Kept[[]string](ctx, w.ledger, effect.SweptSurveys())
	if err != nil {
		w.log.Warn("the ledger does not tell which surveys had answers", "error", err)
	}
	all := slices.Concat(answered, w.rules.Set().Surveys(), []string{w.settings.SurveyID})
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(id string) bool { return id == "" })
}

// saw remembers, for all replicas, that a survey has answers. What fails is tried again with the next answer.
func (w *sweeper) saw(ctx context.Context, survey string) {
	if w == nil || survey == "" || len(w.settings.Surveys) > 0 {
		return
	}
	if _, known := w.known.Load(survey); known {
		return
	}
	err := effect.Change(ctx, w.ledger, effect.SweptSurveys(), func(all []string) ([]string, bool) {
		return append(slices.Clone(all), survey), !slices.Contains(all, survey)
	})
	if err == nil {
		w.known.Store(survey, true)
	}
}

// survey looks at the distributions of one survey. One that fails does not keep it from the others.
func (w *sweeper) survey(ctx context.Context, survey string) error {
	var errs []error
	late, oldest := 0, time.Now().Add(-w.settings.Lookback)
	for page, err := range w.qualtrics.Distributions(ctx, survey, oldest) {
		if err != nil {
			return err
		}
		for _, d := range page {
			if !d.SentAt.IsZero() && d.SentAt.Before(oldest) {
				continue
			}
			n, err := w.distribution(ctx, survey, d)
			late += n
			if err != nil && (ctx.Err() != nil || errors.Is(err, errTurnLost) || fault.From(err).Class.VendorOut()) {
				return err
			}
			errs = append(errs, err)
		}
	}
	if late > 0 {
		w.log.Warn("responses found of which no event had come: is the event subscription in order?", "survey", survey, "responses", late)
	}
	return worst(errs)
}

// look is how a distribution stood when its history was read.
type look struct {
	// Since is when the distribution was made, as far as known.
	Since time.Time `json:"since"`
	// Next is when to look again, if nothing happens before.
	Next time.Time `json:"next"`
	// Finished is how many responses Qualtrics had counted.
	Finished int `json:"finished"`
	// Over says that everybody has answered, as far as the history tells.
	Over bool `json:"over,omitempty"`
}

// due tells whether it is worth a call to read the history. Qualtrics' own count of finished responses says so at once.
// It is documented for single distributions only (qualtrics.md §3.6), so a count that stands still is believed for a
// while, which grows with the age of the distribution. One that is over is looked at again only when Qualtrics counts
// more after all.
func (l look) due(d qualtrics.Sending, now time.Time) bool {
	return d.Finished > l.Finished || !l.Over && !now.Before(l.Next)
}

// distribution looks at one distribution, if that is due, and gives how many responses it had to make up for.
func (w *sweeper) distribution(ctx context.Context, survey string, d qualtrics.Sending) (late int, err error) {
	before, known, err := effect.Kept[look](ctx, w.ledger, effect.Sweep(d.ID))
	if err != nil {
		return 0, err
	}
	now := time.Now().UTC()
	if !known {
		before = look{Since: d.SentAt, Next: d.SentAt}
		if d.Finished == 0 && !d.SentAt.IsZero() {
			before.Next = d.SentAt.Add(firstLook)
		}
	}
	if before.Since.IsZero() {
		before.Since = now
	}
	if !before.due(d, now) {
		return 0, nil
	}
	if err := w.keepTurn(ctx); err != nil {
		return 0, err
	}
	h, err := w.history(ctx, survey, d)
	if fault.Is(err, fault.Refused) { // a test distribution, or one that is gone (qualtrics.md §2.5)
		w.log.Debug("history refused", "distribution", d.ID, "error", err)
		h.over, err = true, nil
	}
	if err != nil {
		return h.late, err
	}
	after := look{Since: before.Since, Finished: max(d.Finished, 0), Over: h.over, Next: now.Add(w.gap(h, now.Sub(before.Since)))}
	return h.late, effect.Change(ctx, w.ledger, effect.Sweep(d.ID), func(look) (look, bool) { return after, true })
}

// gap is how long a distribution of that age is left alone while Qualtrics counts no further response.
func (w *sweeper) gap(h history, age time.Duration) time.Duration {
	if h.early {
		return 0 // until the next sweep
	}
	part := age / 2
	if h.missing {
		part = age / 8
	}
	return max(w.settings.Interval, min(part, longestGap))
}

// history is what the history of a distribution told.
type history struct {
	// late is how many responses had to be made up for.
	late int
	// early says that some are left to their events yet.
	early bool
	// missing says that Qualtrics counts more responses than it shows (qualtrics.md §3.7 "Completeness").
	missing bool
	// over says that everybody has answered.
	over bool
}

func (w *sweeper) history(ctx context.Context, survey string, d qualtrics.Sending) (h history, err error) {
	w.histories.Inc()
	rows, finished := 0, 0
	var errs []error
	for page, err := range w.qualtrics.History(ctx, d.ID) {
		if err != nil {
			return h, err
		}
		for _, o := range page {
			rows++
			if !o.Finished() {
				continue
			}
			finished++
			if time.Since(o.CompletedAt) < w.settings.Grace {
				h.early = true
				continue
			}
			late, err := w.response(ctx, survey, d.ID, o)
			if late {
				h.late++
			}
			errs = append(errs, err)
		}
	}
	h.missing = d.Finished > finished
	h.over = rows > 0 && rows == finished && !h.early && !h.missing
	return h, worst(errs)
}

// response makes up for the event of a response that nobody knows of, and tells whether it had to. Whatever the ledger
// holds about the response says that its event has come: what is not done yet is being done, or waits for a person.
func (w *sweeper) response(ctx context.Context, survey, distributionID string, o qualtrics.Outcome) (late bool, err error) {
	if o.ResponseID == "" { // of a survey that keeps its responses anonymous
		return false, nil
	}
	_, err = w.ledger.Look(ctx, effect.Received(o.ResponseID))
	if !errors.Is(err, effect.ErrNotFound) {
		if err == nil {
			w.responses.WithLabelValues("known").Inc()
		}
		return false, err
	}
	m := &eventsv1.SurveyResponseNotified{
		SurveyId: survey, ResponseId: o.ResponseID, RecipientId: o.LookupID, DistributionId: distributionID,
	}
	if !o.CompletedAt.IsZero() {
		m.CompletedAt = timestamppb.New(o.CompletedAt)
	}
	e, err := event.New(topology.FeedbackRouter, subjects.SurveyResponseNotified, m)
	if err != nil {
		return false, fmt.Errorf("a response of distribution %s: %w", distributionID, err)
	}
	_, err = effect.Do(ctx, w.ledger, effect.Swept(o.ResponseID), e, func(ctx context.Context, _ *effect.Run) (published, error) {
		late = true
		return published{EventID: e.ID}, w.bus.Emit(ctx, e)
	})
	if err == nil && late {
		w.responses.WithLabelValues("late").Inc()
	}
	return late && err == nil, err
}
