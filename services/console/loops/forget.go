package loops

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"
)

// removal is a message that a stream does not hold any more, with the number of its loop.
type removal struct {
	seq uint64
	n   int64
}

// expire takes back what the messages of a stream before one said.
func (s *Store) expire(ctx context.Context, from source, first uint64) error {
	for {
		var some bool
		err := s.transact(ctx, func(b *batch) error {
			gone, err := b.removals("SELECT seq, n FROM message WHERE source = ? AND seq < ? ORDER BY seq LIMIT ?", from, int64(first), pruneMost)
			some = len(gone) == pruneMost
			if err != nil {
				return err
			}
			return b.takeBack(from, gone)
		})
		if err != nil || !some {
			return err
		}
	}
}

// withdraw takes back what single messages of a stream said.
func (s *Store) withdraw(ctx context.Context, from source, deleted []uint64) error {
	for chunk := range slices.Chunk(deleted, pruneMost) {
		err := s.transact(ctx, func(b *batch) error {
			var all []removal
			for _, seq := range chunk {
				gone, err := b.removals("SELECT seq, n FROM message WHERE source = ? AND seq = ?", from, int64(seq))
				if err != nil {
					return err
				}
				all = append(all, gone...)
			}
			return b.takeBack(from, all)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) removals(query string, args ...any) (all []removal, err error) {
	rows, err := b.tx.QueryContext(b.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r removal
		if err := rows.Scan(&r.seq, &r.n); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// takeBack works out the loops anew without these messages.
func (b *batch) takeBack(from source, gone []removal) error {
	byLoop := map[int64]map[uint64]bool{}
	for _, r := range gone {
		if byLoop[r.n] == nil {
			byLoop[r.n] = map[uint64]bool{}
		}
		byLoop[r.n][r.seq] = true
	}
	for n, sequences := range byLoop {
		r, err := b.numbered(n)
		if err != nil {
			return err
		}
		var left []note
		if r != nil {
			left = slices.DeleteFunc(slices.Clone(r.notes), func(n note) bool { return n.source == from && sequences[n.seq] })
			for _, known := range r.notes {
				if known.source == from {
					delete(sequences, known.seq)
				}
			}
			if from == fromEvents {
				r.beyond -= min(r.beyond, uint64(len(sequences)))
			}
		}
		for seq := range sequences { // of which its place alone was kept
			if err := b.exec(b.prepared.noMessage, from, int64(seq)); err != nil {
				return err
			}
		}
		if r == nil {
			continue
		}
		if err := b.put(n, r, left); err != nil {
			return err
		}
	}
	return nil
}

// numbered gives the loop of a number, nil where there is none.
func (b *batch) numbered(n int64) (*record, error) {
	var packed []byte
	err := b.tx.QueryRowContext(b.ctx, "SELECT record FROM loop WHERE n = ?", n).Scan(&packed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is no error here
	}
	if err != nil {
		return nil, err
	}
	return unpack(packed)
}

// mark keeps how a stream stood when what it does not hold any more was taken back.
func (s *Store) mark(ctx context.Context, from source, p position) error {
	return s.transact(ctx, func(b *batch) error {
		_, err := b.tx.ExecContext(b.ctx, "INSERT INTO position (source, read, created, first, missing) VALUES (?, 0, ?, ?, ?)"+
			" ON CONFLICT DO UPDATE SET created = excluded.created, first = excluded.first, missing = excluded.missing",
			from, p.created, int64(p.first), p.missing)
		return err
	})
}

// again looks at the loops of which something ends by itself: a link, or a silence.
func (s *Store) again(ctx context.Context) error {
	due, err := s.isDue(ctx)
	if err != nil || !due {
		return err
	}
	return s.transact(ctx, func(b *batch) error {
		rows, err := b.on(b.prepared.due).QueryContext(b.ctx, b.now, dueMost)
		if err != nil {
			return err
		}
		defer rows.Close()
		found := map[int64]*record{}
		for rows.Next() {
			var n int64
			var packed sql.RawBytes
			if err := rows.Scan(&n, &packed); err != nil {
				return err
			}
			if found[n], err = unpack(packed); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for n, r := range found {
			if err := b.put(n, r, r.notes); err != nil {
				return err
			}
		}
		return nil
	})
}

// tidy drops counts that have become nothing, and those that are told apart by minutes no more.
func (s *Store) tidy(ctx context.Context) error {
	return s.transact(ctx, func(b *batch) error {
		for _, table := range []string{"cohort", "flow", "total"} {
			if _, err := b.tx.ExecContext(b.ctx, "DELETE FROM "+table+" WHERE count = 0"); err != nil {
				return err
			}
		}
		_, err := b.tx.ExecContext(b.ctx, "DELETE FROM recent WHERE minute < ?", (b.now-recentMost)/int64(time.Minute))
		return err
	})
}

func (s *Store) isDue(ctx context.Context) (due bool, err error) {
	err = s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM loop WHERE due > 0 AND due <= ?)", time.Now().UnixNano()).Scan(&due)
	})
	return due, err
}

// Forget removes loops, and ids from all that are left, for good: when it returns without an error, their bytes are neither in
// the file nor in what is written ahead of it. Loops come back only with messages that still say something of them.
//
// Deleting the messages is enough: every console notices that within a second or two, and takes back what they said. Forget is
// for who wants to be sure that this one has.
func (s *Store) Forget(ctx context.Context, ids []ID, loopIDs []string) error {
	err := s.transact(ctx, func(b *batch) error {
		for _, loop := range loopIDs {
			n, r, err := b.find(loop)
			if err == nil && r != nil {
				b.changed = append(b.changed, loop)
				err = b.drop(n, r)
			}
			if err != nil {
				return err
			}
		}
		for _, id := range ids {
			if err := b.forget(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.scrub(ctx, true)
}

// forget takes an id out of all loops that have it, in any case.
func (b *batch) forget(id ID) error {
	hash := hashOf(id.Kind, id.Value)
	if err := b.sortIDs(0); err != nil {
		return err
	}
	found, err := b.removals("SELECT 0, n FROM id WHERE hash = ?", hash)
	if err != nil {
		return err
	}
	for _, f := range found {
		r, err := b.numbered(f.n)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		had := false
		for i := range r.notes {
			ids := slices.DeleteFunc(slices.Clone(r.notes[i].ids), id.same)
			had = had || len(ids) < len(r.notes[i].ids)
			r.notes[i].ids = ids
		}
		if !had && r.beyond == 0 {
			continue
		}
		if err := b.noID(hash, f.n); err != nil {
			return err
		}
		b.gone = true
		if err := b.put(f.n, r, r.notes); err != nil {
			return err
		}
	}
	return nil
}

// errInUse says that what was deleted is still in the file that is written ahead, since somebody reads.
var errInUse = errors.New("what was deleted cannot be overwritten yet, since the read model is in use; try again")

// scrub puts what was written into the file, and empties what was written ahead of it, if anything was deleted. Unless it must,
// it leaves that for later where somebody reads.
func (s *Store) scrub(ctx context.Context, must bool) error {
	if !must && !s.dirty.Load() {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var busy, pages, moved int
	if err := s.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(truncate)").Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if busy != 0 {
		s.dirty.Store(true)
		if must {
			return errInUse
		}
		return nil
	}
	s.dirty.Store(false)
	return nil
}
