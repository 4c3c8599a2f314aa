package mvcc

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// putCommand is a PutRequest whose key and value are slices of the command. Puts are parsed by hand
// because most commands are puts and every member applies them.
type putCommand struct {
	key, value  []byte
	lease       int64
	prevKV      bool
	ignoreValue bool
	ignoreLease bool
}

// Field numbers of etcdserverpb.PutRequest.
const (
	putKey         protowire.Number = 1
	putValue       protowire.Number = 2
	putLease       protowire.Number = 3
	putPrevKV      protowire.Number = 4
	putIgnoreValue protowire.Number = 5
	putIgnoreLease protowire.Number = 6
)

// parsePut parses a PutRequest. As in protobuf, the last of repeated fields counts and unknown
// fields are skipped.
func parsePut(b []byte) (p putCommand, ok bool) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber {
			return putCommand{}, false
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && num == putKey:
			p.key, n = protowire.ConsumeBytes(b)
		case typ == protowire.BytesType && num == putValue:
			p.value, n = protowire.ConsumeBytes(b)
		case typ == protowire.VarintType && num >= putLease && num <= putIgnoreLease:
			var u uint64
			u, n = protowire.ConsumeVarint(b)
			p.setVarint(num, u)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return putCommand{}, false
		}
		b = b[n:]
	}
	return p, len(p.key) > 0
}

func (p *putCommand) setVarint(num protowire.Number, u uint64) {
	switch num {
	case putLease:
		p.lease = int64(u)
	case putPrevKV:
		p.prevKV = u != 0
	case putIgnoreValue:
		p.ignoreValue = u != 0
	case putIgnoreLease:
		p.ignoreLease = u != 0
	}
}
