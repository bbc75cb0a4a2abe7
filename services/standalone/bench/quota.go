package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/closeloop/closeloop/proto-events/subjects"
)

// bound are the brand's groups that each request made by itself calls once.
var bound = []string{"listContacts", "transactions", "batches", "links"}

// quotas lets requests that are made one by one run against limits that bind, and prints how near to the pace that the
// limits allow they come, and how many calls were over a limit after the first refusal.
func quotas(ctx context.Context, flags *flag.FlagSet, args []string) error {
	requests := flags.Int("requests", 3000, "how many requests")
	fleets := flags.String("replicas", "1,4", "replicas of the linker, one measurement each")
	limit := flags.Int("limit", 500, "calls a minute of contacts, transactions, batches and links each")
	kind := flags.String("kind", "bucket", "how the vendor limits: bucket (with a burst of a tenth), fixed, sliding")
	known := flags.Bool("known", true, "whether closeloop's settings know the limit; else it learns it from refusals")
	if err := flags.Parse(args); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "replicas\trequests\ttook\tpace a minute\tlimit\tof the limit\trefused\trefused after the first refusal's wait")
	var errs []error
	for fleet := range strings.SplitSeq(*fleets, ",") {
		n, err := strconv.Atoi(fleet)
		if err != nil {
			return err
		}
		if err := oneQuota(ctx, table, n, *requests, *limit, *kind, *known); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, table.Flush())...)
}

func oneQuota(ctx context.Context, table *tabwriter.Writer, replicas, requests, limit int, kind string, known bool) error {
	env := []string{"QUALTRICS_BULK=false"}
	if known {
		env = append(env, fmt.Sprintf("QUALTRICS_LIMITS=contacts:%d,transactions:%[1]d,batches:%[1]d,links:%[1]d", limit))
	}
	s, err := start(ctx, env...)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.replicas(ctx, replicas); err != nil {
		return err
	}
	var limits []string
	for _, group := range bound {
		limits = append(limits, fmt.Sprintf("%q:%d", group, limit))
	}
	err = s.vendors.Switch(ctx, fmt.Sprintf(`{"limits":{"enforced":true,"kind":%q,"burst":%d,"calls":{%s}}}`, kind, max(1, limit/10), strings.Join(limits, ",")))
	if err != nil {
		return err
	}
	if err := s.vendors.ForgetCalls(ctx); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.request(ctx, "Q", requests, false); err != nil {
		return err
	}
	if err := s.reach(ctx, time.Duration(3*requests/limit+3)*time.Minute, subjects.SurveyLinkCreated, requests); err != nil {
		return err
	}
	took := time.Since(begun)
	c, err := s.calls(ctx)
	if err != nil {
		return err
	}
	refused, early := 0, 0
	for _, l := range c.QualtricsLimits {
		refused, early = refused+l.Refused, early+l.Early
	}
	pace := float64(requests) / took.Minutes()
	fmt.Fprintf(table, "%d\t%d\t%s\t%.0f\t%d\t%.1f %%\t%d\t%d\n", replicas, requests, took.Round(100*time.Millisecond), pace, limit, 100*pace/float64(limit), refused, early)
	if pace < 0.9*float64(limit) {
		return fmt.Errorf("%d replicas: %.1f %% of the pace that the limit allows", replicas, 100*pace/float64(limit))
	}
	return nil
}

// bulk lets many requests run against the published limits, and prints how long they take and which limit is nearest.
func bulk(ctx context.Context, flags *flag.FlagSet, args []string) error {
	requests := flags.Int("requests", 30_000, "how many requests")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.vendors.Switch(ctx, `{"limits":{"enforced":true}}`); err != nil {
		return err
	}
	if err := s.vendors.ForgetCalls(ctx); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.request(ctx, "B", *requests, false); err != nil {
		return err
	}
	if err := s.reach(ctx, 30*time.Minute, subjects.SurveyLinkCreated, *requests); err != nil {
		return err
	}
	took := time.Since(begun)
	c, err := s.calls(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%d links took %s, %.0f a minute\n\n", *requests, took.Round(100*time.Millisecond), float64(*requests)/took.Minutes())
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "limit\tcalls\ta minute\tpublished limit\tused\trefused")
	binds, used := "", 0.0
	for _, l := range c.QualtricsLimits {
		rate := float64(l.Admitted) / took.Minutes()
		share := rate / float64(l.Calls)
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%d\t%.0f %%\t%d\n", l.Group, l.Admitted, rate, l.Calls, 100*share, l.Refused)
		if share > used {
			binds, used = l.Group, share
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "\nThe limit that binds, or is the nearest to: %s.\n", binds)
	return nil
}
