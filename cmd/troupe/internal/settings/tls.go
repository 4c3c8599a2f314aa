package settings

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/internal/certs"
)

// resolveTLS decides which URLs use TLS and checks that URLs, flags and versions agree. Package
// certs reads the files; its errors have an exit code of their own.
func (f *Flags) resolveTLS(s *Server, _ *pflag.FlagSet) error {
	protocol, protocolErr := f.tlsProtocol()
	clients := certs.Server{
		CertFile: f.CertFile, KeyFile: f.KeyFile, CAFile: f.TrustedCAFile,
		// A CA alone means that clients need a certificate, as with etcd.
		RequireClientCert: f.ClientCertAuth || f.TrustedCAFile != "",
		SelfSigned:        f.AutoTLS, SelfSignedDir: filepath.Join(s.DataDir, "fixtures", "client"), SelfSignedYears: f.SelfSignedYears,
		Hosts: hostsOf(s.ListenClient), Protocol: protocol,
	}
	peers := certs.Server{
		CertFile: f.PeerCertFile, KeyFile: f.PeerKeyFile, CAFile: f.PeerTrustedCAFile,
		ClientCertFile: f.PeerClientCertFile, ClientKeyFile: f.PeerClientKeyFile,
		RequireClientCert: f.PeerClientCert || f.PeerTrustedCAFile != "",
		SelfSigned:        f.PeerAutoTLS, SelfSignedDir: filepath.Join(s.DataDir, "fixtures", "peer"), SelfSignedYears: f.SelfSignedYears,
		Hosts: hostsOf(s.ListenPeer), Protocol: protocol, Mutual: true, AdvertisedHost: s.advertisedHost(),
	}
	metricsSecure := anySecure(s.ListenMetrics)
	var clientErr, peerErr error
	s.ClientTLS, clientErr = checkTLS(s, clients, "", "--listen-client-urls", anySecure(s.ListenClient) || metricsSecure)
	s.PeerTLS, peerErr = checkTLS(s, peers, "peer-", "--listen-peer-urls", anySecure(s.ListenPeer))
	return errors.Join(protocolErr, clientErr, peerErr)
}

// checkTLS checks the flags of the client side or the peer side against its URLs. The names of its
// flags begin with prefix.
func checkTLS(s *Server, tls certs.Server, prefix, urls string, secure bool) (certs.Server, error) {
	cert, key, ca, auth := "--"+prefix+"cert-file", "--"+prefix+"key-file", "--"+prefix+"trusted-ca-file", "--"+prefix+"client-cert-auth"
	switch {
	case tls.CertFile != "" && tls.KeyFile == "":
		return tls, &Error{key, "is missing beside " + cert, "name the certificate's private key"}
	case tls.KeyFile != "" && tls.CertFile == "":
		return tls, &Error{cert, "is missing beside " + key, "name the key's certificate"}
	case tls.ClientCertFile != "" && tls.ClientKeyFile == "":
		return tls, &Error{"--peer-client-key-file", "is missing beside --peer-client-cert-file", "name the certificate's private key"}
	case tls.ClientKeyFile != "" && tls.ClientCertFile == "":
		return tls, &Error{"--peer-client-cert-file", "is missing beside --peer-client-key-file", "name the key's certificate"}
	case tls.ClientCertFile != "" && tls.CertFile == "":
		return tls, &Error{"--peer-client-cert-file", "needs --peer-cert-file", "name the certificate for accepting connections too"}
	case tls.RequireClientCert && tls.CAFile == "" && !tls.SelfSigned:
		return tls, &Error{auth, "needs " + ca, "name the CA that signs the required certificates"}
	case secure && tls.CertFile == "" && !tls.SelfSigned:
		return tls, &Error{urls, "uses https, but there is no certificate", fmt.Sprintf("set %s and %s, or --%sauto-tls", cert, key, prefix)}
	case !secure && (tls.CertFile != "" || tls.CAFile != "" || tls.SelfSigned):
		s.Warn(cert, fmt.Sprintf("has no effect, and neither have the flags beside it: %s has no https URL, and nothing is encrypted there", urls),
			"use https in "+urls)
		return certs.Server{}, nil
	case !secure:
		return certs.Server{}, nil
	}
	if tls.CertFile != "" {
		tls.SelfSigned = false // the files have precedence, as with etcd
	}
	tls.Enabled = true
	return tls, nil
}

func (f *Flags) tlsProtocol() (certs.Protocol, error) {
	versions := map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}
	lowest, known := versions[f.TLSMinVersion]
	if !known || lowest == 0 {
		return certs.Protocol{}, &Error{"--tls-min-version", fmt.Sprintf("%q is not supported", f.TLSMinVersion), "use TLS1.2 or TLS1.3"}
	}
	highest, known := versions[f.TLSMaxVersion]
	if !known {
		return certs.Protocol{}, &Error{"--tls-max-version", fmt.Sprintf("%q is not supported", f.TLSMaxVersion), "use TLS1.2 or TLS1.3, or leave it empty"}
	}
	if highest != 0 && highest < lowest {
		return certs.Protocol{}, &Error{"--tls-max-version", fmt.Sprintf("%s is below --tls-min-version=%s", f.TLSMaxVersion, f.TLSMinVersion), ""}
	}
	suites, err := cipherSuites(f.CipherSuites)
	if err == nil && len(suites) > 0 && lowest == tls.VersionTLS13 {
		err = &Error{"--cipher-suites", "has no effect with TLS 1.3, which has no choice of them", "leave out this flag or --tls-min-version"}
	}
	return certs.Protocol{MinVersion: lowest, MaxVersion: highest, CipherSuites: suites}, err
}

// CipherSuiteNames returns the values of --cipher-suites in the order of their names.
func CipherSuiteNames() (all []string) {
	for _, suite := range tls.CipherSuites() {
		all = append(all, suite.Name)
	}
	sort.Strings(all)
	return all
}

func cipherSuites(names []string) ([]uint16, error) {
	known := map[string]uint16{}
	for _, suite := range tls.CipherSuites() {
		known[suite.Name] = suite.ID
	}
	var ids []uint16
	for _, name := range names {
		id, ok := known[name]
		if !ok {
			return nil, &Error{"--cipher-suites", fmt.Sprintf("%q is unknown or unsafe", name), "choose from " + strings.Join(CipherSuiteNames(), ", ")}
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func anySecure(urls []URL) bool {
	for _, u := range urls {
		if u.Secure() {
			return true
		}
	}
	return false
}

func allSecure(urls []URL) bool {
	for _, u := range urls {
		if !u.Secure() {
			return false
		}
	}
	return true
}

// advertisedHost returns the host under which the other members connect to this one.
func (s *Server) advertisedHost() string {
	for _, m := range s.Members {
		if m.ID == s.ID {
			if host, _, err := net.SplitHostPort(m.Address); err == nil {
				return host
			}
		}
	}
	return ""
}

// hostsOf returns the hosts that a self-signed certificate must name.
func hostsOf(urls []URL) []string {
	var names []string
	for _, u := range urls {
		if i := strings.LastIndex(u.Address, ":"); !u.Unix() && i > 0 {
			names = append(names, strings.Trim(u.Address[:i], "[]"))
		}
	}
	return names
}
