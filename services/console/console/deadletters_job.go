package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// jobKind is the kind of records about jobs in OPERATIONS.
const jobKind = "job"

// The states of a job.
const (
	jobWorking = "working"
	// jobWaiting: the sample is done, and a person is to say whether the rest follows.
	jobWaiting = "waiting"
	jobDone    = "done"
	// jobStopped: a person has ended it, or nobody went on.
	jobStopped = "stopped"
)

const (
	// jobMost is how many letters one job takes: its record names them all.
	jobMost = 50_000
	// jobSlice is how long one job is worked at until it is another's turn.
	jobSlice = time.Second
	// jobForgotten is when a job is stopped that nobody went on with after its sample.
	jobForgotten = 7 * 24 * time.Hour
	// failuresMost is how many failures are told with their reasons.
	failuresMost = 100
)

// Job is a decision about many dead letters, carried out in the background, letter by letter as if each had been asked for. As JSON
// it is the record in OPERATIONS and, without the letters and what is put into their bodies, the answer to callers.
type Job struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // job
	// Does is replay or discard.
	Does  string `json:"does"`
	State string `json:"state"`
	// Said is who asked for it.
	Said
	// Cause that the letters were chosen by, empty where they were named.
	Cause string `json:"cause,omitempty"`
	// Sequences are the letters, oldest first, as they were when it was asked for.
	Sequences []uint64 `json:"sequences,omitempty"`
	Again     bool     `json:"again,omitempty"`
	Outcome   string   `json:"outcome,omitempty"`
	// Edit is what is changed in each body. When the job is over, only what kind of change it was is kept.
	Edit []Change `json:"edit,omitempty"`
	// Sample is how many are done first; 0 for all.
	Sample int `json:"sample,omitempty"`
	// Went is who went on after the sample, Ended who stopped it.
	Went   *Said     `json:"went,omitempty"`
	Ended  *Said     `json:"ended,omitempty"`
	DoneAt time.Time `json:"doneAt,omitzero"`
	// Total is the number of letters; Done, Skipped (somebody had decided already), Failed and Left add up to it.
	Total    int       `json:"total"`
	Done     int       `json:"done"`
	Skipped  int       `json:"skipped"`
	Failed   int       `json:"failed"`
	Left     int       `json:"left"`
	Failures []Failure `json:"failures,omitempty"`
	// Owner is the console that is at it, Touched when it last said so.
	Owner   string    `json:"owner,omitempty"`
	Touched time.Time `json:"touched,omitzero"`

	sequence uint64 // of its record
}

// Said is who wanted something, when and why.
type Said struct {
	By     string    `json:"by"`
	Proven bool      `json:"proven,omitempty"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
}

// Failure is a letter that could not be replayed or discarded.
type Failure struct {
	Sequence uint64 `json:"sequence"`
	Reason   string `json:"reason"`
}

func (j *Job) key() string      { return j.ID }
func (j *Job) place() uint64    { return j.sequence }
func (j *Job) stored(at uint64) { j.sequence = at }

// looked is how many of the letters have been looked at.
func (j *Job) looked() int { return j.Total - j.Left }

// over tells that nothing more happens.
func (j *Job) over() bool { return j.State == jobDone || j.State == jobStopped }

// sampled tells that the sample is done and nobody has gone on yet.
func (j *Job) sampled() bool { return j.Sample > 0 && j.Went == nil && j.Done+j.Failed >= j.Sample }

// copied is a copy that can be changed; the letters are the same, and never change.
func (j *Job) copied() *Job {
	c := *j
	c.Failures = slices.Clone(j.Failures)
	return &c
}

// shown is the job as callers see it.
func (j *Job) shown() *Job {
	c := j.copied()
	c.Sequences, c.Owner, c.Edit = nil, "", shapes(j.Edit)
	return c
}

func shapes(changes []Change) []Change {
	var all []Change
	for _, c := range changes {
		all = append(all, c.shape())
	}
	return all
}

// operation is what is wanted of one letter.
func (j *Job) operation(letter uint64) Operation {
	return Operation{
		Kind: j.Does, Letter: letter, By: j.By, Proven: j.Proven, Why: j.Why, Key: j.ID, Job: j.ID,
		Again: j.Again, Outcome: j.Outcome, Edited: len(j.Edit) > 0, changes: j.Edit,
	}
}

func (j *Job) add(done Done) {
	j.Left--
	switch done.Outcome {
	case outcomeSkipped:
		j.Skipped++
	case outcomeFailed:
		j.Failed++
		if len(j.Failures) < failuresMost {
			j.Failures = append(j.Failures, Failure{done.Sequence, done.Reason})
		}
	default:
		j.Done++
	}
}

// end leaves nothing in the record that may be about people.
func (j *Job) end(state string, at time.Time) {
	j.State, j.DoneAt, j.Edit, j.Owner = state, at, shapes(j.Edit), ""
}

// jobs carries jobs out. How far one is, is recorded from time to time; a console that goes on from there meets letters that are
// done already, and does none of them twice, since each is decided on its own write under the job's key.
type jobs struct {
	desk      *desk
	book      *records[*Job]
	log       *slog.Logger
	overwrite func(ctx context.Context, stream string, sequence uint64) error
	now       func() time.Time
	// me tells this console from others.
	me   string
	wake chan struct{}
}

func newJobBook() *records[*Job] {
	return newRecords(topology.JobSubject(""), func(content []byte) (*Job, error) {
		j := &Job{}
		return j, json.Unmarshal(content, j)
	})
}

// run works at what is not done, until ctx ends.
func (s *jobs) run(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	failing := map[string]bool{}
	for {
		busy := false
		for _, known := range slices.Backward(s.book.all()) {
			more, err := s.advance(ctx, known)
			if err != nil && !errors.Is(err, errElsewhere) && ctx.Err() == nil && !failing[known.ID] {
				s.log.Warn("a job on dead letters cannot go on yet, trying again", "job", known.ID, "error", err)
			}
			failing[known.ID] = err != nil
			busy = busy || more
		}
		if busy && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			s.release(ctx)
			return nil
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// release leaves what is not done to other consoles at once.
func (s *jobs) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasePatience)
	defer cancel()
	for _, known := range s.book.all() {
		if known.State != jobWorking || known.Owner != s.me {
			continue
		}
		j := known.copied()
		j.Owner, j.Touched = "", time.Time{}
		if err := s.record(ctx, j); err != nil && !errors.Is(err, errElsewhere) {
			s.log.Warn("a job could not be left to another console, which waits until it goes on", "job", j.ID, "error", err)
		}
	}
}

// advance works at a job for a while, and tells whether there is more to do at once.
func (s *jobs) advance(ctx context.Context, known *Job) (more bool, err error) {
	if err := s.tidy(ctx, known.ID); err != nil || known.over() {
		return false, err
	}
	j := known.copied()
	switch {
	case j.State == jobWaiting && s.now().Sub(j.Touched) > jobForgotten:
		j.Ended = &Said{By: topology.Console, Proven: true, Why: "nobody went on after the sample", At: s.now()}
		j.end(jobStopped, s.now())
		return false, s.record(ctx, j)
	case j.State == jobWaiting, j.Owner != "" && j.Owner != s.me && s.now().Sub(j.Touched) < takeOver:
		return false, nil
	case j.Owner != s.me:
		if err := s.save(ctx, j); err != nil {
			return false, err
		}
	}
	return s.work(ctx, j)
}

func (s *jobs) work(ctx context.Context, j *Job) (more bool, err error) {
	if err := s.desk.refresh(ctx); err != nil {
		return false, err
	}
	for until := s.now().Add(jobSlice); j.Left > 0 && !j.sampled(); {
		if s.now().After(until) || ctx.Err() != nil {
			return true, ctx.Err()
		}
		if known, ok := s.book.find(j.ID); !ok || known.sequence != j.sequence { // somebody stopped it, or erased it
			return true, errElsewhere
		}
		done, err := s.one(ctx, j, j.Sequences[j.looked()])
		if err != nil {
			return false, err
		}
		j.add(done)
		s.book.keep(j.copied())
		if s.now().Sub(j.Touched) > takeOver/3 {
			if err := s.save(ctx, j); err != nil {
				return false, err
			}
		}
	}
	if j.Left == 0 {
		j.end(jobDone, s.now())
		s.log.Info("a job on dead letters is done", "job", j.ID, "done", j.Done, "skipped", j.Skipped, "failed", j.Failed)
		return false, s.record(ctx, j)
	}
	j.State = jobWaiting
	return false, s.save(ctx, j)
}

// one decides about a letter of the job, unless the job has already.
func (s *jobs) one(ctx context.Context, j *Job, letter uint64) (Done, error) {
	if made := s.desk.book.under(letter, j.ID); made != nil {
		return answer(made), nil
	}
	if _, known := s.desk.book.look(letter); !known {
		if _, err := s.desk.letter(ctx, letter); err == nil {
			return Done{}, errors.New("the dead letters have not been read so far yet")
		}
	}
	done, err := s.desk.decide(ctx, j.operation(letter))
	if err != nil {
		return instead(letter, err)
	}
	return done, nil
}

// save records how far it is, and that this console is at it.
func (s *jobs) save(ctx context.Context, j *Job) error {
	j.Owner, j.Touched = s.me, s.now()
	return s.record(ctx, j)
}

// record writes a job down as it is, on the record before, and deletes that one: of what is put into bodies only one copy is there,
// and none when the job is over.
func (s *jobs) record(ctx context.Context, j *Job) error {
	content, err := json.Marshal(j)
	if err != nil {
		return err
	}
	sequence, err := s.desk.bus.Record(ctx, topology.JobSubject(j.ID), "job:"+uuid.NewString(), content, j.sequence)
	if errors.Is(err, bus.ErrOvertaken) {
		return errElsewhere
	}
	if err != nil {
		return err
	}
	j.sequence = sequence
	s.book.keep(j.copied())
	return s.tidy(ctx, j.ID)
}

func (s *jobs) tidy(ctx context.Context, id string) error {
	for _, sequence := range s.book.outdated(id) {
		if err := s.overwrite(ctx, topology.Operations, sequence); err != nil {
			return err
		}
		s.book.forgetPlace(id, sequence)
	}
	return nil
}

// begin records a job. The same request again, under the same key, gives the job that it made.
func (s *jobs) begin(ctx context.Context, j *Job) (*Job, error) {
	for range 2 {
		if known, ok := s.book.find(j.ID); ok {
			return known, known.asks(j)
		}
		err := s.record(ctx, j)
		if !errors.Is(err, errElsewhere) {
			if err != nil {
				return nil, httpdoor.Unavailable("JetStream did not take the request; nothing was done, and the same request may be sent again", 2*time.Second)
			}
			s.poke()
			return j, nil
		}
		if err := s.desk.operations.catchUp(ctx); err != nil {
			return nil, httpdoor.Unavailable("the operations cannot be read now", poll)
		}
	}
	return nil, httpdoor.Unavailable("the same was asked for at the same time; ask again", poll)
}

func (s *jobs) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// asks tells why a request under a job's key is not the one that made the job. Causes stand for their letters, which become fewer as
// they are replayed; what was put into the bodies is not known any more when the job is over.
func (j *Job) asks(again *Job) error {
	same := j.Does == again.Does && j.By == again.By && j.Cause == again.Cause && j.Again == again.Again && j.Outcome == again.Outcome &&
		j.Sample == again.Sample && (j.Cause != "" || slices.Equal(j.Sequences, again.Sequences)) &&
		slices.EqualFunc(j.Edit, again.Edit, func(x, y Change) bool {
			return fmt.Sprint(x.shape()) == fmt.Sprint(y.shape()) &&
				(j.over() || bytes.Equal(written(valueOf(x.Value)), written(valueOf(y.Value))) && x.Text == y.Text && x.With == y.With)
		})
	if same {
		return nil
	}
	return httpdoor.Unprocessable("something else was asked for under this key: a new request needs a key of its own",
		httpdoor.FieldError{Field: "Idempotency-Key", Message: "is that of another request"})
}

// goOn has the rest follow after the sample.
func (s *jobs) goOn(ctx context.Context, id string, by Said) (*Job, error) {
	return s.alter(ctx, id, func(j *Job) error {
		switch {
		case j.Went != nil:
			return nil
		case j.State != jobWaiting:
			return httpdoor.Conflict("the job does not wait for anybody: it is " + j.State)
		}
		j.Went, j.State, j.Owner, j.Touched = &by, jobWorking, "", time.Time{}
		return nil
	})
}

// stop ends a job before its end.
func (s *jobs) stop(ctx context.Context, id string, by Said) (*Job, error) {
	return s.alter(ctx, id, func(j *Job) error {
		switch {
		case j.State == jobStopped:
			return nil
		case j.over():
			return httpdoor.Conflict("the job is done already")
		}
		j.Ended = &by
		j.end(jobStopped, s.now())
		return nil
	})
}

// alter changes a job that others may be at.
func (s *jobs) alter(ctx context.Context, id string, change func(*Job) error) (*Job, error) {
	for range 5 {
		known, ok := s.book.find(id)
		if !ok {
			return nil, noJob()
		}
		j := known.copied()
		s.recount(j)
		went, state := j.Went, j.State
		if err := change(j); err != nil || j.Went == went && j.State == state {
			return j, err
		}
		err := s.record(ctx, j)
		if err == nil {
			s.poke()
			return j, nil
		}
		if !errors.Is(err, errElsewhere) {
			return nil, httpdoor.Unavailable("JetStream did not take the request; the same request may be sent again", 2*time.Second)
		}
		if err := s.desk.operations.catchUp(ctx); err != nil {
			return nil, httpdoor.Unavailable("the operations cannot be read now", poll)
		}
	}
	return nil, httpdoor.Unavailable("the job is being worked at; ask again", poll)
}

// recount takes in what another console has done since it recorded how far the job is.
func (s *jobs) recount(j *Job) {
	for j.State == jobWorking && j.Left > 0 {
		made := s.desk.book.under(j.Sequences[j.looked()], j.ID)
		if made == nil {
			return
		}
		j.add(answer(made))
	}
}

func noJob() error {
	return httpdoor.NotFound("there is no such job; its record may have expired, or been deleted with what is about a person")
}
