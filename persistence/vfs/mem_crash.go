package vfs

// CrashChoice selects one of n outcomes of a crash for an unsynced change, as a number in [0, n). 0
// means lost, 1 kept; higher ones tear a write. Changes are presented in a fixed order, so a
// CrashChoice that counts enumerates all disks that a crash can leave, and a seeded one is
// repeatable.
type CrashChoice func(n int) int

// LoseUnsynced and KeepUnsynced are the outcomes in which every unsynced change is lost, or kept.
func LoseUnsynced(int) int { return 0 }
func KeepUnsynced(int) int { return 1 }

// CrashClone returns the filesystem after a power cut. It does not change m, so a test can look at
// every outcome.
func (m *MemFS) CrashClone(choose CrashChoice) *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.capacity = m.capacity
	after.root = crashCloneNode(m.root, choose, map[*memNode]*memNode{})
	after.used = after.root.usedBytes(map[*memNode]bool{})
	return after
}

// KillClone returns the filesystem as the next process finds it if this process is killed and the
// operating system runs on: everything can be read, and what is unsynced may still be lost in a
// power cut. The clone has no hooks and no locks. m does not change.
func (m *MemFS) KillClone() *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.capacity, after.used = m.capacity, m.used
	after.root = m.root.killClone(map[*memNode]*memNode{})
	return after
}

// killClone copies a node. Two names of one file have one copy.
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
	for name, child := range n.entries { // order does not matter: each child is copied once
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
		// The removal that is part of a rename applies only if the old name still has the same file.
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

// outcomeCount returns the number of outcomes of a write of k sectors: none, all, each proper
// prefix, each proper suffix, and each with one sector missing in the middle.
func outcomeCount(k int) int {
	if k < 2 {
		return 2
	}
	return 2 + 2*(k-1) + (k - 2)
}

// outcomeKeeps reports whether an outcome keeps sector s of k.
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

// killClone copies a file's content. It shares the sector images, which only FlipBit changes, and
// that replaces them.
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

// putSector writes a sector's image, as far as the file reaches.
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
	for _, child := range n.entries { // order does not matter: each node is added once
		total += child.usedBytes(seen)
	}
	return total
}
