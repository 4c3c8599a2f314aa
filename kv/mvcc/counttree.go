package mvcc

import (
	"slices"
)

// countTree counts the live keys of a range in O(log n).
//
// The keys are divided into buckets of at most about 128 neighbours. The tree holds the first key
// and the number of keys of each bucket, with sums in the inner nodes. To count a range, the whole
// buckets in it come from the tree; the buckets at its two ends are counted row by row.
//
//	                 ┌ "" 9, "k" 7 ┐                  inner node: sums of its children
//	    ┌ "" 4, "c" 5 ┐     ┌ "k" 4, "r" 3 ┐          leaves: buckets
//	keys  a b b1 b2 │ c d e f g │ k l m n │ r s t     rows of space c
//
//	count [d, s) = (c … g) − rows [c, d) + (k … n) + rows [r, s)
//
// The tree is a persistent data structure: a change copies the path to its leaf, so a View keeps
// the root of its moment while Apply goes on. Only nodes of the present edition, which the current
// batch has made, are changed in place.
//
// Each bucket has a row in space b, written with the batch that changes it. A batch starts by
// splitting the buckets that grew too large before it, which counts their rows and so checks the
// tree (see splitBuckets).
//
// Invariants: the first bucket starts at the empty key, so every key has a bucket; starts ascend; a
// sum is the sum of the counts below it; an inner node has at least one child. An empty leaf is
// removed from its parent; leaves are not joined otherwise, because buckets are.
type countTree struct {
	root    *countNode
	edition uint64
}

type countNode struct {
	edition  uint64
	starts   []string // first key of each child; shared by editions until it changes
	counts   []int64  // keys in each child
	children []*countNode
}

// bucketLimits are the limits of a bucket's size, in keys.
type bucketLimits struct {
	maxKeys       int64 // a larger bucket is split; counting its rows costs about 0.1 µs a key
	minKeys       int64 // a smaller bucket is joined to its left neighbour …
	maxJoinedKeys int64 // … if they have at most so many keys together
}

var defaultBucketLimits = bucketLimits{maxKeys: 128, minKeys: 16, maxJoinedKeys: 64}

const countFanout = 32

// bucket is an entry of a leaf.
type bucket struct {
	start string
	count int64
}

func newCountTree() countTree {
	return countTree{edition: 1, root: &countNode{edition: 1, starts: []string{""}, counts: []int64{0}}}
}

// loadCountTree builds the tree from its buckets, which are in order.
func loadCountTree(buckets []bucket) countTree {
	if len(buckets) == 0 {
		return newCountTree()
	}
	level := make([]*countNode, 0, len(buckets)/countFanout+1)
	for part := range slices.Chunk(buckets, countFanout*3/4) {
		n := &countNode{edition: 1}
		for _, b := range part {
			n.starts = append(n.starts, b.start)
			n.counts = append(n.counts, b.count)
		}
		level = append(level, n)
	}
	for len(level) > 1 {
		var above []*countNode
		for part := range slices.Chunk(level, countFanout*3/4) {
			n := &countNode{edition: 1, children: slices.Clone(part)}
			for _, c := range part {
				n.starts = append(n.starts, c.starts[0])
				n.counts = append(n.counts, c.sum())
			}
			above = append(above, n)
		}
		level = above
	}
	return countTree{root: level[0], edition: 1}
}

// nextEdition makes the present nodes unchangeable.
func (t *countTree) nextEdition() { t.edition++ }

func (n *countNode) sum() (total int64) {
	for _, c := range n.counts {
		total += c
	}
	return total
}

// childOf returns the index of the child that holds key.
func (n *countNode) childOf(key []byte) int {
	lo, hi := 0, len(n.starts) // invariant: starts[lo] <= key, or lo is 0; starts[hi] > key
	for hi-lo > 1 {
		mid := int(uint(lo+hi) >> 1)
		if n.starts[mid] <= string(key) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// total returns the number of keys.
func (t countTree) total() int64 { return t.root.sum() }

// find returns the bucket of key, the number of keys in the buckets before it, and the start of the
// next one ("" if it is the last).
func (t countTree) find(key []byte) (b bucket, before int64, next string) {
	n := t.root
	for {
		i := n.childOf(key)
		for _, c := range n.counts[:i] {
			before += c
		}
		if i+1 < len(n.starts) {
			next = n.starts[i+1]
		}
		if n.children == nil {
			return bucket{n.starts[i], n.counts[i]}, before, next
		}
		n = n.children[i]
	}
}

// previous returns the bucket before the one that starts at start.
func (t countTree) previous(start string) (b bucket, ok bool) {
	var left *countNode // the nearest subtree to the left of the path
	var leftBucket bucket
	n := t.root
	for {
		i := n.childOf([]byte(start))
		if i > 0 {
			if n.children == nil {
				return bucket{n.starts[i-1], n.counts[i-1]}, true
			}
			left, ok = n.children[i-1], true
		}
		if n.children == nil {
			break
		}
		n = n.children[i]
	}
	for n = left; n != nil; {
		last := len(n.starts) - 1
		leftBucket = bucket{n.starts[last], n.counts[last]}
		if n.children == nil {
			return leftBucket, true
		}
		n = n.children[last]
	}
	return bucket{}, false
}

// add changes the count of key's bucket and returns the bucket.
func (t *countTree) add(key []byte, delta int64) bucket {
	t.root = t.editable(t.root)
	n := t.root
	for {
		i := n.childOf(key)
		n.counts[i] += delta
		if n.children == nil {
			return bucket{n.starts[i], n.counts[i]}
		}
		n.children[i] = t.editable(n.children[i])
		n = n.children[i]
	}
}

// editable returns n if it belongs to the present edition, else a copy that does.
func (t *countTree) editable(n *countNode) *countNode {
	if n.edition == t.edition {
		return n
	}
	return &countNode{
		edition:  t.edition,
		starts:   slices.Clip(n.starts), // so that an append does not change the shared array
		counts:   slices.Clone(n.counts),
		children: slices.Clone(n.children),
	}
}

// insert adds a bucket. Its keys are taken from the bucket that has held its range.
func (t *countTree) insert(b bucket) {
	t.root = t.editable(t.root)
	if right := t.insertBelow(t.root, b); right != nil {
		left := t.root
		t.root = &countNode{
			edition:  t.edition,
			starts:   []string{left.starts[0], right.starts[0]},
			counts:   []int64{left.sum(), right.sum()},
			children: []*countNode{left, right},
		}
	}
}

// insertBelow inserts a bucket below n, which is editable. If n is split, it returns the right
// half.
func (t *countTree) insertBelow(n *countNode, b bucket) (right *countNode) {
	i := n.childOf([]byte(b.start))
	if n.children == nil {
		n.counts[i] -= b.count
		n.insertChild(i+1, b.start, b.count, nil)
	} else {
		child := t.editable(n.children[i])
		n.children[i] = child
		if half := t.insertBelow(child, b); half != nil {
			n.counts[i] = child.sum()
			n.insertChild(i+1, half.starts[0], half.sum(), half)
		}
	}
	if len(n.starts) <= countFanout {
		return nil
	}
	// Keys are often inserted in ascending order, so a node that grows at its end is split near its
	// end.
	at := len(n.starts) / 2
	if i+2 >= len(n.starts) {
		at = len(n.starts) * 7 / 8
	}
	right = &countNode{edition: t.edition, starts: slices.Clone(n.starts[at:]), counts: slices.Clone(n.counts[at:])}
	n.starts, n.counts = slices.Clip(n.starts[:at]), n.counts[:at]
	if n.children != nil {
		right.children = slices.Clone(n.children[at:])
		clear(n.children[at:])
		n.children = n.children[:at]
	}
	return right
}

func (n *countNode) insertChild(i int, start string, count int64, child *countNode) {
	starts := make([]string, 0, len(n.starts)+1) // the old array may be shared
	n.starts = append(append(append(starts, n.starts[:i]...), start), n.starts[i:]...)
	n.counts = slices.Insert(n.counts, i, count)
	if child != nil {
		n.children = slices.Insert(n.children, i, child)
	}
}

// remove removes the bucket that starts at start, which is not the first, and adds its keys to the
// one before it.
func (t *countTree) remove(start string) {
	b, _, _ := t.find([]byte(start))
	if b.start != start || start == "" {
		panic("mvcc: removing a bucket that is not there: " + start)
	}
	left, _ := t.previous(start)
	t.root = t.editable(t.root)
	t.removeBelow(t.root, b)
	for len(t.root.children) == 1 {
		t.root = t.root.children[0]
	}
	if b.count != 0 {
		t.add([]byte(left.start), b.count)
	}
}

// removeBelow removes b below n, which is editable, and reports whether n is empty afterwards.
func (t *countTree) removeBelow(n *countNode, b bucket) (empty bool) {
	i := n.childOf([]byte(b.start))
	drop := n.children == nil
	if n.children != nil {
		child := t.editable(n.children[i])
		n.children[i] = child
		n.counts[i] -= b.count
		drop = t.removeBelow(child, b)
		if !drop && n.starts[i] != child.starts[0] {
			// The child's first bucket was removed: its range belongs to the left neighbour.
			n.starts = slices.Clone(n.starts)
			n.starts[i] = child.starts[0]
		}
	}
	if drop {
		n.starts = append(slices.Clone(n.starts[:i]), n.starts[i+1:]...)
		n.counts = slices.Delete(n.counts, i, i+1)
		if n.children != nil {
			n.children = slices.Delete(n.children, i, i+1)
		}
	}
	return len(n.starts) == 0
}
