package settings

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sort"
	"strconv"
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
// flags begin with prefix. secure is false also if the URLs are invalid.
func checkTLS(s *Server, tls certs.Server, prefix, urls string, secure bool) (certs.Server, error) {
	cert, key, ca, auth := "--"+prefix+"cert-file", "--"+prefix+"key-file", "--"+prefix+"trusted-ca-file", "--"+prefix+"client-cert-auth"
	var errs []error
	fail := func(setting, problem, advice string) { errs = append(errs, &Error{setting, problem, advice}) }
	switch {
	case tls.CertFile != "" && tls.KeyFile == "":
		fail(key, "is missing beside "+cert, "name the certificate's private key")
	case tls.KeyFile != "" && tls.CertFile == "":
		fail(cert, "is missing beside "+key, "name the key's certificate")
	case secure && tls.CertFile == "" && !tls.SelfSigned:
		fail(urls, "uses https, but there is no certificate", fmt.Sprintf("set %s and %s, or --%sauto-tls", cert, key, prefix))
	}
	switch {
	case tls.ClientCertFile != "" && tls.ClientKeyFile == "":
		fail("--peer-client-key-file", "is missing beside --peer-client-cert-file", "name the certificate's private key")
	case tls.ClientKeyFile != "" && tls.ClientCertFile == "":
		fail("--peer-client-cert-file", "is missing beside --peer-client-key-file", "name the key's certificate")
	case tls.ClientCertFile != "" && tls.CertFile == "" && tls.KeyFile == "":
		fail("--peer-client-cert-file", "needs --peer-cert-file", "name the certificate for accepting connections too")
	}
	if tls.RequireClientCert && tls.CAFile == "" && !tls.SelfSigned {
		fail(auth, "needs "+ca, "name the CA that signs the required certificates")
	}
	switch {
	case len(errs) > 0:
		return tls, errors.Join(errs...)
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
	var errs []error
	fail := func(setting, problem, advice string) { errs = append(errs, &Error{setting, problem, advice}) }
	versions := map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}
	lowest, known := versions[f.TLSMinVersion]
	if !known || lowest == 0 {
		fail("--tls-min-version", fmt.Sprintf("%q is not supported", f.TLSMinVersion), "use TLS1.2 or TLS1.3")
	}
	highest, known := versions[f.TLSMaxVersion]
	if !known {
		fail("--tls-max-version", fmt.Sprintf("%q is not supported", f.TLSMaxVersion), "use TLS1.2 or TLS1.3, or leave it empty")
	}
	if highest != 0 && highest < lowest {
		fail("--tls-max-version", fmt.Sprintf("%s is below --tls-min-version=%s", f.TLSMaxVersion, f.TLSMinVersion), "")
	}
	suites, err := cipherSuites(f.CipherSuites)
	if err == nil && len(suites) > 0 && lowest == tls.VersionTLS13 {
		err = &Error{"--cipher-suites", "has no effect with TLS 1.3, which has no choice of them", "leave out this flag or --tls-min-version"}
	}
	return certs.Protocol{MinVersion: lowest, MaxVersion: highest, CipherSuites: suites}, errors.Join(append(errs, err)...)
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
	var unknown []string
	for _, name := range names {
		id, ok := known[name]
		if !ok {
			unknown = append(unknown, strconv.Quote(name))
		}
		ids = append(ids, id)
	}
	if len(unknown) > 0 {
		return nil, &Error{"--cipher-suites", "unknown or unsafe: " + strings.Join(unknown, ", "), "choose from " + strings.Join(CipherSuiteNames(), ", ")}
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
