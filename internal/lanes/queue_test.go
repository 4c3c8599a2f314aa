package lanes

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
)

// modelQueue is a Queue without any care for speed: two lists, counted anew each time.
type modelQueue struct {
	limit             int
	accepting         bool
	proposals, others []Message
	dropped           uint64
	reported          bool
}

func (q *modelQueue) bytes() (n int) {
	for _, m := range slices.Concat(q.proposals, q.others) {
		n += m.Size + 64
	}
	return n
}

func (q *modelQueue) add(m Message) (report bool) {
	if !q.accepting {
		q.dropped++
		return false
	}
	if _, is := m.Message.(*messages.ForwardedProposals); is {
		q.proposals = append(q.proposals, m)
	} else {
		q.others = append(q.others, m)
	}
	for q.bytes() > q.limit && len(q.proposals)+len(q.others) > 1 {
		if len(q.others) > 0 {
			q.others = q.others[1:]
		} else {
			q.proposals = q.proposals[1:]
		}
		q.dropped++
		report, q.reported = report || !q.reported, true
	}
	return report
}

func (q *modelQueue) take(maxBytes int) (batch []Message) {
	q.reported = false
	for total := 0; total < maxBytes && len(q.proposals)+len(q.others) > 0; {
		from := &q.proposals
		if len(q.proposals) == 0 {
			from = &q.others
		}
		batch = append(batch, (*from)[0])
		total += (*from)[0].Size
		*from = (*from)[1:]
	}
	return batch
}

func TestQueueDoesWhatItsModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(100, 3000).Draw(t, "limit")
		q, model := NewQueue(limit), &modelQueue{limit: limit}
		number := uint64(0)
		add := func(t *rapid.T) {
			number++
			m := Message{Role: messages.Receiver_RECEIVER_NODE, Size: rapid.IntRange(0, 400).Draw(t, "size"), Message: &messages.AppendEntries{Sequence: number}}
			if rapid.Bool().Draw(t, "proposals") {
				m.Message = &messages.ForwardedProposals{Number: number}
			}
			if got, want := q.Add(m), model.add(m); got != want {
				t.Fatalf("message %d: reports drops %v, want %v", number, got, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add,
			"add many": func(t *rapid.T) { // so that the list of a fifo moves
				for range 70 {
					add(t)
				}
			},
			"take": func(t *rapid.T) {
				bytes := rapid.IntRange(1, 2000).Draw(t, "bytes")
				if got, want := q.Take(nil, bytes), model.take(bytes); !slices.Equal(got, want) {
					t.Fatalf("takes %v, want %v", got, want)
				}
			},
			"accept": func(*rapid.T) { q.Accept(); model.accepting = true },
			"refuse": func(*rapid.T) {
				q.Refuse()
				model.dropped += uint64(len(model.proposals) + len(model.others))
				model.accepting, model.proposals, model.others = false, nil, nil
			},
			"": func(t *rapid.T) {
				if q.Bytes() != model.bytes() || q.Dropped() != model.dropped || q.Len() != len(model.proposals)+len(model.others) {
					t.Fatalf("%d messages of %d bytes, %d dropped; want %+v", q.Len(), q.Bytes(), q.Dropped(), model)
				}
			},
		})
	})
}

// What fills a queue, or a batch, exactly still fits; one byte more does not.
func TestQueueBoundary(t *testing.T) {
	message := Message{Size: 100, Message: &messages.Heartbeat{}}
	for limit, want := range map[int]int{2*message.queueCost() - 1: 1, 2 * message.queueCost(): 2} {
		q := NewQueue(limit)
		q.Accept()
		first, second := q.Add(message), q.Add(message)
		if dropped := first || second; q.Len() != want || dropped != (want == 1) {
			t.Errorf("a queue of %d bytes holds %d messages of %d", limit, q.Len(), message.queueCost())
		}
	}
	for maxBytes, want := range map[int]int{199: 2, 200: 2, 201: 3} {
		q := NewQueue(1000)
		q.Accept()
		for range 3 {
			q.Add(message)
		}
		if batch := q.Take(nil, maxBytes); len(batch) != want {
			t.Errorf("a batch of %d bytes takes %d messages of %d", maxBytes, len(batch), message.Size)
		}
	}
}
