package watch

import "math/rand/v2"

// span is the range of keys [lo, hi). With toEnd it has no upper bound, and hi is ignored.
type span struct {
	lo, hi string
	toEnd  bool
}

// spanOf returns the span of a key and range_end of the etcd API: an end of one zero byte is every
// key from key on. Without an end ok is false, and lo is the key.
func spanOf(key, rangeEnd []byte) (s span, ok bool) {
	switch {
	case len(rangeEnd) == 0:
		return span{lo: string(key)}, false
	case len(rangeEnd) == 1 && rangeEnd[0] == 0:
		return span{lo: string(key), toEnd: true}, true
	}
	return span{lo: string(key), hi: string(rangeEnd)}, true
}

// endsBefore orders spans by their upper bound.
func (s span) endsBefore(other span) bool {
	return !s.toEnd && (other.toEnd || s.hi < other.hi)
}

func (s span) before(other span) bool {
	if s.lo != other.lo {
		return s.lo < other.lo
	}
	return s.endsBefore(other)
}

func (s span) contains(key []byte) bool {
	return s.lo <= string(key) && (s.toEnd || string(key) < s.hi)
}

// intervalTree finds the spans that contain a key. It is a treap ordered by (lo, hi) in which each
// node has the largest upper bound of its subtree, so that a search skips every subtree that ends
// before the key. A search costs O(log n + found) for spans that nest little, as prefixes do. Equal
// spans share a node.
//
// Invariants: maxEnd is the span with the largest upper bound in the node's subtree; a node's
// weight is at least that of its children.
type intervalTree[V any] struct {
	root *intervalNode[V]
	size int
}

type intervalNode[V any] struct {
	span        span
	maxEnd      span
	value       V
	weight      uint64
	left, right *intervalNode[V]
}

// getOrInsert returns the value of a span; it inserts the zero value if the span is not in the
// tree.
func (t *intervalTree[V]) getOrInsert(s span) *V {
	for n := t.root; n != nil; {
		switch {
		case s.before(n.span):
			n = n.left
		case n.span.before(s):
			n = n.right
		default:
			return &n.value
		}
	}
	fresh := &intervalNode[V]{span: s, maxEnd: s, weight: rand.Uint64()}
	t.root = t.root.insert(fresh)
	t.size++
	return &fresh.value
}

// remove removes a span if it is in the tree.
func (t *intervalTree[V]) remove(s span) {
	var removed bool
	t.root, removed = t.root.remove(s)
	if removed {
		t.size--
	}
}

// visit calls f with the value of every span that contains key, in order, until f returns false.
func (t *intervalTree[V]) visit(key []byte, f func(*V) bool) { t.root.visit(key, f) }

func (n *intervalNode[V]) visit(key []byte, f func(*V) bool) bool {
	if n == nil || (!n.maxEnd.toEnd && n.maxEnd.hi <= string(key)) {
		return true
	}
	if !n.left.visit(key, f) {
		return false
	}
	if n.span.lo > string(key) {
		return true // as does every span to the right
	}
	if n.span.contains(key) && !f(&n.value) {
		return false
	}
	return n.right.visit(key, f)
}

func (n *intervalNode[V]) insert(fresh *intervalNode[V]) *intervalNode[V] {
	if n == nil {
		return fresh
	}
	if fresh.span.before(n.span) {
		n.left = n.left.insert(fresh)
		if n.left.weight > n.weight {
			return n.rotateRight()
		}
	} else {
		n.right = n.right.insert(fresh)
		if n.right.weight > n.weight {
			return n.rotateLeft()
		}
	}
	n.setMaxEnd()
	return n
}

func (n *intervalNode[V]) remove(s span) (root *intervalNode[V], removed bool) {
	if n == nil {
		return nil, false
	}
	switch {
	case s.before(n.span):
		n.left, removed = n.left.remove(s)
	case n.span.before(s):
		n.right, removed = n.right.remove(s)
	default:
		return n.left.merge(n.right), true
	}
	n.setMaxEnd()
	return n, removed
}

// merge makes one treap of two; every span of n comes before every span of right.
func (n *intervalNode[V]) merge(right *intervalNode[V]) *intervalNode[V] {
	switch {
	case n == nil:
		return right
	case right == nil:
		return n
	case n.weight > right.weight:
		n.right = n.right.merge(right)
		n.setMaxEnd()
		return n
	}
	right.left = n.merge(right.left)
	right.setMaxEnd()
	return right
}

func (n *intervalNode[V]) rotateRight() *intervalNode[V] {
	up := n.left
	n.left, up.right = up.right, n
	n.setMaxEnd()
	up.setMaxEnd()
	return up
}

func (n *intervalNode[V]) rotateLeft() *intervalNode[V] {
	up := n.right
	n.right, up.left = up.left, n
	n.setMaxEnd()
	up.setMaxEnd()
	return up
}

func (n *intervalNode[V]) setMaxEnd() {
	n.maxEnd = n.span
	if n.left != nil && n.maxEnd.endsBefore(n.left.maxEnd) {
		n.maxEnd = n.left.maxEnd
	}
	if n.right != nil && n.maxEnd.endsBefore(n.right.maxEnd) {
		n.maxEnd = n.right.maxEnd
	}
}

// visitAll calls f with the value of every span, in order.
func (t *intervalTree[V]) visitAll(f func(*V)) { t.root.visitAll(f) }

func (n *intervalNode[V]) visitAll(f func(*V)) {
	if n == nil {
		return
	}
	n.left.visitAll(f)
	f(&n.value)
	n.right.visitAll(f)
}
