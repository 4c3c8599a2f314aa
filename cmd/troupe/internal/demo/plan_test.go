package demo

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

func TestLayoutDescribesOneCluster(t *testing.T) {
	members := Layout("/data", defaultPorts(3))
	var clusters []string
	ids := map[uint64]bool{}
	for i, m := range members {
		f, fs := &settings.Flags{}, pflag.NewFlagSet("server", pflag.ContinueOnError)
		f.Register(fs)
		if err := fs.Parse(m.Args[1:]); err != nil {
			t.Fatal(err)
		}
		s, err := f.Resolve(fs)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Warnings) > 0 || !s.StopWithStdin || s.DataDir != filepath.Join("/data", fmt.Sprintf("member-%d", i+1)) {
			t.Errorf("%s: %+v", m.Name, s)
		}
		ids[s.ID] = true
		clusters = append(clusters, fmt.Sprint(s.Members))
	}
	if len(ids) != 3 || clusters[0] != clusters[1] || clusters[1] != clusters[2] {
		t.Fatalf("ids %v of clusters\n%s", ids, strings.Join(clusters, "\n"))
	}
}

func TestDefaultPortsAreEtcdsAndDistinct(t *testing.T) {
	for members := 1; members <= MaxMembers; members++ {
		seen := map[int]bool{}
		for _, p := range defaultPorts(members) {
			for _, port := range []int{p.Client, p.Peer} {
				if port < 1024 || port > 65535 || seen[port] {
					t.Errorf("%d members: port %d", members, port)
				}
				seen[port] = true
			}
		}
	}
	if p := defaultPorts(3); p[0].Client != 2379 || p[1].Client != 22379 || p[2].Client != 32379 {
		t.Fatalf("%v", p)
	}
	p, err := ChoosePorts(2, 5000)
	if err != nil || fmt.Sprint(p) != "[{5000 5001} {5002 5003}]" {
		t.Fatalf("%v, %v", p, err)
	}
	if _, err := ChoosePorts(3, 65533); err == nil || !strings.Contains(err.Error(), "--base-port") {
		t.Fatalf("%v", err)
	}
}

func TestPortInUseIsNotChosen(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:2379")
	if err == nil { // otherwise the port is in use already
		defer held.Close()
	}
	ports, err := ChoosePorts(3, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{2379: true}
	for _, p := range ports {
		for _, port := range []int{p.Client, p.Peer} {
			if port < 1024 || seen[port] {
				t.Fatalf("port %d of %v", port, ports)
			}
			seen[port] = true
		}
	}
}

func TestPrepareReusesDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	first, err := Prepare(dir, 2, 5000)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Prepare(dir, 0, 0)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Fatalf("%v, then %v, %v", first, again, err)
	}
	for _, c := range []struct {
		members, base int
		want          string
	}{{3, 0, "--members"}, {0, 6000, "--base-port"}} {
		if _, err := Prepare(dir, c.members, c.base); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d members at %d: %v", c.members, c.base, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, layoutFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(dir, 0, 0); err == nil || !strings.Contains(err.Error(), layoutFile) {
		t.Errorf("invalid file: %v", err)
	}
}

func TestLineWriterShowsSelectedLines(t *testing.T) {
	var file bytes.Buffer
	var shown []string
	l := &lineWriter{file: &file, show: func(kind eventKind, text string) { shown = append(shown, fmt.Sprintf("%d %s", kind, text)) }}
	output := `{"level":"info","msg":"leader known"}
{"level":"warn","peer":"0x1","msg":"peer lost"}
{"level":"info","msg":"ready to serve client requests"}
{"level":"warn","msg":"log is large","error":"5 GiB"}
troupe: the store failed
`
	// In pieces, as a pipe delivers it.
	for len(output) > 0 {
		n := min(7, len(output))
		if _, err := l.Write([]byte(output[:n])); err != nil {
			t.Fatal(err)
		}
		output = output[n:]
	}
	want := []string{fmt.Sprintf("%d ", ready), fmt.Sprintf("%d warn: log is large: 5 GiB", logged), fmt.Sprintf("%d troupe: the store failed", logged)}
	if strings.Join(shown, "\n") != strings.Join(want, "\n") {
		t.Fatalf("shown %q, want %q", shown, want)
	}
	if l.lastLine() != "troupe: the store failed" || strings.Count(file.String(), "\n") != 5 {
		t.Fatalf("last %q of\n%s", l.lastLine(), file.String())
	}
}
