package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

// The recipe against NOSPACE of docs/operations.md, with the commands of this program.
func TestQuotaIsFreedByDeleteCompactAndDefrag(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	s.start("--quota-backend-bytes=8388608")
	rnd := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(rnd.Uint32()) // the store cannot compress it
	}
	full := commandResult{}
	for i := 0; full.code == exit.OK && i < 64; i++ {
		full = runCommand(t, string(value), "troupe", "put", string(rune('a'+i)), "--timeout=60s", "--endpoints="+s.endpoint)
	}
	if full.code != exit.Failure || !strings.Contains(full.errs, "database space exceeded") {
		t.Fatalf("%+v", full)
	}
	if got := s.client("alarm", "list"); !strings.Contains(got, "NOSPACE") {
		t.Errorf("alarms: %q", got)
	}
	var deleted struct{ Header struct{ Revision string } }
	if err := json.Unmarshal([]byte(s.client("del", "--prefix", "", "-o", "json")), &deleted); err != nil {
		t.Fatal(err)
	}
	s.client("compact", "--physical", deleted.Header.Revision)
	var done []defragJSON
	if err := json.Unmarshal([]byte(s.client("defrag", "one", "-o", "json")), &done); err != nil {
		t.Fatal(err)
	}
	if len(done) != 1 || done[0].Name != "one" || done[0].Error != "" || done[0].Before == 0 || done[0].After > 2<<20 {
		t.Errorf("%+v", done)
	}
	if got := s.client("alarm", "list"); got != "" {
		t.Errorf("alarms: %q", got)
	}
	s.client("put", "k", "v")
	if got := runTroupe(t, "defrag", "two", "--endpoints="+s.endpoint); got.code != exit.Usage || !strings.Contains(got.errs, "one (0x") {
		t.Errorf("%+v", got)
	}
}

func TestDefragReportsMembersThatFailed(t *testing.T) {
	results := []client.DefragResult{
		{Member: client.MemberStatus{ID: 1, Name: "a"}, BytesBefore: 9, BytesAfter: 5},
		{Member: client.MemberStatus{ID: 2, Name: "b"}, BytesBefore: 9, Err: errors.New("connection refused")},
	}
	if err := defragError(results); err == nil || err.Error() != "member b not defragmented; see the remarks" {
		t.Error(err)
	}
	if err := defragError(results[:1]); err != nil {
		t.Error(err)
	}
	rows := defragResult(results).Rows
	if strings.Join(rows[0], " ") != "a 0x1 - 9 B 5 B " || strings.Join(rows[1], " ") != "b 0x2 - - - connection refused" {
		t.Errorf("%q", rows)
	}
}
