package troupe_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/tests/freeport"
)

// codeBlock is a block of code in a document.
type codeBlock struct {
	language, text string
}

// codeBlocks returns the blocks of a document.
func codeBlocks(t *testing.T, file string) (all []codeBlock) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, codeBlock{m[1], m[2]})
	}
	return all
}

// goBlocks returns those in Go.
func goBlocks(t *testing.T, file string) []codeBlock {
	t.Helper()
	return slices.DeleteFunc(codeBlocks(t, file), func(b codeBlock) bool { return b.language != "go" })
}

// packageBlock returns the code in the comment of package troupe.
func packageBlock(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range regexp.MustCompile(`(?m)^//\t(.*)$`).FindAllStringSubmatch(string(text), -1) {
		lines = append(lines, m[1])
	}
	return strings.Join(lines, "\n")
}

// Every block of Go in the documents is part of one of the tests below.
func TestEveryGoBlockOfTheDocsIsRun(t *testing.T) {
	run := map[string]int{"README.md": 1, "docs/embedding.md": 2, "docs/simulator.md": 1}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/rfcs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if n := len(goBlocks(t, file)); n != run[filepath.ToSlash(file)] {
				t.Errorf("%s has %d blocks of Go, and %d of them are run by docs_test.go", file, n, run[file])
			}
		}
	}
}

// scaffold puts a block into a program of testdata/docs.
func scaffold(t *testing.T, name, block string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "docs", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(text), "BLOCK", block, 1)
}

// command runs a command in a folder and returns its output.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// The code of the documents, as written, is built in a module that is made as docs/embedding.md
// says, and run. Only the data directory, the checkout and the ports are others.
func TestCodeInTheDocsRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds several programs")
	}
	checkout, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	embedding := goBlocks(t, "docs/embedding.md")
	write := func(folder, program string) {
		t.Helper()
		program = strings.ReplaceAll(program, "/var/lib/app", filepath.Join(dir, "data-"+folder))
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, folder, "main.go"), []byte(program), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("counter", onFreePorts(t, embedding[0].text))
	blocks := codeBlocks(t, "docs/embedding.md")
	recipe := blocks[slices.IndexFunc(blocks, func(b codeBlock) bool { return b.language == "sh" })].text
	command(t, dir, "sh", "-e", "-c", strings.ReplaceAll(recipe, "/path/to/checkout", checkout))
	runCounters(t, filepath.Join(dir, "counter"))

	write("counter/readme", scaffold(t, "readme", goBlocks(t, "README.md")[0].text))
	write("counter/package", scaffold(t, "package", packageBlock(t)))
	write("counter/ondisk", scaffold(t, "ondisk", embedding[1].text))
	for folder, want := range map[string]string{
		"readme": "transferred\n90\n", "package": "counted 1\n",
		"ondisk": "counted 1\ncounted 2\ncounted 3\ncounted 4\ncounted 5\ncounted 6\n",
	} {
		if got := command(t, filepath.Join(dir, "counter"), "go", "run", "./"+folder); got != want {
			t.Errorf("%s printed %q, want %q", folder, got, want)
		}
	}
}

// onFreePorts replaces the ports of a program.
func onFreePorts(t *testing.T, program string) string {
	t.Helper()
	return regexp.MustCompile(`127\.0\.0\.1:70\d\d`).ReplaceAllStringFunc(program, func(string) string {
		return fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	})
}

// runCounters runs the three members of the first program, and interrupts them.
func runCounters(t *testing.T, dir string) {
	t.Helper()
	var members []*exec.Cmd
	var outputs []*bufio.Scanner
	for id := 1; id <= 3; id++ {
		c := exec.CommandContext(t.Context(), "./counter", fmt.Sprint(id))
		c.Dir = dir
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		members, outputs = append(members, c), append(outputs, bufio.NewScanner(out))
	}
	counts := map[string]bool{}
	for i, out := range outputs {
		for _, word := range []string{"counted: ", "the count is at least: "} {
			if !out.Scan() || !strings.HasPrefix(out.Text(), word) {
				t.Fatalf("member %d printed %q, want %q", i+1, out.Text(), word)
			}
			if word == "counted: " {
				counts[out.Text()] = true
			}
		}
	}
	if len(counts) != 3 {
		t.Errorf("the members counted %v", counts)
	}
	for _, c := range members {
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
	}
	for i, c := range members {
		if err := c.Wait(); err != nil {
			t.Errorf("member %d ended with %v", i+1, err)
		}
	}
}

// The scenario in docs/simulator.md runs, as a file of its package.
func TestScenarioInTheDocsRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the simulator's tests")
	}
	dir := t.TempDir()
	source, overlay := filepath.Join(dir, "documented_test.go"), filepath.Join(dir, "overlay.json")
	program := `package scenario

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

var _ = time.Second

func TestDocumentedScenario(t *testing.T) {
	for _, sc := range []Scenario{
` + goBlocks(t, "docs/simulator.md")[0].text + `
	} {
		for seed := uint64(1); seed <= 3; seed++ {
			check(t, sc.Run(world.Options{Seed: seed}))
		}
	}
}
`
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs("internal/sim/scenario/documented_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, path, source), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := command(t, ".", "go", "test", "-overlay", overlay, "-run", "DocumentedScenario", "-v", "./internal/sim/scenario"); !strings.Contains(out, "--- PASS: TestDocumentedScenario") {
		t.Errorf("the scenario did not run:\n%s", out)
	}
}
