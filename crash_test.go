package troupe_test

import (
	"strings"
	"testing"

	"github.com/troupe-raft/troupe"
)

// A test that injects a crash which can never happen would test nothing.
func TestImpossibleCrashIsRefused(t *testing.T) {
	c := startTestCluster(t, 2, func(config *troupe.Config) {
		steady(config)
		config.CrashInjection = true
	})
	leader := c.leader()
	follower := c.Node(3 - leader.ID())
	for _, impossible := range []struct {
		crash troupe.CrashPoint
		words string
	}{
		{troupe.CrashPoint{Actor: "maschine"}, "log/reader"},
		{troupe.CrashPoint{Actor: "machine", Message: "Commited"}, "Committed"},
		{troupe.CrashPoint{Actor: "machine", Message: "AppendEntries"}, "Committed"}, // the Node handles it
		{troupe.CrashPoint{Actor: "peer-0x9"}, "0x9 is not another member"},
		{troupe.CrashPoint{Actor: "peer-2"}, "peer-0x2"},
		{troupe.CrashPoint{Actor: "log", Times: -1}, "Times"},
	} {
		if err := leader.Crash(impossible.crash); err == nil || !strings.Contains(err.Error(), impossible.words) {
			t.Errorf("%+v: %v, want %q", impossible.crash, err, impossible.words)
		}
	}
	for _, path := range []string{"maschine", "peer-0x9"} {
		if err := leader.CrashNow(path); err == nil {
			t.Errorf("CrashNow(%q) succeeded", path)
		}
	}
	peer := "peer-0x" + string(rune('0'+leader.ID())) // only a leader has Replicators
	if err := follower.CrashNow(peer); err == nil {
		t.Errorf("CrashNow(%q) at a follower succeeded", peer)
	}
	off := startTestCluster(t, 1, nil).Node(1)
	if err := off.Crash(troupe.CrashPoint{}); err == nil || !strings.Contains(err.Error(), "Config.CrashInjection") {
		t.Errorf("without crash injection: %v", err)
	}
	if err := off.CrashNow(""); err == nil {
		t.Error("CrashNow without crash injection succeeded")
	}
	if n := leader.Status().Restarts + off.Status().Restarts; n != 0 {
		t.Errorf("%d actors were restarted", n)
	}
}
