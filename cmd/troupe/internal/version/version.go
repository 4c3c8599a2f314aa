// Package version holds the version of this binary and that of the etcd API which it serves.
package version

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
)

// Troupe is the version of this software, or empty. A release sets it with
// -ldflags "-X …/version.Troupe=1.2.3".
var Troupe = ""

const unreleased = "0.1.0-dev"

// Etcd is the version of the etcd API: that of the module go.etcd.io/etcd/api in go.mod. It must be
// a version of etcd, because clients enable features by it (Kubernetes requests watch progress from
// 3.5.13 on).
const Etcd = "3.7.3"

// String returns the version of Troupe, or of the build information if that is not set, with the
// revision in parentheses if it is known.
func String() string {
	v := Troupe
	info, ok := debug.ReadBuildInfo()
	if v == "" && ok && isRelease(info.Main.Version) {
		v = info.Main.Version
	}
	if v == "" {
		v = unreleased
	}
	if revision := Revision(); revision != "" {
		return v + " (" + revision + ")"
	}
	return v
}

// isRelease reports whether v is a tagged version: not empty, and not the version that the go
// command derives for a checkout (v0.0.0-date-revision).
func isRelease(v string) bool {
	return v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-")
}

// Revision returns the first 12 digits of the source's revision, with "+changes" if the checkout
// was modified, or "" if the build information has none.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + changed
}

// Print writes the output of `troupe version`.
func Print(w io.Writer) {
	fmt.Fprintf(w, "Troupe Version: %s\n", String())
	fmt.Fprintf(w, "etcd API Version: %s\n", Etcd)
	printGo(w)
}

// Result returns the version as the result of a command.
func Result() output.Result {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	return output.Result{
		Value: struct {
			Troupe   string `json:"troupe"`
			API      string `json:"apiVersion"`
			Go       string `json:"go"`
			Platform string `json:"platform"`
		}{String(), Etcd, runtime.Version(), platform},
		Indented: true,
		Header:   []string{"TROUPE", "API", "GO", "PLATFORM"},
		Rows:     [][]string{{String(), Etcd, runtime.Version(), platform}},
		Simple:   func(w io.Writer) error { Print(w); return nil },
	}
}

// PrintAsEtcd writes the output of `etcd --version`. Tools read its first line.
func PrintAsEtcd(w io.Writer) {
	fmt.Fprintf(w, "etcd Version: %s\n", Etcd)
	fmt.Fprintf(w, "Troupe Version: %s\n", String())
	printGo(w)
}

func printGo(w io.Writer) {
	fmt.Fprintf(w, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(w, "Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
}
