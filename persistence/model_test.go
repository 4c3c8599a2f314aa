package persistence

import (
	"bytes"
	"fmt"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// logModel is the expected content of a log, in the simplest form.
type logModel struct {
	base     uint64
	baseTerm uint64
	terms    []uint64 // of base + 1 …
	sizes    []int    // of base + 1 …
	hard     hardState

	baseConfiguration uint64 // the cluster id in it; 0: none
}

// configurationSize is the size that marks an entry as a configuration.
const configurationSize = -1

func (m *logModel) last() uint64 { return m.base + uint64(len(m.terms)) }

func (m *logModel) clone() *logModel {
	c := *m
	c.terms = append([]uint64(nil), m.terms...)
	c.sizes = append([]int(nil), m.sizes...)
	return &c
}

func (m *logModel) String() string {
	return fmt.Sprintf("base %d/%d, last %d, terms %v, hard state %+v", m.base, m.baseTerm, m.last(), m.terms, m.hard)
}

// append appends n entries of the present term after a truncation. It returns them for the log.
func (m *logModel) append(truncateFrom uint64, n, size int) *messages.Entries {
	if truncateFrom != 0 {
		m.terms, m.sizes = m.terms[:truncateFrom-m.base-1], m.sizes[:truncateFrom-m.base-1]
	}
	var e *messages.Entries
	if size == configurationSize {
		n, e = 1, testConfigurationBatch(m.last()+1, m.hard.term)
	} else {
		e = testBatch(m.last()+1, n, m.hard.term, size)
	}
	for range n {
		m.terms, m.sizes = append(m.terms, m.hard.term), append(m.sizes, size)
	}
	return e
}

func (m *logModel) hardStateMessage() *messages.HardState {
	return testHardState(m.hard.term, m.hard.vote, m.hard.commit)
}

func (m *logModel) rebase(index, term uint64) {
	if index <= m.last() && index > m.base && m.terms[index-m.base-1] == term {
		m.terms, m.sizes = m.terms[index-m.base:], m.sizes[index-m.base:]
	} else {
		m.terms, m.sizes = nil, nil
	}
	m.base, m.baseTerm = index, term
}

// diff compares the log with the model, byte for byte; "" if they agree.
func (m *logModel) diff(r *Recovery, l *Log) string {
	if r.LastIndex != m.last() || r.BaseIndex != m.base || r.BaseTerm != m.baseTerm {
		return fmt.Sprintf("base %d/%d, last %d", r.BaseIndex, r.BaseTerm, r.LastIndex)
	}
	if h := (hardState{r.HardState.Term, r.HardState.Vote, r.HardState.Commit}); h != m.hard {
		return fmt.Sprintf("hard state %+v", h)
	}
	if d := m.diffRecovery(r); d != "" {
		return d
	}
	reader := l.Reader()
	defer reader.Close()
	return m.diffReader(reader)
}

// diffRecovery compares the term runs and configurations of a Recovery.
func (m *logModel) diffRecovery(r *Recovery) string {
	run, configurations := 0, r.Configurations
	for i, term := range m.terms {
		index := m.base + 1 + uint64(i)
		if i == 0 || term != m.terms[i-1] {
			if run == len(r.Runs) || r.Runs[run].FirstIndex != index || r.Runs[run].Term != term {
				return fmt.Sprintf("runs %v", r.Runs)
			}
			run++
		}
		if m.sizes[i] != configurationSize {
			continue
		}
		if len(configurations) == 0 || configurations[0].Index != index || configurations[0].Configuration.GetClusterId() != index {
			return fmt.Sprintf("configurations %v", r.Configurations)
		}
		configurations = configurations[1:]
	}
	if run != len(r.Runs) || len(configurations) > 0 {
		return fmt.Sprintf("runs %v, configurations %v", r.Runs, r.Configurations)
	}
	if got := r.BaseConfiguration; got.GetClusterId() != m.baseConfiguration || (got == nil) != (m.baseConfiguration == 0) {
		return fmt.Sprintf("base configuration %v, not of %d", got, m.baseConfiguration)
	}
	return ""
}

// diffReader compares all entries that a Reader returns.
func (m *logModel) diffReader(reader *Reader) string {
	prev := m.baseTerm
	for from := m.base + 1; from <= m.last(); {
		e, prevTerm, err := reader.Read(from, m.last(), 700)
		if err != nil {
			return err.Error()
		}
		if prevTerm != prev {
			return fmt.Sprintf("term %d before entry %d, not %d", prevTerm, from, prev)
		}
		if err := raft.CheckEntries(e); err != nil {
			return err.Error()
		}
		for i, data := range e.Data {
			index := from + uint64(i)
			term, size := m.terms[index-m.base-1], m.sizes[index-m.base-1]
			if got := raft.EntriesTerm(e, index); got != term || !bytes.Equal(data, modelEntryData(index, term, size)) {
				return fmt.Sprintf("entry %d of term %d: %q", index, got, data)
			}
			prev = term
		}
		from += uint64(len(e.Data))
	}
	return ""
}

// modelEntryData returns the bytes of an entry of the model.
func modelEntryData(index, term uint64, size int) []byte {
	if size == configurationSize {
		return testConfigurationBatch(index, term).Data[0]
	}
	return entryData(index, term, size)
}

// exhaustiveChoice is a vfs.CrashChoice that enumerates all outcomes of a crash.
type exhaustiveChoice struct {
	digits, limits []int
	at             int
}

func (o *exhaustiveChoice) choose(n int) int {
	if o.at == len(o.digits) {
		o.digits, o.limits = append(o.digits, 0), append(o.limits, n)
	}
	o.at++
	return o.digits[o.at-1]
}

// next moves to the next outcome; false if there is none.
func (o *exhaustiveChoice) next() bool {
	o.digits, o.limits, o.at = o.digits[:o.at], o.limits[:o.at], 0
	for i := len(o.digits) - 1; i >= 0; i-- {
		if o.digits[i]++; o.digits[i] < o.limits[i] {
			o.digits, o.limits = o.digits[:i+1], o.limits[:i+1]
			return true
		}
	}
	return false
}
