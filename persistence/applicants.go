package persistence

// Heard notes a message over a connection that was admitted: the peer runs on the data directory
// that it has promised with. So a request to rejoin in its name ends, which another process made
// with another directory. If that process still waits, it asks again when it connects.
func (p *PeerStorage) Heard(peer uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.applicants, peer)
}
