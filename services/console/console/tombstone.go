package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
)

// The vendors, as faults and metrics name them.
const (
	vendorQualtrics = "qualtrics"
	vendorMarketing = "sap-marketing"
	vendorSales     = "sap-sales-cloud"
	vendorAwardco   = "awardco"
)

// whereAt says where a person does by hand what no interface does.
var whereAt = map[string]string{
	vendorQualtrics: "Qualtrics: Admin, Data Privacy, Personal Data: delete the person's data by their e-mail address, as a brand administrator",
	vendorMarketing: "SAP Marketing Cloud has no interface that deletes interactions: block or delete the contact there, with its interactions of the types SURVEY_LINK_CREATED and SURVEY_RESPONSE and its survey responses",
	vendorSales:     "SAP Sales Cloud: delete the tasks of the contact whose notes hold an answer, and the contact in its data protection work center",
	vendorAwardco:   "Awardco has no interface that deletes recognitions: ask its support, with the employee or with the date and note",
}

// madeAt tells at which vendor an effect makes something, by the beginning of its key.
var madeAt = map[string]string{
	"sap.interaction/": vendorMarketing, "c4c.task/": vendorSales, "awardco.recognition/": vendorAwardco,
}

const (
	// keysMost is how many records are changed between two looks through the ledger: what is noted of them must fit a message.
	keysMost = 1000

	ledgerStream  = "KV_" + topology.Effects
	ledgerSubject = "$KV." + topology.Effects + "."
)

func keysOf(s set) iter.Seq[string] { return maps.Keys(s) }

// searchLedger finds the records about the person, and notes what becomes of each.
func (f *forgetter) searchLedger(ctx context.Context, e *Erasure) error {
	w, found, more := e.Work, map[string]action{}, false
	before, keyed := w.Person.known(), w.Person.keyed()
	_, err := f.scan(ctx, e, ledgerStream, 1, func(m *jetstream.RawStreamMsg) {
		key := strings.TrimPrefix(m.Subject, ledgerSubject)
		do := w.Person.inLedger(key, m.Data, keyed) // all is looked at: it may tell more
		if _, noted := found[key]; do == "" || !noted && len(found) == keysMost {
			more = more || do != ""
			return
		}
		found[key] = do
	})
	if err != nil {
		return err
	}
	if w.Person.known() != before { // it knew more than the streams, which forget sooner
		clear(e.LookedAt)
		return f.save(ctx, e)
	}
	w.Keys, w.MoreKeys, w.Ledgered = found, more, len(found) == 0
	return f.save(ctx, e)
}

// inLedger tells what becomes of a record; "" leaves it.
func (p *person) inLedger(key string, value []byte, keyed func(string) bool) action {
	s := sight{leaves: leavesOf(value)}
	switch {
	case strings.HasPrefix(key, effect.Forgetting("").String()), strings.HasPrefix(key, effect.Erasure("").String()):
		return ""
	case strings.HasPrefix(key, "qualtrics.contact/"):
		if p.named(s) {
			return drop
		}
		return ""
	}
	record, ok := effect.ReadRecord(value)
	whole := ok && !strings.HasPrefix(key, effect.Wave("").String())
	switch {
	case whole && record.State == effect.Erased:
		return ""
	case whole && (keyed(key) || p.owns(record, s)):
		return bury
	case !whole && (p.named(s) || p.mentions(s)):
		return trim
	}
	return ""
}

// owns tells a record of an effect that was made for the person, and learns from it.
func (p *person) owns(record effect.Record, s sight) bool {
	s.loop = record.LoopID
	mine, foreign := p.identity(s)
	if foreign {
		return false
	}
	if mine || p.Loops[record.LoopID] || p.named(s) {
		p.learn(s, mine, false)
		return true
	}
	return p.mentions(s)
}

// keyed tells keys that are made of ids of the person's.
func (p *person) keyed() func(key string) bool {
	exact, beginnings := set{}, []string{}
	for id := range p.Requests {
		exact.add(effect.Link(id).String(), effect.Interaction("SURVEY_LINK_CREATED", id).String())
	}
	for id := range p.Recognised {
		exact.add(effect.Recognition(id).String())
	}
	for id := range p.Responses {
		task := effect.Task(id, "").String()
		exact.add(task, effect.Recognition(id).String(), effect.Notified(id).String(), effect.Received(id).String(),
			effect.Swept(id).String(), effect.Interaction("SURVEY_RESPONSE", id).String())
		beginnings = append(beginnings, task+"/", effect.Rule(id, "").String())
	}
	return func(key string) bool {
		return exact[key] || slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(key, b) })
	}
}

// atVendors gives the keys of what services make at vendors for the person, whether it was made or not.
func (p *person) atVendors() []effect.Key {
	var keys []effect.Key
	for id := range p.Requests {
		keys = append(keys, effect.Link(id), effect.Interaction("SURVEY_LINK_CREATED", id))
	}
	for id := range p.Responses {
		keys = append(keys, effect.Task(id, ""), effect.Recognition(id), effect.Interaction("SURVEY_RESPONSE", id))
	}
	for id := range p.Recognised {
		keys = append(keys, effect.Recognition(id))
	}
	return keys
}

// forbid puts tombstones where nothing stands yet, before anything is deleted: a service that was given a message just before
// the deletion, and has recorded nothing so far, must not make anything of it afterwards.
func (f *forgetter) forbid(ctx context.Context, e *Erasure) error {
	bucket, err := f.bus.JetStream().KeyValue(ctx, topology.Effects)
	if err != nil {
		return fmt.Errorf("the ledger cannot be reached: %w", err)
	}
	tombstone, err := effect.Tombstone(f.now())
	if err != nil {
		return err
	}
	for _, key := range e.Work.Person.atVendors() {
		if e.Work.Person.addressIn(key.Business) { // that would leave an address that is not there yet
			continue
		}
		if err := f.alive(ctx, e); err != nil {
			return err
		}
		if _, err := bucket.Create(ctx, key.String(), tombstone); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return fmt.Errorf("writing the ledger: %w", err)
		}
	}
	return nil
}

// rewrite changes the records that were noted, and gives how many a service has in hand.
func (f *forgetter) rewrite(ctx context.Context, e *Erasure) (left int, err error) {
	w := e.Work
	bucket, err := f.bus.JetStream().KeyValue(ctx, topology.Effects)
	if err != nil {
		return 0, fmt.Errorf("the ledger cannot be reached: %w", err)
	}
	stream, err := f.stream(ctx, ledgerStream)
	if err != nil {
		return 0, err
	}
	forbidden := stream.CachedInfo().Config.DenyDelete
	for key, do := range w.Keys {
		if err := f.alive(ctx, e); err != nil {
			return 0, err
		}
		settled := true
		switch do {
		case drop:
			if err = f.drop(ctx, key); err == nil && forbidden {
				err = bucket.Purge(ctx, key)
			}
			e.Ledger.Dropped++
		case trim:
			if settled, err = f.replace(ctx, bucket, forbidden, key, w.Person.without); settled {
				e.Ledger.Cut++
			}
		case bury:
			settled, err = f.bury(ctx, e, bucket, forbidden, key)
		}
		if err != nil {
			return 0, err
		}
		if !settled {
			left++
			continue
		}
		if forbidden {
			e.Ledger.NotOverwritten++
		}
		delete(w.Keys, key)
	}
	return left, nil
}

// errInHand says that a run holds the record.
var errInHand = errors.New("a run holds the record")

// bury leaves a tombstone. What was sent and not answered stays unknown, and is never sent again.
func (f *forgetter) bury(ctx context.Context, e *Erasure, bucket jetstream.KeyValue, forbidden bool, key string) (bool, error) {
	unsettled := false
	settled, err := f.replace(ctx, bucket, forbidden, key, func(old []byte) ([]byte, error) {
		record, ok := effect.ReadRecord(old)
		if ok && record.InHand(f.now()) {
			return nil, errInHand
		}
		if ok && record.State == effect.Erased {
			return old, nil
		}
		unsettled = record.Unsettled()
		return effect.Tombstone(f.now())
	})
	if errors.Is(err, errInHand) {
		return false, nil
	}
	if err != nil || !settled {
		return false, err
	}
	e.Ledger.Tombstones++
	if unsettled {
		e.Ledger.Unsettled++
	}
	if readable, err := url.PathUnescape(strings.ReplaceAll(key, "=", "%")); err == nil && e.Work.Person.addressIn(readable) {
		e.Ledger.PersonalKeys++
	}
	for beginning, vendor := range madeAt {
		if strings.HasPrefix(key, beginning) {
			e.Work.Made[vendor]++
		}
	}
	return true, nil
}

// replace changes a record on the write, and overwrites what it was before. Not settled: somebody else has changed it.
func (f *forgetter) replace(ctx context.Context, bucket jetstream.KeyValue, forbidden bool, key string, change func([]byte) ([]byte, error)) (settled bool, err error) {
	entry, err := bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the ledger: %w", err)
	}
	value, err := change(entry.Value())
	if err != nil {
		return false, err
	}
	revision := entry.Revision()
	// The revision before goes first: the broker makes room for the new one, and overwrites nothing.
	if err := f.overwriteBefore(ctx, key, revision); err != nil {
		return false, err
	}
	for writes := writes(bytes.Equal(value, entry.Value()), forbidden); writes > 0; writes-- {
		if revision, err = bucket.Update(ctx, key, value, revision); errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("writing the ledger: %w", err)
		}
	}
	return true, f.overwriteBefore(ctx, key, revision)
}

// writes is how often a value is written: once more where the revision before cannot be deleted, so that it is pushed out.
func writes(same, forbidden bool) int {
	n := 0
	if !same {
		n++
	}
	if forbidden {
		n++
	}
	return n
}

// drop removes all that stands under a key.
func (f *forgetter) drop(ctx context.Context, key string) error {
	return f.overwriteBefore(ctx, key, math.MaxUint64)
}

// overwriteBefore overwrites the revisions of a key before one.
func (f *forgetter) overwriteBefore(ctx context.Context, key string, revision uint64) error {
	stream, err := f.stream(ctx, ledgerStream)
	if err != nil || stream.CachedInfo().Config.DenyDelete { // made by an earlier version: the receipt says so
		return err
	}
	for from := uint64(1); ; {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(ledgerSubject+key))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the ledger: %w", err)
		}
		if m.Sequence >= revision {
			return nil
		}
		if err := f.overwrite(ctx, ledgerStream, m.Sequence); err != nil {
			return err
		}
		from = m.Sequence + 1
	}
}

// without gives a record about many people without the parts that are about this one.
func (p *person) without(value []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("a record of the ledger cannot be read: %w", err)
	}
	return json.Marshal(p.cut(document))
}

// cut leaves out list entries and fields that name the person.
func (p *person) cut(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if _, list := inner.([]any); !list && p.namesIn(inner) && !nested(inner) {
				delete(v, name)
				continue
			}
			v[name] = p.cut(inner)
		}
		return v
	case []any:
		kept := []any{}
		for _, inner := range v {
			if p.namesIn(inner) && !holdsLists(inner) {
				continue
			}
			kept = append(kept, p.cut(inner))
		}
		return kept
	}
	return value
}

func (p *person) namesIn(value any) bool {
	content, _ := json.Marshal(value) // which was read from JSON
	s := sight{leaves: leavesOf(content)}
	return p.named(s) || p.mentions(s)
}

// nested tells an object, which is looked into, from a value.
func nested(value any) bool {
	_, is := value.(map[string]any)
	return is
}

// holdsLists tells an entry that has entries of its own, which are cut one by one: the steps of a record.
func holdsLists(value any) bool {
	object, is := value.(map[string]any)
	if !is {
		return false
	}
	for _, inner := range object {
		if _, list := inner.([]any); list || holdsLists(inner) {
			return true
		}
	}
	return false
}
