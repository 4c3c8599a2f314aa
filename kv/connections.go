package kv

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// LimitMetricsConnections returns a listener with at most MaxMetricsConnections connections,
// together with the other listeners that it returned. They do not count as the client port's, so
// that monitoring can connect while the client port is full.
func (s *Server) LimitMetricsConnections(l net.Listener) net.Listener {
	return s.metricsConnections.Listener(l)
}

// What a client receives on a connection above the limit, instead of an end without a reason: in
// plaintext a response of HTTP/1.1, which a gRPC client shows in its error; with TLS, before any
// handshake, an alert that says that the fault is not the client's (RFC 8446 §6.2: internal_error).
var (
	limitResponse = httpResponse(503, "Service Unavailable",
		"troupe: as many connections are open as --max-connections or the limit of open files allows: close some, or use other members too\n")
	metricsLimitResponse = httpResponse(503, "Service Unavailable",
		"troupe: as many connections are open as the listeners for metrics allow: reuse connections\n")
	limitAlert = []byte{21, 3, 3, 0, 2, 2, 80}
)

func httpResponse(code int, status, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		code, status, len(body), body)
}

// refuseTimeout bounds the write to a connection that was just accepted: its buffers are empty.
const refuseTimeout = 100 * time.Millisecond

// refuseConnection tells a client why its connection is closed: with text, or with an alert of TLS.
// secure is true for a listener whose TLS handshake comes later; the connections of a TLS listener
// make it at the first write, which is avoided.
func refuseConnection(conn net.Conn, secure bool, text []byte) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn, secure = secured.NetConn(), true
	}
	if secure {
		text = limitAlert
	}
	if conn.SetWriteDeadline(time.Now().Add(refuseTimeout)) == nil {
		_, _ = conn.Write(text)
	}
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
