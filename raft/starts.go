package raft

// Starts are the starts of a member on its data directory, which counts them (E37; docs/protocol.md
// P107, P108). Each has a number, from 1, and a random id.
//
// # What a peer learns from them
//
// An older copy of a data directory (a backup, the snapshot of a machine) has the storage id of the
// directory, and lacks votes and acknowledged entries. A peer that remembers the last start that it
// met recognises such a copy if the directory was started after it was made:
//
//	start      1    2    3    4      of the directory; the peer met number 4
//	copied             └──▶ 3'       the number 3' is below 4
//	                   └──▶ 3' 4'    the number is 4, the id another one
//	                   └──▶ 3' 4' 5' the number is higher, but its start 4' is not the 4 of the peer
//
// The ids are needed for the last two: a copy that is started several times where it reaches no
// peer would overtake the numbers that the peers know.
//
// A copy of the directory as the last start left it, or made during that, is not recognised: it is
// what the directory itself would be after a crash at that time.
type Starts struct {
	// Count is the number of starts, the present one included.
	Count uint64
	// IDs are those of the last starts, at most MaxStartIDs, in order. The last is the present one's.
	IDs []uint64
}

// MaxStartIDs bounds Starts.IDs. A peer that missed more starts than that compares numbers only.
const MaxStartIDs = 64

// Start is one start; the zero value is none.
type Start struct{ Number, ID uint64 }

// Next returns s with one more start.
func (s Starts) Next(id uint64) Starts {
	ids := append(append([]uint64(nil), s.IDs...), id)
	return Starts{Count: s.Count + 1, IDs: ids[max(0, len(ids)-MaxStartIDs):]}
}

// Present returns the present start.
func (s Starts) Present() Start {
	if len(s.IDs) == 0 {
		return Start{Number: s.Count}
	}
	return Start{Number: s.Count, ID: s.IDs[len(s.IDs)-1]}
}

// Include reports whether a start that a peer met is one of s, as far as s tells.
func (s Starts) Include(met Start) bool {
	if met.Number == 0 {
		return true
	}
	if met.Number > s.Count {
		return false
	}
	later := s.Count - met.Number // starts since then
	return later >= uint64(len(s.IDs)) || s.IDs[uint64(len(s.IDs))-1-later] == met.ID
}

// Passed reports whether a start is one of s, before the present one. A message of it was read
// late.
func (s Starts) Passed(start Start) bool {
	return start.Number != 0 && start.Number < s.Count && s.Include(start)
}
