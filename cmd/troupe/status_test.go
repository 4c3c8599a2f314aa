package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/version"
)

// lowDisk makes every disk count as almost full.
const lowDisk = "--disk-low-water-bytes=1152921504606846976"

func TestStatusReportsAlarmVersionsAndSizes(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	p := s.start()
	s.client("put", "k", "v")
	table := strings.Fields(s.client("status"))
	if got := strings.Join(table[:12], " "); got != "NAME ID ENDPOINT VERSION API ROLE TERM COMMIT APPLIED LOG STORE REMARKS" {
		t.Errorf("columns %s", got)
	}
	var members []memberJSON
	if err := json.Unmarshal([]byte(s.client("status", "-o", "json")), &members); err != nil || len(members) != 1 {
		t.Fatalf("%+v, %v", members, err)
	}
	if m := members[0]; m.Version != version.String() || m.API != "3.7.3" || m.LogBytes < 1<<20 || m.ID != table[13] {
		t.Errorf("%+v, table %q", m, table)
	}
	p.signal(syscall.SIGTERM)
	p.wait()

	s.start(lowDisk)
	got := runTroupe(t, "status", "--endpoints="+s.endpoint)
	if got.code != exit.Failure || got.errs != "troupe: member one: alarm NOSPACE\n" || !strings.HasSuffix(got.out, "alarm NOSPACE\n") {
		t.Errorf("%+v", got)
	}
	got = runTroupe(t, "put", "k", "w", "--timeout=60s", "--endpoints="+s.endpoint)
	if got.code != exit.Failure || !strings.Contains(got.errs, fmt.Sprintf("the disk of %s is almost full", s.dataDir)) {
		t.Errorf("%+v", got)
	}
}

// A member whose disk is full from the start is not ready, and says why.
func TestNewMemberOnFullDiskNamesIt(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	p := s.launch(lowDisk)
	if line := p.waitFor(`"msg":"not ready yet`); !strings.Contains(line, s.dataDir+" is almost full") {
		t.Error(line)
	}
}
