package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// netLab is a network for one cluster. Each member has a network namespace, and a bridge connects
// the namespaces and this process, which runs the clients. A test disconnects members or drops
// packets.
//
// It needs root to configure the network; without it the test is skipped.
type netLab struct {
	t      *testing.T
	name   string // prefix of its namespaces and devices
	subnet string // the first three bytes of every address
	size   int
}

func newNetLab(t *testing.T, size int) *netLab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	l := &netLab{t: t, name: fmt.Sprintf("tr%d", os.Getpid()), size: size}
	l.remove() // of an earlier process with this id that was killed
	t.Cleanup(l.remove)
	if err := l.build(); err != nil {
		t.Skipf("configuring the network is not permitted: %v", err)
	}
	return l
}

func (l *netLab) build() error {
	usedAddresses, err := exec.Command("ip", "-o", "-4", "addr").Output()
	if err != nil {
		return err
	}
	// 198.18/15 is reserved for network tests. Other tests may use it at the same time.
	for i := range 256 {
		l.subnet = fmt.Sprintf("198.18.%d", (os.Getpid()+i)%256)
		if !strings.Contains(string(usedAddresses), " "+l.subnet+".") {
			break
		}
	}
	for _, args := range []string{
		fmt.Sprintf("link add %sb type bridge", l.name),
		fmt.Sprintf("addr add %s.254/24 dev %sb", l.subnet, l.name),
		fmt.Sprintf("link set %sb up", l.name),
	} {
		if err := ip(args); err != nil {
			return err
		}
	}
	for i := range l.size {
		for _, args := range []string{
			"netns add " + l.namespace(i),
			fmt.Sprintf("link add %s type veth peer name eth0 netns %s", l.interfaceName(i), l.namespace(i)),
			fmt.Sprintf("link set %s master %sb", l.interfaceName(i), l.name),
			fmt.Sprintf("link set %s up", l.interfaceName(i)),
			fmt.Sprintf("-n %s addr add %s/24 dev eth0", l.namespace(i), l.address(i)),
			fmt.Sprintf("-n %s link set eth0 up", l.namespace(i)),
			fmt.Sprintf("-n %s link set lo up", l.namespace(i)),
		} {
			if err := ip(args); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *netLab) remove() {
	for i := range l.size {
		_ = ip("link del " + l.interfaceName(i))
		_ = ip("netns del " + l.namespace(i))
	}
	_ = ip("link del " + l.name + "b")
}

func (l *netLab) namespace(i int) string     { return fmt.Sprintf("%s-%d", l.name, i) }
func (l *netLab) interfaceName(i int) string { return fmt.Sprintf("%sv%d", l.name, i) }
func (l *netLab) address(i int) string       { return fmt.Sprintf("%s.%d", l.subnet, i+1) }

// ip runs iproute2.
func ip(args string) error {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (l *netLab) runIP(args string) {
	l.t.Helper()
	if err := ip(args); err != nil {
		l.t.Fatal(err)
	}
}

// unplug disconnects a member; plug connects it again.
func (l *netLab) unplug(i int) { l.t.Helper(); l.runIP("link set " + l.interfaceName(i) + " down") }
func (l *netLab) plug(i int)   { l.t.Helper(); l.runIP("link set " + l.interfaceName(i) + " up") }

// dropOneWay makes one member send its packets for another to an unused hardware address, so that
// they are lost silently in this direction. restoreOneWay ends that.
func (l *netLab) dropOneWay(from, to int) {
	l.t.Helper()
	l.runIP(fmt.Sprintf("-n %s neigh replace %s lladdr 02:00:00:00:00:01 dev eth0 nud permanent", l.namespace(from), l.address(to)))
}

func (l *netLab) restoreOneWay(from, to int) {
	l.t.Helper()
	l.runIP(fmt.Sprintf("-n %s neigh del %s dev eth0", l.namespace(from), l.address(to)))
}

// longElectionTimeout makes the election timeout longer than the stalls of a loaded machine, for
// tests without elections.
const longElectionTimeout = "--election-timeout=2000"

// start starts a cluster with a member in each namespace.
func (l *netLab) start(flags ...string) *procs.Cluster {
	t := l.t
	t.Helper()
	dir := t.TempDir()
	members := make([]procs.Member, l.size)
	initial := make([]string, l.size)
	for i := range members {
		name := fmt.Sprintf("m%d", i+1)
		members[i] = procs.Member{
			Name: name, DataDir: filepath.Join(dir, name), LogPath: filepath.Join(dir, name+".log"),
			ClientURL: "http://" + l.address(i) + ":2379", PeerURL: "http://" + l.address(i) + ":2380",
		}
		initial[i] = name + "=" + members[i].PeerURL
	}
	c := &procs.Cluster{Program: program}
	for i, m := range members {
		inside := procs.Program{Name: program.Name, Path: "ip", Args: slices.Concat([]string{"netns", "exec", l.namespace(i), program.Path}, program.Args)}
		all := append([]string{"--initial-cluster=" + strings.Join(initial, ","), "--initial-cluster-state=new"}, flags...)
		c.Members = append(c.Members, procs.NewMember(inside, m, all...))
	}
	closeOnCleanup(t, c)
	mustSucceed(t, c.Start(contextWithin(t, time.Minute)))
	return c
}

// index returns the index of a member in its cluster and in the lab.
func index(c *procs.Cluster, m *procs.Member) int { return slices.Index(c.Members, m) }
