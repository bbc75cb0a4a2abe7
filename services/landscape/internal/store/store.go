// Package store keeps the books of the simulated vendors: small tables in memory, written through to one file.
//
// A change survives the end of the process (it is with the operating system before Put returns), not the loss of
// power. Tables are read from memory, in the order in which their rows were first put.
package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Store is one file of tables.
type Store struct {
	db *bbolt.DB

	mu       sync.Mutex
	counters map[string]uint64 // the sequences of a store without a file
}

// Open opens or makes landscape.db in dir. An empty dir keeps everything in memory only.
func Open(dir string) (*Store, error) {
	if dir == "" {
		return &Store{counters: map[string]uint64{}}, nil
	}
	path := filepath.Join(dir, "landscape.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true, Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("opening %s (is another landscape using it?): %w", path, err)
	}
	return &Store{db: db}, nil
}

// Close writes out and closes the file.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	if err := s.db.Sync(); err != nil {
		return err
	}
	return s.db.Close()
}

// Table is an ordered map from a string key to a row of type T. It is safe for concurrent use; rows are values and
// are changed only by Put and Update.
type Table[T any] struct {
	store *Store
	name  []byte

	mu        sync.RWMutex
	rows      map[string]T
	order     []string       // keys by position; a deleted row leaves ""
	positions map[string]int // where a key stands in order
}

type stored[T any] struct {
	Position int `json:"position"`
	Row      T   `json:"row"`
}

// NewTable opens the table of that name and reads its rows.
func NewTable[T any](s *Store, name string) (*Table[T], error) {
	t := &Table[T]{store: s, name: []byte(name), rows: map[string]T{}, positions: map[string]int{}}
	if s.db == nil {
		return t, nil
	}
	byPosition := map[int]string{}
	highest := -1
	err := s.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(t.name)
		if err != nil {
			return err
		}
		return bucket.ForEach(func(k, v []byte) error {
			var row stored[T]
			if err := json.Unmarshal(v, &row); err != nil {
				return fmt.Errorf("row %q: %w", k, err)
			}
			t.rows[string(k)] = row.Row
			byPosition[row.Position] = string(k)
			highest = max(highest, row.Position)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", name, err)
	}
	t.order = make([]string, highest+1)
	for i, key := range byPosition {
		t.order[i], t.positions[key] = key, i
	}
	return t, nil
}

// Get gives the row of that key.
func (t *Table[T]) Get(key string) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	row, ok := t.rows[key]
	return row, ok
}

// Put sets the row of that key.
func (t *Table[T]) Put(key string, row T) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(key, row)
}

// PutAll sets many rows in one write; key gives the key of each.
func (t *Table[T]) PutAll(rows []T, key func(T) string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]string, len(rows))
	for i, row := range rows {
		keys[i] = key(row)
	}
	return t.putAll(keys, rows)
}

// Update changes the row of that key in one step; f gets the row as it is (or the zero row and false) and gives the
// new one, or false to leave it.
func (t *Table[T]) Update(key string, f func(row T, found bool) (T, bool)) (T, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, found := t.rows[key]
	row, change := f(old, found)
	if !change {
		return old, nil
	}
	return row, t.put(key, row)
}

// All gives every row, first put first.
func (t *Table[T]) All() []T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]T, 0, len(t.rows))
	for _, key := range t.order {
		if row, ok := t.rows[key]; ok {
			all = append(all, row)
		}
	}
	return all
}

// Find gives the rows for which keep is true, first put first.
func (t *Table[T]) Find(keep func(T) bool) []T {
	var found []T
	for _, row := range t.All() {
		if keep(row) {
			found = append(found, row)
		}
	}
	return found
}

// Len is the number of rows.
func (t *Table[T]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}

// Delete removes the row of that key, if there is one.
func (t *Table[T]) Delete(key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.rows[key]; !ok {
		return nil
	}
	if t.store.db != nil {
		err := t.store.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(t.name).Delete([]byte(key)) })
		if err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	t.order[t.positions[key]] = ""
	delete(t.rows, key)
	delete(t.positions, key)
	return nil
}

func (t *Table[T]) put(key string, row T) error { return t.putAll([]string{key}, []T{row}) }

// putAll writes first and changes the rows in memory after, so that a failed write leaves both as they were.
func (t *Table[T]) putAll(keys []string, rows []T) error {
	positions := map[string]int{} // of the keys that are new
	for _, key := range keys {
		if key == "" {
			return fmt.Errorf("table %s: a row needs a key", t.name)
		}
		_, known := t.positions[key]
		_, twice := positions[key]
		if !known && !twice {
			positions[key] = len(t.order) + len(positions)
		}
	}
	if err := t.write(keys, rows, positions); err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	for i, key := range keys {
		if _, known := t.positions[key]; !known {
			t.positions[key] = positions[key]
			t.order = append(t.order, key)
		}
		t.rows[key] = rows[i]
	}
	return nil
}

func (t *Table[T]) write(keys []string, rows []T, added map[string]int) error {
	if t.store.db == nil {
		return nil
	}
	return t.store.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(t.name)
		for i, key := range keys {
			position, isNew := added[key]
			if !isNew {
				position = t.positions[key]
			}
			value, err := json.Marshal(stored[T]{Position: position, Row: rows[i]})
			if err != nil {
				return err
			}
			if err := bucket.Put([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Sequence gives 1, 2, 3 … under a name, going on where it was after a restart.
func (s *Store) Sequence(name string) func() uint64 {
	if s.db == nil {
		return func() uint64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.counters[name]++
			return s.counters[name]
		}
	}
	bucket, key := []byte("sequences"), []byte(name)
	return func() uint64 {
		var n uint64
		err := s.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			if v := b.Get(key); len(v) == 8 {
				n = binary.BigEndian.Uint64(v)
			}
			n++
			return b.Put(key, binary.BigEndian.AppendUint64(nil, n))
		})
		if err != nil {
			panic(fmt.Sprintf("landscape: sequence %s: %v", name, err)) // the file is gone: nothing can go on
		}
		return n
	}
}
