package world

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

// outbox is one lane of the link from a member to a peer: the production queue, and its writer. The
// writer is an event: it takes a batch, encodes and decodes it by the production code, and plans
// the arrival of each message. On a slow link it takes the next batch when this one is on its way.
type outbox struct {
	world    *World
	from, to *Member
	lane     lanes.Lane
	queue    *lanes.Queue
	limit    int // bytes
	writing  bool
	// waiting is what the queue should hold: forwarded proposals, and the others, in order.
	waiting [2][]queuedMessage
}

// queuedMessage is a message with its number among all that were sent.
type queuedMessage struct {
	lanes.Message
	id   uint64
	over contact
}

// batchBytes is the size up to which a batch takes messages.
const batchBytes = 4 << 10

// outbox returns a lane of the link of this run to a peer.
func (m *Member) outbox(to *Member, lane lanes.Lane) *outbox {
	at := 2*int(to.id-1) + int(lane)
	if m.outboxes == nil {
		m.outboxes = make([]*outbox, 2*m.world.Size)
	}
	if m.outboxes[at] == nil {
		m.outboxes[at] = newOutbox(m, to, lane)
	}
	return m.outboxes[at]
}

func newOutbox(from, to *Member, lane lanes.Lane) *outbox {
	limit := from.world.QueueBytes
	o := &outbox{world: from.world, from: from, to: to, lane: lane, limit: limit, queue: lanes.NewQueue(limit)}
	o.queue.OnDrop(o.dropped)
	o.queue.Accept()
	return o
}

// clearOutboxes drops what waits to be sent, at the end of a run or when the links close.
func (m *Member) clearOutboxes(why string) {
	for _, o := range m.outboxes {
		if o == nil {
			continue
		}
		for _, class := range o.waiting {
			for _, q := range class {
				m.world.dropMessage(m, o.to, q.id, q.Message.Message, why)
			}
		}
	}
	m.outboxes = nil
}

func classOf(m lanes.Message) int {
	if _, proposals := m.Message.(*messages.ForwardedProposals); proposals {
		return 0
	}
	return 1
}

// add queues a message. If that displaces others, the replicator for the peer is notified.
func (o *outbox) add(over contact, id uint64, m lanes.Message) {
	class := classOf(m)
	o.waiting[class] = append(o.waiting[class], queuedMessage{m, id, over})
	report := o.queue.Add(m)
	if o.queue.Bytes() > o.limit && o.queue.Len() > 1 {
		o.world.Fail("bounded queues", "the %v queue of member %d to %d holds %d bytes in %d messages", o.lane, o.from.id, o.to.id, o.queue.Bytes(), o.queue.Len())
	}
	if report {
		o.from.Post(actors.ReplicatorPath(o.to.id), &messages.EnvelopesDropped{Peer: o.to.id})
	}
	if !o.writing {
		o.writing = true
		o.from.after(0, o.write)
	}
}

// dropped observes that the queue drops a message: the oldest, of the others first.
func (o *outbox) dropped(m lanes.Message) {
	class := 1
	if len(o.waiting[1]) == 0 {
		class = 0
	}
	o.world.Counts.Displaced++
	o.world.dropMessage(o.from, o.to, o.takeExpected(class, m).id, m.Message, "full queue")
}

// takeExpected returns the message that leaves the queue, which must be the oldest of its class.
func (o *outbox) takeExpected(class int, m lanes.Message) queuedMessage {
	if len(o.waiting[class]) == 0 || o.waiting[class][0].Message.Message != m.Message {
		o.world.Fail("link order", "%T %v leaves the %v queue of member %d to %d out of its turn", m.Message, m.Message, o.lane, o.from.id, o.to.id)
		return queuedMessage{Message: m}
	}
	oldest := o.waiting[class][0]
	o.waiting[class] = o.waiting[class][1:]
	return oldest
}

// write takes a batch and sends it.
func (o *outbox) write() {
	w, most := o.world, batchBytes
	rate := w.network.bytesPerSecond[direction{o.from.id, o.to.id}]
	if rate > 0 {
		most = 1
	}
	batch := o.queue.Take(nil, most)
	if len(batch) == 0 {
		o.writing = false
		return
	}
	sent := make([]queuedMessage, len(batch))
	for i, m := range batch {
		sent[i] = o.takeExpected(classOf(m), m)
	}
	data, err := lanes.AppendBatch(nil, batch)
	if err != nil || len(data) != lanes.BatchSize(batch) {
		w.Fail("codec", "a batch of %d bytes has %d when it is encoded: %v", lanes.BatchSize(batch), len(data), err)
		return
	}
	w.events.marshalled(sent[0].id, data)
	took := time.Duration(0)
	if rate > 0 {
		took = time.Duration(len(data)) * time.Second / time.Duration(rate)
	}
	next := 0
	err = lanes.ForEach(data, func(role messages.Receiver, m messages.PeerMessage) {
		if next < len(batch) {
			o.transport(sent[next], role, m, took)
		}
		next++
	})
	if err != nil || next != len(batch) {
		w.Fail("codec", "of a batch of %d messages %d are decoded: %v", len(batch), next, err)
	}
	o.from.after(took, o.write)
}

// transport plans the arrival of a message that was decoded from a batch.
func (o *outbox) transport(sent queuedMessage, role messages.Receiver, m messages.PeerMessage, took time.Duration) {
	w, from, to, id, original := o.world, o.from, o.to, sent.id, sent.Message.Message
	if m == nil || role != sent.Role || id%16 == 0 && !proto.Equal(m, original) {
		w.Fail("codec", "%T %v for %v is decoded as %v for %v", original, original, sent.Role, m, role)
		return
	}
	if err := lanes.Check(from.id, role, m); err != nil {
		w.Fail("codec", "a link refuses a message of a member: %v", err)
		return
	}
	if w.network.cut[direction{from.id, to.id}] {
		w.dropMessage(from, to, id, original, "cut")
		return
	}
	copies := 1
	if w.Chance(w.Conditions.DuplicateRate) {
		w.Counts.Doubled++
		w.events.duplicated(from, to, id, m)
		copies = 2
	}
	for i := range copies {
		if i > 0 {
			m = proto.Clone(m).(messages.PeerMessage) // members share no memory with each other, nor with themselves
		}
		w.After(took+w.arrivalDelay(o, took), func() { w.arrive(sent.over, role, id, m) })
	}
}

// arrive delivers a message to the actor that it is for.
func (w *World) arrive(over contact, role messages.Receiver, id uint64, m messages.PeerMessage) {
	from, to := over.from, over.to
	switch {
	case w.network.cut[direction{from.id, to.id}]:
		w.dropMessage(from, to, id, m, "cut in transit")
		return
	case !to.up:
		w.dropMessage(from, to, id, m, "receiver is down")
		return
	case !w.admitted(over):
		w.dropMessage(from, to, id, m, "data directory refused")
		return
	}
	w.events.arrived(from, to, id, m)
	path := actors.NodePath
	if role == messages.Receiver_RECEIVER_REPLICATOR {
		path = actors.ReplicatorPath(from.id)
	}
	to.Post(path, m)
}
