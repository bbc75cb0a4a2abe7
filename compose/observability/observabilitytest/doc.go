// Package observabilitytest holds the tests of dashboards, alert rules and runbook against Prometheus's own engine: alert by
// alert on made-up series, and everything together on what a running closeloop tells. It is a module of its own, since
// nothing else needs that engine.
package observabilitytest
