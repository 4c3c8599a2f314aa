package mvcc

import (
	"context"
	"fmt"
)

// keyFilter knows of most new keys that the tables hold no row of them. A put must know whether its
// key is new, and a read that finds nothing is the most expensive one: it looks into every memtable
// and asks the filter of every table. With new keys only, such reads took a quarter of a member's
// CPU.
//
// It is a Bloom filter in layers, each twice as large as the one before, so that it grows with the
// keys. In a store that starts empty it is complete from the beginning. In a store that is opened
// with keys it is completed by a scan, some rows with each batch, which starts after many reads
// found nothing. Above maxKeyFilterBytes it is disabled.
//
// Invariant: if complete, it contains every key with a row in space c or d. Only puts create rows,
// and they add their keys; deletes and compaction leave the bits. So it may report a key as
// possibly present that has no row, never the reverse.
//
// Only the applying goroutine uses it.
type keyFilter struct {
	layers   []filterLayer
	complete bool
	// misses counts reads that found nothing; scanFrom is the scan's next key, nil if there is no
	// scan.
	misses   int
	scanFrom []byte
	disabled bool
}

// filterLayer is a Bloom filter in blocks of one cache line. All bits of a key are in one block.
type filterLayer struct {
	blocks   [][8]uint64 // a power of two
	keys     int
	capacity int
}

const (
	filterBitsPerKey  = 12
	filterProbes      = 6
	minFilterKeys     = 1 << 14
	maxKeyFilterBytes = 16 << 20 // of all layers
	// The scan starts after so many reads that found nothing, and reads so many rows with each batch.
	scanAfterMisses = 4096
	scanStepRows    = 2048
)

func newFilterLayer(keys int) filterLayer {
	blocks := 1
	for blocks*512 < keys*filterBitsPerKey {
		blocks *= 2
	}
	return filterLayer{blocks: make([][8]uint64, blocks), capacity: blocks * 512 / filterBitsPerKey}
}

// block returns the block of a key, by its first hash. Parts of the second hash are the places in
// it.
func (l *filterLayer) block(h keyHash) *[8]uint64 {
	return &l.blocks[h[0]>>16&uint64(len(l.blocks)-1)]
}

func (l *filterLayer) add(h keyHash) {
	b := l.block(h)
	for i, bits := 0, h[1]; i < filterProbes; i, bits = i+1, bits>>9 {
		b[bits>>6&7] |= 1 << (bits & 63)
	}
	l.keys++
}

func (l *filterLayer) has(h keyHash) bool {
	b := l.block(h)
	for i, bits := 0, h[1]; i < filterProbes; i, bits = i+1, bits>>9 {
		if b[bits>>6&7]&(1<<(bits&63)) == 0 {
			return false
		}
	}
	return true
}

// absent reports that the tables certainly hold no row of the key.
func (f *keyFilter) absent(h keyHash) bool {
	if !f.complete {
		return false
	}
	for i := len(f.layers) - 1; i >= 0; i-- {
		if f.layers[i].has(h) {
			return false
		}
	}
	return true
}

// add adds a key that gets its first row.
func (f *keyFilter) add(h keyHash) {
	if f.disabled || !f.complete && f.scanFrom == nil {
		return
	}
	n := len(f.layers)
	if n == 0 || f.layers[n-1].keys >= f.layers[n-1].capacity {
		keys, bytes := minFilterKeys, 0
		for i := range f.layers {
			keys = 2 * f.layers[i].capacity
			bytes += 64 * len(f.layers[i].blocks)
		}
		if bytes+keys*filterBitsPerKey/8 > maxKeyFilterBytes {
			*f = keyFilter{disabled: true}
			return
		}
		f.layers = append(f.layers, newFilterLayer(keys))
		n++
	}
	f.layers[n-1].add(h)
}

// recordMiss counts a read that found nothing, and starts the scan after many.
func (f *keyFilter) recordMiss() {
	if f.complete || f.disabled || f.scanFrom != nil {
		return
	}
	if f.misses++; f.misses >= scanAfterMisses {
		f.scanFrom = []byte{spaceCurrent}
	}
}

// scanKeysForFilter continues the scan of the keys that the store was opened with: space c first,
// then d. Puts meanwhile add their keys themselves, before and behind the scan.
func (s *Store) scanKeysForFilter() error {
	f := &s.keyFilter
	if f.scanFrom == nil {
		return nil
	}
	it, err := s.db.NewIter(context.Background(), f.scanFrom, []byte{spaceTombstones + 1})
	if err != nil {
		return fmt.Errorf("scanning the keys: %w", err)
	}
	ok := it.First()
	for n := 0; ok && n < scanStepRows && !f.disabled; n++ {
		f.add(s.metadataCache.hash(it.Key()[1:]))
		ok = it.Next()
	}
	switch {
	case f.disabled:
	case ok:
		f.scanFrom = append(f.scanFrom[:0], it.Key()...)
	case it.Error() == nil:
		f.scanFrom, f.complete = nil, true
	}
	if err := joinErrors(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("scanning the keys: %w", err)
	}
	return nil
}
