package lanes

import "github.com/troupe-raft/troupe/messages"

// The decoders of the two messages that carry entries. They agree with proto.Unmarshal on every
// valid input (FuzzDecodersAgreeWithProtobuf), but their results share the memory of the input.

func decodeAppendEntries(data []byte, m *messages.AppendEntries) error {
	numbers := []*uint64{1: &m.Term, &m.Leader, &m.PrevIndex, &m.PrevTerm, 6: &m.Commit, &m.Stream, &m.Sequence}
	return decodeFields(data, numbers, func(field uint64, value []byte) error {
		if field != 5 {
			return nil
		}
		if m.Entries == nil {
			m.Entries = &messages.Entries{}
		}
		return decodeEntries(value, m.Entries)
	})
}

func decodeEntries(data []byte, m *messages.Entries) error {
	if m.Data == nil {
		m.Data = make([][]byte, 0, countFields(data, 3<<3|wireBytes))
	}
	return decodeFields(data, []*uint64{1: &m.First, 4: &m.Bytes}, func(field uint64, value []byte) error {
		switch field {
		case 2:
			run := &messages.TermRun{}
			m.Runs = append(m.Runs, run)
			return decodeFields(value, []*uint64{1: &run.FirstIndex, &run.Term}, nil)
		case 3:
			m.Data = append(m.Data, value[:len(value):len(value)])
		}
		return nil
	})
}

func decodeForwardedProposals(data []byte, m *messages.ForwardedProposals) error {
	m.Data = make([][]byte, 0, countFields(data, 3<<3|wireBytes))
	return decodeFields(data, []*uint64{1: &m.From, &m.Term, 4: &m.Stream, &m.Number}, func(field uint64, value []byte) error {
		if field == 3 {
			m.Data = append(m.Data, value[:len(value):len(value)])
		}
		return nil
	})
}

// decodeFields stores varint field i in numbers[i], and calls each with every length-delimited
// field. It skips fields for which numbers has nil; each may be nil.
func decodeFields(data []byte, numbers []*uint64, each func(field uint64, value []byte) error) error {
	return forEachField(data, func(tag uint64, value []byte, number uint64) error {
		field := tag >> 3
		if tag&7 == wireBytes {
			if each != nil {
				return each(field, value)
			}
		} else if field < uint64(len(numbers)) && numbers[field] != nil {
			*numbers[field] = number
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
