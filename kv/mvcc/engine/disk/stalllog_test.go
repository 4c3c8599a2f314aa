package disk

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rs/zerolog"
)

func TestStallsAreLoggedEverLessOften(t *testing.T) {
	var out bytes.Buffer
	s := stallLog{log: zerolog.New(&out)}
	var l pebble.EventListener
	s.listen(&l)
	for range 7 {
		l.WriteStallBegin(pebble.WriteStallBeginInfo{Reason: "memtable count limit reached"})
		l.WriteStallEnd()
	}
	begun, ended := strings.Count(out.String(), "writes wait for the storage engine"), strings.Count(out.String(), "writes no longer wait")
	if begun != 3 || ended != 3 || !strings.Contains(out.String(), "memtable count limit reached") {
		t.Errorf("%d lines about the begin and %d about the end of seven stalls:\n%s", begun, ended, out.String())
	}
}
