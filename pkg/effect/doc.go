// Package effect is the ledger of what closeloop did in vendors' systems: one record for each effect and business key,
// in a JetStream key-value bucket, changed only by compare-and-set, so that a repeat of an event, a crash at any
// instruction, a lost answer or a replay still leaves one task, one interaction, one recognition, one link.
//
//	intended → sent → confirmed | rejected          unknown: the answer to a write was lost
//
// An effect is a function of steps. Each step that changes something at the vendor is recorded before it is sent and
// after it was answered:
//
//	task, err := effect.Do(ctx, ledger, effect.Key{Effect: "c4c.task", Business: "R_1"}, cause,
//		func(ctx context.Context, run *effect.Run) (Task, error) {
//			return effect.Step(ctx, run, "task", effect.Write[Task]{Send: create, Probe: find})
//		})
//
// What happens in each window of a crash:
//
//	before "sent" is recorded     nothing was sent: the next run begins the step
//	after it, before the answer   the next run probes, and sends only when the probe finds nothing
//	after the answer              the next run takes the recorded result and goes on with the next step
//	after the last step           the next run gives the recorded result; nothing is sent
//
// A record belongs to one run at a time, by a lease inside the record; losing the lease shows in the next
// compare-and-set, which comes before every write to the vendor.
package effect
