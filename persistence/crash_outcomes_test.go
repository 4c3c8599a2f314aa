package persistence

import (
	"fmt"
	"math/rand/v2"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// forEachOutcome calls visit for the disks that a power cut can leave at this moment, until visit
// returns false. whole reports whether these were all. For the outcomes of one operation see
// vfs.CrashChoice.
func (e *crashEnumerator) forEachOutcome(mem *vfs.MemFS, all, random int, visit func(disk *vfs.MemFS, how string) bool) (whole bool) {
	kept := outcomeCounts(mem, 1)
	product := 1
	for _, n := range kept {
		product = min(product*n, 1<<30)
	}
	if len(kept) <= 3 && product <= all {
		for o := (&exhaustiveChoice{}); ; {
			disk := mem.CrashClone(o.choose)
			if !visit(disk, describeOutcome(o.digits)) || !o.next() {
				return true
			}
		}
	}
	for base, ways := range [][]int{outcomeCounts(mem, 0), kept} {
		if !e.forEachSingleOutcome(mem, base, ways, all, visit) {
			return false
		}
	}
	for range random {
		digits := &randomChoice{random: e.random}
		disk := mem.CrashClone(digits.choose)
		if !visit(disk, describeOutcome(digits.digits)) {
			return false
		}
	}
	return false
}

// forEachSingleOutcome tries each outcome of each operation, while all others have outcome base:
// lost, or kept.
func (e *crashEnumerator) forEachSingleOutcome(mem *vfs.MemFS, base int, ways []int, all int, visit func(disk *vfs.MemFS, how string) bool) bool {
	total := 0
	for _, n := range ways {
		total += n
	}
	for i, n := range ways {
		for way := range n {
			if way > 1 && total > all && e.random.IntN(total) >= all {
				continue
			}
			asked := 0
			disk := mem.CrashClone(func(n int) int {
				asked++
				if asked-1 == i {
					return way
				}
				return min(base, n-1)
			})
			if !visit(disk, fmt.Sprintf("outcome %d of operation %d, the others %d", way, i, base)) {
				return false
			}
		}
	}
	return true
}

// outcomeCounts returns the number of outcomes of each unsynced operation, if all of them have the
// outcome base.
func outcomeCounts(mem *vfs.MemFS, base int) (ways []int) {
	mem.CrashClone(func(n int) int {
		ways = append(ways, n)
		return base
	})
	return ways
}

// randomChoice draws outcomes: one third lost, one third kept, one third torn.
type randomChoice struct {
	random *rand.Rand
	digits []int
}

func (d *randomChoice) choose(n int) int {
	way := d.random.IntN(3)
	if way == 2 {
		way = d.random.IntN(n)
	}
	d.digits = append(d.digits, way)
	return way
}

// describeOutcome names an outcome by its choices: 0 lost, 1 kept, above see vfs.
func describeOutcome(digits []int) string { return fmt.Sprintf("outcome %v", digits) }
