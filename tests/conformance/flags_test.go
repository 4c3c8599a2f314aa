package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/tests/procs"
)

// TestListOfEtcdsFlagsIsComplete compares the list that the tests of the settings read with the
// help of etcd itself.
func TestListOfEtcdsFlagsIsComplete(t *testing.T) {
	root, err := procs.Root()
	mustSucceed(t, err)
	text, err := os.ReadFile(filepath.Join(root, "cmd/troupe/internal/settings/testdata/etcd-3.7.3-flags.txt"))
	mustSucceed(t, err)
	var listed []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if name, _, isFlag := strings.Cut(line, " |"); isFlag && !strings.HasPrefix(line, "#") {
			listed = append(listed, name)
		}
	}
	help, err := exec.CommandContext(t.Context(), reference.Path, "--help").CombinedOutput()
	mustSucceed(t, err)
	shown := regexp.MustCompile(`(?m)^  --([a-z0-9-]+)`).FindAllStringSubmatch(string(help), -1)
	if len(shown) < 100 {
		t.Fatalf("%d flags in the help of etcd:\n%s", len(shown), help)
	}
	for _, match := range shown {
		if !slices.Contains(listed, match[1]) {
			t.Errorf("--%s is missing in the list", match[1])
		}
	}
	// A flag of the list is either shown by etcd or accepted by it without being shown.
	for _, name := range listed {
		if strings.Contains(string(help), "\n  --"+name+" ") || strings.Contains(string(help), "\n  --"+name+"\n") || name == "config-file" || name == "version" {
			continue
		}
		output, _ := exec.CommandContext(t.Context(), reference.Path, "--"+name, "--version").CombinedOutput()
		if !strings.Contains(string(output), "etcd Version: 3.7.3") {
			t.Errorf("--%s is no flag of etcd: %s", name, output)
		}
	}
}
