package observabilitytest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/util/teststorage"
)

// patience is how long a condition may take to come true on a busy machine.
const patience = 3 * time.Minute

// exported are the metrics of prometheus-nats-exporter that we use, which no process of ours tells, with their labels.
var exported = map[string][]string{
	"jetstream_server_total_streams": {"server_id", "server_name"},
	"jetstream_stream_total_bytes":   {"server_id", "server_name", "stream_name", "is_stream_leader"},
	"jetstream_stream_limit_bytes":   {"server_id", "server_name", "stream_name", "is_stream_leader"},
	"jetstream_consumer_num_pending": {"server_id", "server_name", "stream_name", "consumer_name", "is_consumer_leader"},
}

// unprovoked are metrics that tell nothing until something happens that this test does not bring about, with their labels.
var unprovoked = map[string][]string{
	"closeloop_deliveries_ran_out_total": {"outcome", "service"},
}

// ofDeadLetters and ofOutages are panels that show nothing, or 0, while all is well.
var (
	ofDeadLetters = map[string]bool{
		"Dead letters open": true, "Dead letters open, by service and class": true, "Oldest dead letter": true,
		"Dead letters made": true, "Errors, by class": true,
	}
	ofOutages = map[string]bool{"Out": true, "Out for": true, "Calls that fail": true, "Waiting": true, "Oldest waiting": true, "Held": true}
)

// momentary are panels whose values are other than 0 for moments only.
var momentary = map[string]bool{"In hand": true}

func TestARunningCloseloopFillsEveryPanelAndNoAlertCriesForNothing(t *testing.T) {
	c := start(t)
	w := watch(t, c.url)
	all := queries(t)

	// The campaign that standalone plays, to the last of what follows from answers.
	w.until("the campaign's loops are closed", func() []string {
		return w.open("survey.link.created", "interaction.written", "task.created", "recognition.submitted")
	})
	w.until("panels are filled by a campaign", func() []string {
		return w.empty(all, func(q query) bool { return !ofDeadLetters[q.panel] && !ofOutages[q.panel] })
	})
	w.until("no alert holds while all is well", w.alarms)

	// A person is needed: one complaint after another about an account that nobody has.
	complaints := 0
	w.until("panels are filled by dead letters", func() []string {
		complaints++
		c.complain(fmt.Sprintf("R_nobody%d", complaints), "9999999")
		return w.empty(all, func(q query) bool { return ofDeadLetters[q.panel] })
	})

	// A vendor is out, and work for it comes in.
	c.call(http.MethodPost, "/landscape/faults", `{"vendor":"sap-sales-cloud","kind":"status","status":503}`)
	w.until("panels are filled while a vendor is out", func() []string {
		complaints++
		c.complain(fmt.Sprintf("R_out%d", complaints), "1000123")
		return w.empty(all, func(q query) bool { return ofOutages[q.panel] })
	})
	w.checkMetrics(all)
}

// query is one query of a panel or of an alert.
type query struct {
	where, panel string
	expr         parser.Expr
}

// queries gives those of all panels, with Grafana's variables filled in.
func queries(t *testing.T) (all []query) {
	t.Helper()
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$vendor", ".*", "$service", ".*")
	for _, d := range allDashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				where := fmt.Sprintf("%s, panel %q, query %s", d.file, p.Title, target.RefID)
				expr, err := promQL.ParseExpr(variables.Replace(target.Expr))
				if err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				all = append(all, query{where, p.Title, expr})
			}
		}
	}
	return all
}

// closeloop is a running standalone.
type closeloop struct {
	t   *testing.T
	url string
}

// start builds standalone, starts it as a process, and waits until it is ready.
func start(t *testing.T) *closeloop {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "standalone")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./services/standalone")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building standalone: %v\n%s", err, out)
	}
	address := freeAddress(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(binary) // interrupted below, so that it drains
	process.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "HTTP_ADDR=" + address, "STANDALONE_NATS_PORT=-1",
		"DATA_DIR=" + filepath.Join(dir, "data"), "LOG_LEVEL=warn",
	}
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	t.Cleanup(func() {
		_ = process.Process.Signal(os.Interrupt) // it may have ended by itself
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = process.Process.Kill()
			t.Error("standalone did not end in a minute")
		}
		log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("standalone said at last:\n%s", said[max(0, len(said)-4000):])
		}
	})
	c := &closeloop{t, "http://" + address}
	eventually(t, "standalone is ready", func() []string {
		answer, err := http.Get(c.url + "/readyz")
		if err != nil {
			return []string{err.Error()}
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return []string{answer.Status}
		}
		return nil
	})
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *closeloop) call(method, path, body string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		said, _ := io.ReadAll(answer.Body)
		c.t.Fatalf("%s %s: %s: %s", method, path, answer.Status, said)
	}
}

// complain asks the tasker for a task.
func (c *closeloop) complain(response, account string) {
	c.t.Helper()
	c.call(http.MethodPost, "/c4c/task", fmt.Sprintf(`{"responseId":%q,"subject":"Late","text":"Later than promised","accountId":%q}`, response, account))
}

// watcher is a Prometheus with one target.
type watcher struct {
	t      *testing.T
	url    string
	store  *teststorage.TestStorage
	engine *promql.Engine
	symtab *labels.SymbolTable
	labels map[string]map[string]bool // of each metric
	last   time.Time
}

func watch(t *testing.T, url string) *watcher {
	t.Helper()
	return &watcher{
		t: t, url: url, store: teststorage.New(t), engine: promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000),
		symtab: labels.NewSymbolTable(), labels: map[string]map[string]bool{},
	}
}

// scrape reads the target's metrics as Prometheus does, with the labels of a job with honor_labels.
func (w *watcher) scrape() error {
	answer, err := http.Get(w.url + "/metrics")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	p, err := textparse.New(body, answer.Header.Get("Content-Type"), w.symtab, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	w.last = time.Now()
	appender := w.store.Appender(context.Background())
	add := func(l labels.Labels, v float64) error {
		b := labels.NewBuilder(l)
		for name, value := range map[string]string{"job": "closeloop", "instance": strings.TrimPrefix(w.url, "http://")} {
			if b.Get(name) == "" {
				b.Set(name, value)
			}
		}
		l = b.Labels()
		have := w.labels[l.Get(model.MetricNameLabel)]
		if have == nil {
			have = map[string]bool{}
			w.labels[l.Get(model.MetricNameLabel)] = have
		}
		l.Range(func(one labels.Label) { have[one.Name] = true })
		_, err := appender.Append(0, l, w.last.UnixMilli(), v)
		return err
	}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, v := p.Series()
		if err := add(l, v); err != nil {
			return err
		}
	}
	if err := add(labels.FromStrings(model.MetricNameLabel, "up"), 1); err != nil {
		return err
	}
	return appender.Commit()
}

// until scrapes until nothing is missing any more.
func (w *watcher) until(what string, missing func() []string) {
	w.t.Helper()
	eventually(w.t, what, func() []string {
		if err := w.scrape(); err != nil {
			return []string{err.Error()}
		}
		return missing()
	})
}

// eventually waits for a condition, which tells what is missing.
func eventually(t *testing.T, what string, missing func() []string) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		left := missing()
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not happen in %s that %s:\n%s", patience, what, strings.Join(left, "\n"))
		}
	}
}

// ask evaluates an expression as of the last scrape.
func (w *watcher) ask(expr parser.Expr) promql.Vector {
	w.t.Helper()
	q, err := w.engine.NewInstantQuery(context.Background(), w.store, nil, expr.String(), w.last)
	if err != nil {
		w.t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	result := q.Exec(context.Background())
	vector, err := result.Vector()
	if err != nil {
		w.t.Fatalf("%s: %v", expr, err)
	}
	return slices.Clone(vector)
}

// empty gives the chosen queries that have no series, or none with a value.
func (w *watcher) empty(all []query, chosen func(query) bool) (missing []string) {
	for _, q := range all {
		filled := func(s promql.Sample) bool { return !math.IsNaN(s.F) && (s.F != 0 || momentary[q.panel]) }
		if chosen(q) && !slices.ContainsFunc(w.ask(q.expr), filled) {
			missing = append(missing, q.where)
		}
	}
	return missing
}

// open gives the stages that no loop has come to.
func (w *watcher) open(stages ...string) (missing []string) {
	for _, stage := range stages {
		expr, err := promQL.ParseExpr(fmt.Sprintf("closeloop_loop_seconds_count{stage=%q} > 0", stage))
		if err != nil {
			w.t.Fatal(err)
		}
		if len(w.ask(expr)) == 0 {
			missing = append(missing, stage)
		}
	}
	return missing
}

// alarms gives the alerts whose condition holds, however short it has.
func (w *watcher) alarms() (held []string) {
	for name, rule := range alertRules(w.t) {
		expr, err := promQL.ParseExpr(rule.Expr)
		if err != nil {
			w.t.Fatal(err)
		}
		if found := w.ask(expr); len(found) > 0 && name != "CloseloopBrokerGone" { // there is no exporter here
			held = append(held, name+" "+found.String())
		}
	}
	return held
}

// checkMetrics holds every metric and label that a panel, an alert or the case of an alert names against what there is.
func (w *watcher) checkMetrics(all []query) {
	for name, rule := range alertRules(w.t) {
		expr, err := promQL.ParseExpr(rule.Expr)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, query{where: name, expr: expr})
	}
	for _, q := range all {
		for _, selectors := range parser.ExtractSelectors(q.expr) {
			names := map[string]bool{}
			metric := ""
			for _, m := range selectors {
				if m.Name == model.MetricNameLabel {
					metric = m.Value
				} else {
					names[m.Name] = true
				}
			}
			w.checkLabels(q.where, metric, names)
		}
	}
	for _, c := range cases {
		for _, line := range c.series {
			series, _, err := promQL.ParseSeriesDesc(line)
			if err != nil {
				w.t.Fatalf("%s: %v", line, err)
			}
			names := map[string]bool{}
			series.Range(func(l labels.Label) { names[l.Name] = true })
			delete(names, model.MetricNameLabel)
			w.checkLabels("the case of "+c.alert+" "+c.name, series.Get(model.MetricNameLabel), names)
		}
	}
}

func (w *watcher) checkLabels(where, metric string, names map[string]bool) {
	have, there := w.labels[metric]
	if !there {
		have = map[string]bool{"job": true, "instance": true}
		for _, name := range slices.Concat(exported[metric], unprovoked[metric]) {
			have[name] = true
		}
		if _, exporters := exported[metric]; !exporters && (unprovoked[metric] == nil || !declared(w.t, metric)) {
			w.t.Errorf("%s: there is no metric %s", where, metric)
			return
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(names), cmp.Compare) {
		if !have[name] {
			w.t.Errorf("%s: %s has no label %s", where, metric, name)
		}
	}
}
