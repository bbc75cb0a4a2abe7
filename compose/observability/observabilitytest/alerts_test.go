package observabilitytest_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// alertCase is what Prometheus has seen, a value a minute, and what is to be told of it at a time.
type alertCase struct {
	alert, name string
	series      []string
	at          time.Duration
	fires       []string // the labels of each alert, without alertname and severity; none: it stays silent
}

const (
	minute = time.Minute
	hour   = time.Hour
)

// cases has for each alert at least one case in which it fires, and one, near to it, in which it does not.
var cases = []alertCase{
	{"CloseloopVendorOut", "out for 40 minutes", []string{
		`closeloop_paused_since_timestamp_seconds{service="c4c-tasker",vendor="sap-sales-cloud"} 1x60`,
	}, 40 * minute, []string{`{service="c4c-tasker", vendor="sap-sales-cloud"}`}},
	{"CloseloopVendorOut", "a replica that was started later does not shorten it", []string{
		`closeloop_paused_since_timestamp_seconds{service="c4c-tasker",vendor="sap-sales-cloud",instance="a"} 1x60`,
		`closeloop_paused_since_timestamp_seconds{service="c4c-tasker",vendor="sap-sales-cloud",instance="b"} 1500x60`,
	}, 40 * minute, []string{`{service="c4c-tasker", vendor="sap-sales-cloud"}`}},
	{"CloseloopVendorOut", "back after 20 minutes", []string{
		`closeloop_paused_since_timestamp_seconds{service="c4c-tasker",vendor="sap-sales-cloud"} 1x20 0x40`,
	}, 40 * minute, nil},

	{"CloseloopVendorOutForLong", "out for five hours", []string{
		`closeloop_paused_since_timestamp_seconds{service="c4c-tasker",vendor="sap-sales-cloud"} 1x360`,
	}, 5 * hour, []string{`{service="c4c-tasker", vendor="sap-sales-cloud"}`}},
	{"CloseloopVendorOutForLong", "out for three hours", []string{
		`closeloop_paused_since_timestamp_seconds{service="c4c-tasker",vendor="sap-sales-cloud"} 1x360`,
	}, 3 * hour, nil},

	{"CloseloopCredentialsRefused", "refused at each look, which come ever more seldom", []string{
		`closeloop_vendor_calls_total{vendor="awardco",operation="recognize",outcome="unauthorized"} 0 3 4 4 5 5 5 5 6 6 6 6 6 7 7 7 7 7 8 8 8`,
	}, 15 * minute, []string{`{vendor="awardco"}`}},
	{"CloseloopCredentialsRefused", "one session that expired", []string{
		`closeloop_vendor_calls_total{vendor="awardco",operation="recognize",outcome="unauthorized"} 0x4 1x20`,
		`closeloop_vendor_calls_total{vendor="awardco",operation="recognize",outcome="ok"} 0+10x30`,
	}, 15 * minute, nil},

	{"CloseloopRightDenied", "each task is denied", []string{
		`closeloop_vendor_calls_total{vendor="sap-sales-cloud",operation="create task",outcome="forbidden"} 0+1x60`,
	}, 40 * minute, []string{`{operation="create task", vendor="sap-sales-cloud"}`}},
	{"CloseloopRightDenied", "one record and its first retries", []string{
		`closeloop_vendor_calls_total{vendor="sap-sales-cloud",operation="create task",outcome="forbidden"} 0 5 6 7x60`,
	}, 40 * minute, nil},

	{"CloseloopVendorFails", "a third of the calls fail", []string{
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="ok"} 0+20x60`,
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="transient"} 0+10x60`,
	}, 40 * minute, []string{`{vendor="qualtrics"}`}},
	{"CloseloopVendorFails", "one bad call at night", []string{
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="ok"} 0x60`,
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="transient"} 0x20 1x40`,
	}, 36 * minute, nil},
	{"CloseloopVendorFails", "half of the calls are refused for their content", []string{
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="ok"} 0+20x60`,
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="refused"} 0+20x60`,
	}, 40 * minute, nil},

	{"CloseloopVendorThrottles", "throttled every two minutes", []string{
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="throttled"} 0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7 8 8 9 9 10+0.5x120`,
	}, 2 * hour, []string{`{vendor="qualtrics"}`}},
	{"CloseloopVendorThrottles", "the fleet has learnt the limit", []string{
		`closeloop_vendor_calls_total{vendor="qualtrics",operation="links",outcome="throttled"} 0 1 2 3x120`,
	}, 2 * hour, nil},

	{"CloseloopQuotaUsedUp", "for 70 minutes on end", []string{
		`closeloop_quota_used_ratio{service="qualtrics-linker",vendor="qualtrics",limit="links"} 1x90`,
	}, 70 * minute, []string{`{limit="links", vendor="qualtrics"}`}},
	{"CloseloopQuotaUsedUp", "a campaign of 40 minutes", []string{
		`closeloop_quota_used_ratio{service="qualtrics-linker",vendor="qualtrics",limit="links"} 1x40 0.1x50`,
	}, 70 * minute, nil},

	{"CloseloopEventsOld", "the oldest has waited for 50 minutes", []string{
		`closeloop_events_oldest_waiting_seconds{service="c4c-tasker"} 0+60x60`,
		`closeloop_paused{service="c4c-tasker",vendor="sap-sales-cloud"} 0x60`,
	}, 50 * minute, []string{`{service="c4c-tasker"}`}},
	{"CloseloopEventsOld", "it waits for a vendor", []string{
		`closeloop_events_oldest_waiting_seconds{service="c4c-tasker"} 0+60x60`,
		`closeloop_paused{service="c4c-tasker",vendor="sap-sales-cloud"} 1x60`,
	}, 50 * minute, nil},

	{"CloseloopEventsPileUp", "50 more each minute", []string{
		`closeloop_events_waiting{service="qualtrics-linker"} 0+50x120`,
	}, 80 * minute, []string{`{service="qualtrics-linker"}`}},
	{"CloseloopEventsPileUp", "a campaign's peak that is worked off", []string{
		`closeloop_events_waiting{service="qualtrics-linker"} 30000-250x120`,
	}, 80 * minute, nil},

	{"CloseloopNothingSettled", "work waits, and nothing is done", []string{
		`closeloop_events_waiting{service="c4c-tasker"} 5x120`,
		`closeloop_events_handled_total{service="c4c-tasker",type="feedback.delivery_late",outcome="done",class=""} 7x120`,
	}, 45 * minute, []string{`{service="c4c-tasker"}`}},
	{"CloseloopNothingSettled", "every try to settle fails", []string{
		`closeloop_events_waiting{service="c4c-tasker"} 5x120`,
		`closeloop_events_handled_total{service="c4c-tasker",type="feedback.delivery_late",outcome="not settled",class=""} 0+1x120`,
	}, 45 * minute, []string{`{service="c4c-tasker"}`}},
	{"CloseloopNothingSettled", "a wave took 20 minutes", []string{
		`closeloop_events_waiting{service="qualtrics-linker"} 5000x120`,
		`closeloop_events_handled_total{service="qualtrics-linker",type="survey.link.requested",outcome="done",class=""} 0x20 5000x20 10000x80`,
	}, 45 * minute, nil},
	{"CloseloopNothingSettled", "the vendor is out", []string{
		`closeloop_events_waiting{service="c4c-tasker"} 5x120`,
		`closeloop_paused{service="c4c-tasker",vendor="sap-sales-cloud"} 1x120`,
	}, 45 * minute, nil},

	{"CloseloopRetriesGrow", "ten more each minute for three hours", []string{
		`closeloop_events_held{service="sap-interaction-writer"} 0+10x240`,
	}, 3 * hour, []string{`{service="sap-interaction-writer"}`}},
	{"CloseloopRetriesGrow", "a campaign whose distributions SAP writes late", []string{
		`closeloop_events_held{service="sap-interaction-writer"} 0+100x30 3000-100x30 0x180`,
	}, 90 * minute, nil},

	{"CloseloopPublishFails", "for a quarter of an hour", []string{
		`closeloop_events_published_total{service="ingress",type="survey.link.requested",outcome="failed"} 0+3x60`,
	}, 20 * minute, []string{`{service="ingress"}`}},
	{"CloseloopPublishFails", "nothing can be settled", []string{
		`closeloop_events_handled_total{service="c4c-tasker",type="feedback.delivery_late",outcome="not settled",class=""} 0+1x60`,
	}, 20 * minute, []string{`{service="c4c-tasker"}`}},
	{"CloseloopPublishFails", "an election", []string{
		`closeloop_events_published_total{service="ingress",type="survey.link.requested",outcome="failed"} 0x5 12x60`,
	}, 8 * minute, nil},

	{"CloseloopDeliveriesRanOut", "the first case, with which the series begins", []string{
		`closeloop_deliveries_ran_out_total{service="console",outcome="dead letter"} _x60 1x60`,
	}, 70 * minute, []string{`{outcome="dead letter"}`}},
	{"CloseloopDeliveriesRanOut", "another case", []string{
		`closeloop_deliveries_ran_out_total{service="console",outcome="dead letter"} 1x100 2x60`,
	}, 2 * hour, []string{`{outcome="dead letter"}`}},
	{"CloseloopDeliveriesRanOut", "one that is over", []string{
		`closeloop_deliveries_ran_out_total{service="console",outcome="dead letter"} 1x300`,
	}, 2 * hour, nil},

	{"CloseloopPersonNeeded", "two consoles tell of the same two", []string{
		`closeloop_dead_letters_open{service="console",of="awardco-recognizer",class="person",instance="a"} 2x20`,
		`closeloop_dead_letters_open{service="console",of="awardco-recognizer",class="person",instance="b"} 2x20`,
	}, 10 * minute, []string{`{of="awardco-recognizer"}`}},
	{"CloseloopPersonNeeded", "the vendor has refused something", []string{
		`closeloop_dead_letters_open{service="console",of="awardco-recognizer",class="refused"} 2x20`,
	}, 10 * minute, nil},

	{"CloseloopDeadLetters", "of two classes", []string{
		`closeloop_dead_letters_open{service="console",of="c4c-tasker",class="refused"} 1x60`,
		`closeloop_dead_letters_open{service="console",of="c4c-tasker",class="invalid"} 3x60`,
	}, 20 * minute, []string{`{of="c4c-tasker"}`}},
	{"CloseloopDeadLetters", "somebody was at it at once", []string{
		`closeloop_dead_letters_open{service="console",of="c4c-tasker",class="refused"} 4x10`,
	}, 20 * minute, nil},

	{"CloseloopDeadLettersOld", "since yesterday", []string{
		`closeloop_dead_letters_oldest_seconds{service="console",of="c4c-tasker"} 86000+60x60`,
	}, 30 * minute, []string{`{of="c4c-tasker"}`}},
	{"CloseloopDeadLettersOld", "since this morning", []string{
		`closeloop_dead_letters_oldest_seconds{service="console",of="c4c-tasker"} 20000+60x60`,
	}, 30 * minute, nil},

	{"CloseloopDeadLettersFlood", "every event becomes one", []string{
		`closeloop_dead_letters_total{service="sap-interaction-writer",class="refused"} 0+5x60`,
	}, 20 * minute, []string{`{service="sap-interaction-writer"}`}},
	{"CloseloopDeadLettersFlood", "a few bad ones", []string{
		`closeloop_dead_letters_total{service="sap-interaction-writer",class="refused"} 0 0 5 5 12 20x60`,
	}, 20 * minute, nil},

	{"CloseloopLoopsSlow", "a fifth of the links is late", []string{
		`closeloop_loop_seconds_bucket{service="qualtrics-linker",stage="survey.link.created",le="300.0"} 0+8x120`,
		`closeloop_loop_seconds_count{service="qualtrics-linker",stage="survey.link.created"} 0+10x120`,
	}, 90 * minute, []string{`{stage="survey.link.created"}`}},
	{"CloseloopLoopsSlow", "all were late during an outage that is over", []string{
		`closeloop_loop_seconds_bucket{service="c4c-tasker",stage="task.created",le="300.0"} 0x60 0+10x60`,
		`closeloop_loop_seconds_count{service="c4c-tasker",stage="task.created"} 0x60 1000+10x60`,
	}, 75 * minute, nil},
	{"CloseloopLoopsSlow", "answers come days later, which is their nature", []string{
		`closeloop_loop_seconds_bucket{service="feedback-router",stage="survey.response.received",le="300.0"} 0x120`,
		`closeloop_loop_seconds_count{service="feedback-router",stage="survey.response.received"} 0+10x120`,
	}, 90 * minute, nil},

	{"CloseloopSweepFails", "each one", []string{
		`closeloop_sweeps_total{service="feedback-router",outcome="failed"} 0+0.1x400`,
		`closeloop_sweeps_total{service="feedback-router",outcome="ok"} 4x400`,
	}, 4 * hour, []string{`{}`}},
	{"CloseloopSweepFails", "some, and another replica had more luck", []string{
		`closeloop_sweeps_total{service="feedback-router",outcome="failed",instance="a"} 0+0.1x400`,
		`closeloop_sweeps_total{service="feedback-router",outcome="ok",instance="b"} 0x200 1x200`,
	}, 4 * hour, nil},

	{"CloseloopDoorFails", "a tenth of the requests", []string{
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/sap/open-channel",method="POST",status="202"} 0+90x60`,
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/sap/open-channel",method="POST",status="503"} 0+10x60`,
	}, 20 * minute, []string{`{door="ingress"}`}},
	{"CloseloopDoorFails", "readiness says no during a start", []string{
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/sap/open-channel",method="POST",status="202"} 0+90x60`,
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/readyz",method="GET",status="503"} 0+60x60`,
	}, 20 * minute, nil},
	{"CloseloopDoorFails", "one of two at night", []string{
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/sap/open-channel",method="POST",status="202"} 0x10 1x60`,
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/sap/open-channel",method="POST",status="500"} 0x10 1x60`,
	}, 20 * minute, nil},

	{"CloseloopDoorRefusesCallers", "a caller with an old password", []string{
		`closeloop_http_request_duration_seconds_count{door="ingress",route="/qualtrics/events",method="POST",status="401"} 0+4x60`,
	}, 40 * minute, []string{`{door="ingress", route="/qualtrics/events"}`}},
	{"CloseloopDoorRefusesCallers", "somebody mistyped", []string{
		`closeloop_http_request_duration_seconds_count{door="console",route="/",method="GET",status="401"} 0x5 3x60`,
	}, 40 * minute, nil},

	{"CloseloopServiceDown", "for six minutes", []string{
		`up{job="closeloop",instance="c4c-tasker:8080"} 1x5 0x30`,
	}, 12 * minute, []string{`{instance="c4c-tasker:8080", job="closeloop"}`}},
	{"CloseloopServiceDown", "somebody else's", []string{
		`up{job="node",instance="n1:9100"} 0x30`,
	}, 12 * minute, nil},
	{"CloseloopServiceDown", "a restart", []string{
		`up{job="closeloop",instance="c4c-tasker:8080"} 1x5 0x2 1x30`,
	}, 12 * minute, nil},

	{"CloseloopServiceGone", "scaled to none", []string{
		`jetstream_consumer_num_pending{server_name="n1",stream_name="EVENTS",consumer_name="c4c-tasker",is_consumer_leader="true"} 3x60`,
		`jetstream_consumer_num_pending{server_name="n1",stream_name="EVENTS",consumer_name="feedback-router",is_consumer_leader="true"} 3x60`,
		`closeloop_events_waiting{service="feedback-router"} 3x60`,
	}, 20 * minute, []string{`{consumer_name="c4c-tasker", service="c4c-tasker"}`}},
	{"CloseloopServiceGone", "nothing is to be done, and nobody there", []string{
		`jetstream_consumer_num_pending{server_name="n1",stream_name="EVENTS",consumer_name="c4c-tasker",is_consumer_leader="true"} 0x60`,
	}, 20 * minute, nil},

	{"CloseloopNotWatched", "no target", []string{
		`up{job="prometheus",instance="127.0.0.1:9090"} 1x30`,
	}, 15 * minute, []string{`{job="closeloop"}`}},
	{"CloseloopNotWatched", "all is well", []string{
		`up{job="closeloop",instance="c4c-tasker:8080"} 1x30`,
	}, 15 * minute, nil},

	{"CloseloopServiceNotReady", "never says yes", []string{
		`closeloop_http_request_duration_seconds_count{instance="a:8080",door="c4c-tasker",route="/readyz",method="GET",status="503"} 0+6x60`,
	}, 20 * minute, []string{`{door="c4c-tasker", instance="a:8080"}`}},
	{"CloseloopServiceNotReady", "says no now and then", []string{
		`closeloop_http_request_duration_seconds_count{instance="a:8080",door="c4c-tasker",route="/readyz",method="GET",status="503"} 0+1x60`,
		`closeloop_http_request_duration_seconds_count{instance="a:8080",door="c4c-tasker",route="/readyz",method="GET",status="200"} 0+5x60`,
	}, 20 * minute, nil},

	{"CloseloopServiceRestarts", "every ten minutes", []string{
		`process_start_time_seconds{job="closeloop",instance="a:8080"} 0x9 600x9 1200x9 1800x9 2400x9 3000x9`,
	}, 55 * minute, []string{`{instance="a:8080", job="closeloop"}`}},
	{"CloseloopServiceRestarts", "an update", []string{
		`process_start_time_seconds{job="closeloop",instance="a:8080"} 0x30 1800x30`,
	}, 55 * minute, nil},

	{"CloseloopMemoryHigh", "110 of 112 MiB", []string{
		`go_memstats_sys_bytes{job="closeloop",instance="a:8080"} 120000000x60`,
		`go_memstats_heap_released_bytes{job="closeloop",instance="a:8080"} 5000000x60`,
		`go_gc_gomemlimit_bytes{job="closeloop",instance="a:8080"} 117440512x60`,
	}, 30 * minute, []string{`{instance="a:8080", job="closeloop"}`}},
	{"CloseloopMemoryHigh", "half of it was given back", []string{
		`go_memstats_sys_bytes{job="closeloop",instance="a:8080"} 120000000x60`,
		`go_memstats_heap_released_bytes{job="closeloop",instance="a:8080"} 60000000x60`,
		`go_gc_gomemlimit_bytes{job="closeloop",instance="a:8080"} 117440512x60`,
	}, 30 * minute, nil},
	{"CloseloopMemoryHigh", "no GOMEMLIMIT", []string{
		`go_memstats_sys_bytes{job="closeloop",instance="a:8080"} 120000000000x60`,
		`go_memstats_heap_released_bytes{job="closeloop",instance="a:8080"} 5000000x60`,
		`go_gc_gomemlimit_bytes{job="closeloop",instance="a:8080"} 9.223372036854775807e18x60`,
	}, 30 * minute, nil},

	{"CloseloopStreamFilling", "85 % on all three", []string{
		`jetstream_stream_total_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 850x60`,
		`jetstream_stream_limit_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 1000x60`,
		`jetstream_stream_total_bytes{server_name="n2",stream_name="EVENTS",is_stream_leader="false"} 850x60`,
		`jetstream_stream_limit_bytes{server_name="n2",stream_name="EVENTS",is_stream_leader="false"} 1000x60`,
	}, 20 * minute, []string{`{stream_name="EVENTS"}`}},
	{"CloseloopStreamFilling", "a stream without a limit, and half", []string{
		`jetstream_stream_total_bytes{server_name="n1",stream_name="RETRIES",is_stream_leader="true"} 999999x60`,
		`jetstream_stream_limit_bytes{server_name="n1",stream_name="RETRIES",is_stream_leader="true"} -1x60`,
		`jetstream_stream_total_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 500x60`,
		`jetstream_stream_limit_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 1000x60`,
	}, 20 * minute, nil},
	{"CloseloopStreamFilling", "what services tell, which is always full in the end", []string{
		`jetstream_stream_total_bytes{server_name="n1",stream_name="ACTIVITY",is_stream_leader="true"} 999x60`,
		`jetstream_stream_limit_bytes{server_name="n1",stream_name="ACTIVITY",is_stream_leader="true"} 1000x60`,
	}, 20 * minute, nil},
	{"CloseloopStreamFull", "96 %", []string{
		`jetstream_stream_total_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 960x60`,
		`jetstream_stream_limit_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 1000x60`,
	}, 10 * minute, []string{`{stream_name="EVENTS"}`}},
	{"CloseloopStreamFull", "85 %", []string{
		`jetstream_stream_total_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 850x60`,
		`jetstream_stream_limit_bytes{server_name="n1",stream_name="EVENTS",is_stream_leader="true"} 1000x60`,
	}, 10 * minute, nil},

	{"CloseloopBrokerNodeGone", "one of three", []string{
		`jetstream_server_total_streams{server_id="A",server_name="n1"} 9x60`,
		`jetstream_server_total_streams{server_id="B",server_name="n2"} 9x60`,
		`jetstream_server_total_streams{server_id="C",server_name="n3"} 9x20 stale`,
	}, 30 * minute, []string{`{}`}},
	{"CloseloopBrokerNodeGone", "started again under another id", []string{
		`jetstream_server_total_streams{server_id="A",server_name="n1"} 9x60`,
		`jetstream_server_total_streams{server_id="B",server_name="n2"} 9x60`,
		`jetstream_server_total_streams{server_id="C",server_name="n3"} 9x20 stale`,
		`jetstream_server_total_streams{server_id="D",server_name="n3"} _x21 9x40`,
	}, 30 * minute, nil},
	{"CloseloopBrokerGone", "nobody tells", []string{
		`up{job="nats",instance="nats-exporter:7777"} 1x30`,
	}, 10 * minute, []string{`{}`}},
	{"CloseloopBrokerGone", "one tells", []string{
		`jetstream_server_total_streams{server_id="A",server_name="n1"} 9x60`,
	}, 10 * minute, nil},
}

func TestEachAlertFiresInItsCaseAndStaysSilentNearIt(t *testing.T) {
	all := alertRules(t)
	fired, silent := map[string]bool{}, map[string]bool{}
	for _, c := range cases {
		if len(c.fires) > 0 {
			fired[c.alert] = true
		} else {
			silent[c.alert] = true
		}
		t.Run(c.alert+"/"+c.name, func(t *testing.T) {
			if _, there := all[c.alert]; !there {
				t.Fatal("there is no such alert")
			}
			if got := c.firing(t); !slices.Equal(got, c.fires) {
				t.Errorf("after %s fire %s, want %s", c.at, got, c.fires)
			}
		})
	}
	for name := range all {
		if !fired[name] || !silent[name] {
			t.Errorf("%s: case in which it fires: %t, in which it stays silent: %t", name, fired[name], silent[name])
		}
	}
}

// firing gives the labels of the alerts that are told of at the case's time.
func (c alertCase) firing(t *testing.T) (firing []string) {
	rule := alertRules(t)[c.alert]
	expr, err := promQL.ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	store := promqltest.LoadedStorage(t, "load 1m\n\t"+strings.Join(c.series, "\n\t"))
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*minute, 1_000_000), store)
	alert := rules.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), 0, labels.FromMap(rule.Labels),
		labels.FromMap(rule.Annotations), labels.EmptyLabels(), "", true, promslog.NewNopLogger())
	for at := time.Duration(0); at <= c.at; at += minute {
		if _, err := alert.Eval(context.Background(), 0, time.Unix(0, 0).Add(at), query, &url.URL{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range alert.ActiveAlerts() {
		if a.State != rules.StateFiring {
			continue
		}
		firing = append(firing, labels.NewBuilder(a.Labels).Del("alertname", "severity").Labels().String())
		a.Annotations.Range(func(said labels.Label) {
			if strings.Contains(said.Value, "<no value>") || strings.Contains(said.Value, "<error") {
				t.Errorf("%s: %s", said.Name, said.Value)
			}
		})
	}
	slices.Sort(firing)
	return firing
}
