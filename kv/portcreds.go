package kv

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// portCredentials tells the gRPC server that a connection's TLS handshake was done by the portMux, and with whom.
type portCredentials struct{}

// plainInfo is what is known of a peer that came without TLS.
type plainInfo struct{ credentials.CommonAuthInfo }

func (plainInfo) AuthType() string { return "insecure" }

func (portCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(*portConn)
	if !ok || c.tls == nil {
		return conn, plainInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
	}
	return conn, credentials.TLSInfo{
		State:          c.tls.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

func (portCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials serve, they do not dial")
}

func (portCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c portCredentials) Clone() credentials.TransportCredentials { return c }
func (portCredentials) OverrideServerName(string) error           { return nil }
