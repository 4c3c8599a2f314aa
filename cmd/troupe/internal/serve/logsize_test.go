package serve

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestALargeLogIsWarnedOfAndAgainWhenItHasDoubled(t *testing.T) {
	const gib = 1 << 30
	var s logSize
	for _, c := range []struct {
		size int64
		due  bool
	}{{0, false}, {4*gib - 1, false}, {4 * gib, true}, {5 * gib, false}, {8 * gib, true}, {40 * gib, true}, {63 * gib, false}, {64 * gib, true}} {
		if got := s.due(c.size); got != c.due {
			t.Errorf("at %d GiB: %v, want %v", c.size/gib, got, c.due)
		}
	}
}

func TestAServerThatStartsWithALargeLogWarnsAtOnce(t *testing.T) {
	var out bytes.Buffer
	done := make(chan struct{})
	close(done)
	watchLogSize(done, func() int64 { return 5 << 30 }, zerolog.New(&out))
	if !strings.Contains(out.String(), "the log is large") {
		t.Fatalf("%q", out.String())
	}
}
