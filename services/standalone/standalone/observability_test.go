package standalone_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/tracing"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// collector takes spans as an OpenTelemetry collector does.
type collector struct {
	mu       sync.Mutex
	batches  []*tracepb.ResourceSpans
	keys     map[string]bool // that requests came with
	complain []error
}

func startCollector(t *testing.T) (*collector, string) {
	c := &collector{keys: map[string]bool{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, server.URL
}

// ServeHTTP is that of [http.Handler]. The first request finds it too busy.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	switch {
	case err == nil && r.URL.Path != "/v1/traces", r.Header.Get("Content-Type") != "application/x-protobuf":
		err = fmt.Errorf("%s %s with %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
	case err == nil:
		err = proto.Unmarshal(body, &data)
	}
	if err != nil {
		c.complain = append(c.complain, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	first := len(c.keys) == 0
	c.keys[r.Header.Get("X-Collector-Key")] = true
	if first {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	c.batches = append(c.batches, data.ResourceSpans...)
}

// span is one span of one service.
type span struct {
	*tracepb.Span
	service string
}

func (s span) attribute(key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return strings.TrimPrefix(fmt.Sprint(a.GetValue().GetValue()), "&")
		}
	}
	return ""
}

func (s span) text(key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// traces are the spans that came, by trace and then by their id.
func (c *collector) traces(t *testing.T) map[string]map[string]span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.complain) > 0 || len(c.keys) != 1 || !c.keys["shh, a key"] {
		t.Errorf("the collector complains: %v; keys %d", c.complain, len(c.keys))
	}
	traces := map[string]map[string]span{}
	for _, batch := range c.batches {
		service := ""
		for _, a := range batch.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range batch.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				id := hex.EncodeToString(s.GetTraceId())
				if traces[id] == nil {
					traces[id] = map[string]span{}
				}
				traces[id][hex.EncodeToString(s.GetSpanId())] = span{s, service}
			}
		}
	}
	return traces
}

// campaign plays one through standalone, and gives the vendors' books, the metrics and the spans.
func campaign(t *testing.T) (landscape.Books, string, *collector, string) {
	t.Helper()
	spans, collectorURL := startCollector(t)
	address := freeAddress(t)
	p := launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR="+address, "STANDALONE_NATS_PORT=-1", "STANDALONE_CAMPAIGN=30",
		"LOG_LEVEL=debug", "LOG_FORMAT=json", "OTEL_EXPORTER_OTLP_ENDPOINT="+collectorURL, "OTEL_EXPORTER_OTLP_HEADERS=X-Collector-Key=shh%2C%20a%20key")
	eventually(t, "the campaign is over", 2*time.Minute, func() bool { return strings.Contains(p.output.String(), "Ctrl-C stops") })
	var books landscape.Books
	if !get(t.Context(), "http://"+address+"/landscape/books.json", &books) {
		t.Fatal("no books")
	}
	metrics := ""
	eventually(t, "everything is published and counted", time.Minute, func() bool {
		response, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		metrics = string(body)
		return err == nil && strings.Contains(metrics, `stage="task.created"`) && strings.Contains(metrics, `stage="recognition.submitted"`)
	})
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return books, metrics, spans, p.output.String()
}

func TestOneLoopIsOneTraceWithoutAnythingPersonalAndAllMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	books, metrics, collected, log := campaign(t)
	traces := collected.traces(t)
	t.Run("traces", func(t *testing.T) { wholeTraces(t, books, traces) })
	t.Run("waves", func(t *testing.T) { linkedWaves(t, traces) })
	t.Run("nothing personal", func(t *testing.T) { nothingPersonal(t, books, collected, metrics, log) })
	t.Run("metrics", func(t *testing.T) { documented(t, metrics) })
	if !strings.Contains(log, `"trace_id":"`) {
		t.Error("no line of the log names its trace")
	}
}

// way is what one loop's trace holds: the span of each name, and the name of its parent. An answer comes from outside, and its
// request begins anew within the trace.
var way = map[string]string{
	"send survey.link.requested":       "POST /sap/open-channel, linked",
	"process survey.link.requested":    "send survey.link.requested",
	"send survey.link.created":         "process survey.link.requested",
	"process survey.link.created":      "send survey.link.created",
	"send interaction.written":         "process survey.link.created",
	"POST /qualtrics/events":           "",
	"send survey.response.notified":    "POST /qualtrics/events",
	"process survey.response.notified": "send survey.response.notified",
	"qualtrics read response":          "process survey.response.notified",
	"send survey.response.received":    "process survey.response.notified",
	"process survey.response.received": "send survey.response.received",
	"send feedback.delivery_late":      "process survey.response.received",
	"process feedback.delivery_late":   "send feedback.delivery_late",
	"sap-sales-cloud create task":      "process feedback.delivery_late",
	"send task.created":                "process feedback.delivery_late",
	"send recognition.requested":       "process survey.response.received",
	"process recognition.requested":    "send recognition.requested",
	"awardco recognize":                "process recognition.requested",
	"send recognition.submitted":       "process recognition.requested",
}

func wholeTraces(t *testing.T, books landscape.Books, traces map[string]map[string]span) {
	seen := map[string]bool{}
	for _, transaction := range books.Qualtrics.Transactions {
		loop := transaction.Data["loopId"]
		spans := traces[tracing.TraceID(loop).String()]
		if len(spans) == 0 {
			t.Fatalf("no trace of the loop %s", loop)
		}
		for _, s := range spans {
			if of := s.text(string(tracing.LoopID)); of != "" && of != loop {
				t.Errorf("%s of the loop %s is in the trace of %s", s.GetName(), of, loop)
			}
			if s.GetParentSpanId() != nil && len(s.GetParentSpanId()) > 0 {
				parent, there := spans[hex.EncodeToString(s.GetParentSpanId())]
				if !there {
					t.Errorf("the parent of %s is not in its trace", s.GetName())
				}
				if want, known := way[s.GetName()]; known && want == parent.GetName() {
					seen[s.GetName()] = true
				}
				continue
			}
			switch want, known := way[s.GetName()]; {
			case known && want == "":
				seen[s.GetName()] = true
			case known && strings.HasSuffix(want, ", linked") && len(s.GetLinks()) > 0:
				seen[s.GetName()] = true
			}
		}
	}
	for name, parent := range way {
		if !seen[name] {
			t.Errorf("%s was not seen with %q as its parent", name, parent)
		}
	}
	if t.Failed() {
		names := map[string]int{}
		for _, spans := range traces {
			for _, s := range spans {
				parent := spans[hex.EncodeToString(s.GetParentSpanId())]
				names[s.service+": "+s.GetName()+" < "+parent.GetName()]++
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			t.Log(names[name], name)
		}
	}
}

// linkedWaves looks for the joint making of links: its span holds the calls, and it and its members link each other.
func linkedWaves(t *testing.T, traces map[string]map[string]span) {
	members, calls := 0, 0
	for id, spans := range traces {
		for spanID, s := range spans {
			if s.GetName() != "process wave of "+subjects.SurveyLinkRequested {
				continue
			}
			for _, link := range s.GetLinks() {
				member, there := traces[hex.EncodeToString(link.GetTraceId())][hex.EncodeToString(link.GetSpanId())]
				back := slices.ContainsFunc(member.GetLinks(), func(l *tracepb.Span_Link) bool {
					return hex.EncodeToString(l.GetTraceId()) == id && hex.EncodeToString(l.GetSpanId()) == spanID
				})
				if !there || !back || member.attribute(string(tracing.WaveSize)) == "" {
					t.Errorf("a member of the wave is there %t, links it %t, size %q", there, back, member.attribute(string(tracing.WaveSize)))
				}
				members++
			}
			for _, other := range spans {
				if hex.EncodeToString(other.GetParentSpanId()) == spanID && other.GetKind() == tracepb.Span_SPAN_KIND_CLIENT {
					calls++
				}
			}
		}
	}
	if members < 2 || calls == 0 {
		t.Errorf("waves of %d members in all, with %d calls of the vendor", members, calls)
	}
}

// nothingPersonal looks for what is known of the customers, their links and answers, and for secrets, in spans, metrics and log.
func nothingPersonal(t *testing.T, books landscape.Books, collected *collector, metrics, log string) {
	personal := personalIn(books)
	personal["the collector's key"], personal["a token"] = "shh, a key", "simulated-token"
	personal["a shared key"], personal["an address"] = "simulated-shared-key", "@"
	absent(t, personal, map[string]string{"spans": collected.text(t), "metrics": metrics, "log": log})
}

// text is all that came, as one text.
func (c *collector) text(t *testing.T) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var said strings.Builder
	for _, batch := range c.batches {
		text, err := protojson.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(text)
	}
	return said.String()
}

// personalIn lists what the vendors know of people: what it is, and the text.
func personalIn(books landscape.Books) map[string]string {
	personal := map[string]string{}
	for _, c := range books.Qualtrics.Contacts {
		personal["e-mail of "+c.ID], personal["phone of "+c.ID] = c.Email, c.Phone
		personal["name of "+c.ID], personal["last name of "+c.ID] = c.FirstName+" "+c.LastName, long(c.LastName)
	}
	for _, l := range books.Qualtrics.Links {
		personal["link "+l.ID], personal["link of "+l.ID] = l.ID, l.URL
	}
	for _, r := range books.Qualtrics.Responses {
		for question, words := range r.Words {
			personal["answer "+question+" of "+r.ID] = long(words)
		}
	}
	return personal
}

// absent fails for each personal text that one of the others, which must be there, holds: as it is, or quoted as in JSON.
func absent(t *testing.T, personal, said map[string]string) {
	t.Helper()
	for where, text := range said {
		if len(text) < 1000 {
			t.Errorf("there are only %d characters in the %s", len(text), where)
		}
		said[where] = strings.ToLower(text)
	}
	looked := 0
	for what, text := range personal {
		if len(text) == 0 {
			continue
		}
		looked++
		quoted, _ := json.Marshal(strings.ToLower(text))
		for where, said := range said {
			if at := strings.Index(said, strings.Trim(string(quoted), `"`)); at >= 0 {
				t.Errorf("the %s is in the %s: %s", what, where, said[max(0, at-300):min(len(said), at+100)])
			}
		}
	}
	if looked < 50 {
		t.Errorf("only %d texts were looked for", looked)
	}
}

// long leaves out what may be in any text by chance.
func long(text string) string {
	if len(text) < 6 {
		return ""
	}
	return text
}

var (
	typeLine    = regexp.MustCompile(`(?m)^# TYPE (closeloop_\w+) (\w+)$`)
	sampleLine  = regexp.MustCompile(`(?m)^(closeloop_\w+)\{(.*)\} `)
	labelName   = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)
	documentRow = regexp.MustCompile("(?m)^\\| `(closeloop_\\w+)` \\| (\\w+) \\| (.*?) ?\\| .+ \\|$")
	nameInCode  = regexp.MustCompile(`"(closeloop_[a-z0-9_]+)"`)
	inBackticks = regexp.MustCompile("`(\\w+)`")
)

// documented holds docs/metrics.md against what is shown after a campaign, and against the names in the code: a metric that
// was never needed does not show.
func documented(t *testing.T, metrics string) {
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{} // type and labels
	for _, row := range documentRow.FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, label := range inBackticks.FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, label[1])
		}
		known[row[1]] = described(row[2], labels)
	}
	code := namesInCode(t)
	for name := range code {
		if known[name] == "" {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
	for name := range known {
		if !code[name] {
			t.Errorf("%s of docs/metrics.md is not in the code", name)
		}
	}
	shown := shown(metrics)
	for name, is := range shown {
		if known[name] != is {
			t.Errorf("%s is shown as %q, and documented as %q", name, is, known[name])
		}
	}
	if len(shown) < 20 {
		t.Errorf("only %d metrics are shown", len(shown))
	}
}

func described(kind string, labels []string) string {
	slices.Sort(labels)
	return kind + " " + strings.Join(labels, " ")
}

// shown gives type and labels of each metric, but for the label that all have and that of buckets.
func shown(metrics string) map[string]string {
	shown := map[string]string{}
	for _, found := range typeLine.FindAllStringSubmatch(metrics, -1) {
		name, kind := found[1], found[2]
		for _, sample := range sampleLine.FindAllStringSubmatch(metrics, -1) {
			if sample[1] != name && sample[1] != name+"_bucket" {
				continue
			}
			var labels []string
			for _, label := range labelName.FindAllStringSubmatch(sample[2], -1) {
				if label[1] != "service" && label[1] != "le" {
					labels = append(labels, label[1])
				}
			}
			shown[name] = described(kind, labels)
			break
		}
	}
	return shown
}

func namesInCode(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, root := range []string{"../../../pkg", "../.."} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, found := range nameInCode.FindAllStringSubmatch(string(source), -1) {
				names[found[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
