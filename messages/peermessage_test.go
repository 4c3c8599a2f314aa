package messages

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Every case of Envelope.message is in the list, under its own number, with methods that fit
// together.
func TestEveryEnvelopeCaseIsAPeerMessage(t *testing.T) {
	cases := (&Envelope{}).ProtoReflect().Descriptor().Oneofs().ByName("message").Fields()
	listed := 0
	for _, newMessage := range peerMessages {
		if newMessage != nil {
			listed++
		}
	}
	if listed != cases.Len() {
		t.Errorf("%d messages are listed, Envelope has %d cases", listed, cases.Len())
	}
	for i := range cases.Len() {
		field := cases.Get(i)
		t.Run(string(field.Name()), func(t *testing.T) {
			m := NewPeerMessage(field.Number())
			if m == nil || m.ProtoReflect().Descriptor() != field.Message() || m.EnvelopeField() != field.Number() {
				t.Fatalf("field %d makes %T, want %s", field.Number(), m, field.Message().FullName())
			}
			sender := senderField(t, m)
			m.ProtoReflect().Set(sender, protoreflect.ValueOfUint64(7))
			if m.SenderID() != 7 {
				t.Errorf("%s = 7 and SenderID() = %d", sender.Name(), m.SenderID())
			}
			e := NewEnvelope(Receiver_RECEIVER_NODE, m)
			if set := e.ProtoReflect().WhichOneof(field.ContainingOneof()); set != field || e.PeerMessage() != m {
				t.Errorf("the envelope holds %v and returns %v", set, e.PeerMessage())
			}
			if name, _ := m.Trace(); name != string(field.Message().Name()) {
				t.Errorf("the trace names it %q", name)
			}
		})
	}
}

// senderField returns the first of the fields that name a sender.
func senderField(t *testing.T, m proto.Message) protoreflect.FieldDescriptor {
	t.Helper()
	fields := m.ProtoReflect().Descriptor().Fields()
	for _, name := range []protoreflect.Name{"from", "leader", "candidate", "voter"} {
		if field := fields.ByName(name); field != nil {
			return field
		}
	}
	t.Fatalf("%T has no field that names its sender", m)
	return nil
}

func TestUnknownEnvelopeFieldHasNoMessage(t *testing.T) {
	for _, field := range []protowire.Number{-1, 0, 1, protowire.Number(len(peerMessages)), 1 << 28} {
		if m := NewPeerMessage(field); m != nil {
			t.Errorf("field %d makes %T", field, m)
		}
	}
	if m := (&Envelope{}).PeerMessage(); m != nil {
		t.Errorf("an empty envelope holds %T", m)
	}
}
