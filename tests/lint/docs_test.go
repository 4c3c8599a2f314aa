package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Everything that the documents name exists: files, tests, scenarios, profiles, flags, commands,
// metrics, Go symbols, links and their anchors.
func TestDocsNameWhatExists(t *testing.T) {
	index := newDocIndex(t)
	var docs []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/rfcs/*.md", "tests/*.md"} {
		found, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	if len(docs) < 15 {
		t.Fatalf("only %d documents found", len(docs))
	}
	for _, file := range docs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel("../..", file)
		d := &document{docIndex: index, name: filepath.ToSlash(name)}
		d.check(string(text))
		for _, p := range d.problems {
			t.Errorf("%s:%d: %s", d.name, p.line, p.what)
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
