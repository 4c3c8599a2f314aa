package link

import (
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
)

func TestEveryPeerMessageReachesItsActor(t *testing.T) {
	a, b := connectedPair(t)
	for _, m := range samplePeerMessages(1) {
		a.Send(2, messages.Receiver_RECEIVER_NODE, m)
		linktest.Expect(t, b.Node, m)
		a.Send(2, messages.Receiver_RECEIVER_REPLICATOR, m)
		linktest.Expect(t, b.Replicator, m)
	}
	for _, m := range samplePeerMessages(2) {
		b.Send(1, messages.Receiver_RECEIVER_NODE, m)
		linktest.Expect(t, a.Node, m)
	}
	// A message may arrive before its sender has counted it.
	n := uint64(2 * len(samplePeerMessages(1)))
	waitUntil(t, "both sides have counted messages and bytes", func() bool {
		sent, received := a.link.Stats()[0], b.link.Stats()[0]
		return sent.EnvelopesSent == n && received.EnvelopesReceived == n && sent.BytesSent == received.BytesReceived
	})
}

func TestLaneKeepsTheOrderOfMessages(t *testing.T) {
	a, b := connectedPair(t)
	const n = 20000
	for i := range uint64(n) {
		a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, i))
		a.Send(2, messages.Receiver_RECEIVER_REPLICATOR, &messages.AppendEntries{Leader: 1, Sequence: i, Entries: testEntries(i+1, 1, 100)})
	}
	for i := range uint64(n) {
		linktest.Expect(t, b.Node, linktest.Heartbeat(1, i))
		if m := linktest.Receive(t, b.Replicator).(*messages.AppendEntries); m.Sequence != i {
			t.Fatalf("received request %d, want %d", m.Sequence, i)
		}
	}
}

func TestQueuedMessagesShareABatch(t *testing.T) {
	const n = 1000
	q := newSendQueue(1 << 20)
	q.startAccepting()
	for i := range uint64(n) {
		q.enqueue(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, i), 100)
	}
	var batches []int
	for left := n; left > 0; left -= batches[len(batches)-1] {
		queued, err := q.dequeue(t.Context(), nil, 50_000)
		mustSucceed(t, err)
		batches = append(batches, len(queued))
	}
	// Each batch has maxBytes, and at most one message more.
	if len(batches) > 3 || batches[0] < 400 {
		t.Errorf("%d messages of 100 bytes went in batches of %v", n, batches)
	}
}

func TestE46MessageWithWrongSenderIsDropped(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}, {Id: 3, Address: "127.0.0.1:1"}}})
	stream, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String()))
	mustSucceed(t, err)
	wrong := []*outgoingBatch{
		// another sender
		outgoingBatchOf(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(3, 1)),
		// no sender, every type
		outgoingBatchOf(messages.Receiver_RECEIVER_NODE, samplePeerMessages(0)...),
		outgoingBatchOf(messages.Receiver_RECEIVER_UNSPECIFIED, linktest.Heartbeat(2, 1)), // no receiver
		// A receiver that is not for peers
		outgoingBatchOf(messages.Receiver(9), linktest.Heartbeat(2, 1)),
	}
	for _, batch := range append(wrong, outgoingBatchOf(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 99))) {
		mustSucceed(t, stream.SendMsg(batch))
	}
	linktest.Expect(t, a.Node, linktest.Heartbeat(2, 99))
	if refused, want := a.link.Stats()[0].Refused, uint64(3+len(samplePeerMessages(0))); refused != want {
		t.Errorf("%d messages were refused, want %d", refused, want)
	}
	if n := a.log.countLines("refused a message from peer", "names member 0x3 as its sender"); n != 1 || a.log.countLines("refused a message from peer") != 1 {
		t.Errorf("%d log lines:\n%s", n, a.log)
	}
}

func TestMalformedBatchEndsItsStreamOnly(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.maxMessageBytes = 1000 })
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	open := func() grpc.ClientStream {
		stream, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String()))
		mustSucceed(t, err)
		return stream
	}
	malformed := outgoingBatchOf(messages.Receiver_RECEIVER_NODE, &messages.Heartbeat{})
	malformed.messages[0].Message = &messages.Removed{}
	// A length beyond the end
	malformed.messages[0].Message.ProtoReflect().SetUnknown([]byte{0x0a, 0x7f})
	malformed.messages[0].Size = 2
	stream := open()
	stream.SendMsg(malformed)
	if err := stream.RecvMsg(&incomingBatch{}); err == nil || !strings.Contains(err.Error(), "cannot decode") {
		t.Errorf("a malformed batch ends the stream with %v", err)
	}
	stream = open()
	stream.SendMsg(outgoingBatchOf(messages.Receiver_RECEIVER_NODE, &messages.AppendEntries{Leader: 2, Entries: testEntries(1, 1, 2<<20)}))
	if err := stream.RecvMsg(&incomingBatch{}); err == nil || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("an oversized batch ends the stream with %v", err)
	}
	mustSucceed(t, open().SendMsg(outgoingBatchOf(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 5))))
	linktest.Expect(t, a.Node, linktest.Heartbeat(2, 5))
}

func TestSecondStreamOfALaneReplacesTheFirst(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	first, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String()))
	mustSucceed(t, err)
	second, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String()))
	mustSucceed(t, err)
	if err := first.RecvMsg(&incomingBatch{}); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("the first stream ended with %v", err)
	}
	mustSucceed(t, second.SendMsg(outgoingBatchOf(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 2))))
	linktest.Expect(t, a.Node, linktest.Heartbeat(2, 2))
}

func TestGarbageOnThePeerPortIsHarmless(t *testing.T) {
	a, b := connectedPair(t)
	for i, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff", strings.Repeat("\x00\xfe", 1<<16), ""} {
		c, err := net.Dial("tcp", a.address)
		mustSucceed(t, err)
		c.Write([]byte(garbage))
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(linktest.Timeout))
		for buffer := make([]byte, 1024); err == nil; {
			_, err = c.Read(buffer)
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Errorf("garbage %d: the connection is still open", i)
		}
		c.Close()
	}
	b.Send(1, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 1))
	linktest.Expect(t, a.Node, linktest.Heartbeat(2, 1))
}
