package kv

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// portCredentials tells the gRPC server that a connection's TLS handshake was done by the portMux, and with whom.
type portCredentials struct{}

// plainAuthInfo is what is known of a peer that came without TLS.
type plainAuthInfo struct {
	credentials.CommonAuthInfo
	conn *portConn
}

func (plainAuthInfo) AuthType() string { return "insecure" }

// tlsAuthInfo is what is known of one that came with TLS.
type tlsAuthInfo struct {
	credentials.TLSInfo
	conn *portConn
}

// connectionOf is the connection that a call came over; nil if it was not one of the port's.
func connectionOf(ctx context.Context) *portConn {
	if p, ok := peer.FromContext(ctx); ok {
		switch info := p.AuthInfo.(type) {
		case plainAuthInfo:
			return info.conn
		case tlsAuthInfo:
			return info.conn
		}
	}
	return nil
}

func (portCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(*portConn)
	if !ok || c.tls == nil {
		return conn, plainAuthInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, c}, nil
	}
	return conn, tlsAuthInfo{credentials.TLSInfo{
		State:          c.tls.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, c}, nil
}

func (portCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials serve, they do not dial")
}

func (portCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c portCredentials) Clone() credentials.TransportCredentials { return c }
func (portCredentials) OverrideServerName(string) error           { return nil }
