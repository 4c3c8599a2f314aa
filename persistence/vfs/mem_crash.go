package vfs

// Choice picks one of n ways in which a crash may treat something that was not synced; it returns a number in [0, n).
// 0 is always "lost", 1 "kept whole"; what lies above tears a write. Asked in a fixed order, so that a Choice which counts
// enumerates every disk that a crash can leave, and a seeded one repeats itself.
type Choice func(n int) int

// LoseAll is the power cut right after the last sync; KeepAll is one right after the system has written all by itself.
func LoseAll(int) int { return 0 }
func KeepAll(int) int { return 1 }

// Crash returns the filesystem as the next life finds it. This one is left as it is: a test may look at every other
// outcome too, or Freeze it so that whatever still runs on it does no harm.
func (m *Mem) Crash(choose Choice) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.capacity = m.capacity
	after.root = crashNode(m.root, choose, map[*node]*node{})
	after.used = after.root.usedBytes(map[*node]bool{})
	return after
}

// Fork returns the filesystem as the next process finds it when this one is killed and the system lives on: all of it can
// be read, and what was not synced still is not, so that a power cut may take it yet. Its hooks and locks are gone with
// the process. This one is left as it is.
func (m *Mem) Fork() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	after.capacity, after.used = m.capacity, m.used
	after.root = m.root.fork(map[*node]*node{})
	return after
}

// fork copies a node with all that is known of it; two names of one file are so in the copy too.
func (n *node) fork(done map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if made := done[n]; made != nil {
		return made
	}
	made := &node{path: n.path, dir: n.dir}
	done[n] = made
	if !n.dir {
		made.content = n.content.fork()
		return made
	}
	made.entries, made.durable = make(map[string]*node, len(n.entries)), make(map[string]*node, len(n.durable))
	for name, child := range n.entries { // order does not matter: each child is copied once, whoever comes to it first
		made.entries[name] = child.fork(done)
	}
	for name, child := range n.durable { // order does not matter: the same
		made.durable[name] = child.fork(done)
	}
	for _, c := range n.changes {
		made.changes = append(made.changes, change{name: c.name, node: c.node.fork(done), gone: c.gone})
	}
	return made
}

func crashNode(n *node, choose Choice, done map[*node]*node) *node {
	if made := done[n]; made != nil {
		return made
	}
	if !n.dir {
		made := &node{path: n.path, content: n.content.afterCrash(choose)}
		done[n] = made
		return made
	}
	made := newDir(n.path)
	done[n] = made
	names := make(map[string]*node, len(n.durable))
	for name, child := range n.durable {
		names[name] = child
	}
	for _, c := range n.changes {
		if choose(2) == 0 {
			continue
		}
		// The removal that is part of a rename takes away the name only if it still means the same file.
		if c.gone != "" && names[c.gone] == c.node {
			delete(names, c.gone)
		}
		if c.node == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.node
		}
	}
	for _, name := range sortedNames(names) {
		child := crashNode(names[name], choose, done)
		made.entries[name], made.durable[name] = child, child
	}
	return made
}

// ways is how many outcomes a write of k sectors has: none, all, each proper prefix, each proper suffix, and each with a
// single sector missing in the middle. (Without its first sector it is a suffix, without its last one a prefix.)
func ways(k int) int {
	if k < 2 {
		return 2
	}
	return 2 + 2*(k-1) + (k - 2)
}

// keeps tells whether sector s of k reaches the disk in the given outcome.
func keeps(way, s, k int) bool {
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
func (c *content) fork() content {
	after := content{data: c.share(), shared: true, durableSize: c.durableSize, writes: append([]write(nil), c.writes...)}
	if len(c.before) > 0 {
		after.before = make(map[int64][]byte, len(c.before))
		for s, image := range c.before {
			after.before[s] = image
		}
	}
	return after
}

func (c *content) afterCrash(choose Choice) content {
	if len(c.writes) == 0 && len(c.before) == 0 && c.durableSize == c.size() {
		return content{data: c.share(), shared: true, durableSize: c.durableSize}
	}
	data := append([]byte(nil), c.data...)
	after := content{data: data}
	after.resize(c.durableSize)
	for s, image := range c.before { // order does not matter: sectors do not overlap
		after.put(s, image)
	}
	for _, w := range c.writes {
		k := w.sectors()
		way := choose(ways(k))
		if way == 0 {
			continue
		}
		if k == 0 {
			after.resize(w.size)
		}
		for s := 0; s < k; s++ {
			if keeps(way, s, k) && !w.settled[w.first+int64(s)] {
				end := min((w.first+int64(s)+1)*SectorBytes, w.size)
				if end > after.size() {
					after.resize(end)
				}
				after.put(w.first+int64(s), w.image[s*SectorBytes:(s+1)*SectorBytes])
			}
		}
	}
	after.durableSize = after.size()
	return after
}

// put lays a sector over the data, as far as that reaches.
func (c *content) put(s int64, image []byte) {
	if at := s * SectorBytes; at < c.size() {
		copy(c.data[at:], image)
	}
}

func (n *node) usedBytes(seen map[*node]bool) int64 {
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
