package router

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/rules"
)

const (
	// toldAgain is how often the rules in force are told though nothing changed, since what was told expires; toldFirst is
	// how long after a change it is told again.
	toldAgain = time.Hour
	toldFirst = time.Minute
	// toldMost is how much of it the broker takes: a mebibyte, less room for headers.
	toldMost = 1<<20 - 4<<10
	// refusedMost is how many bytes are told of what is wrong with a later file.
	refusedMost = 32 << 10
)

// tellRules says which rules are in force: now, whenever they change or a changed file is refused, and again and again, soon
// at first, since what is told before the stream is there is told to nobody.
func (r *router) tellRules(ctx context.Context) error {
	tick := time.NewTicker(r.settings.RulesInterval)
	defer tick.Stop()
	var told activity.RuleSet
	again := toldFirst
	for {
		set, now := ruleSetOf(r.rules.Status()), time.Now().UTC()
		set.At = told.At
		changed := set != told
		if (changed || now.Sub(told.At) >= again) && r.bus.Ready() == nil {
			if again = min(2*again, toldAgain); changed {
				again = toldFirst
			}
			set.At = now
			told = set
			r.bus.Tell(activity.KindRules, fitting(set))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ruleSetOf gives the rules in force as people are told of them.
func ruleSetOf(s rules.Status) activity.RuleSet {
	set := activity.RuleSet{Service: topology.FeedbackRouter, Name: s.File, Hash: s.Hash, Source: s.Source, Since: s.LoadedAt.UTC()}
	if s.LastError != nil {
		set.Refused = s.LastError.Error()
	}
	return set
}

// fitting leaves out what makes a message too large: the source, and most of what is wrong with a later one.
func fitting(set activity.RuleSet) activity.RuleSet {
	if len(set.Refused) > refusedMost {
		set.Refused = strings.ToValidUTF8(set.Refused[:refusedMost], "") + "…"
	}
	if content, err := json.Marshal(set); err != nil || len(content) > toldMost {
		set.Source = ""
	}
	return set
}

// decisionOf is what people are told of what a rule said: names of fields, and never what somebody answered.
func decisionOf(o rules.Outcome, hash string) activity.Decision {
	d := activity.Decision{Rule: o.Rule, RuleSet: hash, Why: o.Reason()}
	if d.Fired = o.Message != nil; d.Fired {
		d.Subject = o.Subject
	}
	return d
}
