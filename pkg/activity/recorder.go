package activity

import (
	"context"
	"slices"
	"sync"
)

// Recorder takes what is noted during one round of work. It is safe for concurrent use.
type Recorder struct {
	mu        sync.Mutex
	ended     bool
	calls     []Call
	decisions map[string][]Decision // by event, "" where nobody said which
}

type (
	recorderKey struct{}
	eventKey    struct{}
)

// Record gives a context in which [Called] and [Decided] note.
func Record(ctx context.Context) (context.Context, *Recorder) {
	r := &Recorder{decisions: map[string][]Decision{}}
	return context.WithValue(ctx, recorderKey{}, r), r
}

// About gives a context in which what is noted is about one event of a wave, and about no other.
func About(ctx context.Context, eventID string) context.Context {
	return context.WithValue(ctx, eventKey{}, eventID)
}

// Called notes a call. Outside of a round of work, and after its end, nothing is noted.
func Called(ctx context.Context, c Call) {
	c.EventID = eventOf(ctx)
	note(ctx, func(r *Recorder) { r.calls = append(r.calls, c) })
}

// Decided notes what rules said of the event in hand, or of that of [About].
func Decided(ctx context.Context, decisions ...Decision) {
	id := eventOf(ctx)
	note(ctx, func(r *Recorder) { r.decisions[id] = append(r.decisions[id], decisions...) })
}

func eventOf(ctx context.Context) string {
	id, _ := ctx.Value(eventKey{}).(string)
	return id
}

func note(ctx context.Context, add func(*Recorder)) {
	r, _ := ctx.Value(recorderKey{}).(*Recorder)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		add(r)
	}
}

// End ends the round, after which nothing more is noted, and puts what was noted into a: calls in the order in which they began, and decisions with the event that
// they are about. One that nobody named is that of a round of one.
func (r *Recorder) End(a *Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	a.Calls = r.calls
	slices.SortStableFunc(a.Calls, func(x, y Call) int { return x.At.Compare(y.At) })
	for i := range a.Events {
		e := &a.Events[i]
		e.Rules = r.decisions[e.EventID]
		if len(a.Events) == 1 {
			e.Rules = append(r.decisions[""], e.Rules...)
		}
	}
}
