package node

import "github.com/troupe-raft/troupe/messages"

// pendingTruncations are the truncations of the log that the LogStore may not have executed. What
// it reports as durable was true of the log as it was when the Append was sent. Of entries that
// were truncated since, nothing is known to be on disk, even if other entries took their indexes
// (E12). An example:
//
//	Append of term 4, mark (4, 12)         1 ··············· 12
//	truncated in term 5 from 8             1 ······· 7
//	appended in term 5, not on disk                  8 ················ 30
//	truncated in term 6 from 20            1 ······· 7 | 8 ···· 19
//
// When the LogStore reports the mark (4, 12), the disk is known to have the log up to 7, not 12 and
// not 19: the lowest of all truncations after the mark counts.
//
// Invariant: terms and indexes both ascend strictly. A truncation replaces those at or above its
// index. The leader of a term truncates a follower's log at most once, since its own entries never
// conflict with each other. So there is at most one truncation for each term that passes while the
// disk is busy.
type pendingTruncations []truncation

type truncation struct{ term, index uint64 }

// add records that the entries from index on were truncated in term.
func (t *pendingTruncations) add(term, index uint64) {
	kept := *t
	for len(kept) > 0 && kept[len(kept)-1].index >= index {
		kept = kept[:len(kept)-1]
	}
	*t = append(kept, truncation{term, index})
}

// durableIndex returns the index up to which a mark that the LogStore reports still holds. Marks
// come in the order of their Appends, so the truncations up to the term of the mark are executed.
func (t *pendingTruncations) durableIndex(mark *messages.AppendMark) uint64 {
	done := 0
	for done < len(*t) && (*t)[done].term <= mark.Term {
		done++
	}
	*t = (*t)[done:]
	if len(*t) == 0 {
		return mark.Index
	}
	return min(mark.Index, (*t)[0].index-1)
}
