package link

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

func TestE45AFullQueueDropsTheOldestAndTellsTheReplicatorOnce(t *testing.T) {
	// A peer that is being connected to, for as long as it may take: the queues are open, and nothing leaves them.
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.bulkQueueBytes = 10 << 10 })
	p := newLinkPeer(a.link, &messages.Member{Id: 2})
	for _, q := range p.queues {
		q.startAccepting()
	}
	for i := range uint64(100) {
		p.send(messages.Role_ROLE_REPLICATOR, &messages.AppendEntries{Leader: 1, Sequence: i, Entries: testEntries(1, 1, 1000)})
	}
	expect(t, a.replicator, "dropped 2")
	stat := p.stat()
	if stat.QueuedBytes > 10<<10 || stat.Dropped < 85 {
		t.Fatalf("100 letters of 1000 bytes into a queue of 10 KiB: %+v", stat)
	}
	letters, _ := p.queues[bulk].dequeue(context.Background(), nil, 1)
	if first := letters[0].message.(*messages.AppendEntries).Sequence; first != stat.Dropped {
		t.Fatalf("%d letters were dropped, and the oldest left is number %d", stat.Dropped, first)
	}
	select {
	case m := <-a.replicator:
		t.Fatalf("the replicator was told again: %v", m)
	default:
	}
}

func TestForwardedProposalsOvertakeEntriesAndAreDroppedLast(t *testing.T) {
	q := newSendQueue(1000)
	q.startAccepting()
	entries, proposals := &messages.AppendEntries{}, &messages.ForwardedProposals{}
	q.enqueue(messages.Role_ROLE_NODE, entries, 300)
	q.enqueue(messages.Role_ROLE_NODE, proposals, 300)
	q.enqueue(messages.Role_ROLE_NODE, entries, 300) // over the limit: the first entries go
	letters, err := q.dequeue(context.Background(), nil, 1<<20)
	if err != nil || len(letters) != 2 || letters[0].message != proto.Message(proposals) || letters[1].message != proto.Message(entries) {
		t.Fatalf("took %v, %v", letters, err)
	}
	if q.enqueue(messages.Role_ROLE_NODE, proposals, 5000) {
		t.Fatal("a letter above the limit is dropped although it is alone: nothing would ever pass")
	}
}

func TestAWriterThatWaitsIsWokenByALetterOrTheEnd(t *testing.T) {
	q := newSendQueue(1 << 20)
	q.startAccepting()
	ctx, cancel := context.WithCancelCause(context.Background())
	took := make(chan any, 1)
	wait := func() {
		letters, err := q.dequeue(ctx, nil, 1)
		if err != nil {
			took <- err
			return
		}
		took <- len(letters)
	}
	go wait()
	q.enqueue(messages.Role_ROLE_NODE, heartbeat(1, 1), 10)
	expect(t, took, 1)
	go wait()
	why := errors.New("over")
	cancel(why)
	expect(t, took, why)
	q.enqueue(messages.Role_ROLE_NODE, heartbeat(1, 1), 10) // must not block on a token that nobody takes
	q.enqueue(messages.Role_ROLE_NODE, heartbeat(1, 1), 10)
}

func TestAMessageAboveTheLimitIsNotSentAndSaidOnce(t *testing.T) {
	a, b := connectedPair(t, func(o *Options) { o.maxMessageBytes = 1000 })
	for range 3 {
		a.send(2, messages.Role_ROLE_NODE, &messages.AppendEntries{Leader: 1, Entries: testEntries(1, 1, 1001)})
		expect(t, a.replicator, "dropped 2")
	}
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1))
	expect(t, b.node, heartbeat(1, 1))
	if n := a.log.countLines("MaxLetterBytes", `"limit":1000`); n != 1 {
		t.Fatalf("%d lines about the message that is too large:\n%s", n, a.log)
	}
}
