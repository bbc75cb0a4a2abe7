package loops

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/logging"
)

// number gives a size of a benchmark from the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// BenchmarkRebuild builds the read model from the streams of a broker in the same process.
func BenchmarkRebuild(b *testing.B) {
	broker := bustest.Start(b, topology.Settings{})
	js := broker.Bus(topology.Console).JetStream()
	messages, bytes := publishHistory(b, broker.JS, number("LOOPS", 60_000))
	for b.Loop() {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "loops.db"))
		if err != nil {
			b.Fatal(err)
		}
		f := NewFollower(s, js, logging.Discard())
		peak := watchMemory(b.Context())
		began := time.Now()
		if err := f.catchUp(b.Context()); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		if p := s.Progress(); p.Behind > 0 {
			b.Fatalf("it stopped before the end: %+v", p)
		}
		size, _ := os.Stat(s.path)
		fmt.Fprintf(os.Stdout, "rebuild   %d messages (%.0f MB) in %s: %.0f a second; file %.0f MB; heap %.0f MB at most\n",
			messages, mb(bytes), took.Round(time.Millisecond), float64(messages)/took.Seconds(), mb(int(size.Size())), mb(int(peak())))
		b.ReportMetric(float64(messages)/took.Seconds(), "messages/s")
		s.Close()
	}
}

func mb(n int) float64 { return float64(n) / (1 << 20) }

// watchMemory looks at the heap until the function that it gives is called, which tells the most there was.
func watchMemory(ctx context.Context) func() uint64 {
	ctx, cancel := context.WithCancel(ctx)
	most := make(chan uint64)
	go func() {
		peak := uint64(0)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			select {
			case <-ctx.Done():
				most <- peak
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { cancel(); return <-most }
}

func publishHistory(b *testing.B, js jetstream.JetStream, loops int) (messages, bytes int) {
	b.Helper()
	h := newHistory(time.Now().Add(-time.Duration(loops/chunk+1)*chunkEvery), func(m *nats.Msg) {
		messages++
		bytes += len(m.Data)
		if _, err := js.PublishMsgAsync(m); err != nil {
			b.Fatal(err)
		}
		if messages%2000 == 0 {
			<-js.PublishAsyncComplete()
		}
	})
	h.play(loops)
	<-js.PublishAsyncComplete()
	return messages, bytes
}

// fill puts a history into a store without a broker.
func fill(tb testing.TB, s *Store, loops int) (messages int) {
	tb.Helper()
	var seqs, was [len(sources)]uint64
	var waiting [len(sources)][]message
	var h *history
	flush := func(from source) {
		if len(waiting[from]) == 0 {
			return
		}
		if err := s.apply(tb.Context(), from, waiting[from], was[from], seqs[from]); err != nil {
			tb.Fatal(err)
		}
		was[from], waiting[from] = seqs[from], waiting[from][:0]
	}
	h = newHistory(time.Now().Add(-time.Duration(loops/chunk+1)*chunkEvery), func(m *nats.Msg) {
		from := sourceOf(m)
		messages++
		seqs[from]++
		waiting[from] = append(waiting[from], parse(from, raw(m, seqs[from], h.at)))
		if len(waiting[from]) >= applyMost {
			flush(fromEvents)
			flush(from)
		}
	})
	h.play(loops)
	for i := range sources {
		flush(source(i))
	}
	return messages
}

// BenchmarkSearch looks for loops in a large file, by each key.
func BenchmarkSearch(b *testing.B) {
	loops := number("SEARCHED", 1_000_000)
	path := os.Getenv("LOOPS_FILE")
	fresh := path == ""
	if fresh {
		path = filepath.Join(b.TempDir(), "loops.db")
	}
	_, err := os.Stat(path)
	s, openErr := Open(b.Context(), path)
	if openErr != nil {
		b.Fatal(openErr)
	}
	defer s.Close()
	if err != nil {
		began := time.Now()
		n := fill(b, s, loops)
		fmt.Fprintf(os.Stdout, "filled    %d loops, %d messages in %s\n", loops, n, time.Since(began).Round(time.Second))
	}
	size, _ := os.Stat(path)
	runtime.GC()
	fmt.Fprintf(os.Stdout, "file      %.0f MB\n", mb(int(size.Size())))
	begin := time.Now().Add(-time.Duration(loops/chunk+1) * chunkEvery)
	searches := []struct {
		name string
		of   func(i int) Query
	}{
		{"order", func(i int) Query { return Query{IDs: map[IDKind]string{Order: id("47", i)}} }},
		{"contact", func(i int) Query { return Query{IDs: map[IDKind]string{Contact: id("P-", i)}} }},
		{"request", func(i int) Query { return Query{IDs: map[IDKind]string{Request: id("A", i)}} }},
		{"response", func(i int) Query { return Query{IDs: map[IDKind]string{Response: id("R_", i/4*4)}} }},
		{"task", func(i int) Query { return Query{IDs: map[IDKind]string{Task: id("4", i/8*8)}} }},
		{"recognition", func(i int) Query { return Query{IDs: map[IDKind]string{Recognition: id("AW-", i/8*8+4)}} }},
		{"any id", func(i int) Query { return Query{Any: id("00163EAA0000", i)} }},
		{"unknown id", func(i int) Query { return Query{Any: "nobody-" + strconv.Itoa(i)} }},
		{"state", func(i int) Query { return Query{State: States[i%len(States)]} }},
		{"stage", func(i int) Query { return Query{Stage: Funnel[i%len(Funnel)]} }},
		{"state+stage", func(i int) Query { return Query{State: States[i%len(States)], Stage: Funnel[i/5%len(Funnel)]} }},
		{"campaign", func(i int) Query { return Query{Campaign: fmt.Sprintf("00000%05d", i%(loops/(20*chunk)+1))} }},
		{"campaign+state", func(i int) Query {
			return Query{Campaign: fmt.Sprintf("00000%05d", i%(loops/(20*chunk)+1)), State: States[i%len(States)]}
		}},
		{"survey+state", func(i int) Query { return Query{Survey: "SV_service", State: States[i%len(States)], Stage: Closed} }},
		{"rule+state", func(i int) Query { return Query{Rule: "delivery-too-late", State: States[i%len(States)]} }},
		{"rule+campaign", func(i int) Query {
			return Query{Rule: "csat-recognition", Campaign: fmt.Sprintf("00000%05d", i%(loops/(20*chunk)+1))}
		}},
		{"time", func(i int) Query {
			from := begin.Add(time.Duration(i) * 7 * time.Hour)
			return Query{From: from, To: from.Add(24 * time.Hour)}
		}},
		{"time+state", func(i int) Query {
			from := begin.Add(time.Duration(i) * 7 * time.Hour)
			return Query{From: from, To: from.Add(24 * time.Hour), State: Completed}
		}},
		{"all", func(int) Query { return Query{} }},
	}
	for b.Loop() {
		for _, search := range searches {
			var took []time.Duration
			found := 0
			for i := range 200 {
				began := time.Now()
				page, err := s.Find(b.Context(), search.of(i*(loops/200)+i%7))
				if err != nil {
					b.Fatal(err)
				}
				if i%10 == 0 && page.Next != "" { // and the page after
					q := search.of(i*(loops/200) + i%7)
					q.Before = page.Next
					if _, err := s.Find(b.Context(), q); err != nil {
						b.Fatal(err)
					}
				}
				took = append(took, time.Since(began))
				found += len(page.Loops)
			}
			slices.Sort(took)
			fmt.Fprintf(os.Stdout, "search    %-16s p50 %-10s max %-10s %d found\n", search.name, took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), found)
		}
		for _, span := range []Span{{}, {From: begin, To: begin.Add(24 * time.Hour)}, {Campaign: "0000000001"}} {
			began := time.Now()
			if _, err := s.Numbers(b.Context(), span); err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(os.Stdout, "numbers   %s\n", time.Since(began).Round(time.Millisecond))
		}
		for _, name := range []string{"Campaigns", "Vendors"} {
			began := time.Now()
			if name == "Campaigns" {
				_, err = s.Campaigns(b.Context())
			} else {
				_, err = s.Vendors(b.Context())
			}
			if err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(os.Stdout, "%-9s %s\n", strings.ToLower(name), time.Since(began).Round(time.Millisecond))
		}
	}
	fmt.Fprintf(os.Stdout, "memory    %s resident\n", resident())
}

func id(prefix string, i int) string { return prefix + strconv.Itoa(1_000_000+i) }

// resident tells how much memory the process has, as the kernel says.
func resident() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
