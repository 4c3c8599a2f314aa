package link

import "github.com/troupe-raft/troupe/messages"

// The parsers of the two messages that carry entries. They agree with proto.Unmarshal on every input that is a valid
// message (a fuzz test holds them to it), but that what they return shares the memory of what they read.

func parseAppendEntries(data []byte, m *messages.AppendEntries) error {
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
			return parseEntries(value, m.Entries)
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

func parseEntries(data []byte, m *messages.Entries) error {
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
			return parseTermRun(value, run)
		case 3<<3 | wireBytes:
			m.Data = append(m.Data, value[:len(value):len(value)])
		case 4<<3 | wireVarint:
			m.Bytes = number
		}
		return nil
	})
}

func parseTermRun(data []byte, m *messages.TermRun) error {
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

func parseForwardedProposals(data []byte, m *messages.ForwardedProposals) error {
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

// count is how often a field stands in an encoded message, malformed ones up to where they go wrong.
func countFields(data []byte, wanted uint64) (n int) {
	_ = forEachField(data, func(tag uint64, _ []byte, _ uint64) error {
		if tag == wanted {
			n++
		}
		return nil
	})
	return n
}
