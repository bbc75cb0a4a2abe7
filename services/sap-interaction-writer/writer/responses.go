package writer

import (
	"context"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// responses is how answers are written to the survey import, which nobody can read: a lost answer is settled by sending
// again, since the response id is the key (sap-marketing-cloud.md, rule 8), unless the tenant keeps two of a key.
func (w *writer) responses(tasks []task) effect.Group[marketing.Written] {
	return effect.Group[marketing.Written]{
		Find: func(_ context.Context, at []int) ([]effect.Found[marketing.Written], error) {
			found := make([]effect.Found[marketing.Written], len(at))
			if w.settings.RepeatedResponse == string(marketing.RepeatStores) {
				for n := range found {
					found[n].Err = fault.New(fault.Person, "the answer to a survey response was lost, and SAP Marketing Cloud would store a second one: look there for the response id")
				}
			}
			return found, nil
		},
		Send: func(ctx context.Context, at []int) ([]effect.Result[marketing.Written], error) {
			return w.afterContacts(ctx, tasks, at, func(at []int) ([]marketing.Outcome, error) {
				all := make([]marketing.Response, len(at))
				for n, i := range at {
					all[n] = *tasks[i].response
				}
				return make([]marketing.Outcome, len(at)), w.marketing.WriteResponses(ctx, all)
			})
		},
		PerCall: w.marketing.ResponsesPerCall(),
	}
}

// afterContacts makes or refreshes the contacts of the tasks that have one, and writes what has its contact then. The two
// never share a call: one bad contact would sink all the rest (sap-marketing-cloud.md, rule 10).
func (w *writer) afterContacts(ctx context.Context, tasks []task, at []int, write func(at []int) ([]marketing.Outcome, error)) ([]effect.Result[marketing.Written], error) {
	failed := w.contacts(ctx, tasks, at)
	var ready []int
	for _, i := range at {
		if failed[i] == nil {
			ready = append(ready, i)
		}
	}
	outcomes := map[int]marketing.Outcome{}
	if len(ready) > 0 {
		written, err := write(ready)
		if forAll(err, len(ready)) {
			return nil, err
		}
		for n, i := range ready {
			if outcomes[i] = (marketing.Outcome{Err: err}); err == nil {
				outcomes[i] = written[n]
			}
		}
	}
	results := make([]effect.Result[marketing.Written], len(at))
	for n, i := range at {
		if results[n] = (effect.Result[marketing.Written]{Value: outcomes[i].Written, Err: outcomes[i].Err}); failed[i] != nil {
			results[n].Err = failed[i]
		}
	}
	return results, nil
}

// forAll tells the errors of a write that concern the whole call: that the vendor is out, and that one of many records is
// refused. What else goes wrong is no matter of the tasks that were not written, as they have no contact.
func forAll(err error, records int) bool {
	if err == nil {
		return false
	}
	class := fault.From(err).Class
	return class.VendorOut() || records > 1 && (class == fault.Refused || class == fault.Invalid)
}

// contacts gives the tasks whose contact could not be written. A contact that several answers name is written once.
func (w *writer) contacts(ctx context.Context, tasks []task, at []int) map[int]error {
	var all []marketing.Contact
	first := map[string]int{}
	for _, i := range at {
		c := tasks[i].contact
		if c == nil {
			continue
		}
		if n, again := first[c.ID]; again {
			if c.At.After(all[n].At) {
				all[n] = *c
			}
			continue
		}
		first[c.ID], all = len(all), append(all, *c)
	}
	if len(all) == 0 {
		return nil
	}
	errs, failed := w.marketing.WriteContacts(ctx, all), map[int]error{}
	for _, i := range at {
		if c := tasks[i].contact; c != nil && errs[first[c.ID]] != nil {
			failed[i] = errs[first[c.ID]]
		}
	}
	return failed
}
