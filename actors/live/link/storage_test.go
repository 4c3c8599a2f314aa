package link

import (
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// receiveRefusal returns the next StorageRefused that a Node receives.
func receiveRefusal(t *testing.T, s *nodeFixture) *messages.StorageRefused {
	t.Helper()
	for {
		if m, ok := linktest.Receive(t, s.Node).(*messages.StorageRefused); ok {
			return m
		}
	}
}

// awaitNode waits until a Node has received a record.
func awaitNode(t *testing.T, s *nodeFixture, record string) {
	t.Helper()
	for {
		if text, ok := linktest.Receive(t, s.Node).(string); ok && len(text) >= len(record) && text[:len(record)] == record {
			return
		}
	}
}

// A member comes back with another data directory: its Node receives the refusal. Once the
// configuration names the directory, it is connected; once that names another one, it is refused.
func TestE37RefusedDirectoryReachesItsNode(t *testing.T) {
	a, b := connectedPair(t)
	b.env.Close()
	b.Recorder.Stop()
	awaitNode(t, a, "down 2")

	replaced := linktest.Storage(9)
	again := newNodeFixtureOn(t, 2, 1, replaced, b.address)
	again.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member(), b.member()}})
	m := receiveRefusal(t, again)
	if m.From != 1 || string(m.StorageId) != string(replaced.ID) || string(m.Known) != string(b.storage.ID) || m.Reason == "" {
		t.Fatalf("received %v", m)
	}
	if a.log.countLines("refused an incoming peer connection", "emptied, lost or replaced") != 1 {
		t.Errorf("the refusing member logged\n%s", a.log)
	}

	record := func(index uint64, storageID []byte) {
		named := b.member()
		named.StorageId, named.Rejoined = storageID, true
		a.env.SetPeers(index, &messages.Configuration{Members: []*messages.Member{a.member(), named}})
	}
	record(5, replaced.ID)
	awaitNode(t, a, "up 2")
	record(6, linktest.Storage(10).ID)
	awaitNode(t, a, "down 2")
	if m := receiveRefusal(t, again); m.ConfigurationIndex != 6 {
		t.Fatalf("received %v", m)
	}
}

// A member comes back on an older copy of its data directory: its Node receives the refusal of a
// peer that has met a later start. A restart on the directory itself is connected.
func TestE37OlderCopyReachesItsNode(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	address := "127.0.0.1:0"
	for _, starts := range [][]uint64{{0, 1}, {0, 1, 2}} {
		b := newNodeFixtureOn(t, 2, 1, linktest.Started(linktest.Storage(2), starts...), address)
		address = b.address
		members := &messages.Configuration{Members: []*messages.Member{a.member(), b.member()}}
		a.env.SetPeers(0, members)
		b.env.SetPeers(0, members)
		awaitNode(t, a, "up 2")
		b.env.Close()
		b.Recorder.Stop()
		awaitNode(t, a, "down 2")
	}
	copied := newNodeFixtureOn(t, 2, 1, linktest.Started(linktest.Storage(2), 0, 11, 12, 13), address)
	copied.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member(), copied.member()}})
	m := receiveRefusal(t, copied)
	if m.From != 1 || m.Start != 4 || m.StartId != 13 || string(m.StorageId) != string(copied.storage.ID) {
		t.Fatalf("received %v", m)
	}
	if a.log.countLines("refused an incoming peer connection", "older copy") != 1 {
		t.Errorf("the refusing member logged\n%s", a.log)
	}
}

// A member is started again quickly: the peer has admitted its new start when it reads a Welcome
// and a Hello of the one before. They are no older copy, so nothing is logged at error level.
func TestLateWelcomeOfAnEarlierStart(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	start := func(ids ...uint64) raft.Storage { return linktest.Started(linktest.Storage(2), ids...) }
	open := func(storage raft.Storage) error {
		peer := identityOfMember2()
		peer.Storage = func() raft.Storage { return storage }
		_, err := openTestStream(t, a.address, control, peer.Hello(1, control.String()))
		return err
	}
	mustSucceed(t, open(start(1, 2, 3)))
	mustSucceed(t, open(start(1, 2, 3, 4)))
	p := a.link.peers.get(2)
	var refused *refusedError
	for _, err := range []error{p.admit(start(1, 2, 3)), fromStatus(open(start(1, 2, 3)))} { // of a Welcome, of a Hello
		if !errors.As(err, &refused) || refused.storage.GetStart() != 3 {
			t.Errorf("an earlier start: %v", err)
		}
	}
	p.connectionEnded(false, p.admit(start(1, 2, 3)))
	if n := a.log.countLines("was started again", `"level":"warn"`); n != 2 {
		t.Errorf("%d lines at warn level:\n%s", n, a.log)
	}
	if n := a.log.countLines(`"level":"error"`); n != 0 {
		t.Errorf("%d lines at error level:\n%s", n, a.log)
	}
	if open(start(1, 2, 13)) == nil || a.log.countLines("older copy", `"level":"error"`) != 1 {
		t.Errorf("an older copy:\n%s", a.log)
	}
}
