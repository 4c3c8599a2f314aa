package link

import "github.com/troupe-raft/troupe/messages"

// The decoders of the two messages that carry entries. They agree with proto.Unmarshal on every
// valid input (FuzzDecodersAgreeWithProtobuf), but their results share the memory of the input.

func decodeAppendEntries(data []byte, m *messages.AppendEntries) error {
	return forEachField(data, func(tag uint64, value []byte, number uint64) error {
		switch tag {
		case 1<<3 | wireVarint:
			m.Term = number
		case 2<<3 | wireVarint:
			m.Leader = number
		case 3<<3 | wireVarint:
			m.PrevIndex = number
		case 4<<3 | wireVarint:
			m.PrevTerm = number
		case 5<<3 | wireBytes:
			if m.Entries == nil {
				m.Entries = &messages.Entries{}
			}
			return decodeEntries(value, m.Entries)
		case 6<<3 | wireVarint:
			m.Commit = number
		case 7<<3 | wireVarint:
			m.Stream = number
		case 8<<3 | wireVarint:
			m.Sequence = number
		}
		return nil
	})
}

func decodeEntries(data []byte, m *messages.Entries) error {
	if m.Data == nil {
		m.Data = make([][]byte, 0, countFields(data, 3<<3|wireBytes))
	}
	return forEachField(data, func(tag uint64, value []byte, number uint64) error {
		switch tag {
		case 1<<3 | wireVarint:
			m.First = number
		case 2<<3 | wireBytes:
			run := &messages.TermRun{}
			m.Runs = append(m.Runs, run)
			return decodeTermRun(value, run)
		case 3<<3 | wireBytes:
			m.Data = append(m.Data, value[:len(value):len(value)])
		case 4<<3 | wireVarint:
			m.Bytes = number
		}
		return nil
	})
}

func decodeTermRun(data []byte, m *messages.TermRun) error {
	return forEachField(data, func(tag uint64, _ []byte, number uint64) error {
		switch tag {
		case 1<<3 | wireVarint:
			m.FirstIndex = number
		case 2<<3 | wireVarint:
			m.Term = number
		}
		return nil
	})
}

func decodeForwardedProposals(data []byte, m *messages.ForwardedProposals) error {
	m.Data = make([][]byte, 0, countFields(data, 3<<3|wireBytes))
	return forEachField(data, func(tag uint64, value []byte, number uint64) error {
		switch tag {
		case 1<<3 | wireVarint:
			m.From = number
		case 2<<3 | wireVarint:
			m.Term = number
		case 3<<3 | wireBytes:
			m.Data = append(m.Data, value[:len(value):len(value)])
		case 4<<3 | wireVarint:
			m.Stream = number
		case 5<<3 | wireVarint:
			m.Number = number
		}
		return nil
	})
}

// countFields counts the fields with a tag in an encoded message, up to where it is malformed.
func countFields(data []byte, tag uint64) (n int) {
	_ = forEachField(data, func(found uint64, _ []byte, _ uint64) error {
		if found == tag {
			n++
		}
		return nil
	})
	return n
}
