package checker

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/messages"
)

// memberModel is what the Checker knows of one member. Its logs are slices of terms: by Log
// Matching an entry is determined by its index and term (entryTable). Where they differ is what is
// under way:
//
//	log            1 1 2 2 3   what the Node has
//	pendingChanges         ^   appends that the LogStore has handled and not yet written
//	writtenLog     1 1 2 2     what the LogStore was given, up to its last write
//	durableLog     1 1 2 2     what the synced bytes hold
type memberModel struct {
	view            actors.NodeView // the last report of its Node
	nodeIncarnation uint64          // of the last report of its Node
	logIncarnation  uint64          // of log
	log             []uint64
	cumulativeBytes []uint64 // of all entries that were appended in this incarnation, up to each
	writtenLog      []uint64
	pendingChanges  []change
	durableLog      []uint64
	disk            durableDisk
	undamaged       *diskContents // what a damaged disk held before; nil: it is not damaged
	configurations  []configurationEntry
	pendingAcks     []pendingAck // what its LogStore is to send after its next sync
	pendingReads    []pendingRead
	matched         []uint64 // by peer: the last matchIndex that it, as leader, reported

	nodeLimits       node.Limits // of this run
	replicatorLimits replicator.Limits

	// forgot: its disk was replaced, and no committed configuration names the new one yet. Then it
	// must not vote, and counts in no majority. formerLog is what the disk before it held.
	forgot        bool
	formerLog     []uint64
	formerStorage [16]byte // the storage id before; an older copy has it too
	// formerVotes are the votes that it sent with former disks, by term.
	formerVotes map[uint64]uint64

	// What it sent to other members and therefore must still have after any crash.
	term, vote   uint64
	acknowledged position

	// In this incarnation.
	viewTerm, viewVote, commit, applied, replayIndex uint64
	shownConfiguration                               *messages.Configuration
}

type position struct{ index, term uint64 }

// configurationEntry is a configuration in a log.
type configurationEntry struct {
	index         uint64
	configuration *messages.Configuration
}

// entryRecord is all there is to know of an entry. By Log Matching there is one for each index and
// term, and the entries before it follow from it.
type entryRecord struct {
	term, before uint64 // before: the term of the entry before it
	sum          uint32
}

// entryTable has the record of every entry that ever stood in a log. Nearly every index has entries
// of one term only.
type entryTable struct {
	first  []entryRecord // by index-1: the first entry that was seen there
	others map[position]entryRecord
}

// record stores a record. It returns the one that was stored before for the same index and term, if
// there is one.
func (t *entryTable) record(index uint64, is entryRecord) (was entryRecord) {
	for uint64(len(t.first)) < index {
		t.first = append(t.first, entryRecord{})
	}
	switch at := &t.first[index-1]; at.term {
	case 0:
		*at = is
		return is
	case is.term:
		return *at
	}
	if was, known := t.others[position{index, is.term}]; known {
		return was
	}
	if t.others == nil {
		t.others = map[position]entryRecord{}
	}
	t.others[position{index, is.term}] = is
	return is
}

// lookup returns the record of an index and term; one of term 0 if there is none.
func (t *entryTable) lookup(index, term uint64) entryRecord {
	if index > uint64(len(t.first)) {
		return entryRecord{}
	}
	if is := t.first[index-1]; is.term == term {
		return is
	}
	return t.others[position{index, term}]
}

func termAt(log []uint64, index uint64) uint64 {
	if index == 0 || index > uint64(len(log)) {
		return 0
	}
	return log[index-1]
}

// change is what an Append changes in a log.
type change struct {
	from       uint64 // the log is truncated before it; 0: nothing changes
	runs       []*messages.TermRun
	count      uint64
	term, vote uint64
}

func changeOf(a *messages.Append) change {
	c := change{from: a.TruncateFrom, term: a.HardState.GetTerm(), vote: a.HardState.GetVote()}
	if e := a.GetEntries(); len(e.GetData()) > 0 {
		c.from, c.runs, c.count = e.First, e.Runs, uint64(len(e.Data))
	}
	return c
}

// applyTo changes a log in place. A change that would leave a gap is not made; later comparisons
// show it.
func (c *change) applyTo(log []uint64) []uint64 {
	if c.from == 0 || c.from > uint64(len(log))+1 {
		return log
	}
	return appendRuns(log[:c.from-1], c.runs, c.from+c.count-1)
}

// appendRuns appends the terms that runs give for the entries up to last.
func appendRuns(log []uint64, runs []*messages.TermRun, last uint64) []uint64 {
	for i, r := range runs {
		end := last
		if i+1 < len(runs) {
			end = runs[i+1].FirstIndex - 1
		}
		for uint64(len(log)) < end {
			log = append(log, r.Term)
		}
	}
	return log
}
