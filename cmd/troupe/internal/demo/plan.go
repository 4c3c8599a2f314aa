// Package demo runs a cluster on this machine. Each member is a server process of its own, so that
// a user can kill members and see what the cluster does.
package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Member is one server of the demo.
type Member struct {
	Name       string
	ClientPort int
	PeerPort   int
	DataDir    string
	LogFile    string
	// Args are the arguments of the binary, the same at each start.
	Args []string
}

// Endpoint returns the host and port for clients.
func (m Member) Endpoint() string { return fmt.Sprintf("127.0.0.1:%d", m.ClientPort) }

func (m Member) peerURL() string { return fmt.Sprintf("http://127.0.0.1:%d", m.PeerPort) }

// Ports are the two ports of one member.
type Ports struct {
	Client int `json:"client"`
	Peer   int `json:"peer"`
}

// Layout returns the members with their command lines. They depend on the directory and the ports
// alone, so that a later run with the same directory continues the same cluster.
func Layout(dir string, ports []Ports) []Member {
	members := make([]Member, len(ports))
	cluster := make([]string, len(ports))
	for i, p := range ports {
		name := fmt.Sprintf("member-%d", i+1)
		members[i] = Member{
			Name: name, ClientPort: p.Client, PeerPort: p.Peer,
			DataDir: filepath.Join(dir, name), LogFile: filepath.Join(dir, name+".log"),
		}
		cluster[i] = name + "=" + members[i].peerURL()
	}
	for i := range members {
		m := &members[i]
		client := "http://" + m.Endpoint()
		m.Args = []string{
			"server", "--name", m.Name, "--data-dir", m.DataDir,
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", m.peerURL(), "--initial-advertise-peer-urls", m.peerURL(),
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-token", "troupe-demo",
			"--stop-with-stdin",
		}
	}
	return members
}

// MaxMembers is the largest number of members of a demo.
const MaxMembers = 9

// defaultPorts returns the ports of etcd's examples: 2379, 22379, 32379, ….
func defaultPorts(members int) []Ports {
	ports := make([]Ports, members)
	for i := range ports {
		base := 2379
		switch {
		case i > 0 && i < 5:
			base += 10000 * (i + 1)
		case i >= 5:
			base += 10 * i
		}
		ports[i] = Ports{base, base + 1}
	}
	return ports
}

// ChoosePorts returns the ports of each member: from base on if base is not 0, else those of etcd's
// examples if all of them are free, else any free ones.
func ChoosePorts(members, base int) ([]Ports, error) {
	if base != 0 {
		ports := make([]Ports, members)
		for i := range ports {
			ports[i] = Ports{base + 2*i, base + 2*i + 1}
		}
		if last := ports[members-1].Peer; base < 1 || last > 65535 {
			return nil, fmt.Errorf("--base-port: %d to %d are not all valid ports; choose a port between 1024 and %d", base, last, 65535-2*members)
		}
		return ports, nil
	}
	if ports := defaultPorts(members); allFree(ports) {
		return ports, nil
	}
	return freePorts(members)
}

func allFree(ports []Ports) bool {
	for _, p := range ports {
		for _, port := range []int{p.Client, p.Peer} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return false
			}
			_ = l.Close()
		}
	}
	return true
}

// freePorts requests ports from the system. It holds all of them until the last one is found, so
// that no port is assigned twice.
func freePorts(members int) ([]Ports, error) {
	ports := make([]Ports, members)
	for i := range ports {
		for _, port := range []*int{&ports[i].Client, &ports[i].Peer} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, fmt.Errorf("finding a free port: %w", err)
			}
			defer l.Close()
			*port = l.Addr().(*net.TCPAddr).Port
		}
	}
	return ports, nil
}

// layoutFile is the name of the file with the ports of a demo. The members' ids derive from the
// ports, so that other ports would make another cluster.
const layoutFile = "demo.json"

type savedLayout struct {
	Ports []Ports `json:"ports"`
}

// Prepare returns the members of a demo in dir: those of an earlier run if dir holds one, else new
// ones, whose ports it saves in dir. 0 for members or base means no choice.
func Prepare(dir string, members, base int) ([]Member, error) {
	path := filepath.Join(dir, layoutFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		var earlier savedLayout
		if err := json.Unmarshal(text, &earlier); err != nil || len(earlier.Ports) == 0 {
			return nil, fmt.Errorf("--data-dir: %s cannot be parsed; name another directory", path)
		}
		if members != 0 && members != len(earlier.Ports) {
			return nil, fmt.Errorf("--members: %s holds a cluster of %d; leave the flag out, or name another directory", dir, len(earlier.Ports))
		}
		if base != 0 && base != earlier.Ports[0].Client {
			return nil, fmt.Errorf("--base-port: %s holds a cluster at port %d; leave the flag out, or name another directory", dir, earlier.Ports[0].Client)
		}
		return Layout(dir, earlier.Ports), nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if members == 0 {
		members = 3
	}
	ports, err := ChoosePorts(members, base)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if text, err = json.MarshalIndent(savedLayout{ports}, "", "  "); err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	return Layout(dir, ports), nil
}
