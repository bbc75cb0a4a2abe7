package chaos

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// feeder gives inputs to the system, each as often as it takes until it is accepted.
type feeder struct {
	fleet *lab.Fleet
	watch *watch

	// stretch is the one that inputs belong to from now on, where stretches are told by the clock.
	stretch atomic.Int32
	// entering is called before the first input of each stretch, where stretches are told by the inputs.
	entering func(context.Context, int) error
	// left is called after the last input.
	left func(context.Context) error
}

const (
	senders = 32 // at a time, for each of broker, door and survey pages
	tryFor  = 5 * time.Second
	pause   = 200 * time.Millisecond
)

// feed gives all inputs in their order at a rate a second (0: as fast as they are taken), and returns when all of them are
// accepted, real answers too.
func (f *feeder) feed(ctx context.Context, w *workload, rate float64) error {
	bus, door, pages := make(chan *input, len(w.inputs)), make(chan *input, len(w.inputs)), make(chan *input)
	var all sync.WaitGroup
	for range senders {
		all.Go(func() { f.work(ctx, bus, f.publish) })
		all.Go(func() { f.work(ctx, door, f.post) })
		all.Go(func() { f.work(ctx, pages, f.fillIn) })
	}
	err := f.handOut(ctx, w, rate, bus, door)
	close(bus)
	close(door)
	if err == nil && f.left != nil {
		err = f.left(ctx)
	}
	if err == nil {
		f.passOn(ctx, w.realAnswers(), pages)
	}
	close(pages)
	all.Wait()
	return err
}

// handOut gives the inputs that are not real answers to those who send them.
func (f *feeder) handOut(ctx context.Context, w *workload, rate float64, bus, door chan<- *input) error {
	every := time.Duration(0)
	if rate > 0 {
		every = time.Duration(float64(time.Second) / rate)
	}
	due, last := time.Now(), -1
	for _, in := range w.inputs {
		if f.entering != nil && in.stretch != last {
			last = in.stretch
			if err := f.entering(ctx, last); err != nil {
				return err
			}
		}
		if in.of != nil {
			continue
		}
		due = due.Add(every)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.entering == nil {
			f.watch.place(in, int(f.stretch.Load()))
		}
		if in.door {
			door <- in
		} else {
			bus <- in
		}
	}
	return nil
}

// passOn gives the answers to those whose link has come to the pages, until all of them have.
func (f *feeder) passOn(ctx context.Context, answers int, pages chan<- *input) {
	for range answers {
		select {
		case asked := <-f.watch.links:
			pages <- asked.answered
		case <-ctx.Done():
			return
		}
	}
}

// work gives inputs one after another, each again until it is accepted.
func (f *feeder) work(ctx context.Context, inputs <-chan *input, give func(context.Context, *input) bool) {
	for in := range inputs {
		for ctx.Err() == nil {
			attempt, cancel := context.WithTimeout(ctx, tryFor)
			taken := give(attempt, in)
			cancel()
			if taken {
				f.watch.accept(in)
				break
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// publish is done when JetStream has acknowledged the event.
func (f *feeder) publish(ctx context.Context, in *input) bool {
	m := nats.NewMsg(in.subject())
	m.Data = in.body()
	_, err := f.fleet.JS.PublishMsg(ctx, m, jetstream.WithMsgID(in.subject()+"/"+in.key))
	return err == nil
}

// post gives cart feedback to the tasker's door, as a survey flow does.
func (f *feeder) post(ctx context.Context, in *input) bool {
	url, key := f.fleet.Door(topology.C4CTasker)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/c4c/task", bytes.NewReader(in.body()))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", key)
	return status(req) == http.StatusAccepted
}

// fillIn answers on the survey's page. A link works once, so that an answer whose thanks were lost is not given twice.
func (f *feeder) fillIn(ctx context.Context, in *input) bool {
	f.watch.mu.Lock()
	link := in.of.link
	f.watch.mu.Unlock()
	form := url.Values{}
	for question, given := range in.page() {
		form.Set(question, given)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, link, bytes.NewBufferString(form.Encode()))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answered := status(req)
	return answered == http.StatusOK || answered == http.StatusGone
}

// status of the answer, 0 where none came.
func status(req *http.Request) int {
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// accept notes that an input is in the system.
func (o *watch) accept(in *input) {
	o.mu.Lock()
	defer o.mu.Unlock()
	in.accepted = true
}

// place notes the stretch of an input.
func (o *watch) place(in *input, stretch int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	in.stretch = stretch
}

// accepted counts the inputs that are in the system.
func (o *watch) accepted(w *workload) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, in := range w.inputs {
		if in.accepted {
			n++
		}
	}
	return n
}
