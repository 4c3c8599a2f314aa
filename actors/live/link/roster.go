package link

import "sync/atomic"

// roster is who is known, for readers that must not wait: an immutable map that SetPeers replaces.
type roster struct {
	peers atomic.Pointer[map[uint64]*peer]
}

func (r *roster) get(id uint64) *peer { return r.all()[id] }

func (r *roster) all() map[uint64]*peer {
	if peers := r.peers.Load(); peers != nil {
		return *peers
	}
	return nil
}

func (r *roster) set(peers map[uint64]*peer) { r.peers.Store(&peers) }
