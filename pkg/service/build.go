package service

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// buildInfo says in the metrics what runs.
func buildInfo() prometheus.Collector {
	version, commit, _ := strings.Cut(Version(), " ")
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "closeloop_build_info", Help: "1, with the version and the commit of the build.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit},
	})
	g.Set(1)
	return g
}
