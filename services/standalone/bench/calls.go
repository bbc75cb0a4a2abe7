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

// allowed are the most calls for so many requests at once, of Qualtrics and of SAP Marketing Cloud.
var allowed = map[int][2]int{1: {5, 3}, 1000: {20, 20}, 10_000: {120, 150}}

// names of the vendors in the landscape's counts, and as people say.
var vendors = []struct{ key, name string }{{"qualtrics", "Qualtrics"}, {"sap-marketing", "SAP Marketing Cloud"}}

// calls prints what requests that come at once cost, from the event to the link written back to SAP Marketing Cloud,
// which has written its own interactions by then.
func calls(ctx context.Context, flags *flag.FlagSet, args []string) error {
	sizes := flags.String("n", "1,10,100,1000,10000", "how many requests come at once, one measurement each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	written := 0
	measure := func(n int) (counted, time.Duration, error) {
		prefix := fmt.Sprint("C", written)
		if err := s.invite(ctx, prefix, n); err != nil {
			return counted{}, 0, err
		}
		if err := s.vendors.ForgetCalls(ctx); err != nil {
			return counted{}, 0, err
		}
		begun := time.Now()
		if err := s.request(ctx, prefix, n, true); err != nil {
			return counted{}, 0, err
		}
		written += n
		if err := s.reach(ctx, 10*time.Minute, subjects.InteractionWritten, written); err != nil {
			return counted{}, 0, err
		}
		took := time.Since(begun)
		c, err := s.calls(ctx)
		return c, took, err
	}
	if _, _, err := measure(1); err != nil { // sessions are open from here on
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "requests at once\tvendor\toperation\tcalls\tper 1,000 requests\tallowed\ttook")
	var errs []error
	for size := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		c, took, err := measure(n)
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		for i, vendor := range vendors {
			total := 0
			for _, o := range c.Calls.Calls {
				if o.Vendor == vendor.key {
					total += o.Calls
					fmt.Fprintf(table, "%d\t%s\t%s\t%d\t%.2f\t\t\n", n, vendor.name, o.Operation, o.Calls, 1000*float64(o.Calls)/float64(n))
				}
			}
			most, limited := allowed[n]
			limit := ""
			if limited {
				limit = strconv.Itoa(most[i])
			}
			fmt.Fprintf(table, "%d\t%s\tall\t%d\t%.2f\t%s\t%s\n", n, vendor.name, total, 1000*float64(total)/float64(n), limit, took.Round(10*time.Millisecond))
			if limited && total > most[i] {
				errs = append(errs, fmt.Errorf("%d calls of %s for %d requests, allowed are %d", total, vendor.name, n, most[i]))
			}
		}
		if n == 1 && took > 2*time.Second {
			errs = append(errs, fmt.Errorf("a lone request took %s, allowed are 2 s", took))
		}
	}
	return errors.Join(append(errs, table.Flush())...)
}
