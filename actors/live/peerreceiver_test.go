package live

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// A message of a member ends a request to rejoin that another process made in its name.
func TestDeliveredMessageEndsARequestToRejoin(t *testing.T) {
	dir, err := persistence.OpenDataDir(vfs.NewMem(), "/data", persistence.Identity{ClusterID: 0xc1, NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r := newPeerReceiver(&Options{ID: 1, System: actor.NewActorSystem(), Peers: dir.Peers})
	if err := r.Admit(2, raft.Storage{ID: []byte("another directory"), Rejoining: true}); err == nil || len(dir.Peers.Applicant(2)) == 0 {
		t.Fatalf("%v, applicant %x", err, dir.Peers.Applicant(2))
	}
	r.Deliver(2, messages.Receiver_RECEIVER_NODE, &messages.Heartbeat{Leader: 2})
	if got := dir.Peers.Applicant(2); len(got) > 0 {
		t.Errorf("%x still asks to rejoin", got)
	}
}
