package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents returns the Markdown files of the repository, by their names from its root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/rfcs/*.md", "tests/*.md"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, _ := filepath.Rel("../..", file)
			texts[filepath.ToSlash(name)] = readDoc(t, file)
		}
	}
	if len(texts) < 20 {
		t.Fatalf("only %d documents found", len(texts))
	}
	return texts
}

// Everything that the documents name exists: files, tests, scenarios, profiles, flags, commands,
// metrics, Go symbols, links and their anchors.
func TestDocsNameWhatExists(t *testing.T) {
	index := newDocIndex(t)
	for name, text := range documents(t) {
		d := &document{docIndex: index, name: name}
		d.check(text)
		for _, p := range d.problems {
			t.Errorf("%s:%d: %s", name, p.line, p.what)
		}
	}
}

// Prose in documents is at most 100 columns wide. Tables, listings and what a program writes into a
// document may be wider.
func TestDocsAreWrapped(t *testing.T) {
	for name, text := range documents(t) {
		listing, generated := false, false
		for i, line := range strings.Split(text, "\n") {
			switch {
			case strings.HasPrefix(line, "<!--"):
				generated = strings.Contains(line, "begin -->") || generated && !strings.Contains(line, "end -->")
			case strings.HasPrefix(strings.TrimSpace(line), "```"):
				listing = !listing
			case !listing && !generated && !strings.HasPrefix(line, "|") && utf8.RuneCountInString(line) > 100:
				t.Errorf("%s:%d: %d columns", name, i+1, utf8.RuneCountInString(line))
			}
		}
	}
}

// docs/dependencies.md has every direct dependency of go.mod.
func TestDependenciesAreListed(t *testing.T) {
	text := readDoc(t, "../../docs/dependencies.md")
	_, block, _ := strings.Cut(readDoc(t, "../../go.mod"), "require (\n")
	block, _, _ = strings.Cut(block, "\n)")
	for _, line := range strings.Split(block, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && !strings.Contains(line, "// indirect") &&
			!strings.Contains(text, "`"+fields[0]+"`") {
			t.Errorf("docs/dependencies.md does not have %s", fields[0])
		}
	}
}

// The fixture names what does not exist, and says after each line what must be found in it: <!--
// want: text -->.
func TestMissingCitationsAreFound(t *testing.T) {
	const file = "testdata/docs/broken.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]string{}
	for i, line := range strings.Split(string(text), "\n") {
		if _, after, ok := strings.Cut(line, "<!-- want: "); ok {
			want[i+1], _, _ = strings.Cut(after, " -->")
		}
	}
	d := &document{docIndex: newDocIndex(t), name: "tests/lint/" + file}
	d.check(string(text))
	for _, p := range d.problems {
		if want[p.line] != p.what {
			t.Errorf("%s:%d: found %q, want %q", file, p.line, p.what, want[p.line])
		}
		delete(want, p.line)
	}
	for line, what := range want {
		t.Errorf("%s:%d: %q was not found", file, line, what)
	}
}

// docs/architecture.md has every directory of packages down to the second level.
func TestArchitectureListsDirectories(t *testing.T) {
	text := readDoc(t, "../../docs/architecture.md")
	for dir := range newDocIndex(t).symbols {
		parts := strings.Split(dir, "/")
		switch {
		case dir == ".", parts[0] == "tests", parts[0] == "tools", len(parts) > 1 && parts[1] == "internal":
			continue
		}
		if name := strings.Join(parts[:min(2, len(parts))], "/"); !strings.Contains(text, "`"+name+"/`") {
			t.Errorf("docs/architecture.md does not list the directory %s/", name)
		}
	}
}

// The log messages that docs/operations.md explains are in the sources.
func TestOperationsNameLogMessages(t *testing.T) {
	index := newDocIndex(t)
	_, section, ok := strings.Cut(readDoc(t, "../../docs/operations.md"), "\n## Logs\n")
	if !ok {
		t.Fatal("docs/operations.md has no section Logs")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	checked := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section, -1) {
		for _, message := range codeSpan.FindAllStringSubmatch(row[1], -1) {
			checked++
			if text := strings.TrimSuffix(message[1], " …"); !index.hasText(text) {
				t.Errorf("docs/operations.md: no log message %q", text)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d log messages found in docs/operations.md", checked)
	}
}
