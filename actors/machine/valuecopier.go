package machine

import "bytes"

// valueCopier copies results. A state machine may use the memory of its results again, so a result
// that is kept is a copy. So is one that is handed to a caller, who may change it.
//
// Small values share blocks, so that a batch of many commands costs few allocations. A value that
// somebody keeps holds a whole block in memory; large ones have memory of their own.
type valueCopier struct {
	block []byte // its free capacity is used next
}

const (
	valueBlockBytes = 4 << 10
	largeValueBytes = valueBlockBytes / 8
)

// copy returns a copy of a value.
func (c *valueCopier) copy(value []byte) []byte {
	if len(value) == 0 || len(value) > largeValueBytes {
		return bytes.Clone(value)
	}
	if len(value) > cap(c.block)-len(c.block) {
		c.block = make([]byte, 0, valueBlockBytes)
	}
	first := len(c.block)
	c.block = append(c.block, value...)
	return c.block[first:len(c.block):len(c.block)]
}
