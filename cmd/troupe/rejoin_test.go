package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

// An operator brings a member back that lost its data directory, and names that member's endpoint
// before the others in every command. It knows no leader, no client URLs, and nothing of the data.
func TestCommandsSkipTheMemberThatWaitsToRejoin(t *testing.T) {
	t.Parallel()
	c := plainCluster(t)
	c.processes[0].signal(syscall.SIGKILL)
	c.processes[0].wait()
	if err := os.RemoveAll(c.dataDirs[0]); err != nil {
		t.Fatal(err)
	}
	c.start(0, "--initial-cluster-state=rejoin")
	c.processes[0].waitFor("waiting to rejoin")

	c.processes[0].waitFor("with the endpoint of another member") // the advice for its client URLs
	none := "no leader is known to " + c.endpoints[0] + ", so the request was not carried out; member 0x"
	for _, command := range []string{
		"put k w", "get k", "get --read leader k", "get --read log k", "get --read local k", "del k", "compact 1", "move-leader m2", "member rejoin m0",
	} {
		// On a machine that stalls the time may be over before an attempt is.
		for try := 1; ; try++ {
			got := runTroupe(t, append(strings.Fields(command), "--endpoints="+c.endpoints[0], "--timeout=1s")...)
			if got.code == exit.Failure && strings.Contains(got.errs, ": "+none) &&
				strings.Contains(got.errs, " waits to rejoin with a new data directory: run `troupe member rejoin 0x") {
				break
			}
			if t.Logf("%s at the waiting member alone: %+v", command, got); try == 20 {
				t.Fatal("no try had the right error")
			}
		}
	}
	first := "--endpoints=" + strings.Join(c.endpoints, ",")
	for _, command := range []struct{ text, want string }{
		{"put k w", "OK\n"}, {"get k", "k\nw\n"}, {"get --read leader --print-value-only k", "w\n"}, {"get --read local --print-value-only k", "w\n"},
	} {
		if got := runTroupe(t, append(strings.Fields(command.text), first, "--timeout=60s")...); got.code != exit.OK || got.out != command.want {
			t.Errorf("%s: %+v", command.text, got)
		}
	}
	if got := runTroupe(t, "member", "rejoin", "nobody", "--timeout=60s", first); got.code != exit.Usage || !strings.Contains(got.errs, "m0 (0x") {
		t.Errorf("%+v", got)
	}
	status := c.awaitStatus(first, "asks to rejoin")
	for _, text := range []string{"unreachable", "troupe: member 0x"} {
		if strings.Contains(status.out+status.errs, text) {
			t.Errorf("the status contains %q: %+v", text, status)
		}
	}
	c.rejoin("m0", first)
	c.processes[0].waitFor("ready to serve client requests")
}

// awaitStatus runs "status" until it prints a text.
func (c *threeMembers) awaitStatus(endpoints, text string) commandResult {
	c.t.Helper()
	for end := time.Now().Add(testTimeout); ; {
		got := runTroupe(c.t, "status", "--timeout=60s", endpoints)
		if strings.Contains(got.out, text) {
			return got
		}
		if time.Now().After(end) {
			c.t.Fatalf("the status does not show %q: %+v", text, got)
		}
	}
}

// rejoin runs "member rejoin" as an operator who repeats it.
func (c *threeMembers) rejoin(name, endpoints string) {
	c.t.Helper()
	run := func(flags ...string) (result rejoinedJSON) {
		c.t.Helper()
		got := runTroupe(c.t, append([]string{"member", "rejoin", name, "-o", "json", "--timeout=60s", endpoints}, flags...)...)
		if err := json.Unmarshal([]byte(got.out), &result); got.code != exit.OK || err != nil {
			c.t.Fatalf("%+v: %v", got, err)
		}
		return result
	}
	_, before := c.leader()
	recorded := run()
	// If the leader changed meanwhile, the next one may have found it recorded.
	if _, after := c.leader(); recorded.StorageID == "" || recorded.Name != name || !recorded.Changed && before.Term == after.Term {
		c.t.Errorf("%+v", recorded)
	}
	again := recorded
	again.Changed = false
	for _, flags := range [][]string{nil, {"--storage-id=" + recorded.StorageID}, {"--force", "--storage-id=" + strings.ToUpper(recorded.StorageID)}} {
		if got := run(flags...); got != again {
			c.t.Errorf("again with %q: %+v, want %+v", flags, got, again)
		}
	}
	got := runTroupe(c.t, "member", "rejoin", name, "--timeout=60s", endpoints)
	if got.code != exit.OK || !strings.HasPrefix(got.out, "nothing had to be changed") {
		c.t.Errorf("%+v", got)
	}
}

// leader returns which member leads, and its status.
func (c *threeMembers) leader() (member int, status memberJSON) {
	c.t.Helper()
	for end := time.Now().Add(testTimeout); time.Now().Before(end); {
		got := runTroupe(c.t, "status", "-o", "json", "--timeout=60s", "--endpoints="+strings.Join(c.endpoints, ","))
		var members []memberJSON
		if err := json.Unmarshal([]byte(got.out), &members); err != nil {
			continue // no list yet
		}
		for i, m := range members {
			if m.Role == "leader" {
				return i, m
			}
		}
	}
	c.t.Fatal("no leader")
	return 0, memberJSON{}
}

// A healthy member is not expelled by a mistake on the command line.
func TestConnectedMemberIsNotExpelled(t *testing.T) {
	t.Parallel()
	c := plainCluster(t)
	all := "--endpoints=" + strings.Join(c.endpoints, ",")
	leader, before := c.leader()
	target := []string{"m1", "m2", "m0"}[leader]
	for end := time.Now().Add(testTimeout); connectedPeers(t, c.endpoints[leader]) < 2; {
		if time.Now().After(end) {
			t.Fatal("the leader is not connected to both others")
		}
	}
	got := runTroupe(t, "member", "rejoin", target, "--timeout=60s", "--storage-id="+strings.Repeat("0f", 16), all)
	if _, after := c.leader(); after.Term != before.Term {
		t.Skip("another member leads, and may not have been connected")
	}
	if got.code != exit.Failure || !strings.Contains(got.errs, "is connected with its recorded data directory") || !strings.Contains(got.errs, "--force") {
		t.Errorf("%+v", got)
	}
	if got := runTroupe(t, "member", "rejoin", before.Name, "--timeout=60s", all); got.code != exit.Failure || !strings.Contains(got.errs, "needs no other data directory") {
		t.Errorf("of the leader: %+v", got)
	}
	if status := runTroupe(t, "status", "--timeout=60s", all); strings.Contains(status.out, "unreachable") {
		t.Errorf("%+v", status)
	}
}

// connectedPeers returns to how many peers a member is connected.
func connectedPeers(t *testing.T, endpoint string) (connected int) {
	t.Helper()
	for _, line := range strings.Split(scrape(t, endpoint+"/metrics"), "\n") {
		if strings.HasPrefix(line, "troupe_peer_up{") && strings.HasSuffix(line, " 1") {
			connected++
		}
	}
	return connected
}
