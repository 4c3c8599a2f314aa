// Command all runs every test of the repository: those of the main module and those of the nested
// modules, which start processes or have large dependencies. The README and CI use it.
//
//	go run ./tests/all [-race] [-short] [-modules all|main|nested] [-- go test flags]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

func main() {
	short := flag.Bool("short", false, "pass -short: leave out the long tests")
	race := flag.Bool("race", false, "pass -race in the main module")
	modules := flag.String("modules", "all", "all, main or nested")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "all runs every test of the repository.\n\nUsage: go run ./tests/all [flags] [-- go test flags]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *modules != "all" && *modules != "main" && *modules != "nested" {
		fmt.Fprintf(os.Stderr, "all: -modules is %q: use all, main or nested\n", *modules)
		os.Exit(2)
	}
	root, err := repository()
	if err != nil {
		fmt.Fprintln(os.Stderr, "all:", err)
		os.Exit(1)
	}
	// On an idle machine no package takes more than two minutes.
	arguments := []string{"test", "-timeout=30m"}
	if *short {
		arguments = append(arguments, "-short")
	}
	failed := 0
	for _, module := range modulesToTest(root, *modules) {
		a := append([]string(nil), arguments...)
		switch {
		case module != root:
			// These tests build the programs that they test. The test cache does not see that, so its
			// results may be out of date.
			a = append(a, "-count=1")
		case *race:
			a = append(a, "-race")
		}
		failed += run(root, module, append(append(a, flag.Args()...), "./..."))
	}
	if failed > 0 {
		fmt.Printf("all: the tests of %d modules failed\n", failed)
		os.Exit(1)
	}
	fmt.Println("all: every test passed")
}

// run runs the tests of a module and returns the number of failed modules, 0 or 1.
func run(root, module string, arguments []string) int {
	name, _ := filepath.Rel(root, module)
	fmt.Printf("all: %s: go %s\n", filepath.Join("troupe", name), strings.Join(arguments, " "))
	began := time.Now()
	c := exec.Command("go", arguments...)
	c.Dir, c.Stdout, c.Stderr = module, os.Stdout, os.Stderr
	err := c.Run()
	fmt.Printf("all: %s: %v, %v\n", filepath.Join("troupe", name), outcome(err), time.Since(began).Round(time.Second))
	if err != nil {
		return 1
	}
	return 0
}

func outcome(err error) string {
	if err != nil {
		return "FAILED (" + err.Error() + ")"
	}
	return "passed"
}

// repository returns the folder of the main module.
func repository() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/troupe-raft/troupe").Output()
	if err != nil {
		return "", fmt.Errorf("finding the main module: %w; run this command inside the repository", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// modulesToTest returns the folders of the modules: the main one first, then those under tests/.
func modulesToTest(root, which string) []string {
	var modules []string
	if which != "nested" {
		modules = append(modules, root)
	}
	if which == "main" {
		return modules
	}
	found, _ := filepath.Glob(filepath.Join(root, "tests", "*", "go.mod"))
	sort.Strings(found)
	for _, f := range found {
		modules = append(modules, filepath.Dir(f))
	}
	return modules
}
