package lint

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers gives each folder its layer. A package may import packages of lower layers, and those of
// its own folder. The longest folder that contains a package decides; "" is the root package alone.
var layers = []struct {
	folder string
	layer  int
}{
	{"tests", 12},
	{"cmd", 11},
	{"kv", 10},
	{"nodemetrics", 9},
	{"", 8}, {"internal/sim", 8},
	{"internal/member", 7},
	{"supervisor", 6},
	{"actors/live", 5},
	{"actors/node", 4}, {"actors/logstore", 4}, {"actors/machine", 4}, {"actors/replicator", 4}, {"actors/internal", 4},
	{"actors", 3},
	{"persistence", 2}, {"internal/session", 2},
	{"raft", 1}, {"internal/lanes", 1}, {"internal/certs", 1},
	{"messages", 0}, {"statemachine", 0},
	{"internal/connlimit", 0}, {"internal/defaults", 0}, {"internal/interleave", 0}, {"internal/logonce", 0},
	{"internal/mutation", 0}, {"internal/tlshandshake", 0},
}

// layerOf returns the folder in the table that contains a package, and its layer.
func layerOf(pkg string) (folder string, layer int, known bool) {
	for _, l := range layers {
		contains := pkg == l.folder || l.folder != "" && strings.HasPrefix(pkg, l.folder+"/")
		if contains && (!known || len(l.folder) > len(folder)) {
			folder, layer, known = l.folder, l.layer, true
		}
	}
	return folder, layer, known
}

func TestImportsPointDownOnly(t *testing.T) {
	_, all := sources(t)
	used := map[string]bool{}
	for _, s := range all {
		folder, layer, known := layerOf(s.pkg)
		if !known {
			t.Errorf("%s: the folder %s has no layer: add it to the table in layers_test.go", s.path, s.pkg)
			continue
		}
		used[folder] = true
		if s.isTest() && layer < 12 {
			continue // tests may use what is above them
		}
		for _, imported := range s.file.Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			otherFolder, otherLayer, _ := layerOf(strings.TrimPrefix(strings.TrimPrefix(path, module), "/"))
			if otherLayer > layer || otherLayer == layer && otherFolder != folder {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports must point down", s.path, layer, path, otherLayer)
			}
		}
	}
	for _, l := range layers {
		if !used[l.folder] {
			t.Errorf("the table in layers_test.go has a layer for %q, which does not exist", l.folder)
		}
	}
}

// The simulator's library needs the actors only: tests that use it are built in seconds. The
// command has the etcd services as well, whose messages need gRPC, but not their engine on disk.
func TestSimulatorDependencies(t *testing.T) {
	for _, c := range []struct {
		root    string
		without []string
	}{
		{module + "/internal/sim/scenario", []string{module + "/kv", module + "/actors/live", "google.golang.org/grpc", "github.com/cockroachdb/pebble"}},
		{module + "/cmd/troupe-sim", []string{module + "/kv/mvcc/engine/disk", "github.com/cockroachdb/pebble"}},
	} {
		list := exec.Command("go", "list", "-deps", c.root)
		list.Dir = "../.."
		out, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		packages := strings.Fields(string(out))
		if !slices.Contains(packages, module+"/internal/sim/world") || !slices.Contains(packages, module+"/supervisor") {
			t.Fatalf("these are not the packages of the simulator: %v", packages)
		}
		for _, p := range packages {
			for _, heavy := range c.without {
				if p == heavy || strings.HasPrefix(p, heavy+"/") {
					t.Errorf("%s is built with %s", c.root, p)
				}
			}
		}
	}
}

func TestPureLayersDoNotImportActors(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		folder, _, _ := layerOf(s.pkg)
		if !slices.Contains([]string{"raft", "messages", "persistence", "statemachine"}, folder) {
			continue
		}
		for _, imported := range s.file.Imports {
			if strings.Contains(imported.Path.Value, "protoactor-go") {
				t.Errorf("%s imports %s", s.path, imported.Path.Value)
			}
		}
	}
}
