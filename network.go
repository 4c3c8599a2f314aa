package troupe

import (
	"time"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

// Network connects nodes of one process. Tests cut, delay and filter its messages. Its methods may
// be called at any time, from any goroutine.
type Network struct{ local *live.LocalNetwork }

// NewNetwork makes a network without nodes. A node joins it through Config.Network.
func NewNetwork() *Network { return &Network{live.NewLocalNetwork()} }

// Cut breaks the connection of members a and b in both directions.
func (n *Network) Cut(a, b uint64) { n.local.Cut(a, b) }

// CutOneWay drops what `from` sends to `to`. Both notice that the connection is broken, as over
// TCP, where acknowledgements are lost too.
func (n *Network) CutOneWay(from, to uint64) { n.local.CutOneWay(from, to) }

// Heal ends the cuts between members a and b in both directions.
func (n *Network) Heal(a, b uint64) { n.local.Heal(a, b) }

// Isolate cuts the connections of a member to all others that are on the network.
func (n *Network) Isolate(id uint64) { n.local.Isolate(id) }

// HealAll ends all cuts and delays.
func (n *Network) HealAll() { n.local.HealAll() }

// Delay delays what `from` sends to `to` by d, and keeps the order. 0 ends the delay.
func (n *Network) Delay(from, to uint64, d time.Duration) { n.local.Delay(from, to, d) }

// Filter drops the messages for which passes returns false, without a sign to the members. It is
// called on the goroutine of the sender, so it must not wait. Nil ends the filter.
func (n *Network) Filter(passes func(MessageInTransit) bool) {
	if passes == nil {
		n.local.Filter(nil)
		return
	}
	n.local.Filter(func(m live.MessageInTransit) bool { return passes(MessageInTransit(m)) })
}

// MessageInTransit is a message on a Network, as Network.Filter sees it. It must not be changed.
type MessageInTransit struct {
	From, To uint64            // ids of members
	Role     messages.Receiver // the actor that receives it: the Node, or a Replicator
	Message  messages.PeerMessage
}
