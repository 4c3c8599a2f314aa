package client

// PrefixEnd returns the end of the range of all keys with a prefix: the first key after them. For
// an empty prefix, and one of 0xff bytes only, it returns "\x00", which means no end in etcd's API.
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

// PrefixRange returns key and range end of all keys with a prefix. The empty prefix means all keys;
// the API permits no empty key, so the range then begins at the smallest key.
func PrefixRange(prefix []byte) (key, end []byte) {
	if len(prefix) == 0 {
		return []byte{0}, []byte{0}
	}
	return prefix, PrefixEnd(prefix)
}
