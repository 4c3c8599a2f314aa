package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// etcdctlStep is a command of etcdctl and its expected output. The steps of a script run in order
// on one new cluster, so revisions are known.
type etcdctlStep struct {
	arguments string // separated by spaces; '' is an empty one
	stdin     string
	want      string // stdout; JSON without the header's cluster, member and term
	stderr    string // the last line of stderr; the exit code is 1 then
}

func TestEtcdctlKeyValueOutputMatchesEtcd(t *testing.T) {
	c := startCluster(t, program, 3)
	for _, s := range []etcdctlStep{
		// put
		{arguments: "put a 1", want: "OK\n"},
		{arguments: "put --prev-kv a 2", want: "OK\na\n1\n"},
		{arguments: "put b 1 -w json", want: `{"header":{"revision":4}}`},
		{arguments: "put b/1 x", want: "OK\n"},
		{arguments: "put b/2 y", want: "OK\n"},
		{arguments: "put c", stdin: "from standard input", want: "OK\n"},
		{arguments: "put '' x", stderr: "Error: etcdserver: key is not provided"},
		{arguments: "put c x --lease=77", stderr: "Error: etcdserver: requested lease not found"},
		{arguments: "put nokey --ignore-value", stderr: "Error: etcdserver: key not found"},
		{arguments: "put c --ignore-value", want: "OK\n"},
		{arguments: "get c", want: "c\nfrom standard input\n"},

		// get
		{arguments: "get a", want: "a\n2\n"},
		{arguments: "get a --print-value-only", want: "2\n"},
		{arguments: "get missing", want: ""},
		{arguments: "get missing -w json", want: `{"header":{"revision":8}}`},
		{arguments: "get a -w json", want: `{"header":{"revision":8},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,"value":"Mg=="}],"count":1}`},
		{arguments: "get a --rev 2", want: "a\n1\n"},
		{arguments: "get a --rev 99", stderr: "Error: etcdserver: mvcc: required revision is a future revision"},
		{arguments: "get --prefix b", want: "b\n1\nb/1\nx\nb/2\ny\n"},
		{arguments: "get --prefix b/ --keys-only", want: "b/1\n\nb/2\n\n"},
		{arguments: "get --prefix b --keys-only --limit 1 -w json",
			want: `{"header":{"revision":8},"kvs":[{"key":"Yg==","create_revision":4,"mod_revision":4,"version":1}],"more":true,"count":3}`},
		{arguments: "get a b/2", want: "a\n2\nb\n1\nb/1\nx\n"},
		{arguments: "get --from-key b/1", want: "b/1\nx\nb/2\ny\nc\nfrom standard input\n"},
		{arguments: "get --prefix '' --keys-only --sort-by VERSION --order DESCEND --limit 2", want: "a\n\nc\n\n"},
		{arguments: "get --prefix b --order DESCEND", want: "b/2\ny\nb/1\nx\nb\n1\n"},
		{arguments: "get --prefix '' --keys-only --sort-by MODIFY --order DESCEND --limit 3", want: "c\n\nb/2\n\nb/1\n\n"},
		{arguments: "get --prefix '' --keys-only --sort-by CREATE --order ASCEND --limit 2", want: "a\n\nb\n\n"},
		{arguments: "get --prefix '' --sort-by VALUE --order ASCEND --limit 2", want: "b\n1\na\n2\n"},
		{arguments: "get --prefix '' --keys-only --min-mod-rev 5 --max-mod-rev 6", want: "b/1\n\nb/2\n\n"},
		{arguments: "get --prefix '' --keys-only --min-create-rev 3 --max-create-rev 5", want: "b\n\nb/1\n\n"},
		{arguments: "get --prefix '' --stream --sort-by VALUE --keys-only", want: "b\n\na\n\nc\n\nb/1\n\nb/2\n\n"},
		{arguments: "get --prefix '' --stream --order DESCEND", stderr: "Error: rpc error: code = Unimplemented desc = RangeStream does not support custom sort orders"},
		{arguments: "get a --consistency s", want: "a\n2\n"},

		// del
		{arguments: "del --prev-kv a", want: "1\na\n2\n"},
		{arguments: "del a", want: "0\n"},
		{arguments: "del --prefix b/ -w json", want: `{"header":{"revision":10},"deleted":2}`},
		{arguments: "del b c", want: "1\n"},
		{arguments: "del c -w json --prev-kv", want: `{"header":{"revision":12},"deleted":1,` +
			`"prev_kvs":[{"key":"Yw==","create_revision":7,"mod_revision":8,"version":2,"value":"ZnJvbSBzdGFuZGFyZCBpbnB1dA=="}]}`},
		{arguments: "get --prefix '' -w json", want: `{"header":{"revision":12}}`},

		// txn
		{arguments: "txn", stdin: "create(\"t\") = \"0\"\n\nput t 1\nget t\n\nget t\n\n", want: "SUCCESS\n\nOK\n\nt\n1\n"},
		{arguments: "txn", stdin: "create(\"t\") = \"0\"\n\nput t 2\n\nget t\ndel t\n\n", want: "FAILURE\n\nt\n1\n\n1\n"},
		{arguments: "txn", stdin: "ver(\"t\") > \"0\"\n\nput t 2\n\n\n\n", want: "FAILURE\n"},
		{arguments: "txn -w json", stdin: "\nput t 3\nget t\ndel zz\nput u 1\n\n\n",
			want: `{"header":{"revision":15},"responses":[{"Response":{"response_put":{"header":{"revision":15}}}},` +
				`{"Response":{"response_range":{"header":{"revision":15},"kvs":[{"key":"dA==","create_revision":15,"mod_revision":15,"version":1,"value":"Mw=="}],"count":1}}},` +
				`{"Response":{"response_delete_range":{"header":{"revision":15}}}},` +
				`{"Response":{"response_put":{"header":{"revision":15}}}}],"succeeded":true}`},
		{arguments: "txn", stdin: "\nput v 1\nput v 2\n\n\n", stderr: "Error: etcdserver: duplicate key given in txn request"},

		// compaction
		{arguments: "compaction 12", want: "compacted revision 12\n"},
		{arguments: "compaction 12", stderr: "Error: etcdserver: mvcc: required revision has been compacted"},
		{arguments: "compaction 99", stderr: "Error: etcdserver: mvcc: required revision is a future revision"},
		{arguments: "get a --rev 11", stderr: "Error: etcdserver: mvcc: required revision has been compacted"},
		{arguments: "get t --rev 13", want: "t\n1\n"},
		{arguments: "compaction 15 --physical", want: "compacted revision 15\n"},
		{arguments: "get u", want: "u\n1\n"},
	} {
		t.Run(s.arguments, func(t *testing.T) { s.run(t, c) })
	}
}

func (s etcdctlStep) run(t *testing.T, c *procs.Cluster) {
	t.Helper()
	stdout, stderr, err := runEtcdctl(t, c, s.stdin, s.splitArguments()...)
	var exit *exec.ExitError
	switch {
	case s.stderr != "":
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if last := lines[len(lines)-1]; !errors.As(err, &exit) || exit.ExitCode() != 1 || last != s.stderr {
			t.Errorf("ended with %v and\n%q, not with code 1 and\n%q", err, last, s.stderr)
		}
	case err != nil:
		t.Errorf("%v\n%s", err, stderr)
	case strings.HasPrefix(s.want, "{"):
		if got, want := normalizeJSON(t, stdout), normalizeJSON(t, s.want); got != want {
			t.Errorf("printed\n%s\nnot\n%s", got, want)
		}
	case stdout != s.want:
		t.Errorf("printed\n%q\nnot\n%q", stdout, s.want)
	}
}

func (s etcdctlStep) splitArguments() []string {
	args := strings.Fields(s.arguments)
	for i, arg := range args {
		if arg == "''" {
			args[i] = ""
		}
	}
	return args
}

func runEtcdctl(t *testing.T, c *procs.Cluster, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(contextWithin(t, 2*time.Minute), etcdctl, append([]string{"--endpoints=" + strings.Join(c.Endpoints(), ",")}, args...)...)
	var out, errs bytes.Buffer
	cmd.Env = procs.Environ()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// normalizeJSON removes what differs between clusters.
func normalizeJSON(t *testing.T, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value map[string]any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, name := range []string{"header", "Header"} {
		if header, ok := value[name].(map[string]any); ok {
			for _, field := range []string{"cluster_id", "member_id", "raft_term"} {
				delete(header, field)
			}
		}
	}
	out, err := json.Marshal(value)
	mustSucceed(t, err)
	return string(out)
}

func TestEtcdctlWatchPrintsHistoryThenLiveEvents(t *testing.T) {
	c := startCluster(t, program, 3)
	for _, args := range [][]string{{"put", "w/1", "old"}, {"put", "w/1", "new"}, {"put", "other", "x"}, {"del", "w/1"}} {
		if _, stderr, err := runEtcdctl(t, c, "", args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, stderr)
		}
	}
	for _, m := range c.Members {
		p, err := procs.Start(procs.Command{Path: etcdctl, Args: []string{"--endpoints=" + m.Endpoint(), "watch", "--prefix", "w/", "--rev=2", "--prev-kv"}})
		mustSucceed(t, err)
		t.Cleanup(func() { _ = p.Kill() })
		ctx := contextWithin(t, 2*time.Minute)
		mustSucceed(t, p.WaitFor(ctx, "DELETE"))
		live := "live at " + m.Name
		if _, stderr, err := runEtcdctl(t, c, "", "put", "w/2", live); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		mustSucceed(t, p.WaitFor(ctx, live))
		// etcdctl prints the previous key and value, if any, before the new ones.
		want := "PUT\nw/1\nold\nPUT\nw/1\nold\nw/1\nnew\nDELETE\nw/1\nnew\nw/1\n\n"
		if got := p.Output(); !strings.HasPrefix(got, want) {
			t.Errorf("at %s it printed\n%q\nnot first\n%q", m.Name, got, want)
		}
	}
}

func TestEtcdctlWatchReportsCompaction(t *testing.T) {
	c := startCluster(t, program, 3)
	for _, args := range [][]string{{"put", "k", "1"}, {"put", "k", "2"}, {"put", "k", "3"}, {"compaction", "3"}} {
		if _, stderr, err := runEtcdctl(t, c, "", args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, stderr)
		}
	}
	_, stderr, err := runEtcdctl(t, c, "", "watch", "k", "--rev=2")
	want := "watch was canceled (etcdserver: mvcc: required revision has been compacted)\nError: watch is canceled by the server\n"
	if err == nil || stderr != want {
		t.Errorf("ended with %v and\n%q, not\n%q", err, stderr, want)
	}
}

type endpointStatus struct {
	Endpoint string
	Status   struct {
		Header struct {
			ClusterID uint64 `json:"cluster_id"`
			MemberID  uint64 `json:"member_id"`
			Revision  int64
			RaftTerm  uint64 `json:"raft_term"`
		}
		Version                             string
		DBSize, Leader, RaftIndex, RaftTerm uint64
		RaftAppliedIndex, DBSizeInUse       uint64
		IsLearner                           bool
		Errors                              []string
	}
}

func TestEtcdctlEndpointStatusAgrees(t *testing.T) {
	c := startCluster(t, program, 3)
	if _, stderr, err := runEtcdctl(t, c, "", "put", "k", "v"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for _, m := range c.Members { // a linearizable read, which makes the member up to date
		if _, stderr, err := runEtcdctl(t, &procs.Cluster{Members: []*procs.Member{m}}, "", "get", "k"); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
	}
	stdout, stderr, err := runEtcdctl(t, c, "", "endpoint", "status", "-w", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var all []endpointStatus
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || len(all) != 3 {
		t.Fatalf("%d endpoints, %v:\n%s", len(all), err, stdout)
	}
	leaders, members := 0, make(map[uint64]bool)
	for _, one := range all {
		s := one.Status
		members[s.Header.MemberID] = true
		if s.Leader == s.Header.MemberID {
			leaders++
		}
		if s.Leader != all[0].Status.Leader || s.RaftTerm != all[0].Status.RaftTerm || s.Header.ClusterID != all[0].Status.Header.ClusterID {
			t.Errorf("%s and %s disagree:\n%s", one.Endpoint, all[0].Endpoint, stdout)
		}
		if s.Header.Revision != 2 || s.Header.ClusterID == 0 || s.Header.RaftTerm != s.RaftTerm || s.IsLearner || len(s.Errors) > 0 {
			t.Errorf("the status of %s:\n%s", one.Endpoint, stdout)
		}
		if s.DBSize == 0 || s.RaftIndex == 0 || s.RaftTerm == 0 || s.RaftAppliedIndex == 0 || s.RaftAppliedIndex > s.RaftIndex {
			t.Errorf("the status of %s:\n%s", one.Endpoint, stdout)
		}
		if !regexp.MustCompile(`^3\.7\.\d+$`).MatchString(s.Version) {
			t.Errorf("%s has version %q", one.Endpoint, s.Version)
		}
	}
	if leaders != 1 || len(members) != 3 {
		t.Errorf("%d leaders, %d members:\n%s", leaders, len(members), stdout)
	}
}

func TestEtcdctlHealthAndHashAgreeOnAllMembers(t *testing.T) {
	c := startCluster(t, program, 3)
	for _, args := range [][]string{{"put", "k", "1"}, {"put", "k", "2"}, {"put", "l", "1"}, {"del", "l"}, {"compaction", "3"}} {
		if _, stderr, err := runEtcdctl(t, c, "", args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, stderr)
		}
	}
	stdout, stderr, err := runEtcdctl(t, c, "", "endpoint", "health")
	healthy := regexp.MustCompile(`(?m)^127\.0\.0\.1:\d+ is healthy: successfully committed proposal: took = [0-9.µm]+s$`)
	if found := healthy.FindAllString(stdout, -1); err != nil || len(found) != 3 {
		t.Fatalf("%v:\n%s%s", err, stdout, stderr)
	}
	stdout, stderr, err = runEtcdctl(t, c, "", "endpoint", "hashkv", "--rev=5")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	lines := regexp.MustCompile(`(?m)^127\.0\.0\.1:\d+, (\d+), 5$`).FindAllStringSubmatch(stdout, -1)
	if len(lines) != 3 || lines[0][1] != lines[1][1] || lines[0][1] != lines[2][1] {
		t.Errorf("the hashes:\n%s", stdout)
	}
	for rev, want := range map[string]string{
		"99": "Failed to get the hash of endpoint", "2": "Failed to get the hash of endpoint",
	} {
		if stdout, stderr, err := runEtcdctl(t, c, "", "endpoint", "hashkv", "--rev="+rev); err == nil || !strings.Contains(stdout+stderr, want) {
			t.Errorf("a hash of revision %s: %v\n%s%s", rev, err, stdout, stderr)
		}
	}
}

func TestEtcdctlMemberListShowsEveryMember(t *testing.T) {
	c := startCluster(t, program, 3)
	for _, m := range c.Members {
		stdout, stderr, err := runEtcdctl(t, &procs.Cluster{Members: []*procs.Member{m}}, "", "member", "list")
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		for _, listed := range c.Members {
			line := regexp.MustCompile(`(?m)^[0-9a-f]{1,16}, started, ` + regexp.QuoteMeta(listed.Name+", "+listed.PeerURL+", "+listed.ClientURL+", false") + `$`)
			if !line.MatchString(stdout) {
				t.Errorf("%s does not list %s:\n%s", m.Name, listed.Name, stdout)
			}
		}
		if n := strings.Count(stdout, "\n"); n != 3 {
			t.Errorf("%s lists %d members:\n%s", m.Name, n, stdout)
		}
	}
}
