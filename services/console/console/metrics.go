package console

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// waiting tells what waits for a person. Each replica tells the same, so that the largest counts and not the sum. The
// label service is the console's own, hence "of".
type waiting struct{ book *book }

var (
	openLetters = prometheus.NewDesc("closeloop_dead_letters_open", "Dead letters that wait for a person, by service and class.", []string{"of", "class"}, nil)
	oldestOpen  = prometheus.NewDesc("closeloop_dead_letters_oldest_seconds", "How long the oldest of them has waited, by service.", []string{"of"}, nil)
)

// Describe is that of [prometheus.Collector].
func (waiting) Describe(to chan<- *prometheus.Desc) {
	to <- openLetters
	to <- oldestOpen
}

// Collect is that of [prometheus.Collector].
func (w waiting) Collect(to chan<- prometheus.Metric) {
	type group struct{ service, class string }
	count, oldest := map[group]int{}, map[string]time.Time{}
	for _, l := range w.book.selected(func(s Standing) bool { return s.State == Open }) { // newest first
		count[group{l.Service, l.Class}]++
		oldest[l.Service] = l.Time
	}
	for g, n := range count {
		to <- prometheus.MustNewConstMetric(openLetters, prometheus.GaugeValue, float64(n), g.service, g.class)
	}
	for service, since := range oldest {
		to <- prometheus.MustNewConstMetric(oldestOpen, prometheus.GaugeValue, time.Since(since).Seconds(), service)
	}
}
