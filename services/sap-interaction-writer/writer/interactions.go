package writer

import (
	"context"
	"fmt"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// leastLooks is how often SURVEY_DISTRIBUTION is looked for at least, lest an outage of the tenant is taken for its
// absence.
const leastLooks = 3

// interactions is how interactions are looked up and written.
func (w *writer) interactions(tasks []task, items []effect.Item) effect.Group[marketing.Written] {
	return effect.Group[marketing.Written]{
		FindFirst: true, // the flow that closeloop replaces may have written it
		Settle:    w.settings.Settle,
		Find: func(ctx context.Context, at []int) ([]effect.Found[marketing.Written], error) {
			return w.find(ctx, tasks, items, at)
		},
		Send: func(ctx context.Context, at []int) ([]effect.Result[marketing.Written], error) {
			return w.afterContacts(ctx, tasks, at, func(at []int) ([]marketing.Outcome, error) {
				all := make([]marketing.Interaction, len(at))
				for n, i := range at {
					all[n] = *tasks[i].interaction
				}
				return w.marketing.Write(ctx, all)
			})
		},
		PerCall: w.marketing.InteractionsPerCall(),
	}
}

// find looks for the interactions themselves and, for links of campaigns, for Marketing's own, without which a link would
// dangle (sap-marketing-cloud.md §11, trap 4). A link by itself is asked for what ends the look first.
func (w *writer) find(ctx context.Context, tasks []task, items []effect.Item, at []int) ([]effect.Found[marketing.Written], error) {
	var refs, distributions []marketing.Ref
	for _, i := range at {
		refs = append(refs, tasks[i].interaction.Ref())
		if w.awaits(tasks[i]) {
			distributions = append(distributions, tasks[i].distribution())
		}
	}
	first, second := append(refs, distributions...), []marketing.Ref(nil)
	if len(at) == 1 && len(distributions) == 1 {
		first, second = distributions, refs
	}
	there, err := w.marketing.Find(ctx, first)
	if err != nil {
		return nil, err
	}
	if second != nil && (there[distributions[0]].Found || w.overdue(tasks[at[0]], items[at[0]].Since)) {
		found, err := w.marketing.Find(ctx, second)
		if err != nil {
			return nil, err
		}
		there[second[0]] = found[second[0]]
	}
	all := make([]effect.Found[marketing.Written], len(at))
	for n, i := range at {
		all[n] = w.judge(tasks[i], items[i].Since, there)
	}
	return all, nil
}

// judge says what is to become of one item.
func (w *writer) judge(t task, since time.Time, there map[marketing.Ref]marketing.Found) effect.Found[marketing.Written] {
	own, distribution := there[t.interaction.Ref()], there[t.distribution()]
	switch {
	case own.Err != nil:
		return effect.Found[marketing.Written]{Err: own.Err}
	case own.Found:
		return effect.Found[marketing.Written]{Result: own.Written, Found: true}
	case !w.awaits(t) || distribution.Found:
		return effect.Found[marketing.Written]{}
	case distribution.Err != nil:
		return effect.Found[marketing.Written]{Err: distribution.Err}
	case w.overdue(t, since):
		return effect.Found[marketing.Written]{Err: w.alarm(t)}
	}
	// As long again as it has been waited for already: 1, 2, 4 … seconds. Whole ones, so that a wave stays together.
	wait := w.settings.WaitFirst + time.Since(since).Truncate(time.Second)
	return effect.Found[marketing.Written]{
		Err: fault.Later(min(wait, w.settings.WaitLongest), "waiting for SAP Marketing Cloud to write its %s", marketing.SurveyDistribution),
	}
}

// awaits tells a link that must wait for Marketing's own interaction: one that a campaign asked for.
func (w *writer) awaits(t task) bool {
	return w.settings.WaitForDistribution && t.outboundID != "" && t.campaignID != ""
}

func (w *writer) overdue(t task, since time.Time) bool {
	return time.Since(since) >= w.settings.WaitLimit && t.event.Attempts >= leastLooks
}

// alarm ends the waiting and tells people, once for each campaign in the log.
func (w *writer) alarm(t task) error {
	w.missing.Inc()
	if _, told := w.alarmed.LoadOrStore(t.campaignID, true); !told {
		w.log.Error("SAP Marketing Cloud writes no SURVEY_DISTRIBUTION: is its enhancement (5), the template of outbound interactions, implemented?",
			"campaignId", t.campaignID, "waited", w.settings.WaitLimit)
	}
	return &fault.Fault{
		Class: fault.Person, Vendor: vendor, Field: "campaign.outboundId",
		Reason: fmt.Sprintf("no %s interaction has appeared within %s: probably enhancement (5), Define Template for Outbound Interaction, "+
			"is not implemented for the campaign, or its id origin does not match; replay this when it is", marketing.SurveyDistribution, w.settings.WaitLimit),
	}
}
