package link

import "sync/atomic"

// peerTable holds the peers by id. Readers do not block: the map is replaced, never changed.
type peerTable struct {
	peers atomic.Pointer[map[uint64]*linkPeer]
}

func (t *peerTable) get(id uint64) *linkPeer { return t.all()[id] }

func (t *peerTable) all() map[uint64]*linkPeer {
	if peers := t.peers.Load(); peers != nil {
		return *peers
	}
	return nil
}

func (t *peerTable) set(peers map[uint64]*linkPeer) { t.peers.Store(&peers) }
