package mvcc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// formatVersion is the version of the rows. A store of formatVersion1, which has no liveBytes in
// its state row, is converted; one of another version is refused.
const (
	formatVersion  = "troupe kv 2"
	formatVersion1 = "troupe kv 1"
)

// notStopping is the stopping flag of reads that continue while the store is being closed.
var notStopping atomic.Bool

// openStore opens the store in dir, and creates it if it does not exist. It returns ErrFormat or
// ErrCorrupt for a directory that it cannot read.
func openStore(dir string, o Options) (*Store, error) {
	s := &Store{log: o.Logger, leaseKnown: o.LeaseKnown, onFatal: o.OnFatal, openSnapshots: make(map[*View]struct{})}
	s.closing, s.endWork = context.WithCancel(context.Background())
	s.defragmenting = make(chan struct{}, 1)
	s.bucketLimits = cmp.Or(o.bucketLimits, defaultBucketLimits)
	s.stageBytes, s.resultBytes = cmp.Or(o.StageBytes, defaultStageBytes), cmp.Or(o.resultBytes, maxResultBytes)
	s.onStage = o.onStage
	s.valueBytes = cmp.Or(o.MaxValueBytes, defaults.MaxRequestBytes)
	s.compactor.failed, s.compactor.schedule = make(chan struct{}), o.Schedule
	s.applyMu.Schedule(o.Schedule)
	s.compactor.stepEvents = cmp.Or(o.CompactionStepEvents, defaultStepEvents)
	db, err := o.Engine(dir, engine.Events{Failed: s.engineFailed, Log: o.Logger})
	if err != nil {
		return nil, openError(dir, err)
	}
	s.db = db
	s.metadataCache = newMetadataCache(cmp.Or(o.metadataBytes, defaults.StoreMetadataBytes))
	if err := s.load(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.viewMu.Lock()
	s.publish()
	s.viewMu.Unlock()
	s.metadataCache.committed(s.tip.rev)
	s.compactor.start(s)
	return s, nil
}

// openError adds advice to an error of the engine, for the causes that it can tell apart: wrong
// advice is worse than none.
func openError(dir string, err error) error {
	opening := fmt.Sprintf("opening the key-value store in %s", dir)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w; it must belong to the user that runs the server", opening, err)
	case errors.Is(err, engine.ErrCorrupt):
		return fmt.Errorf("%s: %w: %w; move the data directory away and let this member rejoin (troupe member rejoin)", opening, ErrCorrupt, err)
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "lock held by"):
		return fmt.Errorf("%s: %w; another process uses it: stop that first", opening, err)
	case strings.Contains(err.Error(), "format major version"):
		return fmt.Errorf("%s: %w; start the version of troupe that wrote it", opening, err)
	}
	return fmt.Errorf("%s: %w", opening, err)
}

// load reads the rows that are kept in memory.
func (s *Store) load(dir string) error {
	if err := s.checkFormat(dir); err != nil {
		return err
	}
	err := s.loadState()
	if err == nil {
		err = s.rollBack()
	}
	if err == nil {
		err = s.loadCompactions()
	}
	if err == nil {
		err = s.loadCounts()
	}
	if err == nil {
		err = s.loadMembers()
	}
	if err == nil {
		err = s.eachRow(spaceSessions, func(key, _ []byte) error {
			s.sessionIndexes = append(s.sessionIndexes, binary.BigEndian.Uint64(key))
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("loading the key-value store in %s: %w", dir, err)
	}
	return nil
}

// checkFormat checks the format row. If the store is empty it writes the row and flushes it, so
// that no other row exists without it.
func (s *Store) checkFormat(dir string) error {
	row, closer, err := s.db.Get(formatKey)
	if err == nil {
		found := string(row)
		if err := closer.Close(); err != nil {
			return err
		}
		if found == formatVersion1 {
			return s.writeFormat(dir)
		}
		if found != formatVersion {
			return fmt.Errorf("%w: %s holds %q, this version reads %q; use the version of troupe that wrote it, or move the data directory away and let this member rejoin (troupe member rejoin)", ErrFormat, dir, found, formatVersion)
		}
		return nil
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("reading the format of %s: %w", dir, err)
	}
	it, err := s.db.NewIter(context.Background(), nil, nil)
	if err != nil {
		return err
	}
	foreign := it.First()
	if err := joinErrors(it.Error(), it.Close()); err != nil {
		return err
	}
	if foreign {
		return fmt.Errorf("%w: %s holds a database that is not troupe's; choose another data directory", ErrFormat, dir)
	}
	return s.writeFormat(dir)
}

func (s *Store) writeFormat(dir string) error {
	batch := s.db.NewBatch(0)
	err := batch.Set(formatKey, []byte(formatVersion))
	if err == nil {
		err = s.db.Commit(batch)
	}
	if err != nil {
		return fmt.Errorf("writing the format of %s: %w", dir, err)
	}
	return s.flush()
}

// loadState loads the state row. Format 1 has no liveBytes in it, so they are counted.
func (s *Store) loadState() error {
	s.tip = emptyState
	row, closer, err := s.db.Get(stateKey)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.tip, err = parseState(row)
	if err := joinErrors(err, closer.Close()); err != nil || s.tip.liveBytes >= 0 {
		return err
	}
	s.tip.liveBytes = 0
	return s.eachRow(spaceHistory, func(key, row []byte) error {
		s.tip.liveBytes += int64(1 + len(key) + len(row))
		return nil
	})
}

func (s *Store) loadCounts() error {
	var buckets []bucket
	err := s.eachRow(spaceBuckets, func(key, row []byte) error {
		count, n := binary.Uvarint(row)
		if n <= 0 {
			return fmt.Errorf("the count of bucket %q: %w", key, ErrCorrupt)
		}
		b := bucket{string(key), int64(count)}
		if b.count > s.bucketLimits.maxKeys {
			s.oversizedBuckets = append(s.oversizedBuckets, b.start)
		}
		buckets = append(buckets, b)
		return nil
	})
	if err == nil && len(buckets) > 0 && buckets[0].start != "" {
		// The first bucket has no row before a key is counted in it.
		buckets = slices.Insert(buckets, 0, bucket{})
	}
	s.counts = loadCountTree(buckets)
	s.keyFilter.complete = s.counts.total() == 0 && s.tip.tombstones == 0
	return err
}

func (s *Store) loadMembers() error {
	it, err := s.db.NewIter(context.Background(), memberKey, []byte{spaceMeta, memberKey[1] + 1})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		a, good := decodeAttributes(it.Value())
		if !good {
			err = fmt.Errorf("the attributes of a member: %w", ErrCorrupt)
		}
		s.setMember(a)
	}
	return joinErrors(err, it.Close())
}
