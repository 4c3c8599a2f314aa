package settings

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

// etcdFlagsFile lists every flag of etcd 3.7.3 with what this server does with it. The names are
// those of `etcd --help` and the flags that etcd accepts and ignores; a test in tests/conformance
// compares them with the program.
const etcdFlagsFile = "testdata/etcd-3.7.3-flags.txt"

func TestEveryFlagOfEtcdIsKnown(t *testing.T) {
	text, err := os.ReadFile(etcdFlagsFile)
	if err != nil {
		t.Fatal(err)
	}
	_, fs := parseFlags(t)
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") {
			lines = append(lines, line)
			continue
		}
		name, _, _ := strings.Cut(line, " ")
		effect := "used"
		if at := slices.IndexFunc(acceptedFlags, func(a acceptedFlag) bool { return a.name == name }); at >= 0 {
			effect = "no effect: " + acceptedFlags[at].because
			if acceptedFlags[at].refused {
				effect = "refused: " + acceptedFlags[at].because
			}
		}
		if fs.Lookup(name) == nil {
			t.Errorf("--%s of etcd is unknown", name)
		}
		lines = append(lines, fmt.Sprintf("%s | %s", name, effect))
	}
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(etcdFlagsFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != string(text) {
		t.Errorf("%s is out of date; run this test with -update. It must be:\n%s", etcdFlagsFile, got)
	}
}

// TestAcceptedFlagsAreOfEtcd holds the list of accepted flags to flags that some etcd has.
func TestAcceptedFlagsAreOfEtcd(t *testing.T) {
	text, err := os.ReadFile(etcdFlagsFile)
	if err != nil {
		t.Fatal(err)
	}
	// Of earlier versions of etcd, or of its file alone.
	earlier := []string{"auto-compaction", "pre-vote", "client-cert-allowed-cn", "compact-hash-check-enabled", "initial-corrupt-check"}
	for _, a := range acceptedFlags {
		if !strings.Contains("\n"+string(text), "\n"+a.name+" |") && !slices.Contains(earlier, a.name) {
			t.Errorf("--%s is no flag of etcd", a.name)
		}
	}
}
