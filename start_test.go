package troupe_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// singleConfig configures the only member of a cluster, on a filesystem in memory.
func singleConfig(t *testing.T) troupe.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return troupe.Config{
		ID: 1, Members: []troupe.Member{{ID: 1, Name: "a", Address: listener.Addr().String()}}, DataDir: "/data", FS: vfs.NewMem(),
		StateMachine: func() (troupe.StateMachine, error) { return newCounter(), nil },
		PeerLink:     &troupe.PeerLink{Listeners: []net.Listener{listener}},
	}
}

// A start that is refused leaves nothing behind: no node, no open listener, and before the data
// directory is known to be usable nothing on disk.
func TestRefusedStartReleasesEverything(t *testing.T) {
	broken := errors.New("broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx       context.Context
		change    func(*troupe.Config)
		want      error
		onDisk    bool // the data directory was created
		available bool // the configuration has a listener to close
	}{
		"invalid configuration": {t.Context(), func(c *troupe.Config) { c.DataDir = "" }, nil, false, true},
		"ended context":         {ended, func(*troupe.Config) {}, troupe.ErrCanceled, false, true},
		"broken state machine": {t.Context(), func(c *troupe.Config) {
			c.StateMachine = func() (troupe.StateMachine, error) { return nil, broken }
		}, broken, true, true},
		"debug check": {t.Context(), func(c *troupe.Config) {
			c.DebugChecks, c.StateMachine = true, func() (troupe.StateMachine, error) { return nil, broken }
		}, broken, false, true},
		"plaintext on all addresses": {t.Context(), func(c *troupe.Config) {
			listener, err := net.Listen("tcp", "0.0.0.0:0")
			if err != nil {
				t.Fatal(err)
			}
			c.PeerLink.Listeners = append(c.PeerLink.Listeners, listener)
		}, nil, true, true},
		"no link": {t.Context(), func(c *troupe.Config) { c.PeerLink = nil }, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := singleConfig(t)
			c.change(&config)
			n, err := troupe.Start(c.ctx, config)
			if n != nil || err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("node %v, error %v", n, err)
			}
			if c.available {
				for _, l := range config.PeerLink.Listeners {
					l.(*net.TCPListener).SetDeadline(time.Now().Add(-time.Second)) // Accept of an open one must not wait
					if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
						t.Errorf("the listener on %v is open: %v", l.Addr(), err)
					}
				}
			}
			if _, err := config.FS.Stat("/data"); (err == nil) != c.onDisk {
				t.Errorf("the data directory exists: %v", err)
			}
			if !c.onDisk {
				return
			}
			again := singleConfig(t) // on the same directory: it is not locked
			again.FS, again.Members = config.FS, config.Members
			n, err = troupe.Start(t.Context(), again)
			if err != nil {
				t.Fatal(err)
			}
			n.Kill()
		})
	}
}

func TestEndedContextProposesNothing(t *testing.T) {
	c := startTestCluster(t, 1, nil)
	c.propose(1, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := c.Node(1)
	for range 200 {
		if _, err := n.Propose(ctx, []byte("x")); !errors.Is(err, troupe.ErrCanceled) || strings.Contains(err.Error(), "timed out") {
			t.Fatal(err)
		}
	}
	if err := n.Barrier(ctx); !errors.Is(err, troupe.ErrCanceled) {
		t.Errorf("Barrier: %v", err)
	}
	if err := n.TransferLeadership(ctx, 1); !errors.Is(err, troupe.ErrCanceled) {
		t.Errorf("TransferLeadership: %v", err)
	}
	c.requireAgreement()
	if counts := c.counter(1).counts(); len(counts) != 1 {
		t.Errorf("applied: %v", counts)
	}
}

// The cluster's id depends on names and addresses. A program that changes one must learn which.
func TestChangedMemberIsNamed(t *testing.T) {
	list := []troupe.Member{{ID: 1, Name: "a", Address: "host-a:1"}, {ID: 0x10, Name: "b", Address: "host-b:1", PeerURLs: []string{"http://host-b:1"}}}
	isNew := true
	start := func(fs troupe.FS, change func(*troupe.Config)) error {
		config := troupe.Config{
			ID: 1, Members: append([]troupe.Member(nil), list...), DataDir: "/data", FS: fs, Network: troupe.NewNetwork(),
			StateMachine: func() (troupe.StateMachine, error) { return newCounter(), nil },
		}
		change(&config)
		n, err := troupe.Start(t.Context(), config)
		if err == nil {
			if isNew { // later starts read the members from the log
				waitUntil(t, "the first configuration is on disk", func() bool { return n.Metrics().SyncEntries > 0 })
				isNew = false
			}
			n.Kill()
		}
		return err
	}
	fs := vfs.NewMem()
	if err := start(fs, func(*troupe.Config) {}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*troupe.Config)
		want   error
		words  []string
	}{
		"address":   {func(c *troupe.Config) { c.Members[1].Address = "host-c:1" }, troupe.ErrMembersChanged, []string{"0x10", "host-c:1", "host-b:1", "/data"}},
		"name":      {func(c *troupe.Config) { c.Members[1].Name = "c" }, troupe.ErrMembersChanged, []string{"0x10", `"c"`, `"b"`}},
		"peer URLs": {func(c *troupe.Config) { c.Members[1].PeerURLs = nil }, troupe.ErrMembersChanged, []string{"0x10", "http://host-b:1"}},
		"id":        {func(c *troupe.Config) { c.Members[1].ID = 0x11 }, troupe.ErrMembersChanged, []string{"0x10", "0x11"}},
		"more members": {func(c *troupe.Config) {
			c.Members = append(c.Members, troupe.Member{ID: 0x20, Name: "d", Address: "host-d:1"})
		}, troupe.ErrMembersChanged, []string{`0x20 ("d") is not in it`}},
		"fewer members": {func(c *troupe.Config) { c.Members = c.Members[:1] }, troupe.ErrMembersChanged, []string{`0x10 ("b") in it was not given`}},
		"token":         {func(c *troupe.Config) { c.ClusterToken = "other" }, troupe.ErrWrongCluster, nil},
		"all members": {func(c *troupe.Config) {
			c.ID, c.Members = 7, []troupe.Member{{ID: 7, Name: "x", Address: "host-x:1"}}
		}, troupe.ErrWrongCluster, nil},
		"own id": {func(c *troupe.Config) { c.ID = 0x10 }, troupe.ErrWrongMember, nil},
	} {
		err := start(fs, c.change)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want == troupe.ErrMembersChanged && strings.Contains(err.Error(), "another cluster") {
			t.Errorf("%s: %v", name, err)
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v; want %q", name, err, word)
			}
		}
	}
	if err := start(fs, func(*troupe.Config) {}); err != nil {
		t.Errorf("with the members of the data directory: %v", err)
	}
}

// Config's lists belong to the program, which may use them again.
func TestStartCopiesTheConfiguration(t *testing.T) {
	config := singleConfig(t)
	config.DataDir = filepath.Join("/", "copied")
	config.Members[0].PeerURLs = []string{"http://before"}
	n, err := troupe.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Kill()
	config.Members[0].PeerURLs[0], config.Members[0].Name = "http://after", "after"
	if m := n.Status().Members[0]; m.Name != "a" || m.PeerURLs[0] != "http://before" {
		t.Errorf("the node has the member %+v", m)
	}
}
