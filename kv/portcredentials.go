package kv

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// portCredentials passes to the gRPC server the result of the TLS handshake that portMux has made.
type portCredentials struct{}

// plainAuthInfo is the AuthInfo of a connection without TLS.
type plainAuthInfo struct {
	credentials.CommonAuthInfo
	conn *portConn
}

func (plainAuthInfo) AuthType() string { return "insecure" }

// tlsAuthInfo is the AuthInfo of a connection with TLS.
type tlsAuthInfo struct {
	credentials.TLSInfo
	conn *portConn
}

// connectionOf returns the connection of a call; nil if it is not one of portMux.
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
	return nil, nil, errors.New("portCredentials are for servers only")
}

func (portCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c portCredentials) Clone() credentials.TransportCredentials { return c }
func (portCredentials) OverrideServerName(string) error           { return nil }
