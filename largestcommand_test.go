package troupe_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/tests/freeport"
)

// lengths is a state machine whose result is the length of the command, in decimal.
type lengths struct{ *counter }

func (lengths) Apply(b *troupe.Batch) (results [][]byte, err error) {
	for _, command := range b.Commands {
		results = append(results, []byte(fmt.Sprint(len(command.Data))))
	}
	return results, nil
}

// linkedNodes are three nodes on loopback, over the peer link or Proto.Actor's remote.
type linkedNodes struct {
	t       *testing.T
	ctx     context.Context
	configs []troupe.Config
	nodes   []*troupe.Node
}

func startLinkedNodes(t *testing.T, remote bool, limits troupe.Limits) *linkedNodes {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	c := &linkedNodes{t: t, ctx: ctx, nodes: make([]*troupe.Node, 3)}
	var members []troupe.Member
	var listeners []net.Listener
	for i := range c.nodes {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0]))
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener)
		members = append(members, troupe.Member{ID: uint64(i + 1), Name: fmt.Sprint(i), Address: listener.Addr().String()})
	}
	for i, m := range members {
		c.configs = append(c.configs, troupe.Config{
			ID: m.ID, Members: members, DataDir: t.TempDir(), Limits: limits,
			StateMachine: func() (troupe.StateMachine, error) { return lengths{newCounter()}, nil },
			PeerLink:     &troupe.PeerLink{Listeners: listeners[i : i+1], ProtoRemote: remote},
			Timing:       troupe.Timing{ElectionTimeout: testTimeout / 8}, // the disk may be slow
		})
		c.start(i)
	}
	return c
}

func (c *linkedNodes) start(i int) {
	c.t.Helper()
	node, err := troupe.Start(c.ctx, c.configs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(node.Kill)
	c.nodes[i] = node
}

// restart starts a killed node again, on its former address and with other limits.
func (c *linkedNodes) restart(i int, limits troupe.Limits) {
	c.t.Helper()
	config := &c.configs[i]
	listener, err := net.Listen("tcp", config.Members[i].Address)
	if err != nil {
		c.t.Fatal(err)
	}
	config.PeerLink = &troupe.PeerLink{Listeners: []net.Listener{listener}, ProtoRemote: config.PeerLink.ProtoRemote}
	config.Limits = limits
	c.start(i)
}

// mustPropose proposes a command of so many bytes and checks that it was applied.
func (c *linkedNodes) mustPropose(i, size int) (index uint64) {
	c.t.Helper()
	result, err := c.nodes[i].Propose(c.ctx, make([]byte, size))
	if err != nil || string(result.Value) != fmt.Sprint(size) {
		c.t.Fatalf("%d bytes proposed at member %d: result %q, %v", size, i+1, result.Value, err)
	}
	return result.Index
}

// Every command that is accepted is replicated, whichever limit on its way its size is close to,
// and whether its proposer leads or forwards it. One of 66 MiB was accepted and could not be sent:
// it stayed uncommitted for ever, and with it every later one. A member that was away, and whose
// own limit is lower, receives it from the disk of another.
func TestAcceptedCommandsReplicate(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 1 GB")
	}
	const largest = 66 << 20
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			c := startLinkedNodes(t, remote, troupe.Limits{MaxRequestBytes: largest})
			for _, limit := range []int{
				defaults.ProbeBytes, defaults.MaxBatchBytes, 4 << 20 /* of gRPC */, 8 << 20, defaults.LogWriteBytes,
			} {
				for i, size := range []int{limit - 1, limit, limit + 1} {
					c.mustPropose(i, size)
				}
			}
			c.nodes[2].Kill()
			for i := range 2 {
				c.mustPropose(i, largest)
			}
			_, err := c.nodes[0].Propose(c.ctx, make([]byte, largest+1))
			var limit *troupe.LimitError
			if !errors.Is(err, troupe.ErrTooLarge) || !errors.As(err, &limit) || limit.Value != largest {
				t.Errorf("one byte more: %v", err)
			}
			last := c.mustPropose(0, 5)
			c.restart(2, troupe.Limits{})
			if index := c.mustPropose(2, 5); index <= last {
				t.Errorf("index %d after %d", index, last)
			}
		})
	}
}

// The largest command fits into a message of each kind that carries it, whatever its other fields
// are, and into a frame of the log.
func TestLargestCommandFitsEverywhere(t *testing.T) {
	const most = math.MaxUint64
	header := len(raft.EncodeCommand(most, most, most, nil))
	if header+raft.MaxCommandBytes != raft.MaxEntryBytes {
		t.Fatalf("the largest entry has %d bytes, not %d", header+raft.MaxCommandBytes, raft.MaxEntryBytes)
	}
	entry := make([]byte, raft.MaxEntryBytes)
	run := &messages.TermRun{FirstIndex: most, Term: most}
	entries := &messages.Entries{First: most, Runs: []*messages.TermRun{run}, Data: [][]byte{entry}, Bytes: uint64(len(entry))}
	for _, m := range []messages.PeerMessage{
		&messages.AppendEntries{
			Term: most, Leader: most, PrevIndex: most, PrevTerm: most, Entries: entries, Commit: most, Stream: most, Sequence: most,
		},
		&messages.ForwardedProposals{From: most, Term: most, Data: [][]byte{entry}, Stream: most, Number: most},
	} {
		if size := proto.Size(messages.NewEnvelope(messages.Receiver_RECEIVER_NODE, m)); size > raft.MaxMessageBytes {
			t.Errorf("%T has %d bytes, at most %d can be sent", m, size, raft.MaxMessageBytes)
		}
	}
	if len(entry) > persistence.MaxBatchBytes {
		t.Errorf("the entry has %d bytes, a frame %d", len(entry), persistence.MaxBatchBytes)
	}
}

// Start refuses limits under which a command could be accepted and never be committed, with both
// numbers, and writes nothing.
func TestStartRefusesUnreplicableLimits(t *testing.T) {
	long := strings.Repeat("n", raft.MaxConfigurationBytes)
	for name, c := range map[string]struct {
		limits troupe.Limits
		member string
		says   []string
	}{
		"above what a message carries": {troupe.Limits{MaxRequestBytes: raft.MaxCommandBytes + 1}, "a", []string{"537919489", "537919488"}},
		"above the uncommitted limit":  {troupe.Limits{MaxRequestBytes: 2001, MaxUncommittedBytes: 2000}, "a", []string{"2001", "2000"}},
		"configuration":                {troupe.Limits{}, long, []string{"1048575", "shorten"}},
	} {
		dir := t.TempDir()
		_, err := troupe.Start(context.Background(), troupe.Config{
			ID: 1, Members: []troupe.Member{{ID: 1, Name: c.member}}, DataDir: dir, Network: troupe.NewNetwork(), Limits: c.limits,
			StateMachine: func() (troupe.StateMachine, error) { return newCounter(), nil },
		})
		if err == nil {
			t.Fatalf("%s: started", name)
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %.300s, without %s", name, err.Error(), text)
			}
		}
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%s: wrote %v", name, files)
		}
	}
}
