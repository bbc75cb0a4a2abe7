// Package subscriptions is the command qualtrics-subscriptions: it brings our event subscriptions at Qualtrics to what the
// settings say, and leaves those of others alone.
package subscriptions

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Settings of the command.
type Settings struct {
	qualtrics.Settings
	EventsURL string           `envconfig:"QUALTRICS_EVENTS_URL" desc:"where Qualtrics reaches /qualtrics/events of ingress; subscriptions to it are ours"`
	SharedKey settings.Secrets `envconfig:"QUALTRICS_SHARED_KEY" desc:"key that signs the events, as ingress has it; the first one, where there are several, separated by commas"`
	Unsigned  bool             `envconfig:"QUALTRICS_UNSIGNED_EVENTS" default:"false" desc:"true subscribes without a key: anybody who knows the address can then make events up"`
	Surveys   []string         `envconfig:"QUALTRICS_SURVEYS" desc:"surveys whose responses we want, separated by commas, or * for all of the brand"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.Unsigned && s.SharedKey.IsSet() {
		return errors.New("QUALTRICS_SHARED_KEY and QUALTRICS_UNSIGNED_EVENTS are both set: are the events signed or not?")
	}
	if u, err := url.Parse(s.EventsURL); s.EventsURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("QUALTRICS_EVENTS_URL must be a URL with scheme and host")
	}
	for _, survey := range s.Surveys {
		if survey != "*" && !strings.HasPrefix(survey, "SV_") {
			return errors.New("QUALTRICS_SURVEYS: a survey is SV_…, or * for all")
		}
		if survey == "*" && len(s.Surveys) > 1 {
			return errors.New("QUALTRICS_SURVEYS: * is all of them, and with others beside it each event comes twice")
		}
	}
	return nil
}

// needed reports what is missing to subscribe.
func (s *Settings) needed() error {
	var missing []error
	if s.EventsURL == "" {
		missing = append(missing, errors.New("QUALTRICS_EVENTS_URL is required: where Qualtrics reaches /qualtrics/events of ingress"))
	}
	if len(s.Surveys) == 0 {
		missing = append(missing, errors.New("QUALTRICS_SURVEYS is required: surveys, separated by commas, or *"))
	}
	if !s.SharedKey.IsSet() && !s.Unsigned {
		missing = append(missing, errors.New("QUALTRICS_SHARED_KEY is required: without it events are not signed, and taken by nobody unless QUALTRICS_UNSIGNED_EVENTS=true"))
	}
	return errors.Join(missing...)
}

const doc = `Makes, lists and replaces our event subscriptions at Qualtrics, which need the credentials of a brand administrator. Ours are
those that send to QUALTRICS_EVENTS_URL; others are never touched.

  list                  shows all subscriptions of the brand
  ensure                makes one for each of QUALTRICS_SURVEYS: makes what is missing, then deletes those of ours for
                        surveys not wanted any more. Of several of a kind it deletes none, and says so
  replace               makes all of them anew with the key of now, then deletes the old ones: Qualtrics does not show the
                        key of a subscription. Let ingress know both keys meanwhile. If it fails on the way, run it
                        again, not ensure
  delete ID …           deletes these of ours
  delete --all          deletes all of ours

  --json                prints JSON
  --dry-run             only says what would be done
  --was URL             what sends to this former address is ours too, and is deleted; may be repeated
  --duplicates          lets ensure delete all but one of several of a kind, keeping the one with most deliveries: not after
                        a replace that failed, when that is the one with the former key
  --delete-first        lets replace delete before it makes, for a brand that refuses two of a kind; events in between are
                        lost, and made up for by feedback-router's sweep

Exit code 0: as wanted; 1: it failed, and may be run again; 2: arguments or settings cannot work.`

// Exit codes.
const (
	exitFailed   = 1
	exitSettings = 2
)

// options are what the arguments say.
type options struct {
	command                                    string
	json, dryRun, all, deleteFirst, duplicates bool
	was, ids                                   []string
}

// Run runs the command and gives its exit code.
func Run(ctx context.Context, args []string, out, errs io.Writer) int {
	s := &Settings{}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		settings.Help(out, "qualtrics-subscriptions", doc, s)
		return 0
	}
	if err != nil {
		fmt.Fprintf(errs, "%v\nsee qualtrics-subscriptions --help\n", err)
		return exitSettings
	}
	err = settings.Load(s)
	if err == nil && (o.command == "ensure" || o.command == "replace") {
		err = s.needed()
	}
	var client *qualtrics.Client
	if err == nil {
		client, err = s.Client(qualtrics.ClientOptions{})
	}
	if err != nil {
		fmt.Fprintln(errs, err)
		return exitSettings
	}
	k := &keeper{client: client, settings: s, options: o}
	report, err := k.run(ctx)
	if wrote := report.write(out, o.json); err == nil {
		err = wrote
	}
	if err != nil {
		fmt.Fprintln(errs, err)
		return exitFailed
	}
	return 0
}

func parse(args []string) (options, error) {
	o := options{}
	if len(args) == 0 {
		return o, errors.New("which command? list, ensure, replace or delete")
	}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.json, "json", false, "")
	flags.BoolVar(&o.dryRun, "dry-run", false, "")
	flags.BoolVar(&o.all, "all", false, "")
	flags.BoolVar(&o.deleteFirst, "delete-first", false, "")
	flags.BoolVar(&o.duplicates, "duplicates", false, "")
	flags.Func("was", "", func(u string) error { o.was = append(o.was, u); return nil })
	o.command = args[0]
	if slices.Contains([]string{"--help", "-h", "help"}, o.command) {
		return o, flag.ErrHelp
	}
	if err := flags.Parse(args[1:]); err != nil {
		return o, err
	}
	o.ids = flags.Args()
	switch {
	case !slices.Contains([]string{"list", "ensure", "replace", "delete"}, o.command):
		return o, fmt.Errorf("there is no command %q", o.command)
	case o.command == "delete" && o.all == (len(o.ids) > 0):
		return o, errors.New("delete takes ids, or --all for all of ours")
	case o.command != "delete" && (o.all || len(o.ids) > 0):
		return o, fmt.Errorf("%s takes no ids; options go before them", o.command)
	case o.deleteFirst && o.command != "replace":
		return o, errors.New("only replace takes --delete-first")
	case o.duplicates && o.command != "ensure":
		return o, errors.New("only ensure takes --duplicates")
	}
	return o, nil
}
