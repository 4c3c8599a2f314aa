package link

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
)

func TestE45FullQueueDropsTheOldestMessages(t *testing.T) {
	// The queues accept messages as during a connection attempt; there is no writer.
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.bulkQueueBytes = 10 << 10 })
	p := newLinkPeer(a.link, &messages.Member{Id: 2})
	for _, q := range p.queues {
		q.startAccepting()
	}
	for i := range uint64(100) {
		p.send(messages.Receiver_RECEIVER_REPLICATOR, &messages.AppendEntries{Leader: 1, Sequence: i, Entries: testEntries(1, 1, 1000)})
	}
	linktest.Expect(t, a.Replicator, "dropped 2")
	stat := p.stat()
	if stat.QueuedBytes > 10<<10 || stat.Dropped < 85 {
		t.Fatalf("100 messages of 1000 bytes into a queue of 10 KiB: %+v", stat)
	}
	queued, _ := p.queues[bulk].dequeue(context.Background(), nil, 1)
	if first := queued[0].Message.(*messages.AppendEntries).Sequence; first != stat.Dropped {
		t.Fatalf("%d messages were dropped, and the oldest left is number %d", stat.Dropped, first)
	}
	select {
	case m := <-a.Replicator:
		t.Fatalf("the replicator was notified again: %v", m)
	default:
	}
}

func TestForwardedProposalsGoBeforeEntries(t *testing.T) {
	q := newSendQueue(1000)
	q.startAccepting()
	entries, proposals := &messages.AppendEntries{}, &messages.ForwardedProposals{}
	q.enqueue(messages.Receiver_RECEIVER_NODE, entries, 300)
	q.enqueue(messages.Receiver_RECEIVER_NODE, proposals, 300)
	// Over the limit: the first entries are dropped
	q.enqueue(messages.Receiver_RECEIVER_NODE, entries, 300)
	queued, err := q.dequeue(context.Background(), nil, 1<<20)
	if err != nil || len(queued) != 2 || queued[0].Message != proto.Message(proposals) || queued[1].Message != proto.Message(entries) {
		t.Fatalf("took %v, %v", queued, err)
	}
	if q.enqueue(messages.Receiver_RECEIVER_NODE, proposals, 5000) {
		t.Fatal("a message above the limit is dropped although the queue is empty")
	}
}

func TestWaitingWriterWakesForMessageOrEnd(t *testing.T) {
	q := newSendQueue(1 << 20)
	q.startAccepting()
	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan any, 1)
	wait := func() {
		queued, err := q.dequeue(ctx, nil, 1)
		if err != nil {
			result <- err
			return
		}
		result <- len(queued)
	}
	go wait()
	q.enqueue(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1), 10)
	linktest.Expect(t, result, 1)
	go wait()
	why := errors.New("over")
	cancel(why)
	linktest.Expect(t, result, why)
	// Does not block although no writer takes the token
	q.enqueue(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1), 10)
	q.enqueue(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1), 10)
}

func TestOversizedMessageIsDroppedAndLoggedOnce(t *testing.T) {
	a, b := connectedPair(t, func(o *Options) { o.maxMessageBytes = 1000 })
	for range 3 {
		a.Send(2, messages.Receiver_RECEIVER_NODE, &messages.AppendEntries{Leader: 1, Entries: testEntries(1, 1, 1001)})
		linktest.Expect(t, a.Replicator, "dropped 2")
	}
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	linktest.Expect(t, b.Node, linktest.Heartbeat(1, 1))
	if n := a.log.countLines("message to peer exceeds the size limit", `"limit":1000`); n != 1 {
		t.Fatalf("%d log lines of the oversized message:\n%s", n, a.log)
	}
}

// Two forwarded commands of the largest size that the sender accepts, one being sent and one
// queued, arrive at a peer whose own limit is lower.
func TestLargeMessagesArrive(t *testing.T) {
	const size = 66 << 20
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.MaxCommandBytes = size })
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.MaxCommandBytes = 1 })
	connectPair(t, a, b)
	data := [][]byte{make([]byte, size)}
	for number := uint64(1); number <= 3; number++ {
		a.Send(2, messages.Receiver_RECEIVER_NODE, &messages.ForwardedProposals{From: 1, Data: data, Number: number})
		if number == 2 {
			continue // both wait
		}
		for arrived := uint64(0); arrived < number; {
			select {
			case m := <-b.Node:
				forwarded, ok := m.(*messages.ForwardedProposals)
				if !ok || forwarded.Number <= arrived || len(forwarded.Data[0]) != size {
					t.Fatalf("%T after message %d", m, arrived)
				}
				arrived = forwarded.Number
			case m := <-a.Node:
				t.Fatalf("the sender's Node received %v", m)
			case m := <-a.Replicator:
				t.Fatalf("the sender's Replicator received %v", m)
			}
		}
	}
}

func TestPeerAddedAgainIsLoggedAgain(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.maxMessageBytes = 1000 })
	for range 2 {
		a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
		for range 2 {
			a.Send(2, messages.Receiver_RECEIVER_NODE, &messages.AppendEntries{Leader: 1, Entries: testEntries(1, 1, 1001)})
			linktest.Expect(t, a.Replicator, "dropped 2")
			a.link.peers.get(2).countRefused(errors.New("of an unknown type"))
		}
		a.env.SetPeers(0, &messages.Configuration{Members: nil})
	}
	for _, line := range []string{"message to peer exceeds the size limit", "refused a message from peer"} {
		if n := a.log.countLines(line); n != 2 {
			t.Errorf("%d lines %q, want one for each time that the peer was added:\n%s", n, line, a.log)
		}
	}
}

func isAccepting(q *sendQueue) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queue.Accepting()
}
