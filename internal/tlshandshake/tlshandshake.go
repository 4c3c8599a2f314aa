// Package handshake tells of a TLS handshake that came to nothing which side refused the other, and over which certificate:
// what an operator needs, and what the errors of crypto/tls say only between the lines.
package tlshandshake

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"

	"github.com/rs/zerolog"
)

// RefusingSide is who ended a handshake.
type RefusingSide int

const (
	// LocalSide: this side refused what the caller showed, or the caller showed nothing of the kind.
	LocalSide RefusingSide = iota
	// RemoteSide: the caller refused this side's certificate.
	RemoteSide
	// UnknownSide: the connection ended in the middle, without a word.
	UnknownSide
)

// Failure is a handshake of the called side that came to nothing.
type Failure struct {
	RefusedBy RefusingSide
	// Reason is without addresses: they would make each failure a new one.
	Reason string
	// Certificate is what the caller showed, and Issuer who signed it, if this side refused it.
	Subject, Issuer string
}

// Classify looks into the error of a handshake.
func Classify(err error) Failure {
	f := Failure{Reason: err.Error()}
	var op *net.OpError
	if errors.As(err, &op) {
		f.Reason = op.Err.Error()
	}
	switch {
	case op != nil && op.Op == "remote error": // the caller's alert
		f.RefusedBy = RemoteSide
	case op != nil || errors.Is(err, io.EOF):
		f.RefusedBy = UnknownSide
	}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0 {
		shown := unverified.UnverifiedCertificates[0]
		f.Subject, f.Issuer = distinguishedName(shown.Subject), distinguishedName(shown.Issuer)
	}
	return f
}

func distinguishedName(n pkix.Name) string {
	if text := n.String(); text != "" {
		return text
	}
	return "nameless"
}

// Log adds what is known to a line.
func (f Failure) AddFields(line *zerolog.Event, caller net.Addr) *zerolog.Event {
	line.Str("caller", caller.String()).Str("reason", f.Reason)
	if f.Subject != "" {
		line.Str("certificate", f.Subject).Str("signed-by", f.Issuer)
	}
	return line
}
