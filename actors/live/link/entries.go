package link

import "github.com/troupe-raft/troupe/messages"

// The parsers of the two messages that carry entries. They agree with proto.Unmarshal on every input that is a valid
// message (a fuzz test holds them to it), but that what they return shares the memory of what they read.

func parseAppendEntries(data []byte, m *messages.AppendEntries) error {
	return fields(data, func(tag uint64, value []byte, number uint64) error {
		switch tag {
		case 1<<3 | varint:
			m.Term = number
		case 2<<3 | varint:
			m.Leader = number
		case 3<<3 | varint:
			m.PrevIndex = number
		case 4<<3 | varint:
			m.PrevTerm = number
		case 5<<3 | delimited:
			if m.Entries == nil {
				m.Entries = &messages.Entries{}
			}
			return parseEntries(value, m.Entries)
		case 6<<3 | varint:
			m.Commit = number
		case 7<<3 | varint:
			m.Stream = number
		case 8<<3 | varint:
			m.Sequence = number
		}
		return nil
	})
}

func parseEntries(data []byte, m *messages.Entries) error {
	if m.Data == nil {
		m.Data = make([][]byte, 0, count(data, 3<<3|delimited))
	}
	return fields(data, func(tag uint64, value []byte, number uint64) error {
		switch tag {
		case 1<<3 | varint:
			m.First = number
		case 2<<3 | delimited:
			run := &messages.TermRun{}
			m.Runs = append(m.Runs, run)
			return parseTermRun(value, run)
		case 3<<3 | delimited:
			m.Data = append(m.Data, value[:len(value):len(value)])
		case 4<<3 | varint:
			m.Bytes = number
		}
		return nil
	})
}

func parseTermRun(data []byte, m *messages.TermRun) error {
	return fields(data, func(tag uint64, _ []byte, number uint64) error {
		switch tag {
		case 1<<3 | varint:
			m.FirstIndex = number
		case 2<<3 | varint:
			m.Term = number
		}
		return nil
	})
}

func parseForwardedProposals(data []byte, m *messages.ForwardedProposals) error {
	m.Data = make([][]byte, 0, count(data, 3<<3|delimited))
	return fields(data, func(tag uint64, value []byte, number uint64) error {
		switch tag {
		case 1<<3 | varint:
			m.From = number
		case 2<<3 | varint:
			m.Term = number
		case 3<<3 | delimited:
			m.Data = append(m.Data, value[:len(value):len(value)])
		case 4<<3 | varint:
			m.Stream = number
		case 5<<3 | varint:
			m.Number = number
		}
		return nil
	})
}

// count is how often a field stands in an encoded message, malformed ones up to where they go wrong.
func count(data []byte, wanted uint64) (n int) {
	_ = fields(data, func(tag uint64, _ []byte, _ uint64) error {
		if tag == wanted {
			n++
		}
		return nil
	})
	return n
}
