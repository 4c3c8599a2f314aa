package mvcc

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
)

// countKey counts a key that has become live (+1) or was deleted (−1). It joins a bucket that has
// become too small to the one before it. The rows are written at the end of the batch.
func (w *writer) countKey(key []byte, delta int64) {
	counts := &w.s.counts
	b := counts.add(key, delta)
	w.markBucketChanged(b.start)
	switch {
	case delta > 0 && b.count == w.s.bucketLimits.maxKeys+1:
		w.s.oversizedBuckets = append(w.s.oversizedBuckets, b.start)
	case delta < 0 && b.count < w.s.bucketLimits.minKeys && b.start != "":
		if left, ok := counts.previous(b.start); ok && left.count+b.count <= w.s.bucketLimits.maxJoinedKeys {
			counts.remove(b.start)
			w.markBucketChanged(left.start)
		}
	}
}

func (w *writer) markBucketChanged(start string) {
	if n := len(w.changedBuckets); n == 0 || w.changedBuckets[n-1] != start {
		w.changedBuckets = append(w.changedBuckets, start)
	}
}

// writeBuckets writes the rows of the changed buckets, once each.
func (w *writer) writeBuckets() error {
	slices.Sort(w.changedBuckets)
	for _, start := range slices.Compact(w.changedBuckets) {
		w.keyBuf = append(append(w.keyBuf[:0], spaceBuckets), start...)
		b, _, _ := w.s.counts.find([]byte(start))
		var err error
		if b.start == start {
			w.rowBuf = binary.AppendUvarint(w.rowBuf[:0], uint64(b.count))
			err = w.batch.Set(w.keyBuf, w.rowBuf)
		} else {
			err = w.batch.Delete(w.keyBuf)
		}
		if err != nil {
			return fmt.Errorf("writing the count of bucket %q: %w", start, err)
		}
	}
	return nil
}

// splitBuckets splits the buckets that have grown too large. It runs first in a batch, when the
// tables have the tree's state, and counts the rows again: a wrong count stops the store here.
func (w *writer) splitBuckets() error {
	for _, start := range w.s.oversizedBuckets {
		b, _, next := w.s.counts.find([]byte(start))
		if b.start != start || b.count <= w.s.bucketLimits.maxKeys {
			continue // joined, or shrunk since
		}
		if err := w.splitBucket(b, next); err != nil {
			return fmt.Errorf("splitting the bucket of %d keys from %q: %w", b.count, start, err)
		}
	}
	w.s.oversizedBuckets = w.s.oversizedBuckets[:0]
	return nil
}

func (w *writer) splitBucket(b bucket, next string) error {
	lower, upper := keyRange{start: []byte(b.start), end: []byte(next), toEnd: next == ""}.bounds(spaceCurrent)
	it, err := w.s.db.NewIter(context.Background(), lower, upper)
	if err != nil {
		return err
	}
	part := w.s.bucketLimits.splitSize(b.count, next == "")
	var starts []string // of the new buckets
	rows := int64(0)
	for ok := it.First(); ok; ok = it.Next() {
		if rows != 0 && rows%part == 0 {
			starts = append(starts, string(it.Key()[1:]))
		}
		rows++
	}
	if err := joinErrors(it.Error(), it.Close()); err != nil {
		return err
	}
	if rows != b.count {
		return fmt.Errorf("%d rows found: %w", rows, ErrCorrupt)
	}
	w.markBucketChanged(b.start)
	// From the right, because insert takes the keys from the bucket that still holds them.
	for i := len(starts) - 1; i >= 0; i-- {
		size := min(part, rows-int64(i+1)*part)
		w.s.counts.insert(bucket{starts[i], size})
		w.markBucketChanged(starts[i])
	}
	return nil
}

// splitSize returns the size of the parts of a bucket: at most half of maxKeys. Only the last
// bucket of all, where ascending keys are added, is split into almost full ones.
func (l bucketLimits) splitSize(count int64, last bool) int64 {
	if last {
		return l.maxKeys * 7 / 8
	}
	parts := (count + l.maxKeys/2 - 1) / (l.maxKeys / 2)
	parts = max(parts, 2)
	return (count + parts - 1) / parts
}
