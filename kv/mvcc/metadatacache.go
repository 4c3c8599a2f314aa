package mvcc

import "hash/maphash"

// metadata is the newest state of a key, without key and value: what a put must know.
type metadata struct {
	rev     revision
	create  int64
	version int64 // 0: the key is not live; rev is that of its tombstone, which has a row in space d
	lease   int64
}

func (m *metadata) isLive() bool { return m.version != 0 }

// metadataCache holds the metadata of the keys written last, so that most puts need no read. It
// holds no pointers, so a full one costs the garbage collector nothing.
//
// It is a set-associative table: a hash selects a set of four entries, and a new key in a full set
// replaces the entry of the lowest revision.
//
//	set 0 │ e e e · │  set 1 │ e · · · │ …       entry: hash (128 bits), rev, create, version, lease
//
// The tables do not hold the changes of the current batch, so its entries must not be lost: if one
// is replaced, it goes to overflow until the batch is committed. Between batches the table doubles
// if it is three quarters full, up to its limit.
//
// A key is identified by two 64-bit hashes with random seeds of this process. Two keys with the
// same 128 bits do not occur, and cannot be constructed.
//
// Only the applying goroutine uses it.
type metadataCache struct {
	seeds        [2]maphash.Seed
	entries      []metadataEntry // the number of sets is a power of two
	mask         uint64          // number of sets - 1
	filled       int
	limit        int // of entries
	committedRev int64
	overflow     map[keyHash]metadata
}

type keyHash [2]uint64

type metadataEntry struct {
	hash     keyHash
	metadata // of revision 0: the entry is empty
}

func (e *metadataEntry) isEmpty() bool { return e.rev.main == 0 }

const (
	entriesPerSet      = 4
	metadataEntryBytes = 56
	minSets            = 1024
)

func newMetadataCache(limitBytes int64) *metadataCache {
	limit := max(int(limitBytes/metadataEntryBytes), minSets*entriesPerSet)
	return &metadataCache{
		seeds:    [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		entries:  make([]metadataEntry, minSets*entriesPerSet),
		mask:     minSets - 1,
		limit:    limit,
		overflow: make(map[keyHash]metadata),
	}
}

func (c *metadataCache) hash(key []byte) keyHash {
	return keyHash{maphash.Bytes(c.seeds[0], key), maphash.Bytes(c.seeds[1], key)}
}

func (c *metadataCache) set(h keyHash) []metadataEntry {
	at := (h[0] & c.mask) * entriesPerSet
	return c.entries[at : at+entriesPerSet : at+entriesPerSet]
}

func (c *metadataCache) get(h keyHash) (metadata, bool) {
	set := c.set(h)
	for i := range set {
		if e := &set[i]; e.hash == h && !e.isEmpty() {
			return e.metadata, true
		}
	}
	if len(c.overflow) > 0 {
		m, ok := c.overflow[h]
		return m, ok
	}
	return metadata{}, false
}

// put stores m. Until committed is called with its revision, it counts as not in the tables.
func (c *metadataCache) put(h keyHash, m metadata) {
	if len(c.overflow) > 0 {
		delete(c.overflow, h)
	}
	set := c.set(h)
	victim := &set[0]
	for i := range set {
		e := &set[i]
		if e.hash == h || e.isEmpty() {
			victim = e
			break
		}
		if e.rev.main < victim.rev.main {
			victim = e
		}
	}
	switch {
	case victim.isEmpty():
		c.filled++
	case victim.hash != h && victim.rev.main > c.committedRev:
		c.overflow[victim.hash] = victim.metadata
	}
	*victim = metadataEntry{h, m}
}

// remove removes a key.
func (c *metadataCache) remove(h keyHash) {
	delete(c.overflow, h)
	set := c.set(h)
	for i := range set {
		if e := &set[i]; e.hash == h && !e.isEmpty() {
			*e = metadataEntry{}
			c.filled--
		}
	}
}

// staged is called when everything in the cache is in the tables, although the batch goes on.
func (c *metadataCache) staged() { clear(c.overflow) }

// committed is called when everything up to rev is in the tables. It may enlarge the table.
func (c *metadataCache) committed(rev int64) {
	c.committedRev = rev
	clear(c.overflow)
	if c.filled*4 > len(c.entries)*3 && len(c.entries)*2 <= c.limit {
		c.grow()
	}
}

func (c *metadataCache) grow() {
	old := c.entries
	c.entries = make([]metadataEntry, len(old)*2)
	c.mask = uint64(len(c.entries)/entriesPerSet - 1)
	for i := range old {
		if old[i].isEmpty() {
			continue
		}
		// The entries of a set are distributed over two sets, so there is always space.
		set := c.set(old[i].hash)
		for j := range set {
			if set[j].isEmpty() {
				set[j] = old[i]
				break
			}
		}
	}
}
