package node

// uncommittedEntries counts the bytes of a leader's entries that are not both committed and on its
// own disk. Until then they exist in memory only, even if the disks of the peers were faster and
// committed them. Their bytes bound what the leader accepts (Limits.MaxUncommittedBytes).
type uncommittedEntries struct {
	batches []uncommittedBatch
	bytes   uint64
}

type uncommittedBatch struct{ last, bytes uint64 }

func (u *uncommittedEntries) add(last, bytes uint64) {
	u.batches = append(u.batches, uncommittedBatch{last, bytes})
	u.bytes += bytes
}

// release removes the batches that end at or below an index.
func (u *uncommittedEntries) release(through uint64) {
	k := 0
	for k < len(u.batches) && u.batches[k].last <= through {
		u.bytes -= u.batches[k].bytes
		k++
	}
	u.batches = u.batches[k:]
}
