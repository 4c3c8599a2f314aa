package mutation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const program = `package main

import "fmt"

var limit = 1

type box struct{ n int }

func (b *box) add(n int) {
	b.n += n
	if n > 9 {
		b.n = 0
	}
}

func twice(n int) (result int, err error) {
	result = 2 * n
	return result, nil
}

func first(all []int) int {
search:
	for _, n := range all {
		if n > 0 {
			break search
		}
	}
	return limit
}

func main() {
	b := box{}
	b.add(3)
	n, _ := twice(b.n)
	fmt.Print(b.n, n, first(nil))
}
`

// Each mutation does what it does alone, none does anything unless it is chosen, and several change
// the same function.
func TestCombinedMutationsAreChosenOneByOne(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/p\ngo 1.26\n", "p/main.go": program} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add := In("p", "box.add")
	all := [][]Edit{
		{add.Replace("b.n += n", "b.n -= n")},
		{add.Replace("n > 9", "n > 2")},
		{In("p", "").Replace("1", "7")},
		{add.Delete("b.n += n"), In("p", "twice").Replace("2 * n", "n + 5")},
		{In("p", "first").Replace("n > 0", "n > 1")},
	}
	overlay, left, err := ApplyAll(root, dir, all)
	if err != nil || !slices.Equal(left, []int{2, 4}) {
		t.Fatalf("left out %v, %v; want those outside of functions and beside a label", left, err)
	}
	binary := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "./p")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for chosen, want := range map[string]string{"": "3 6 1", "1": "-3 -6 1", "2": "0 0 1", "4": "0 5 1"} {
		c := exec.Command(binary)
		c.Env = append(os.Environ(), fmt.Sprint(Chosen, "=", chosen))
		if out, err := c.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("mutation %q: %q, %v; want %q", chosen, out, err, want)
		}
	}
}
