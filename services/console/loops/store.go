package loops

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// version of the schema, of how records are packed, and of the rules by which loops stand: a file of another one is built anew.
const version = 5

// schema of the file. Times are nanoseconds; campaigns, surveys, rules, vendors, operations and types are numbers of words.
const schema = `
CREATE TABLE setting (name TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
CREATE TABLE position (source INTEGER PRIMARY KEY, read INTEGER NOT NULL, created INTEGER NOT NULL, first INTEGER NOT NULL, missing INTEGER NOT NULL);
CREATE TABLE word (n INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE loop (n INTEGER PRIMARY KEY, start INTEGER NOT NULL, mark INTEGER NOT NULL, campaign INTEGER NOT NULL, survey INTEGER NOT NULL,
	due INTEGER NOT NULL, record BLOB NOT NULL);
CREATE INDEX loop_start ON loop (start);
CREATE INDEX loop_mark ON loop (mark, start, n, campaign, survey);
CREATE INDEX loop_campaign ON loop (campaign, start);
CREATE INDEX loop_survey ON loop (survey, start);
CREATE INDEX loop_due ON loop (due) WHERE due > 0;
CREATE TABLE name (hash INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (hash, n)) WITHOUT ROWID;
CREATE TABLE id (hash INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (hash, n)) WITHOUT ROWID;
CREATE TABLE fresh (hash INTEGER NOT NULL, n INTEGER NOT NULL);
INSERT INTO setting (name, value) VALUES ('ids', 0);
CREATE TABLE message (source INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (source, seq)) WITHOUT ROWID;
CREATE TABLE fired (rule INTEGER NOT NULL, mark INTEGER NOT NULL, start INTEGER NOT NULL, n INTEGER NOT NULL, campaign INTEGER NOT NULL,
	survey INTEGER NOT NULL, PRIMARY KEY (rule, mark, start, n)) WITHOUT ROWID;
CREATE TABLE waiting (vendor INTEGER NOT NULL, since INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (vendor, since, n)) WITHOUT ROWID;
CREATE TABLE total (kind INTEGER NOT NULL, value INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, value)) WITHOUT ROWID;
CREATE TABLE cohort (hour INTEGER NOT NULL, rule INTEGER NOT NULL, campaign INTEGER NOT NULL, survey INTEGER NOT NULL, mark INTEGER NOT NULL,
	bucket INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (hour, rule, campaign, survey, mark, bucket)) WITHOUT ROWID;
CREATE TABLE flow (hour INTEGER NOT NULL, campaign INTEGER NOT NULL, survey INTEGER NOT NULL, type INTEGER NOT NULL, count INTEGER NOT NULL,
	PRIMARY KEY (hour, campaign, survey, type)) WITHOUT ROWID;
CREATE TABLE calls (hour INTEGER NOT NULL, vendor INTEGER NOT NULL, operation INTEGER NOT NULL, calls INTEGER NOT NULL, saved INTEGER NOT NULL,
	failed INTEGER NOT NULL, took INTEGER NOT NULL, PRIMARY KEY (hour, vendor, operation)) WITHOUT ROWID;
CREATE TABLE recent (minute INTEGER NOT NULL, vendor INTEGER NOT NULL, operation INTEGER NOT NULL, calls INTEGER NOT NULL, saved INTEGER NOT NULL,
	failed INTEGER NOT NULL, took INTEGER NOT NULL, done INTEGER NOT NULL, PRIMARY KEY (minute, vendor, operation)) WITHOUT ROWID;
CREATE TABLE told (kind TEXT NOT NULL, service TEXT NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL,
	PRIMARY KEY (kind, service, name)) WITHOUT ROWID;
`

// pragmas of every connection. What was deleted is overwritten: an id of a person who was forgotten must not be left in the
// file. The cache is small, since a console has little memory; the operating system keeps the file at hand.
var pragmas = []string{"busy_timeout(10000)", "secure_delete(on)", "synchronous(normal)", "temp_store(memory)"}

const (
	// readers is how many queries run at the same time, each with a cache of readCache KiB.
	readers    = 4
	readCache  = 512
	writeCache = 6 << 10
	// walPages is after how many pages of 4 KiB what was written goes into the file itself.
	walPages = 2000
)

// Store is the read model. It is safe for concurrent use.
type Store struct {
	path      string
	temporary *temporary // folder that ends with it, if it is one

	mu       sync.RWMutex // held while the file is made anew
	write    *sql.DB
	read     *sql.DB
	file     fs.FileInfo
	prepared *statements // of write

	writing sync.Mutex // one transaction at a time
	words   map[string]int64
	lately  lately
	next    int64       // number of the next loop
	written int64       // dataVersion of the file when what is kept in memory was read
	dirty   atomic.Bool // something was deleted whose bytes may still be in what is written ahead
	broken  atomic.Bool // a query found the file damaged
	world   atomic.Pointer[world]

	progress progress
	watchers watchers
}

// Open opens the read model in a file, and makes file and folder where there are none. One that is damaged, or of another
// version, is made anew. Without a path it is a temporary file, which Close removes.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{path: path}
	if path == "" {
		folder, err := newTemporary(os.TempDir())
		if err != nil {
			return nil, fmt.Errorf("the read model has no place for its file: %w", err)
		}
		s.temporary, s.path = folder, filepath.Join(folder.path, "loops.db")
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the read model: %w", err)
	}
	s.world.Store(&world{filters: declared()})
	err := s.open(ctx)
	if damaged(err) {
		err = s.anew(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("the read model %s: %w", s.path, err)
	}
	return s, nil
}

// errVersion is that of a file of another version.
var errVersion = errors.New("the file is of another version")

// damaged tells errors after which the file is good for nothing.
func damaged(err error) bool {
	if errors.Is(err, errVersion) || errors.Is(err, errRecord) {
		return true
	}
	if e := new(sqlite.Error); errors.As(err, &e) {
		code := e.Code() & 0xff
		return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
	}
	return false
}

// open opens the file as it is. The caller holds mu, or is alone.
func (s *Store) open(ctx context.Context) (err error) {
	if err := private(s.path); err != nil {
		return err
	}
	if s.write, err = sql.Open("sqlite", s.address(writeCache, "journal_mode(wal)", fmt.Sprintf("wal_autocheckpoint(%d)", walPages))+"&_txlock=immediate"); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", s.address(readCache, "query_only(on)")); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	if err := s.recall(ctx); err != nil {
		return err
	}
	s.file, err = os.Stat(s.path) // last: a file that was not opened whole is not there, and is made anew
	return err
}

func (s *Store) address(cache int, more ...string) string {
	query := url.Values{"_pragma": append(append(more, pragmas...), fmt.Sprintf("cache_size(-%d)", cache))}
	return "file:" + (&url.URL{Path: s.path}).EscapedPath() + "?" + query.Encode()
}

// prepare makes the tables where there are none.
func (s *Store) prepare(ctx context.Context) error {
	var have int
	if err := s.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	var tables int
	if err := s.write.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	switch {
	case have == version:
		return nil
	case tables > 0:
		return errVersion
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to take back
	if _, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}

// anew drops the file and opens an empty one. Watchers are told that everything may have changed.
func (s *Store) anew(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut()
	for _, suffix := range files {
		if err := os.Remove(s.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	s.progress.reset()
	s.watchers.all()
	s.broken.Store(false)
	return s.open(ctx)
}

// there tells whether the file is the one that was opened, and good as far as is known.
func (s *Store) there() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now, err := os.Stat(s.path)
	return err == nil && s.file != nil && os.SameFile(now, s.file) && !s.broken.Load()
}

func (s *Store) shut() {
	s.prepared.close()
	s.prepared, s.file = nil, nil
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			_ = db.Close() // what cannot be closed is dropped
		}
	}
}

// Close ends it. Queries that run end first.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut()
	if s.temporary != nil {
		return s.temporary.remove()
	}
	return nil
}

// dataVersion changes with what others write to the file, and not with what we do.
const dataVersion = "PRAGMA data_version"

// load reads what is kept in memory: all of it, or nothing.
func (s *Store) load(ctx context.Context) error {
	var written, next int64
	if err := s.write.QueryRowContext(ctx, dataVersion).Scan(&written); err != nil {
		return err
	}
	words := map[string]int64{"": 0}
	err := scan(ctx, s.write, "SELECT n, text FROM word", nil, func(rows *sql.Rows) error {
		var n int64
		var text string
		err := rows.Scan(&n, &text)
		words[text] = n
		return err
	})
	if err != nil {
		return err
	}
	if err := s.write.QueryRowContext(ctx, "SELECT coalesce(max(n), 0) + 1 FROM loop").Scan(&next); err != nil {
		return err
	}
	prepared, err := prepareStatements(ctx, s.write)
	if err != nil {
		return err
	}
	s.prepared.close()
	s.written, s.words, s.next, s.prepared = written, words, next, prepared
	s.lately.clear()
	return nil
}

// recall reads what was known of the world.
func (s *Store) recall(ctx context.Context) error {
	var value []byte
	err := s.write.QueryRowContext(ctx, "SELECT value FROM setting WHERE name = 'world'").Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	known := asOf{}
	if err != nil || json.Unmarshal(value, &known) != nil || known.Filters == nil {
		return err
	}
	s.world.Store(&world{filters: known.Filters, handled: known.Handled, idle: known.Idle})
	s.progress.begin()
	return nil
}

// query runs a reading function while the file stays as it is.
func (s *Store) query(ctx context.Context, run func(context.Context, *sql.DB) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err := run(ctx, s.read)
	if damaged(err) {
		s.broken.Store(true)
	}
	return err
}

// position is how far a stream has been read.
type position struct {
	read    uint64
	created int64
	// first message and number of those missing behind it, when last looked.
	first   uint64
	missing int
}

// positions gives how far each stream has been read.
func (s *Store) positions(ctx context.Context) (all [len(sources)]position, err error) {
	err = s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, "SELECT source, read, created, first, missing FROM position")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var from int
			var p position
			if err := rows.Scan(&from, &p.read, &p.created, &p.first, &p.missing); err != nil {
				return err
			}
			if from >= 0 && from < len(all) {
				all[from] = p
			}
		}
		return rows.Err()
	})
	return all, err
}
