package vfs

// CrashChoice picks one of n ways in which a crash may treat something that was not synced; it returns a number in [0, n).
// 0 is always "lost", 1 "kept whole"; what lies above tears a write. Asked in a fixed order, so that a CrashChoice which counts
// enumerates every disk that a crash can leave, and a seeded one repeats itself.
type CrashChoice func(n int) int

// LoseUnsynced is the power cut right after the last sync; KeepUnsynced is one right after the system has written all by itself.
func LoseUnsynced(int) int { return 0 }
func KeepUnsynced(int) int { return 1 }

// Crash returns the filesystem as the next life finds it. This one is left as it is: a test may look at every other
// outcome too, or Freeze it so that whatever still runs on it does no harm.
func (m *MemFS) CrashClone(choose CrashChoice) *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.capacity = m.capacity
	after.root = crashCloneNode(m.root, choose, map[*memNode]*memNode{})
	after.used = after.root.usedBytes(map[*memNode]bool{})
	return after
}

// Fork returns the filesystem as the next process finds it when this one is killed and the system lives on: all of it can
// be read, and what was not synced still is not, so that a power cut may take it yet. Its hooks and locks are gone with
// the process. This one is left as it is.
func (m *MemFS) KillClone() *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.capacity, after.used = m.capacity, m.used
	after.root = m.root.killClone(map[*memNode]*memNode{})
	return after
}

// fork copies a node with all that is known of it; two names of one file are so in the copy too.
func (n *memNode) killClone(done map[*memNode]*memNode) *memNode {
	if n == nil {
		return nil
	}
	if made := done[n]; made != nil {
		return made
	}
	made := &memNode{path: n.path, dir: n.dir}
	done[n] = made
	if !n.dir {
		made.content = n.content.killClone()
		return made
	}
	made.entries, made.durableEntries = make(map[string]*memNode, len(n.entries)), make(map[string]*memNode, len(n.durableEntries))
	for name, child := range n.entries { // order does not matter: each child is copied once, whoever comes to it first
		made.entries[name] = child.killClone(done)
	}
	for name, child := range n.durableEntries { // order does not matter: the same
		made.durableEntries[name] = child.killClone(done)
	}
	for _, c := range n.changes {
		made.changes = append(made.changes, dirChange{name: c.name, node: c.node.killClone(done), removedName: c.removedName})
	}
	return made
}

func crashCloneNode(n *memNode, choose CrashChoice, done map[*memNode]*memNode) *memNode {
	if made := done[n]; made != nil {
		return made
	}
	if !n.dir {
		made := &memNode{path: n.path, content: n.content.afterCrash(choose)}
		done[n] = made
		return made
	}
	made := newDir(n.path)
	done[n] = made
	names := make(map[string]*memNode, len(n.durableEntries))
	for name, child := range n.durableEntries {
		names[name] = child
	}
	for _, c := range n.changes {
		if choose(2) == 0 {
			continue
		}
		// The removal that is part of a rename takes away the name only if it still means the same file.
		if c.removedName != "" && names[c.removedName] == c.node {
			delete(names, c.removedName)
		}
		if c.node == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.node
		}
	}
	for _, name := range sortedNames(names) {
		child := crashCloneNode(names[name], choose, done)
		made.entries[name], made.durableEntries[name] = child, child
	}
	return made
}

// ways is how many outcomes a write of k sectors has: none, all, each proper prefix, each proper suffix, and each with a
// single sector missing in the middle. (Without its first sector it is a suffix, without its last one a prefix.)
func outcomeCount(k int) int {
	if k < 2 {
		return 2
	}
	return 2 + 2*(k-1) + (k - 2)
}

// keeps tells whether sector s of k reaches the disk in the given outcome.
func outcomeKeeps(way, s, k int) bool {
	switch way -= 2; {
	case way == -2:
		return false
	case way == -1:
		return true
	case way < k-1:
		return s <= way
	case way < 2*(k-1):
		return s > way-(k-1)
	default:
		return s != way-2*(k-1)+1
	}
}

// fork copies a file's content. Images of sectors are only changed by FlipBit, which replaces them.
func (c *fileContent) killClone() fileContent {
	after := fileContent{data: c.shareData(), shared: true, durableSize: c.durableSize, unsynced: append([]unsyncedWrite(nil), c.unsynced...)}
	if len(c.durableSectors) > 0 {
		after.durableSectors = make(map[int64][]byte, len(c.durableSectors))
		for s, image := range c.durableSectors {
			after.durableSectors[s] = image
		}
	}
	return after
}

func (c *fileContent) afterCrash(choose CrashChoice) fileContent {
	if len(c.unsynced) == 0 && len(c.durableSectors) == 0 && c.durableSize == c.size() {
		return fileContent{data: c.shareData(), shared: true, durableSize: c.durableSize}
	}
	data := append([]byte(nil), c.data...)
	after := fileContent{data: data}
	after.resize(c.durableSize)
	for s, image := range c.durableSectors { // order does not matter: sectors do not overlap
		after.putSector(s, image)
	}
	for _, w := range c.unsynced {
		k := w.sectors()
		way := choose(outcomeCount(k))
		if way == 0 {
			continue
		}
		if k == 0 {
			after.resize(w.size)
		}
		for s := 0; s < k; s++ {
			if outcomeKeeps(way, s, k) && !w.overwritten[w.first+int64(s)] {
				end := min((w.first+int64(s)+1)*SectorBytes, w.size)
				if end > after.size() {
					after.resize(end)
				}
				after.putSector(w.first+int64(s), w.image[s*SectorBytes:(s+1)*SectorBytes])
			}
		}
	}
	after.durableSize = after.size()
	return after
}

// put lays a sector over the data, as far as that reaches.
func (c *fileContent) putSector(s int64, image []byte) {
	if at := s * SectorBytes; at < c.size() {
		copy(c.data[at:], image)
	}
}

func (n *memNode) usedBytes(seen map[*memNode]bool) int64 {
	if seen[n] {
		return 0
	}
	seen[n] = true
	total := n.content.size()
	for _, child := range n.entries { // order does not matter: it is a sum in which each node stands once
		total += child.usedBytes(seen)
	}
	return total
}
