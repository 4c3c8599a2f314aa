package lint

import (
	"go/types"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	apiFile       = "testdata/publicapi.txt"
	changelogFile = "../../CHANGELOG.md"
)

// An apiLine is one exported name: the symbol that CHANGELOG.md must name when the line changes,
// and its declaration.
type apiLine struct {
	symbol string // "kv.Server.Close"
	text   string // "kv.Server.Close: method func() error"
}

// importable reports whether other modules can use a package of this module, given its path below
// the module's. The generated package messages is left out: its .proto files define it, and
// docs/messages.md describes it.
func importable(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !slices.Contains(strings.Split(pkg, "/"), "internal") && !slices.Contains([]string{"cmd", "tests", "tools", "messages"}, first)
}

// publicAPI returns the exported names of all importable packages, sorted.
func publicAPI(t *testing.T) []apiLine {
	t.Helper()
	l := newLoader(t)
	var lines []apiLine
	for _, below := range l.packages {
		if !importable(below) {
			continue
		}
		p, err := l.importer.Import(strings.TrimSuffix(module+"/"+below, "/"))
		if err != nil {
			t.Fatalf("importing %s: %v", below, err)
		}
		lines = append(lines, packageAPI(p, below)...)
	}
	slices.SortFunc(lines, func(a, b apiLine) int { return strings.Compare(a.text, b.text) })
	return lines
}

// packageAPI returns the exported names of one package.
func packageAPI(p *types.Package, below string) (lines []apiLine) {
	prefix := below
	if prefix == "" {
		prefix = "troupe"
	}
	relative := func(other *types.Package) string {
		switch path := other.Path(); {
		case other == p:
			return ""
		case path == module:
			return "troupe"
		default:
			return strings.TrimPrefix(path, module+"/")
		}
	}
	add := func(kind string, o types.Object, names ...string) {
		symbol := prefix + "." + strings.Join(append(names, o.Name()), ".")
		text := symbol + ": " + kind
		switch o := o.(type) {
		case *types.TypeName:
			text += " " + typeText(o, relative)
		case *types.Const:
			text += " " + types.TypeString(o.Type(), relative)
		default:
			text += " " + types.TypeString(o.Type(), relative)
		}
		lines = append(lines, apiLine{symbol, text})
	}
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		switch o := o.(type) {
		case *types.Const:
			add("const", o)
		case *types.Var:
			add("var", o)
		case *types.Func:
			add("func", o)
		case *types.TypeName:
			add("type", o)
			if named, ok := o.Type().(*types.Named); ok && !o.IsAlias() {
				members(named, func(kind string, member types.Object) { add(kind, member, name) })
			}
		}
	}
	return lines
}

// members calls add for the exported methods and fields of a type.
func members(named *types.Named, add func(kind string, member types.Object)) {
	for method := range named.Methods() {
		if method.Exported() {
			add("method", method)
		}
	}
	switch u := named.Underlying().(type) {
	case *types.Struct:
		for field := range u.Fields() {
			if field.Exported() {
				add("field", field)
			}
		}
	case *types.Interface:
		for method := range u.ExplicitMethods() {
			if method.Exported() {
				add("method", method)
			}
		}
	}
}

// typeText says what kind of type a name stands for, without its members, which have lines of their
// own.
func typeText(o *types.TypeName, relative types.Qualifier) string {
	if o.IsAlias() {
		return "= " + types.TypeString(types.Unalias(o.Type()), relative)
	}
	switch o.Type().Underlying().(type) {
	case *types.Struct:
		return "struct"
	case *types.Interface:
		return "interface"
	}
	return types.TypeString(o.Type().Underlying(), relative)
}

// changedSymbols returns the symbols whose lines differ. A member whose type's own line differs is
// left out.
func changedSymbols(want, got []string) (changed []string) {
	differ := map[string]bool{}
	for _, pair := range [][2][]string{{want, got}, {got, want}} {
		for _, line := range pair[0] {
			if symbol, _, ok := strings.Cut(line, ": "); ok && !slices.Contains(pair[1], line) {
				differ[symbol] = true
			}
		}
	}
	for symbol := range differ { // sorted below
		if parent := symbol[:strings.LastIndexByte(symbol, '.')]; !differ[parent] {
			changed = append(changed, symbol)
		}
	}
	slices.Sort(changed)
	return changed
}

// unreleased returns the section of the changelog on what is not released yet.
func unreleased(changelog string) string {
	_, section, _ := strings.Cut(changelog, "## Unreleased\n")
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// unnamed returns the symbols that a text does not contain as whole names. The name of a type
// stands for its members too.
func unnamed(symbols []string, text string) (missing []string) {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n\t`,;:()[]", r) })
	for i := range words {
		words[i] = strings.TrimRight(words[i], ".")
	}
	for _, s := range symbols {
		typeName := s[:strings.LastIndexByte(s, '.')] // or the package, which has no dot
		if !slices.Contains(words, s) && !(strings.Contains(typeName, ".") && slices.Contains(words, typeName)) {
			missing = append(missing, s)
		}
	}
	return missing
}

// testdata/publicapi.txt lists every exported name of every importable package. A change of it is a
// change for programs that embed Troupe, so CHANGELOG.md must name it.
func TestPublicAPIChangesAreInTheChangelog(t *testing.T) {
	var got []string
	for _, line := range publicAPI(t) {
		got = append(got, line.text)
	}
	golden, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatal(err)
	}
	changelog, err := os.ReadFile(changelogFile)
	if err != nil {
		t.Fatal(err)
	}
	changed := changedSymbols(strings.Split(string(golden), "\n"), got)
	missing := unnamed(changed, unreleased(string(changelog)))
	switch {
	case len(missing) > 0:
		t.Errorf("the public API changed, and CHANGELOG.md does not say so: %s\n"+
			"Unexport the name, or move its package under internal/. If it must be exported, name it or its type, as here, "+
			"under \"Unreleased\" in CHANGELOG.md (without backquotes if it is removed), with what users have to do. "+
			"Then run: go test ./tests/lint -run PublicAPI -update",
			strings.Join(missing, ", "))
	case len(changed) > 0 && !*update:
		t.Errorf("the public API changed, as CHANGELOG.md says: %s\nNow run: go test ./tests/lint -run PublicAPI -update",
			strings.Join(changed, ", "))
	case *update:
		if err := os.WriteFile(apiFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangedSymbolsAreFound(t *testing.T) {
	before := []string{"a.T: type struct", "a.T.Field: field int", "a.F: func func()", "a.U: type struct", "a.U.X: field int"}
	after := []string{"a.T: type struct", "a.T.Field: field string", "a.F: func func()", "a.V: type struct", "a.V.Y: field int"}
	changed := changedSymbols(before, after)
	if want := []string{"a.T.Field", "a.U", "a.V"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %v, want %v", changed, want)
	}
	text := unreleased("# Changelog\n\n## Unreleased\n\n- `a.T.Field` is a string.\n- Removed: a.U.\n\n## v1\n\n- a.V\n")
	if missing := unnamed(changed, text); !slices.Equal(missing, []string{"a.V"}) {
		t.Errorf("not named: %v, want only a.V", missing)
	}
}
