package linker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

// person is a contact that exists.
type person struct {
	qualtrics.ContactIDs
	// Known says that it was made for an earlier request and not looked at since.
	Known bool `json:"known,omitempty"`
}

// acquaintance is what is remembered of a contact: what it was made of, as a digest, and when.
type acquaintance struct {
	qualtrics.ContactIDs
	Content string    `json:"content"`
	At      time.Time `json:"at"`
}

// lastWave is remembered of a list: the import overwrote its contacts without telling their ids.
const lastWave = "wave"

// recognised is a digest of what the directory takes two contacts for one by, where that is one thing alone, and empty
// otherwise: without dedupe each creation makes a contact, and of several criteria it is not told how they go together
// (qualtrics.md §3.1, §3.2).
func (l *linker) recognised(c qualtrics.Contact) string {
	brand, known := l.startup.Brand()
	if !known {
		return ""
	}
	d := brand.Directory.Dedupe
	var compared []string
	for _, field := range []struct {
		counts bool
		value  string
	}{{d.Email, c.Email}, {d.ExternalDataReference, c.ExtRef}, {d.FirstName, c.FirstName}, {d.LastName, c.LastName}, {d.Phone, c.Phone}} {
		if field.counts {
			compared = append(compared, normal(field.value))
		}
	}
	if len(compared) != 1 {
		return ""
	}
	return digest(compared[0])
}

func contentOf(c qualtrics.Contact) string {
	encoded, _ := json.Marshal(c) // of texts alone
	return digest(string(encoded))
}

// known gives the ids of a contact that is in the list as it is wanted. What cannot be read is not known.
func (l *linker) knownContact(ctx context.Context, listID string, c qualtrics.Contact) (qualtrics.ContactIDs, bool) {
	who := l.recognised(c)
	if who == "" {
		return qualtrics.ContactIDs{}, false
	}
	have, ok, err := effect.Kept[acquaintance](ctx, l.ledger, effect.Contact(listID, who))
	if err != nil || !ok || have.Content != contentOf(c) {
		return qualtrics.ContactIDs{}, false
	}
	wave, _, err := effect.Kept[time.Time](ctx, l.ledger, effect.Contact(listID, lastWave))
	return have.ContactIDs, err == nil && have.At.After(wave)
}

// overwritten notes that an import has changed contacts of the list: what is known of them from before is unsure.
func (l *linker) overwritten(ctx context.Context, listID string) error {
	now := time.Now().UTC()
	return effect.Change(ctx, l.ledger, effect.Contact(listID, lastWave), func(last time.Time) (time.Time, bool) { return now, now.After(last) })
}

// remember keeps what was made for the next request of the same person.
func (l *linker) remember(ctx context.Context, listID string, c qualtrics.Contact, ids qualtrics.ContactIDs) {
	who := l.recognised(c)
	if who == "" {
		return
	}
	now := acquaintance{ids, contentOf(c), time.Now().UTC()}
	if err := effect.Change(ctx, l.ledger, effect.Contact(listID, who), func(acquaintance) (acquaintance, bool) { return now, true }); err != nil {
		l.log.Debug("a contact is not remembered", "error", err) // it costs a call, no more
	}
}

// contactOf gives the person's contact, made now unless it is known.
func (l *linker) contactOf(ctx context.Context, run *effect.Run, w wanted) (person, error) {
	write := l.contact(w)
	return effect.Step(ctx, run, "contact", effect.Write[person]{
		Send: func(ctx context.Context) (person, error) {
			if ids, ok := l.knownContact(ctx, w.mailingListID, w.contact()); ok {
				return person{ids, true}, nil
			}
			ids, err := write.Send(ctx)
			return person{ContactIDs: ids}, err
		},
		Probe: func(ctx context.Context) (person, bool, error) {
			ids, found, err := write.Probe(ctx)
			return person{ContactIDs: ids}, found, err
		},
	})
}

// stepContactAgain is part of the ledger and must not change.
const stepContactAgain = "contact again"

// transactionOf makes the transaction of a contact. One that was only thought to be known is made again.
func (l *linker) transactionOf(ctx context.Context, run *effect.Run, w wanted, p *person) (string, error) {
	if made, ok := effect.Marked[qualtrics.ContactIDs](run, stepContactAgain); ok {
		*p = person{ContactIDs: made} // by an earlier run, whose transaction is this one's
	}
	id, err := effect.Step(ctx, run, "transaction", l.transaction(w, *p))
	if !p.Known || !fault.Is(err, fault.Refused) {
		return id, err
	}
	made, err := effect.Step(ctx, run, stepContactAgain, l.contact(w))
	if err != nil {
		return "", err
	}
	*p = person{ContactIDs: made}
	return effect.Step(ctx, run, "transaction", l.transaction(w, *p))
}
