// Package tlshandshake describes a failed TLS handshake for the log of a server: which side refused
// the other, and because of which certificate. The errors of crypto/tls do not say so directly.
package tlshandshake

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"

	"github.com/rs/zerolog"
)

// RefusingSide is the side that ended a handshake.
type RefusingSide int

const (
	// LocalSide: this server refused the client's certificate, or the client did not send one, or no
	// TLS.
	LocalSide RefusingSide = iota
	// RemoteSide: the client refused this server's certificate.
	RemoteSide
	// UnknownSide: the connection ended during the handshake without an alert.
	UnknownSide
)

// Failure is a failed handshake of a server.
type Failure struct {
	RefusedBy RefusingSide
	// Reason contains no addresses, so that equal failures have equal reasons.
	Reason string
	// Subject and Issuer are of the client's certificate, if this server refused it.
	Subject, Issuer string
}

// Classify finds out from the error of a handshake which side refused.
func Classify(err error) Failure {
	f := Failure{Reason: err.Error()}
	var op *net.OpError
	if errors.As(err, &op) {
		f.Reason = op.Err.Error()
	}
	switch {
	case op != nil && op.Op == "remote error": // an alert of the client
		f.RefusedBy = RemoteSide
	case op != nil || errors.Is(err, io.EOF):
		f.RefusedBy = UnknownSide
	}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0 {
		certificate := unverified.UnverifiedCertificates[0]
		f.Subject, f.Issuer = distinguishedName(certificate.Subject), distinguishedName(certificate.Issuer)
	}
	return f
}

func distinguishedName(n pkix.Name) string {
	if text := n.String(); text != "" {
		return text
	}
	return "nameless"
}

// AddFields adds the facts to a log event.
func (f Failure) AddFields(event *zerolog.Event, remote net.Addr) *zerolog.Event {
	event.Stringer("remote", remote).Str("reason", f.Reason)
	if f.Subject != "" {
		event.Str("certificate", f.Subject).Str("signed-by", f.Issuer)
	}
	return event
}
