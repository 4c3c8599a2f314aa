package link

import "sync/atomic"

// roster is who is known, for readers that must not wait: an immutable map that SetPeers replaces.
type peerTable struct {
	peers atomic.Pointer[map[uint64]*linkPeer]
}

func (r *peerTable) get(id uint64) *linkPeer { return r.all()[id] }

func (r *peerTable) all() map[uint64]*linkPeer {
	if peers := r.peers.Load(); peers != nil {
		return *peers
	}
	return nil
}

func (r *peerTable) set(peers map[uint64]*linkPeer) { r.peers.Store(&peers) }
