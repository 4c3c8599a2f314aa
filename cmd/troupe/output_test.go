package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/tests/freeport"
)

// Every command with a result has --output, with the same four formats.
func TestEveryResultHasEveryFormat(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	p := s.start()
	endpoint := "--endpoints=" + s.endpoint
	s.client("put", "greeting", "hello")
	commands := []struct {
		in   string
		args []string
	}{
		{"", []string{"put", "k", "v", "--prev-kv", endpoint}},
		{"", []string{"get", "--prefix", "", endpoint}},
		{"", []string{"del", "k", endpoint}},
		{"mod(\"greeting\") > \"0\"\n\nget greeting\n", []string{"txn", endpoint}},
		{"", []string{"status", endpoint}},
		{"", []string{"alarm", "list", endpoint}},
		{"", []string{"hashkv", endpoint}},
		{"", []string{"defrag", endpoint}},
		{"", []string{"version"}},
	}
	for i, c := range commands {
		checkFormats(t, c.in, c.args)
		if i == 0 {
			s.client("put", "k", "v")
		}
	}
	for revision, format := range []string{"simple", "table", "json", "yaml"} {
		got := runTroupe(t, "compact", fmt.Sprint(revision+2), "-o", format, endpoint)
		if got.code != exit.OK || got.out == "" {
			t.Errorf("compact in %s: %+v", format, got)
		}
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	checkFormats(t, "", []string{"log", "verify", "--data-dir", s.dataDir})
	for _, format := range []string{"table", "json", "yaml"} {
		if got := runTroupe(t, "log", "dump", "-o", format, "--data-dir", s.dataDir); got.code != exit.OK || !strings.Contains(got.out, "greeting") {
			t.Errorf("log dump in %s: %+v", format, got)
		}
	}
}

// checkFormats runs a command in every format. JSON and YAML must hold the same fields.
func checkFormats(t *testing.T, in string, args []string) {
	t.Helper()
	var fromJSON, fromYAML any
	for _, format := range []string{"simple", "table", "json", "yaml"} {
		got := runCommand(t, in, append([]string{"troupe"}, append(args, "--output="+format)...)...)
		var err error
		switch format {
		case "json":
			err = json.Unmarshal([]byte(got.out), &fromJSON)
		case "yaml":
			err = yaml.Unmarshal([]byte(got.out), &fromYAML)
		case "table":
			if header, _, _ := strings.Cut(got.out, "\n"); header == "" || header != strings.ToUpper(header) {
				t.Errorf("%q: no table:\n%s", args, got.out)
			}
		}
		if got.code != exit.OK || err != nil {
			t.Errorf("%q in %s: %v, %+v", args, format, err, got)
		}
	}
	if keys(fromJSON) != keys(fromYAML) || keys(fromJSON) == "" {
		t.Errorf("%q: JSON has %s, YAML %s", args, keys(fromJSON), keys(fromYAML))
	}
}

// keys returns the fields of a decoded value.
func keys(value any) string {
	switch v := value.(type) {
	case map[string]any:
		names := map[string]string{}
		for name, below := range v {
			names[name] = keys(below)
		}
		return fmt.Sprint(names)
	case []any:
		texts := []string{"list"}
		for _, below := range v {
			texts = append(texts, keys(below))
		}
		return fmt.Sprint(texts)
	}
	return fmt.Sprint(reflect.TypeOf(value) != nil)
}

func TestTransactionAndCompactionOfACluster(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	s.start()
	endpoint := "--endpoints=" + s.endpoint
	txn := func(in string) commandResult { return runCommand(t, in, "troupe", "txn", endpoint) }
	const input = "create(\"k\") = \"0\"\n\nput k first\n\nget k\nget --keys-only k\ndel k\n"
	if got := txn(input); got.out != "SUCCESS\n\nOK\n" {
		t.Errorf("%+v", got)
	}
	if got := txn(input); got.out != "FAILURE\n\nk\nfirst\n\nk\n\n1\n" {
		t.Errorf("%+v", got)
	}
	if got := runCommand(t, "wrong\n", "troupe", "txn", endpoint); got.code != exit.Usage || !strings.Contains(got.errs, "line 1") {
		t.Errorf("%+v", got)
	}
	if got := s.client("compact", "2"); got != "compacted revision 2\n" {
		t.Error(got)
	}
	if got := runTroupe(t, "compact", "2", endpoint); got.code != exit.Failure || !strings.Contains(got.errs, "compacted") {
		t.Errorf("%+v", got)
	}
	if got := runTroupe(t, "compact", "0", endpoint); got.code != exit.Usage {
		t.Errorf("%+v", got)
	}
	if got := s.client("alarm", "list"); got != "" {
		t.Errorf("alarms: %q", got)
	}
}

func TestMoveLeaderAndHashesOfThreeMembers(t *testing.T) {
	t.Parallel()
	c := plainCluster(t)
	first := "--endpoints=" + c.endpoints[0]
	if got := runTroupe(t, "put", "k", "v", "--timeout=60s", first); got.code != exit.OK {
		t.Fatalf("%+v", got)
	}
	_, before := c.leader()
	target := map[string]string{"m0": "m1", "m1": "m2", "m2": "m0"}[before.Name]
	got := runTroupe(t, "move-leader", target, "--timeout=60s", first)
	if _, after := c.leader(); got.code != exit.OK || after.Name != target && after.Term <= before.Term+1 || !strings.Contains(got.out, target) {
		t.Errorf("leader %s, then %s, want %s: %+v", before.Name, after.Name, target, got)
	}
	if got := runTroupe(t, "move-leader", strings.TrimPrefix(before.ID, "0x"), "--timeout=60s", first); got.code != exit.OK {
		t.Errorf("by an id of etcd's form: %+v", got)
	}
	if got := runTroupe(t, "move-leader", "nobody", first); got.code != exit.Usage || !strings.Contains(got.errs, before.ID) {
		t.Errorf("%+v", got)
	}
	hashes := runTroupe(t, "hashkv", first)
	if lines := strings.Split(strings.TrimSpace(hashes.out), "\n"); hashes.code != exit.OK || len(lines) != 4 {
		t.Errorf("%+v", hashes)
	}
}

// threeMembers is a cluster of the members m0 to m2.
type threeMembers struct {
	t         *testing.T
	endpoints []string
	dataDirs  []string
	flags     [][]string
	processes []*process
}

// start starts a member with additional flags.
func (c *threeMembers) start(i int, flags ...string) {
	c.t.Helper()
	c.processes[i] = startProcess(c.t, "troupe", nil, append(append([]string{"server"}, c.flags[i]...), flags...)...)
}

// plainCluster starts three members and returns once all serve.
func plainCluster(t *testing.T) *threeMembers {
	t.Helper()
	dir, ports := t.TempDir(), freeport.Take(t, 6)
	c := &threeMembers{t: t, processes: make([]*process, 3)}
	var cluster []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("m%d=http://127.0.0.1:%d", i, ports[i]))
		c.endpoints = append(c.endpoints, fmt.Sprintf("http://127.0.0.1:%d", ports[3+i]))
		c.dataDirs = append(c.dataDirs, fmt.Sprintf("%s/m%d", dir, i))
	}
	for i := range 3 {
		c.flags = append(c.flags, []string{
			fmt.Sprintf("--name=m%d", i), "--data-dir=" + c.dataDirs[i], "--initial-cluster=" + strings.Join(cluster, ","),
			"--listen-client-urls=" + c.endpoints[i], fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", ports[i]),
			"--election-timeout=5000", // longer than the stalls of a loaded machine
		})
		c.start(i)
	}
	for _, p := range c.processes {
		p.waitFor("ready to serve client requests")
	}
	return c
}
