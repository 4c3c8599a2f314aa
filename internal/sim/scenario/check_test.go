package scenario

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

func check(t *testing.T, r *world.Result) {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}
