package mvcc

import "bytes"

// keyRange is a range of keys in etcd's requests.
type keyRange struct {
	start []byte
	end   []byte // exclusive; nil and !toEnd: the one key start
	toEnd bool
}

// newKeyRange interprets etcd's range_end: empty means one key, "\x00" all keys from key on.
func newKeyRange(key, rangeEnd []byte) keyRange {
	switch {
	case len(rangeEnd) == 0:
		return keyRange{start: key}
	case len(rangeEnd) == 1 && rangeEnd[0] == 0:
		return keyRange{start: key, toEnd: true}
	default:
		return keyRange{start: key, end: rangeEnd}
	}
}

func (k keyRange) single() bool { return k.end == nil && !k.toEnd }

func (k keyRange) contains(key []byte) bool {
	if k.single() {
		return string(key) == string(k.start)
	}
	return string(key) >= string(k.start) && (k.toEnd || string(key) < string(k.end))
}

// bounds returns the bounds of the range's rows in a space. The range must not be a single key. If
// its end lies before its start, the bounds are empty.
func (k keyRange) bounds(space byte) (lower, upper []byte) {
	lower = appendSpaceKey(make([]byte, 0, 1+len(k.start)), space, k.start)
	if k.toEnd {
		return lower, []byte{space + 1}
	}
	upper = appendSpaceKey(make([]byte, 0, 1+len(k.end)), space, k.end)
	if string(upper) < string(lower) {
		upper = lower
	}
	return lower, upper
}

// empty reports whether the range's end does not lie after its start.
func (k keyRange) empty() bool {
	return !k.single() && !k.toEnd && bytes.Compare(k.end, k.start) <= 0
}

// compareEnd compares the ends of two ranges. A single key ends at itself, before every range that
// extends beyond it.
func (k keyRange) compareEnd(other keyRange) int {
	switch {
	case k.toEnd || other.toEnd:
		return boolInt(k.toEnd) - boolInt(other.toEnd)
	case k.single() && other.single():
		return bytes.Compare(k.start, other.start)
	case k.single(): // [k, k] against [.., end): k lies within if it is below the end
		return below(k.start, other.end)
	case other.single():
		return -below(other.start, k.end)
	default:
		return bytes.Compare(k.end, other.end)
	}
}

// below returns -1 if the key lies below an exclusive end, else 1.
func below(key, end []byte) int {
	if bytes.Compare(key, end) < 0 {
		return -1
	}
	return 1
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
