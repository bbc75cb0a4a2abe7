package quota

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// WithMetrics shows how much of the limits is used. Of two limiters of one vendor the first is shown: they share the record.
func WithMetrics(r prometheus.Registerer) Option {
	return func(l *Limiter) {
		vendor := prometheus.Labels{"vendor": l.vendor}
		err := r.Register(&collector{
			Limiter: l,
			used: prometheus.NewDesc("closeloop_quota_used_ratio",
				"The part of a limit of the vendor that the fleet used in the last minute, or of its parallel calls now: 1 is all of it. "+
					"As this replica last saw it: the largest of all counts.", []string{"limit"}, vendor),
			most: prometheus.NewDesc("closeloop_quota_limit",
				"The limit in force, in calls a minute, of parallel in calls at once: that of the settings, or lower where the vendor taught it by refusing.",
				[]string{"limit"}, vendor),
		})
		if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
			l.log.Error("the metrics of limits cannot be shown", "vendor", l.vendor, "error", err)
		}
	}
}

// collector reads what its limiter last saw of the record, when it is asked.
type collector struct {
	*Limiter
	used, most *prometheus.Desc
}

// Describe is that of [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.used
	to <- c.most
}

// Collect is that of [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	for _, l := range c.Used() {
		to <- prometheus.MustNewConstMetric(c.used, prometheus.GaugeValue, l.Used/l.Most, l.Name)
		to <- prometheus.MustNewConstMetric(c.most, prometheus.GaugeValue, l.Most, l.Name)
	}
}
