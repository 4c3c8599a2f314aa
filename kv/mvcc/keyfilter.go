package mvcc

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// keyFilter tells of most keys that there is no trace of them in the tables, without looking there. A put of a new key
// must know that the key is new, and that nothing is found costs the engine more than to find something: it looks into
// every memtable and asks the filter of every table. With new keys only, that read was a quarter of a member's CPU.
//
// It is a Bloom filter in layers, each twice as large as the one before, so that it grows with the keys. In a store that
// begins empty it is complete from the start. In one that was opened with keys it becomes so by a scan, a piece with each
// batch, which begins only once reads that found nothing have been many. Above maxKeyFilterBytes it is given up: a store of
// more keys than that pays for the reads.
//
// Invariant: if complete, every key with a row in c or d is in it. Rows come only by puts, which add them; deletes and
// compaction leave the bits, so that it may say "maybe" of a key without a trace, never the reverse.
//
// Used by the applying goroutine only.
type keyFilter struct {
	layers   []filterLayer
	complete bool
	// misses counts reads that found nothing; scanning is the next key to look at, nil while there is no scan.
	misses   int
	scanFrom []byte
	disabled bool
}

// filterLayer is a Bloom filter in blocks of one cache line: a key's bits are all in one block.
type filterLayer struct {
	blocks   [][8]uint64 // a power of two
	keys     int
	capacity int
}

const (
	filterBitsPerKey  = 12
	filterProbes      = 6
	minFilterKeys     = 1 << 14
	maxKeyFilterBytes = 16 << 20 // bytes, in all layers
	// scanAfterMisses reads that found nothing start the scan of a store that was opened with keys; scanStepRows rows of it
	// are read with each batch.
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

// bits are where a key's bits are: the block by the first hash, the places in it by pieces of the second.
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

// absent tells that there is no trace of the key in the tables, for certain.
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

// add notes a key that gets its first row.
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

// missed counts a read that found nothing, and starts the scan when they are many.
func (f *keyFilter) recordMiss() {
	if f.complete || f.disabled || f.scanFrom != nil {
		return
	}
	if f.misses++; f.misses >= scanAfterMisses {
		f.scanFrom = []byte{spaceCurrent}
	}
}

// scanKeysForFilter goes on with the scan of the keys that the store was opened with: c first, then d. Keys put meanwhile are added
// by their puts, before the scan or behind it.
func (s *Store) scanKeysForFilter() error {
	f := &s.keyFilter
	if f.scanFrom == nil {
		return nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: f.scanFrom, UpperBound: []byte{spaceTombstones + 1}})
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
