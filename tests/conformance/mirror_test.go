package conformance

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestKeysAreCopiedFromEtcd copies the keys of an etcd to the program under test, as
// docs/operations.md says, and then changes of them.
func TestKeysAreCopiedFromEtcd(t *testing.T) {
	from, to := startCluster(t, reference, 1), startCluster(t, program, 1)
	run := func(endpoint string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), etcdctl, append([]string{"--endpoints=" + endpoint}, args...)...).Output()
		if err != nil {
			t.Fatalf("etcdctl %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	source, target := from.Members[0].Endpoint(), to.Members[0].Endpoint()
	for i := range 20 {
		run(source, "put", fmt.Sprintf("key%02d", i), "before")
	}
	ctx := contextWithin(t, time.Minute)
	watch := exec.CommandContext(ctx, etcdctl, "--endpoints="+target, "watch", "--rev=1", "--prefix", "")
	events, err := watch.StdoutPipe()
	mustSucceed(t, err)
	mustSucceed(t, watch.Start())
	mirror := exec.CommandContext(ctx, etcdctl, "make-mirror", "--endpoints="+source, target)
	mustSucceed(t, mirror.Start())
	t.Cleanup(func() {
		for _, c := range []*exec.Cmd{mirror, watch} {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	lines := bufio.NewScanner(events)
	waitFor := func(text string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == text {
				return
			}
		}
		t.Fatalf("no event with %q", text)
	}
	waitFor("key19")
	run(source, "put", "key00", "after")
	waitFor("after")
	if got := run(target, "get", "--prefix", "--keys-only", "key"); strings.Count(got, "key") != 20 {
		t.Errorf("copied:\n%s", got)
	}
	if got := run(target, "get", "key00", "--print-value-only"); got != "after\n" {
		t.Errorf("key00 is %q", got)
	}
}
