package node

import "github.com/troupe-raft/troupe/messages"

// truncations are the conflicts that the LogStore may still be working off. What it reports durable was true of the log
// as it stood when the Append was made: of entries that were truncated since, nothing is known to be on disk, also where
// others stand at their indexes by now (E12).
//
//	told durable by an Append of term 4    1 ··············· 12
//	truncated in term 5 from 8             1 ······· 7
//	appended in term 5, on no disk yet               8 ················ 30
//	truncated in term 6 from 20            1 ······· 7 | 8 ···· 19
//
// The mark (4, 12) is worth 7 here, not 12 and not 19: the lowest of all truncations that came after it counts.
//
// Invariant: terms ascend strictly and indexes ascend strictly. A truncation takes away with it those that cut no deeper,
// and a leader's term truncates a follower's log once at most, since that leader's entries are never in conflict with
// themselves. So there is one a term that passes while the disk is busy, and none when it is not.
type pendingTruncations []truncation

type truncation struct{ term, index uint64 }

func (t *pendingTruncations) add(term, index uint64) {
	kept := *t
	for len(kept) > 0 && kept[len(kept)-1].index >= index {
		kept = kept[:len(kept)-1]
	}
	*t = append(kept, truncation{term, index})
}

// durable is what a mark that the LogStore reached is worth now. Marks come in the order in which they were given, so
// truncations of its term and before are done with.
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
