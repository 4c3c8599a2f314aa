package kv

import "net"

// LimitMetricsConnections returns a listener with at most MaxMetricsConnections connections,
// together with the other listeners that it returned. They do not count as the client port's, so
// that monitoring can connect while the client port is full.
func (s *Server) LimitMetricsConnections(l net.Listener) net.Listener {
	return s.metricsConnections.Listener(l)
}

// rejectConnection counts a connection that was closed because the client port has too many, and
// logs the 1st, 2nd, 4th and so on.
func (s *Server) rejectConnection(from net.Addr) {
	s.metrics.rejectedConns.Inc()
	if rejected, allow := s.rejected.Add(); allow {
		s.config.Logger.Warn().Stringer("remote", from).Uint64("rejected", rejected).Int("limit", s.config.MaxConnections).
			Str("advice", "close connections that are not used, use other members too, or raise --max-connections and the limit of open files").
			Msg("client connection limit reached")
	}
}

// rejectMetricsConnection is rejectConnection for the listeners for metrics.
func (s *Server) rejectMetricsConnection(from net.Addr) {
	s.metrics.rejectedConns.Inc()
	if rejected, allow := s.rejectedMetrics.Add(); allow {
		s.config.Logger.Warn().Stringer("remote", from).Uint64("rejected", rejected).Int("limit", s.config.MaxMetricsConnections).
			Str("advice", "let monitoring reuse its connections, and keep other clients away from --listen-metrics-urls").
			Msg("metrics connection limit reached")
	}
}

// acceptFailed logs each reason for which no connection could be accepted once.
func (s *Server) acceptFailed(err error) {
	if s.acceptLog.Allow(0, err.Error()) {
		s.config.Logger.Error().Err(err).
			Str("advice", "raise the limit of open files of the process or of the machine, or close other files; the server tries again").
			Msg("cannot accept client connections")
	}
}
