package settings

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/internal/certs"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/raft"
)

// Server holds the checked settings of a server.
type Server struct {
	Name    string
	DataDir string
	// DataDirGiven reports whether --data-dir is set.
	DataDirGiven bool
	// ID is the member's id as MemberID derives it from the flags.
	ID    uint64
	Token string
	// Members are the members of the cluster, in the order of their ids.
	Members []Member
	// ClusterGiven reports whether --initial-cluster is set.
	ClusterGiven bool
	// Existing reports --initial-cluster-state=existing: no new cluster may begin.
	Existing bool
	// Rejoin reports --initial-cluster-state=rejoin: an empty data directory replaces a lost one.
	Rejoin bool

	ListenClient    []URL
	ListenPeer      []URL
	ListenMetrics   []URL
	AdvertiseClient []string
	Heartbeat       time.Duration
	Election        time.Duration
	PeerLink        string
	DirectIO        bool

	QuotaBytes       int64
	DiskLowWater     uint64 // bytes
	WatchProgress    time.Duration
	MaxRequestBytes  uint64
	MaxTxnOps        int
	MaxStreams       uint32
	MaxConnections   int
	MaxResponseBytes int64
	Keepalive        Keepalive

	ClientTLS certs.Server
	PeerTLS   certs.Server

	Pprof bool
	// ExtensiveMetrics adds histograms by method.
	ExtensiveMetrics bool
	StopWithStdin    bool
	// Warnings are the settings that have no effect or are a risk; each is one line in the log.
	Warnings []Error
}

// Warn adds a warning about a setting.
func (s *Server) Warn(setting, problem, advice string) {
	s.Warnings = append(s.Warnings, Error{setting, problem, advice})
}

// Keepalive holds the intervals of pings on client connections, and the time to respond to one.
type Keepalive struct {
	MinTime, Interval, Timeout time.Duration
}

// The bounds are etcd's: settings that etcd accepts are accepted here.
const (
	maxElectionMillis      = 50000
	minHeartbeats          = 5 // in one election timeout
	minResponseBudgetBytes = 1 << 20
	minDiskLowWaterBytes   = 16 << 20
)

// RequestOverheadBytes is the number of bytes by which a command of the log may exceed the request
// in it.
const RequestOverheadBytes = 1 << 20

// Resolve checks all settings together and returns them. fs is the flag set of Register; it records
// which flags were set. The error joins what is invalid; each part is an *Error.
func (f *Flags) Resolve(fs *pflag.FlagSet) (*Server, error) {
	s := &Server{
		Name: f.Name, Token: f.InitialClusterToken, PeerLink: f.PeerLink, DirectIO: f.DirectIO,
		Pprof: f.EnablePprof, StopWithStdin: f.StopWithStdin,
		MaxStreams: f.MaxConcurrentStreams,
	}
	err := errors.Join(f.resolveNames(s, fs), f.resolveMetrics(s))
	// The cluster and TLS are checked against those URLs that are valid.
	err = errors.Join(err, f.resolveURLs(s), f.resolveCluster(s, fs), f.resolveTLS(s, fs))
	if err = errors.Join(err, f.resolveTiming(s, fs), f.resolveLimits(s, fs)); err != nil {
		return nil, err
	}
	s.warnOfEmptyFlags(fs)
	return s, nil
}

// warnOfEmptyFlags warns of flags that the command line sets to nothing, which a shell variable
// does that is not set.
func (s *Server) warnOfEmptyFlags(fs *pflag.FlagSet) {
	fs.Visit(func(flag *pflag.Flag) {
		if flag.Value.Type() != "string" || flag.Value.String() != "" || isAccepted(flag.Name) {
			return
		}
		problem, advice := "is empty, which means its default", "give a value, or leave the flag out"
		if flag.Name == "initial-cluster-token" { // as in etcd; the ids of the members depend on it
			problem, advice = "is empty, which is another token than the default", "give all members the same"
		}
		s.Warn("--"+flag.Name, problem, advice)
	})
}

func (f *Flags) resolveNames(s *Server, fs *pflag.FlagSet) error {
	var errs []error
	fail := func(setting, problem, advice string) { errs = append(errs, &Error{setting, problem, advice}) }
	switch {
	case strings.TrimSpace(f.Name) == "":
		fail("--name", "is empty", "give the member a name that no other member has")
	case strings.ContainsAny(f.Name, "=,"):
		fail("--name", fmt.Sprintf("%q holds a = or a comma, which --initial-cluster cannot name", f.Name), "leave the character out")
	}
	if !slices.Contains([]string{"new", "existing", "rejoin"}, f.InitialClusterState) {
		fail("--initial-cluster-state", fmt.Sprintf("%q is neither new nor existing nor rejoin", f.InitialClusterState), "")
	}
	if !slices.Contains([]string{"grpc", "remote"}, f.PeerLink) {
		fail("--peer-link", fmt.Sprintf("%q is neither grpc nor remote", f.PeerLink), "")
	}
	directory, err := filepath.Abs(f.dataDir())
	if err != nil {
		fail("--data-dir", err.Error(), "name a directory")
	}
	s.DataDir, s.DataDirGiven = directory, f.DataDir != ""
	s.Existing = f.InitialClusterState == "existing"
	s.Rejoin = f.InitialClusterState == "rejoin"
	warnings, refused := AcceptedWarnings(fs)
	s.Warnings = append(s.Warnings, warnings...)
	return errors.Join(append(errs, refused)...)
}

// resolveURLs sets the URLs. A list with an error stays empty.
func (f *Flags) resolveURLs(s *Server) error {
	var clientErr, peerErr, metricsErr error
	s.ListenClient, clientErr = parseListenURLs("--listen-client-urls", f.ListenClientURLs, "http", "https", "unix", "unixs")
	s.ListenPeer, peerErr = parseListenURLs("--listen-peer-urls", f.ListenPeerURLs, "http", "https")
	if f.ListenMetrics != "" {
		s.ListenMetrics, metricsErr = parseURLs("--listen-metrics-urls", f.ListenMetrics, "http", "https")
	}
	for _, u := range s.ListenPeer {
		if !u.Secure() && !u.Loopback() {
			s.Warn("--listen-peer-urls", fmt.Sprintf("members send plain text to %s, and anyone who can reach that port can act as any member", u),
				"use https in the peer URLs, with --peer-cert-file, --peer-key-file and --peer-trusted-ca-file")
		}
	}
	advertised, advertisedErr := advertise("--advertise-client-urls", f.AdvertiseClientURLs, s.ListenClient, "--listen-client-urls")
	for _, u := range advertised {
		if u.Wildcard() {
			s.Warn("--advertise-client-urls", fmt.Sprintf("%s cannot be reached from other machines", u), "name the host")
		}
	}
	s.AdvertiseClient = Strings(advertised)
	return errors.Join(clientErr, advertisedErr, peerErr, metricsErr)
}

// parseListenURLs parses URLs to listen on, which all use TLS, or none.
func parseListenURLs(setting, text string, schemes ...string) ([]URL, error) {
	urls, err := parseURLs(setting, text, schemes...)
	if err == nil && anySecure(urls) != allSecure(urls) {
		return nil, &Error{setting, "mixes http and https", "use one of them"}
	}
	return urls, err
}

// advertise returns the URLs that the setting names, or else the URLs of the setting from, on which
// the server listens. A wildcard among the latter is an error.
func advertise(setting, text string, listening []URL, from string) ([]URL, error) {
	if text != "" {
		return parseURLs(setting, text, "http", "https", "unix", "unixs")
	}
	for _, u := range listening {
		if u.Wildcard() {
			return nil, &Error{setting, fmt.Sprintf("not set, and %s has %s, which other machines cannot reach", from, u), "name the host under which others reach this member"}
		}
	}
	return listening, nil
}

func (f *Flags) resolveCluster(s *Server, fs *pflag.FlagSet) error {
	s.ClusterGiven = fs.Changed("initial-cluster")
	var peers []clusterMember
	var advertised []URL
	var err, advertisedErr error
	if s.ClusterGiven {
		peers, err = parseInitialCluster(f.InitialCluster)
		if f.AdvertisePeerURLs != "" {
			advertised, advertisedErr = parseURLs("--initial-advertise-peer-urls", f.AdvertisePeerURLs, "http", "https")
		}
	} else {
		advertised, err = advertise("--initial-advertise-peer-urls", f.AdvertisePeerURLs, s.ListenPeer, "--listen-peer-urls")
		if len(advertised) == 0 {
			return err // nil if the fault is that of --listen-peer-urls
		}
		peers = []clusterMember{{s.Name, advertised}}
	}
	if err != nil {
		return errors.Join(err, advertisedErr)
	}
	own, err := f.findOwnMember(s, peers, advertised)
	if err = errors.Join(err, advertisedErr); err != nil {
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

// findOwnMember returns the peer URLs of this member in --initial-cluster. It is an error if they
// contradict the URLs that this member listens on, or those that it advertises, if any.
func (f *Flags) findOwnMember(s *Server, peers []clusterMember, advertised []URL) ([]URL, error) {
	names := make([]string, 0, len(peers))
	for _, p := range peers {
		names = append(names, p.name)
		if p.name != s.Name {
			continue
		}
		var errs []error
		if len(advertised) > 0 && !sameURLs(advertised, p.urls) {
			errs = append(errs, &Error{"--initial-cluster", fmt.Sprintf("member %q is at %s, but --initial-advertise-peer-urls is %s",
				s.Name, strings.Join(Strings(p.urls), ","), strings.Join(Strings(advertised), ",")), "make the two the same"})
		}
		if len(s.ListenPeer) > 0 && p.urls[0].Secure() != s.ListenPeer[0].Secure() {
			errs = append(errs, &Error{"--listen-peer-urls", fmt.Sprintf("is %s, but the other members connect to %s", s.ListenPeer[0], p.urls[0]),
				"use https for both or http for both"})
		}
		if f.AdvertisePeerURLs == "" && len(s.ListenPeer) > 0 && !listensOn(s.ListenPeer, p.urls[0]) {
			errs = append(errs, &Error{"--initial-cluster", fmt.Sprintf("member %q is at %s, but listens on %s", s.Name, p.urls[0], strings.Join(Strings(s.ListenPeer), ",")),
				"make the two the same, or set --initial-advertise-peer-urls to the URL under which others reach it"})
		}
		return p.urls, errors.Join(errs...)
	}
	return nil, &Error{"--initial-cluster", fmt.Sprintf("holds no member %q, only %s", s.Name, strings.Join(names, ", ")), "set --name to this member's name in it"}
}

// listensOn reports whether one of the listening URLs has the port of the advertised one. The hosts
// may differ, for instance a name in one and an address in the other.
func listensOn(listening []URL, advertised URL) bool {
	for _, l := range listening {
		if l.Unix() || advertised.Unix() {
			return true
		}
		_, port, err := net.SplitHostPort(l.Address)
		_, wanted, wantedErr := net.SplitHostPort(advertised.Address)
		if err != nil || wantedErr != nil || port == wanted {
			return true
		}
	}
	return false
}

func (f *Flags) resolveTiming(s *Server, _ *pflag.FlagSet) error {
	var errs []error
	if f.HeartbeatMillis == 0 {
		errs = append(errs, &Error{"--heartbeat-interval", "is 0", "give a number of milliseconds, for instance 100"})
	}
	switch {
	case f.ElectionMillis > maxElectionMillis:
		errs = append(errs, &Error{"--election-timeout", fmt.Sprintf("%d ms is too long", f.ElectionMillis), fmt.Sprintf("give at most %d", maxElectionMillis)})
	case f.ElectionMillis < minHeartbeats*f.HeartbeatMillis:
		errs = append(errs, &Error{"--election-timeout", fmt.Sprintf("%d ms is less than %d heartbeats of %d ms", f.ElectionMillis, minHeartbeats, f.HeartbeatMillis),
			fmt.Sprintf("give at least %d, or lower --heartbeat-interval", minHeartbeats*f.HeartbeatMillis)})
	}
	s.Heartbeat = time.Duration(f.HeartbeatMillis) * time.Millisecond
	s.Election = time.Duration(f.ElectionMillis) * time.Millisecond
	return errors.Join(errs...)
}

func (f *Flags) resolveLimits(s *Server, fs *pflag.FlagSet) error {
	responseBytes, responseFlag := f.MaxResponseBytes, fs.Lookup("max-response-bytes")
	if deprecated := fs.Lookup("max-answer-bytes"); deprecated.Changed {
		s.Warn("--max-answer-bytes", "deprecated", "use --max-response-bytes")
		if precedence(deprecated) < precedence(responseFlag) {
			responseBytes, responseFlag = f.MaxAnswerBytes, deprecated
		}
	}
	var errs []error
	for _, c := range []struct {
		isInvalid                bool
		setting, problem, advice string
	}{
		{f.MaxRequestBytes == 0 || uint64(f.MaxRequestBytes) > raft.MaxCommandBytes-RequestOverheadBytes, "--max-request-bytes",
			fmt.Sprintf("%d is not between 1 and %d, which is what the log and the messages between members can carry",
				f.MaxRequestBytes, raft.MaxCommandBytes-RequestOverheadBytes), ""},
		{f.DiskLowWaterBytes < minDiskLowWaterBytes, "--disk-low-water-bytes", fmt.Sprintf("%d is below %d", f.DiskLowWaterBytes, minDiskLowWaterBytes),
			"give at least 16 MiB, so that the log can be closed before the disk is full"},
		{f.MaxTxnOps == 0 || f.MaxTxnOps > math.MaxInt32, "--max-txn-ops", fmt.Sprintf("%d is not between 1 and %d", f.MaxTxnOps, math.MaxInt32), ""},
		{f.MaxConcurrentStreams == 0, "--max-concurrent-streams", "is 0, which would serve no client", "give at least 1"},
		{f.MaxConnections == 0 || f.MaxConnections > math.MaxInt32, "--max-connections",
			fmt.Sprintf("%d is not between 1 and %d", f.MaxConnections, math.MaxInt32), ""},
		{responseBytes < minResponseBudgetBytes, "--" + responseFlag.Name, fmt.Sprintf("%d is below %d", responseBytes, minResponseBudgetBytes),
			"give at least 1 MiB"},
		{f.KeepaliveMinTime < 0 || f.KeepaliveInterval < 0 || f.KeepaliveTimeout < 0, "--grpc-keepalive-*", "a duration is negative", "give 0 or more"},
		{f.WatchProgress < time.Second, "--watch-progress-notify-interval", fmt.Sprintf("%v is too often", f.WatchProgress), "give at least 1s"},
	} {
		if c.isInvalid {
			errs = append(errs, &Error{c.setting, c.problem, c.advice})
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.WatchProgress, s.DiskLowWater = f.WatchProgress, f.DiskLowWaterBytes
	s.MaxRequestBytes, s.MaxTxnOps = uint64(f.MaxRequestBytes), int(f.MaxTxnOps)
	s.MaxConnections, s.MaxResponseBytes = int(f.MaxConnections), responseBytes
	s.Keepalive = Keepalive{f.KeepaliveMinTime, f.KeepaliveInterval, f.KeepaliveTimeout}
	switch {
	case f.QuotaBackendBytes == 0:
		s.QuotaBytes = defaults.QuotaBytes
	case f.QuotaBackendBytes > 0:
		s.QuotaBytes = f.QuotaBackendBytes
	}
	return nil
}
