package observabilitytest_test

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// exporter is how prometheus-nats-exporter is run somewhere.
type exporter struct {
	version string
	args    []string
}

// composeExporter gives the one of the observability profile.
func composeExporter(t *testing.T) exporter {
	t.Helper()
	var file struct {
		Services map[string]struct {
			Image   string   `yaml:"image"`
			Command []string `yaml:"command"`
		} `yaml:"services"`
	}
	parse(t, root+"/compose/observability.yaml", &file)
	service, there := file.Services["nats-exporter"]
	if !there {
		t.Fatal("compose has no nats-exporter")
	}
	_, variable, _ := strings.Cut(service.Image, "${")
	variable, _, _ = strings.Cut(variable, ":?")
	for line := range strings.Lines(string(read(t, root+"/compose/.env"))) {
		if version, its := strings.CutPrefix(line, variable+"="); its {
			return exporter{strings.TrimSpace(version), service.Command}
		}
	}
	t.Fatalf("compose/.env says no version for %s", service.Image)
	return exporter{}
}

// clusterExporter gives the one that the official chart puts beside each server, with the port that it opens.
func clusterExporter(t *testing.T) (e exporter, port int) {
	t.Helper()
	var values struct {
		PromExporter struct {
			Enabled bool `yaml:"enabled"`
			Port    int  `yaml:"port"`
			Image   struct {
				Tag string `yaml:"tag"`
			} `yaml:"image"`
			Merge struct {
				Args []string `yaml:"args"`
			} `yaml:"merge"`
		} `yaml:"promExporter"`
	}
	parse(t, root+"/k8s/nats/values.yaml", &values)
	c := values.PromExporter
	if !c.Enabled {
		t.Fatal("the chart is to run no exporter")
	}
	if c.Merge.Args == nil { // what the chart passes by itself
		c.Merge.Args = []string{"-port=7777", "-connz", "-routez", "-subz", "-varz", "-prefix=nats", "-use_internal_server_id", "-jsz=all", "http://localhost:8222/"}
	}
	return exporter{c.Image.Tag, c.Merge.Args}, c.Port
}

func parse(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal(read(t, path), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// exporterFlags are those of the exporter's that may be used here. What it does not know, it refuses.
type exporterFlags struct {
	prefix, jsz string
	port        int
	servers     []string
}

func (e exporter) flags(t *testing.T) (f exporterFlags) {
	t.Helper()
	set := flag.NewFlagSet("prometheus-nats-exporter", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, name := range []string{"connz", "routez", "subz", "varz", "use_internal_server_id"} {
		set.Bool(name, false, "")
	}
	set.StringVar(&f.prefix, "prefix", "", "in place of the first part of each name")
	set.StringVar(&f.jsz, "jsz", "", "how much of JetStream is told")
	set.IntVar(&f.port, "port", 7777, "")
	if err := set.Parse(e.args); err != nil {
		t.Fatalf("%q: %v", e.args, err)
	}
	f.servers = set.Args()
	return f
}

// name is what a metric that the exporter calls so by itself is called.
func (f exporterFlags) name(metric string) string {
	if _, rest, found := strings.Cut(metric, "_"); found && f.prefix != "" {
		return f.prefix + "_" + rest
	}
	return metric
}

// TestTheBrokersMetricsHaveTheNamesThatAlertsAndPanelsSay holds what is asked about the broker against what both exporters tell.
func TestTheBrokersMetricsHaveTheNamesThatAlertsAndPanelsSay(t *testing.T) {
	asked := map[string]string{} // where, by metric
	ask := func(where string, expr parser.Expr) {
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if v, is := node.(*parser.VectorSelector); is {
				for _, of := range []string{"jetstream_", "nats_", "gnatsd_"} {
					if strings.HasPrefix(v.Name, of) {
						asked[v.Name] = where
					}
				}
			}
			return nil
		})
	}
	for name, rule := range alertRules(t) {
		expr, err := promQL.ParseExpr(rule.Expr)
		if err != nil {
			t.Fatal(err)
		}
		ask(name, expr)
	}
	for _, q := range queries(t) {
		ask(q.where, q.expr)
	}
	if len(asked) == 0 {
		t.Fatal("nothing is asked about the broker")
	}

	cluster, port := clusterExporter(t)
	for where, e := range map[string]exporter{"compose": composeExporter(t), "the chart": cluster} {
		f := e.flags(t)
		var told []string
		if f.jsz == "all" && len(f.servers) == 1 {
			for metric := range exported {
				told = append(told, f.name(metric))
			}
		}
		for metric, by := range asked {
			if !slices.Contains(told, metric) {
				t.Errorf("%s: %s asks for %s, the exporter with %q tells %q", where, by, metric, e.args, told)
			}
		}
	}
	if f := cluster.flags(t); f.port != port {
		t.Errorf("the chart's exporter listens at %d, and the chart opens %d", f.port, port)
	}
	if of := composeExporter(t); of.version != cluster.version {
		t.Errorf("compose runs version %s of the exporter, the chart %s: older ones tell less", of.version, cluster.version)
	}
}

// TestTheBrokerIsWatchedAsTheSameJobEverywhere compares the operator's PodMonitor with compose's configuration.
func TestTheBrokerIsWatchedAsTheSameJobEverywhere(t *testing.T) {
	var plainly struct {
		Jobs []struct {
			Name string `yaml:"job_name"`
		} `yaml:"scrape_configs"`
	}
	parse(t, "../prometheus/prometheus.yaml", &plainly)
	var monitor struct {
		Spec struct {
			JobLabel string `yaml:"jobLabel"`
			Selector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			} `yaml:"selector"`
			Endpoints []struct {
				Port string `yaml:"port"`
				Path string `yaml:"path"`
			} `yaml:"podMetricsEndpoints"`
		} `yaml:"spec"`
	}
	parse(t, root+"/k8s/components/monitoring/broker.yaml", &monitor)
	job := monitor.Spec.Selector.MatchLabels[monitor.Spec.JobLabel]
	var jobs []string
	for _, j := range plainly.Jobs {
		jobs = append(jobs, j.Name)
	}
	if !slices.Contains(jobs, job) {
		t.Errorf("the PodMonitor's job is %q, compose has %q", job, jobs)
	}
	if e := monitor.Spec.Endpoints; len(e) != 1 || e[0].Port != "prom-metrics" || e[0].Path != "/metrics" {
		t.Errorf("the PodMonitor reads %+v, the chart calls the exporter's port prom-metrics", e)
	}
	var component struct {
		Resources []string `yaml:"resources"`
	}
	parse(t, root+"/k8s/components/monitoring/kustomization.yaml", &component)
	if !slices.Contains(component.Resources, "broker.yaml") {
		t.Error("the component leaves the PodMonitor out")
	}
}
