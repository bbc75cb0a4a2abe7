package loops

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
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

// BenchmarkRebuild builds the read model from the streams of a broker, which is in a process of its own as it always is.
func BenchmarkRebuild(b *testing.B) {
	if os.Getenv("BENCH_BROKER") != "" {
		rebuild(b, os.Getenv("BENCH_BROKER"))
		return
	}
	broker := bustest.Start(b, topology.Settings{EventsMaxBytes: 8 << 30, ActivityMaxBytes: 4 << 30})
	messages, bytes := publishHistory(b, broker.JS, number("BENCH_LOOPS", 75_000))
	fmt.Fprintf(os.Stdout, "streams   %d messages, %.0f MB\n", messages, mb(bytes))
	for b.Loop() {
		used := processor(b)
		child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkRebuild$", "-test.benchtime=1x")
		child.Env = append(os.Environ(), "BENCH_BROKER="+broker.URL(), "GOMEMLIMIT=51MiB", "GOGC=50") // four fifths of the 64 MB that it has, and as it is deployed
		if profile := os.Getenv("BENCH_PROFILE"); profile != "" {
			child.Args = append(child.Args, "-test.cpuprofile="+profile)
		}
		out, err := child.CombinedOutput()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "rebuild") {
				fmt.Fprint(os.Stdout, line)
			}
		}
		fmt.Fprintf(os.Stdout, "broker    %s of processor\n", (processor(b) - used).Round(time.Millisecond))
	}
}

func rebuild(b *testing.B, url string) {
	nc, err := nats.Connect(url)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "loops.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	f := NewFollower(s, must(jetstream.New(nc)), logging.Discard())
	busy, began := processor(b), time.Now()
	if err := f.catchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	took, busy := time.Since(began), processor(b)-busy
	p, read := s.Progress(), uint64(0)
	for _, n := range p.Read {
		read += n
	}
	if p.Behind > 0 {
		b.Fatalf("it stopped before the end: %+v", p)
	}
	size, err := os.Stat(s.path)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "rebuild   %d messages in %s: %.0f a second; %s of processor, %.2f s for 100,000; file %.0f MB; resident at most %s, of which %s now is its own\n",
		read, took.Round(time.Millisecond), float64(read)/took.Seconds(), busy.Round(time.Millisecond), busy.Seconds()/float64(read)*1e5, mb(int(size.Size())), memory("VmHWM"), memory("RssAnon"))
}

// processor is how much of it the process has had.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func mb(n int) float64 { return float64(n) / (1 << 20) }

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
	var parts [len(sources)]part
	notes := 0
	flush := func() {
		for i := range parts {
			parts[i].from, parts[i].was, was[i] = source(i), was[i], seqs[i]
		}
		if err := s.apply(tb.Context(), slices.Clone(parts[:])...); err != nil {
			tb.Fatal(err)
		}
		parts, notes = [len(sources)]part{}, 0
	}
	var h *history
	h = newHistory(time.Now().Add(-time.Duration(loops/chunk+1)*chunkEvery), func(m *nats.Msg) {
		from := sourceOf(m)
		messages++
		seqs[from]++
		one := parse(from, raw(m, seqs[from], h.at))
		parts[from].messages, parts[from].read = append(parts[from].messages, one), seqs[from]
		if notes += max(1, len(one.notes)); notes >= applyNotes {
			flush()
		}
	})
	h.play(loops)
	flush()
	return messages
}

// BenchmarkSearch looks for loops in a large file, by each key.
func BenchmarkSearch(b *testing.B) {
	loops := number("BENCH_SEARCHED", 1_000_000)
	path := os.Getenv("BENCH_FILE")
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
			from := begin.Add(time.Duration(i%(loops/chunk)) * chunkEvery)
			return Query{From: from, To: from.Add(24 * time.Hour)}
		}},
		{"time+state", func(i int) Query {
			from := begin.Add(time.Duration(i%(loops/chunk)) * chunkEvery)
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
	fmt.Fprintf(os.Stdout, "memory    %s resident\n", memory("VmRSS"))
}

func id(prefix string, i int) string { return prefix + strconv.Itoa(1_000_000+i) }

// memory tells how much the process has, as the kernel says: VmRSS now, VmHWM at most, RssAnon without what is files.
func memory(which string) string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if value, ok := strings.CutPrefix(line, which+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
