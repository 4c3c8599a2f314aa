// Package handshake tells of a TLS handshake that came to nothing which side refused the other, and over which certificate:
// what an operator needs, and what the errors of crypto/tls say only between the lines.
package handshake

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"

	"github.com/rs/zerolog"
)

// Side is who ended a handshake.
type Side int

const (
	// Here: this side refused what the caller showed, or the caller showed nothing of the kind.
	Here Side = iota
	// There: the caller refused this side's certificate.
	There
	// Neither: the connection ended in the middle, without a word.
	Neither
)

// Failure is a handshake of the called side that came to nothing.
type Failure struct {
	By Side
	// Reason is without addresses: they would make each failure a new one.
	Reason string
	// Certificate is what the caller showed, and SignedBy who signed it, if this side refused it.
	Certificate, SignedBy string
}

// Of looks into the error of a handshake.
func Of(err error) Failure {
	f := Failure{Reason: err.Error()}
	var op *net.OpError
	if errors.As(err, &op) {
		f.Reason = op.Err.Error()
	}
	switch {
	case op != nil && op.Op == "remote error": // the caller's alert
		f.By = There
	case op != nil || errors.Is(err, io.EOF):
		f.By = Neither
	}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0 {
		shown := unverified.UnverifiedCertificates[0]
		f.Certificate, f.SignedBy = name(shown.Subject), name(shown.Issuer)
	}
	return f
}

func name(n pkix.Name) string {
	if text := n.String(); text != "" {
		return text
	}
	return "nameless"
}

// Log adds what is known to a line.
func (f Failure) Log(line *zerolog.Event, caller net.Addr) *zerolog.Event {
	line.Str("caller", caller.String()).Str("reason", f.Reason)
	if f.Certificate != "" {
		line.Str("certificate", f.Certificate).Str("signed-by", f.SignedBy)
	}
	return line
}
