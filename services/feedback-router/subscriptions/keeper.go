package subscriptions

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

// keeper brings the subscriptions to what is wanted.
type keeper struct {
	client   *qualtrics.Client
	settings *Settings
	options  options
	all      []qualtrics.Subscription
	report   report
}

func (k *keeper) run(ctx context.Context) (*report, error) {
	k.report = report{DryRun: k.options.dryRun, Subscriptions: []entry{}}
	var err error
	if k.all, err = k.client.Subscriptions(ctx); err != nil {
		return &k.report, err
	}
	switch k.options.command {
	case "ensure":
		err = k.apply(ctx, k.ensuring())
	case "replace":
		err = k.apply(ctx, k.replacing())
	case "delete":
		var p plan
		if p, err = k.deleting(); err == nil {
			err = k.apply(ctx, p)
		}
	default:
		k.list()
	}
	return &k.report, err
}

// plan is what is to be done: first create, then remove, so that no event falls in between.
type plan struct {
	keep   []entry
	create []string // topics
	remove []entry
}

// ensuring keeps a subscription for each topic that is wanted. Of several of a kind it deletes none unless told to: which
// of them has the key of now cannot be seen, and how many calls each had says more of its age.
func (k *keeper) ensuring() plan {
	p := plan{}
	ours := k.ours()
	for _, topic := range k.wanted() {
		same := slices.DeleteFunc(slices.Clone(ours), func(s qualtrics.Subscription) bool { return s.Topics != topic || !k.here(s) })
		if len(same) == 0 {
			p.create = append(p.create, topic)
			continue
		}
		if !k.options.duplicates {
			for _, s := range same {
				p.keep = append(p.keep, k.entry("kept", s, ofAKind(len(same))))
			}
			continue
		}
		slices.SortStableFunc(same, func(a, b qualtrics.Subscription) int { return cmp.Compare(b.SuccessfulCalls, a.SuccessfulCalls) })
		p.keep = append(p.keep, k.entry("kept", same[0], ""))
		for _, double := range same[1:] {
			p.remove = append(p.remove, k.entry("deleted", double, "duplicate of "+same[0].ID))
		}
	}
	for _, s := range ours {
		switch {
		case !k.here(s):
			p.remove = append(p.remove, k.entry("deleted", s, "sends to a former address"))
		case !slices.Contains(k.wanted(), s.Topics):
			p.remove = append(p.remove, k.entry("deleted", s, "not wanted any more"))
		}
	}
	return p
}

// replacing makes everything anew.
func (k *keeper) replacing() plan {
	p := plan{create: k.wanted()}
	for _, s := range k.ours() {
		p.remove = append(p.remove, k.entry("deleted", s, "replaced"))
	}
	return p
}

// deleting removes what was named, if it is ours.
func (k *keeper) deleting() (plan, error) {
	p := plan{}
	ours := k.ours()
	if k.options.all {
		for _, s := range ours {
			p.remove = append(p.remove, k.entry("deleted", s, "asked for"))
		}
		return p, nil
	}
	for _, id := range k.options.ids {
		i := slices.IndexFunc(ours, func(s qualtrics.Subscription) bool { return s.ID == id })
		if i < 0 {
			return p, fmt.Errorf("%s is none of ours: it is not there, or sends to another address than QUALTRICS_EVENTS_URL (and --was)", id)
		}
		p.remove = append(p.remove, k.entry("deleted", ours[i], "asked for"))
	}
	return p, nil
}

// ofAKind says what to do about a subscription that is there n times.
func ofAKind(n int) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprintf("one of %d of a kind: replace makes one of them with the key of now; ensure --duplicates keeps the one with most deliveries", n)
}

func (k *keeper) apply(ctx context.Context, p plan) error {
	err := k.steps(ctx, p)
	if err != nil && k.options.command == "replace" && len(p.create) > 0 && k.created() {
		return fmt.Errorf("%w: some are made anew already: run replace again, not ensure", err)
	}
	return err
}

// created tells whether anything was made.
func (k *keeper) created() bool {
	return slices.ContainsFunc(k.report.Subscriptions, func(e entry) bool { return e.Action == "created" })
}

func (k *keeper) steps(ctx context.Context, p plan) error {
	k.report.Subscriptions = append(k.report.Subscriptions, p.keep...)
	steps := []func(context.Context, plan) error{k.create, k.remove}
	if k.options.deleteFirst {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) create(ctx context.Context, p plan) error {
	for _, topic := range p.create {
		made := k.entry("created", qualtrics.Subscription{Topics: topic, URL: k.settings.EventsURL}, "")
		if !k.options.dryRun {
			var err error
			if made.ID, err = k.subscribe(ctx, topic); err != nil {
				return err
			}
		}
		k.report.Subscriptions = append(k.report.Subscriptions, made)
	}
	return nil
}

// subscribe makes one subscription. One whose answer is lost is looked for before anything else is done: a repeat would
// make a second.
func (k *keeper) subscribe(ctx context.Context, topic string) (string, error) {
	wanted := qualtrics.NewSubscription{Topics: topic, URL: k.settings.EventsURL}
	if k.settings.SharedKey.IsSet() {
		wanted.SharedKey = k.settings.SharedKey.Reveal()[0]
	}
	id, err := k.client.CreateSubscription(ctx, wanted)
	if fault.Is(err, fault.Unknown) {
		var before []string
		for _, s := range k.all {
			before = append(before, s.ID)
		}
		found, there, failed := k.client.FindSubscription(ctx, topic, wanted.URL, before...)
		if failed == nil && there {
			return found, nil
		}
		return "", fmt.Errorf("%w: whether it was made is not known: run the command again, %s and no other", err, k.options.command)
	}
	if fault.Is(err, fault.Refused) && k.options.command == "replace" && !k.options.deleteFirst && !k.created() {
		return "", fmt.Errorf("%w: nothing of ours was deleted; a brand that refuses two of a kind needs --delete-first", err)
	}
	return id, err
}

func (k *keeper) remove(ctx context.Context, p plan) error {
	for _, gone := range p.remove {
		if !k.options.dryRun {
			if err := k.client.DeleteSubscription(ctx, gone.ID); err != nil {
				return err
			}
		}
		k.report.Subscriptions = append(k.report.Subscriptions, gone)
	}
	return nil
}

func (k *keeper) list() {
	for _, s := range k.all {
		e := k.entry("", s, "")
		for _, other := range k.all {
			if other.ID != s.ID && address(other.URL) == address(s.URL) && covers(other.Topics, s.Topics) {
				e.Reason = "its events also come by " + other.ID
			}
		}
		k.report.Subscriptions = append(k.report.Subscriptions, e)
	}
}

// covers tells whether a subscription to one topic brings the events of the other too (qualtrics.md §3.9).
func covers(topics, other string) bool {
	prefix, wildcard := strings.CutSuffix(topics, "*")
	return topics == other || wildcard && strings.HasPrefix(other, prefix)
}

func (k *keeper) wanted() []string {
	var topics []string
	for _, survey := range k.settings.Surveys {
		if topic := qualtrics.CompletedResponses(survey); !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	return topics
}

func (k *keeper) ours() []qualtrics.Subscription {
	return slices.DeleteFunc(slices.Clone(k.all), func(s qualtrics.Subscription) bool { return !k.own(s) })
}

// here tells whether a subscription sends to where ingress is now.
func (k *keeper) here(s qualtrics.Subscription) bool {
	return k.settings.EventsURL != "" && address(s.URL) == address(k.settings.EventsURL)
}

func (k *keeper) own(s qualtrics.Subscription) bool {
	return k.here(s) || slices.ContainsFunc(k.options.was, func(former string) bool { return address(former) == address(s.URL) })
}

func (k *keeper) entry(action string, s qualtrics.Subscription, reason string) entry {
	e := entry{Action: action, ID: s.ID, Topics: s.Topics, URL: shown(s.URL), SuccessfulCalls: s.SuccessfulCalls, Reason: reason}
	if ours := k.own(s); ours || k.settings.EventsURL != "" {
		e.Ours = &ours
	}
	return e
}

// address is a URL in the one way in which scheme and host are compared.
func address(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return u.String()
}

// shown is a URL without what may be a secret in it.
func shown(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "not a URL"
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.Redacted()
}
