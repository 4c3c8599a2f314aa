package settings

import (
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/internal/certs"
	"github.com/troupe-raft/troupe/internal/defaults"
)

// Server is what a server is started with: checked as a whole.
type Server struct {
	Name    string
	DataDir string
	// ID is derived from the flags; a data directory that exists already has the last word when ClusterGiven is false.
	ID    uint64
	Token string
	// Members is the cluster as the flags name it, in the order of ids.
	Members []Member
	// ClusterGiven: the operator named the cluster, so that a data directory of another one is a mistake worth stopping
	// for. False: the flags say nothing, and a restart goes by the data directory alone.
	ClusterGiven bool
	// Existing: --initial-cluster-state=existing; no new cluster may come into being.
	Existing bool

	ListenClient    []URL
	ListenPeer      []URL
	ListenMetrics   []URL
	AdvertiseClient []string
	Heartbeat       time.Duration
	Election        time.Duration
	PeerLink        string
	DirectIO        bool

	QuotaBytes      int64
	WatchProgress   time.Duration
	MaxRequestBytes uint64
	MaxTxnOps       int
	MaxStreams      uint32
	MaxConnections  int
	MaxAnswerBytes  int64
	Keepalive       Keepalive

	ClientTLS certs.Server
	PeerTLS   certs.Server

	Pprof         bool
	StopWithStdin bool
	// Warnings are worth a line in the log each.
	Warnings []string
}

// Keepalive is how connections of clients are kept and found dead.
type Keepalive struct {
	MinTime, Interval, Timeout time.Duration
}

// The bounds are etcd's, so that nobody's settings are refused here that worked there.
const (
	maxElectionMillis      = 50000
	heartbeatsPerTerm      = 5
	minResponseBudgetBytes = 1 << 20
	maxRequestBytesLimit   = 512 << 20
)

// Resolve checks everything that was set and puts it together. fs is what the flags were registered in: it knows what was
// set and what was left alone.
func (f *Flags) Resolve(fs *pflag.FlagSet) (*Server, error) {
	s := &Server{
		Name: f.Name, Token: f.InitialClusterToken, PeerLink: f.PeerLink, DirectIO: f.DirectIO,
		Pprof: f.EnablePprof, StopWithStdin: f.StopWithStdin,
		MaxStreams: f.MaxConcurrentStreams,
	}
	for _, step := range []func(*Server, *pflag.FlagSet) error{
		f.resolveNames, f.resolveURLs, f.resolveCluster, f.resolveTiming, f.resolveLimits, f.resolveTLS,
	} {
		if err := step(s, fs); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (f *Flags) resolveNames(s *Server, fs *pflag.FlagSet) error {
	if strings.TrimSpace(f.Name) == "" {
		return &Error{"--name", "is empty", "give the member a name of its own"}
	}
	if strings.ContainsAny(f.Name, "=,") {
		return &Error{"--name", fmt.Sprintf("%q holds a = or a comma", f.Name), "--initial-cluster could not name it"}
	}
	if !contains([]string{"new", "existing"}, f.InitialClusterState) {
		return &Error{"--initial-cluster-state", fmt.Sprintf("%q is neither new nor existing", f.InitialClusterState), ""}
	}
	if !contains([]string{"grpc", "remote"}, f.PeerLink) {
		return &Error{"--peer-link", fmt.Sprintf("%q is neither grpc nor remote", f.PeerLink), ""}
	}
	directory, err := filepath.Abs(f.defaultDataDir())
	if err != nil {
		return &Error{"--data-dir", err.Error(), "name a directory"}
	}
	s.DataDir = directory
	s.Existing = f.InitialClusterState == "existing"
	notes, err := AcceptedWarnings(fs)
	s.Warnings = append(s.Warnings, notes...)
	return err
}

func (f *Flags) resolveURLs(s *Server, fs *pflag.FlagSet) (err error) {
	if s.ListenClient, err = parseURLs("--listen-client-urls", f.ListenClientURLs, "http", "https", "unix", "unixs"); err != nil {
		return err
	}
	if anySecure(s.ListenClient) != allSecure(s.ListenClient) {
		return &Error{"--listen-client-urls", "mixes http and https", "use one of them"}
	}
	if f.ListenMetrics != "" {
		if s.ListenMetrics, err = parseURLs("--listen-metrics-urls", f.ListenMetrics, "http", "https"); err != nil {
			return err
		}
	}
	if s.ListenPeer, err = parseURLs("--listen-peer-urls", f.ListenPeerURLs, "http", "https"); err != nil {
		return err
	}
	if anySecure(s.ListenPeer) != allSecure(s.ListenPeer) {
		return &Error{"--listen-peer-urls", "mixes http and https", "use one of them"}
	}
	for _, u := range s.ListenPeer {
		if !u.Secure() && !u.Loopback() {
			s.Warnings = append(s.Warnings, fmt.Sprintf("members talk in plain text at %s: whoever reaches the port can speak as any member; "+
				"use https in the peer URLs, with --peer-cert-file, --peer-key-file and --peer-trusted-ca-file", u))
		}
	}
	advertised, err := advertise("--advertise-client-urls", f.AdvertiseClientURLs, s.ListenClient, "--listen-client-urls")
	if err != nil {
		return err
	}
	for _, u := range advertised {
		if u.Wildcard() {
			s.Warnings = append(s.Warnings, fmt.Sprintf("--advertise-client-urls tells clients %s, where only those on this machine find anything; name the host", u))
		}
	}
	s.AdvertiseClient = Strings(advertised)
	return nil
}

// advertise is what was said to be advertised, or else what is listened on, as long as that means anything to others.
func advertise(setting, text string, listening []URL, from string) ([]URL, error) {
	if text != "" {
		return parseURLs(setting, text, "http", "https", "unix", "unixs")
	}
	for _, u := range listening {
		if u.Wildcard() {
			return nil, &Error{setting, fmt.Sprintf("not set, and %s has %s, which means nothing to others", from, u), "name the host by which others reach this member"}
		}
	}
	return listening, nil
}

func (f *Flags) resolveCluster(s *Server, fs *pflag.FlagSet) error {
	if f.InitialClusterToken == "" {
		return &Error{"--initial-cluster-token", "is empty", "leave it out or give the cluster a word of its own"}
	}
	s.ClusterGiven = fs.Changed("initial-cluster") && f.InitialCluster != ""
	var peers []clusterMember
	var err error
	if s.ClusterGiven {
		if peers, err = parseInitialCluster(f.InitialCluster); err != nil {
			return err
		}
	} else {
		own, err := advertise("--initial-advertise-peer-urls", f.AdvertisePeerURLs, s.ListenPeer, "--listen-peer-urls")
		if err != nil {
			return err
		}
		peers = []clusterMember{{s.Name, own}}
	}
	own, err := f.findOwnMember(s, peers)
	if err != nil {
		return err
	}
	if s.PeerLink == "remote" && own[0].Wildcard() {
		return &Error{"--initial-advertise-peer-urls", own[0].String() + " cannot be reached by others", "name the host"}
	}
	if s.Members, err = newMembers(s.Token, peers); err != nil {
		return err
	}
	s.ID = MemberID(s.Token, own)
	return nil
}

// findOwnMember finds this member among the peers, and sees to it that what it says of itself is what the others hear.
func (f *Flags) findOwnMember(s *Server, peers []clusterMember) ([]URL, error) {
	names := make([]string, 0, len(peers))
	for _, p := range peers {
		names = append(names, p.name)
		if p.name != s.Name {
			continue
		}
		if f.AdvertisePeerURLs != "" {
			said, err := parseURLs("--initial-advertise-peer-urls", f.AdvertisePeerURLs, "http", "https")
			if err != nil {
				return nil, err
			}
			if !sameURLs(said, p.urls) {
				return nil, &Error{"--initial-cluster", fmt.Sprintf("member %q is at %s, but --initial-advertise-peer-urls says %s",
					s.Name, strings.Join(Strings(p.urls), ","), strings.Join(Strings(said), ",")), "make the two the same"}
			}
		}
		if listening := s.ListenPeer[0]; p.urls[0].Secure() != listening.Secure() {
			return nil, &Error{"--listen-peer-urls", fmt.Sprintf("listens on %s, but the others are told %s", listening, p.urls[0]), "use https for both or http for both"}
		}
		if f.AdvertisePeerURLs == "" && !listensOn(s.ListenPeer, p.urls[0]) {
			return nil, &Error{"--initial-cluster", fmt.Sprintf("member %q is at %s, but listens on %s", s.Name, p.urls[0], strings.Join(Strings(s.ListenPeer), ",")),
				"make the two the same, or say with --initial-advertise-peer-urls that others reach it there"}
		}
		return p.urls, nil
	}
	return nil, &Error{"--initial-cluster", fmt.Sprintf("holds no member %q, only %s", s.Name, strings.Join(names, ", ")), "set --name to this member's name in it"}
}

// listensOn tells whether one of the URLs listened on has the port by which others are told to come. Hosts may differ: a name
// here, an address there.
func listensOn(listening []URL, told URL) bool {
	for _, l := range listening {
		if l.Unix() || told.Unix() {
			return true
		}
		_, port, err := net.SplitHostPort(l.Address)
		_, wanted, wantedErr := net.SplitHostPort(told.Address)
		if err != nil || wantedErr != nil || port == wanted {
			return true
		}
	}
	return false
}

func (f *Flags) resolveTiming(s *Server, _ *pflag.FlagSet) error {
	switch {
	case f.HeartbeatMillis == 0:
		return &Error{"--heartbeat-interval", "is 0", "give milliseconds, for instance 100"}
	case f.ElectionMillis > maxElectionMillis:
		return &Error{"--election-timeout", fmt.Sprintf("%d ms is too long", f.ElectionMillis), fmt.Sprintf("give at most %d", maxElectionMillis)}
	case f.ElectionMillis < heartbeatsPerTerm*f.HeartbeatMillis:
		return &Error{"--election-timeout", fmt.Sprintf("%d ms is less than %d heartbeats of %d ms", f.ElectionMillis, heartbeatsPerTerm, f.HeartbeatMillis),
			fmt.Sprintf("give at least %d, or less for --heartbeat-interval", heartbeatsPerTerm*f.HeartbeatMillis)}
	}
	s.Heartbeat = time.Duration(f.HeartbeatMillis) * time.Millisecond
	s.Election = time.Duration(f.ElectionMillis) * time.Millisecond
	return nil
}

func (f *Flags) resolveLimits(s *Server, _ *pflag.FlagSet) error {
	switch {
	case f.MaxRequestBytes == 0 || f.MaxRequestBytes > maxRequestBytesLimit:
		return &Error{"--max-request-bytes", fmt.Sprintf("%d is not between 1 and %d", f.MaxRequestBytes, maxRequestBytesLimit), ""}
	case f.MaxTxnOps == 0 || f.MaxTxnOps > math.MaxInt32:
		return &Error{"--max-txn-ops", fmt.Sprintf("%d is not between 1 and %d", f.MaxTxnOps, math.MaxInt32), ""}
	case f.MaxConcurrentStreams == 0:
		return &Error{"--max-concurrent-streams", "is 0", "no client could be served"}
	case f.MaxConnections == 0 || f.MaxConnections > math.MaxInt32:
		return &Error{"--max-connections", fmt.Sprintf("%d is not between 1 and %d", f.MaxConnections, math.MaxInt32), ""}
	case f.MaxAnswerBytes < minResponseBudgetBytes:
		return &Error{"--max-answer-bytes", fmt.Sprintf("%d is below %d", f.MaxAnswerBytes, minResponseBudgetBytes), "give at least 1 MiB"}
	case f.KeepaliveMinTime < 0 || f.KeepaliveInterval < 0 || f.KeepaliveTimeout < 0:
		return &Error{"--grpc-keepalive-*", "a duration is negative", "give 0 or more"}
	}
	if f.WatchProgress < time.Second {
		return &Error{"--watch-progress-notify-interval", fmt.Sprintf("%v is too often", f.WatchProgress), "give at least 1s"}
	}
	s.WatchProgress = f.WatchProgress
	s.MaxRequestBytes, s.MaxTxnOps = uint64(f.MaxRequestBytes), int(f.MaxTxnOps)
	s.MaxConnections, s.MaxAnswerBytes = int(f.MaxConnections), f.MaxAnswerBytes
	s.Keepalive = Keepalive{f.KeepaliveMinTime, f.KeepaliveInterval, f.KeepaliveTimeout}
	switch {
	case f.QuotaBackendBytes == 0:
		s.QuotaBytes = defaults.QuotaBytes
	case f.QuotaBackendBytes > 0:
		s.QuotaBytes = f.QuotaBackendBytes
	}
	return nil
}
