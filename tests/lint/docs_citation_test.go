package lint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// docProblem is a citation of something that does not exist.
type docProblem struct {
	line int
	what string
}

// document is one Markdown file that is checked against the index.
type document struct {
	*docIndex
	name     string // from the repository's root
	problems []docProblem
	line     int
}

var (
	codeSpan      = regexp.MustCompile("`([^`]+)`")
	linkTarget    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	namedList     = regexp.MustCompile("\\b(scenario|profile)s? ((?:`[a-z0-9][a-z0-9-]*`(?:, and |, | and )?)+)")
	fileToken     = regexp.MustCompile(`\.(go|md|proto|yaml|txt|sh)$`)
	fileSymbol    = regexp.MustCompile(`^([\w./-]+\.go):([\w.]+)$`)
	goSymbol      = regexp.MustCompile(`^([A-Za-z]\w*)\.([A-Za-z]\w*)(?:\.(\w+))?(?:\(.*)?$`)
	testToken     = regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w*(?:\*|…)?`)
	flagToken     = regexp.MustCompile(`(?:^|[\s=(\[])--?([a-z][a-z0-9.-]*)(…|\*)?`)
	metricToken   = regexp.MustCompile(`\b(?:troupe|etcd)_[a-z0-9_]*\*?`)
	goRun         = regexp.MustCompile(`-(run|bench|fuzz) '?([^\s'"]+)`)
	namedChoice   = regexp.MustCompile(`--(scenario|profile) ([a-z0-9-]+)`)
	commandWord   = regexp.MustCompile(`^(?:\./)?(go|troupe|troupe-sim|etcdctl|curl|git|cd|benchmark|etcd|issues|systemctl|export)\b`)
	goToolFlag    = regexp.MustCompile(`^(run|bench|benchmem|benchtime|count|race|short|v|timeout|C|o|modfile|overlay|cover|coverprofile|fuzz|fuzztime)$`)
	headingSymbol = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
)

func (d *document) missing(format string, args ...any) {
	d.problems = append(d.problems, docProblem{d.line, fmt.Sprintf(format, args...)})
}

func (d *document) check(text string) {
	fence := ""
	for i, line := range strings.Split(text, "\n") {
		d.line = i + 1
		if mark := strings.TrimSpace(line); strings.HasPrefix(mark, "```") {
			if fence == "" {
				fence = mark
			} else {
				fence = ""
			}
			continue
		}
		line, _, _ = strings.Cut(line, "<!-- want:")
		switch {
		case fence == "```sh":
			d.checkCommand(strings.TrimSpace(line))
		case fence == "":
			d.checkProse(line, text)
		}
	}
}

func (d *document) checkProse(line, text string) {
	for _, m := range linkTarget.FindAllStringSubmatch(line, -1) {
		d.checkLink(m[1], text)
	}
	for _, m := range namedList.FindAllStringSubmatch(line, -1) {
		for _, name := range codeSpan.FindAllStringSubmatch(m[2], -1) {
			d.checkChoice(m[1], name[1])
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
		if span := m[1]; commandWord.MatchString(span) && strings.Contains(span, " ") {
			d.checkCommand(span)
		} else {
			d.checkSpan(span)
		}
	}
}

func (d *document) checkChoice(kind, name string) {
	known := d.scenarios
	if kind == "profile" {
		known = d.profiles
	}
	if !known[name] {
		d.missing("no %s %s", kind, name)
	}
}

func (d *document) checkLink(target, text string) {
	file, anchor, _ := strings.Cut(target, "#")
	if strings.Contains(target, "://") {
		return
	}
	if file != "" {
		to := path.Join(path.Dir(d.name), file)
		if !d.paths[to] {
			d.missing("link to a file that does not exist: %s", target)
			return
		}
		if anchor == "" {
			return
		}
		b, err := os.ReadFile("../../" + to)
		if err != nil {
			d.missing("link to what cannot be read: %s", target)
			return
		}
		text = string(b)
	}
	if anchor != "" && !headings(text)[anchor] {
		d.missing("link to a heading that does not exist: %s", target)
	}
}

// headings are the anchors of a document, as GitHub derives them from its headings.
func headings(text string) names {
	all := names{}
	for _, line := range strings.Split(text, "\n") {
		title := strings.TrimLeft(line, "#")
		if level := len(line) - len(title); level > 0 && level < 7 && strings.HasPrefix(title, " ") {
			title = headingSymbol.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			all[strings.ReplaceAll(title, " ", "-")] = true
		}
	}
	return all
}

// checkSpan checks one code span: a path, a test, a flag, a metric or a Go symbol. What is none of
// them names nothing of this repository.
func (d *document) checkSpan(span string) {
	if m := fileSymbol.FindStringSubmatch(span); m != nil {
		if functions := d.fileFuncs[m[1]]; functions == nil {
			d.missing("no file %s", m[1])
		} else if !functions[m[2]] {
			d.missing("no %s in %s", m[2], m[1])
		}
		return
	}
	if tests := testToken.FindAllString(span, -1); tests != nil {
		for _, name := range tests {
			d.checkTest(name, "")
		}
		return
	}
	if strings.HasPrefix(span, "-") {
		d.checkFlags(span)
	}
	for _, name := range metricToken.FindAllString(span, -1) {
		d.checkMetric(name)
	}
	if strings.ContainsAny(span, " {}<>") {
		return
	}
	if !d.checkPath(span) {
		d.checkSymbol(span)
	}
}

// checkPath tells whether the token is a path, and reports one that does not exist. A path may be
// given from the root, from the document, or by its end.
func (d *document) checkPath(token string) bool {
	token = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(token, "./"), "/..."), "/…")
	isDir := strings.HasSuffix(token, "/")
	name := strings.TrimSuffix(token, "/")
	top, _, deep := strings.Cut(name, "/")
	if !isDir && !fileToken.MatchString(name) && !(deep && d.paths[top]) {
		return false
	}
	if strings.ContainsAny(name, "*…") {
		pattern := "../../" + strings.ReplaceAll(name, "…", "*")
		if found, err := filepath.Glob(pattern); err != nil || len(found) == 0 {
			d.missing("no file %s", token)
		}
		return true
	}
	if d.paths[name] || d.paths[path.Join(path.Dir(d.name), name)] {
		return true
	}
	for p := range d.paths {
		if strings.HasSuffix(p, "/"+name) {
			return true
		}
	}
	d.missing("no file %s", token)
	return true
}

// checkTest checks a test's name, in a package or anywhere. Its end may be left out with * or ….
func (d *document) checkTest(name, dir string) {
	prefix := strings.TrimSuffix(strings.TrimSuffix(name, "*"), "…")
	for in, tests := range d.tests {
		if dir != "" && in != dir && !strings.HasPrefix(in, dir+"/") {
			continue
		}
		for test := range tests {
			if test == name || prefix != name && strings.HasPrefix(test, prefix) {
				return
			}
		}
	}
	d.missing("no test %s", name)
}

func (d *document) checkMetric(name string) {
	prefix := strings.TrimSuffix(name, "*")
	for metric := range d.metrics {
		if metric == name || prefix != name && strings.HasPrefix(metric, prefix) {
			return
		}
	}
	d.missing("no metric %s", name)
}

func (d *document) checkFlags(text string) {
	for _, m := range flagToken.FindAllStringSubmatch(text, -1) {
		found := d.flags[m[1]] || goToolFlag.MatchString(m[1])
		for name := range d.flags {
			found = found || m[2] != "" && strings.HasPrefix(name, m[1])
		}
		if !found {
			d.missing("no flag --%s", m[1])
		}
	}
}

// checkCommand checks a command line: of the go tool its packages and tests, of Troupe's programs
// their commands and flags.
func (d *document) checkCommand(line string) {
	line, _, _ = strings.Cut(line, " # ")
	word := commandWord.FindStringSubmatch(line)
	if word == nil || word[1] != "go" && !strings.HasPrefix(word[1], "troupe") {
		return
	}
	for _, field := range strings.Fields(line) {
		if strings.HasPrefix(field, "./") && !strings.HasPrefix(field, "./troupe") && !strings.HasPrefix(field, "./data") {
			d.checkPath(field)
		}
	}
	for _, m := range namedChoice.FindAllStringSubmatch(line, -1) {
		d.checkChoice(m[1], m[2])
	}
	if strings.HasPrefix(line, "go mod") || strings.HasPrefix(line, "go tool") {
		return
	}
	d.checkFlags(line)
	if word[1] == "troupe" {
		if fields := strings.Fields(line); len(fields) > 1 && regexp.MustCompile(`^[a-z]+$`).MatchString(fields[1]) && !d.commands[fields[1]] {
			d.missing("no command troupe %s", fields[1])
		}
	}
	if strings.HasPrefix(line, "go test") {
		d.checkRun(line)
	}
}

// checkRun checks that what `go test -run` selects is there.
func (d *document) checkRun(line string) {
	for _, m := range goRun.FindAllStringSubmatch(line, -1) {
		first, _, _ := strings.Cut(m[2], "/")
		selects, err := regexp.Compile(first)
		if err != nil || m[2] == "^$" || m[2] == "." || m[2] == "NAME" {
			continue
		}
		found := false
		for _, tests := range d.tests {
			for name := range tests {
				found = found || selects.MatchString(name)
			}
		}
		if !found {
			d.missing("no test for -%s %s", m[1], m[2])
		}
	}
}

// checkSymbol checks package.Name, package.Type.Member and Type.Member, where the first word is a
// package or a type of this repository.
func (d *document) checkSymbol(span string) {
	m := goSymbol.FindStringSubmatch(span)
	if m == nil {
		return
	}
	first, second, third := m[1], m[2], m[3]
	if dirs := d.packages[first]; dirs != nil && (second[0] >= 'A' && second[0] <= 'Z') {
		for _, dir := range dirs {
			if d.symbols[dir][second] && (third == "" || d.members[second][third]) {
				return
			}
		}
		d.missing("no symbol %s", strings.TrimSuffix(first+"."+second+"."+third, "."))
		return
	}
	if members := d.members[first]; members != nil && !members[second] && !members[camel(second)] {
		d.missing("no member %s of %s", second, first)
	}
}

// camel is the Go name of a protobuf field.
func camel(field string) string {
	words := strings.Split(field, "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}
