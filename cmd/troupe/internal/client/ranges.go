package client

// PrefixEnd is the end of the range of all keys that begin with prefix: the first key after them. For the empty prefix,
// and one of 0xff bytes only, that is etcd's sign for "no end".
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

// PrefixRange is key and range end of all keys that begin with prefix. The empty prefix is all keys; the API cannot say an
// empty key, so the smallest one stands for it.
func PrefixRange(prefix []byte) (key, end []byte) {
	if len(prefix) == 0 {
		return []byte{0}, []byte{0}
	}
	return prefix, PrefixEnd(prefix)
}
