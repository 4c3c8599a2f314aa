package settings

import (
	"slices"
	"sort"
	"strings"

	"github.com/spf13/pflag"
)

// prefixes are the prefixes of environment variables; the first one has precedence. ETCD_ is for
// scripts and units that configure etcd.
var prefixes = []string{"TROUPE_", "ETCD_"}

// clientVariables are the variables with one of the prefixes that set up client commands.
var clientVariables = map[string]bool{"TROUPE_ENDPOINTS": true, "TROUPE_CACERT": true, "TROUPE_CERT": true, "TROUPE_KEY": true}

// commandLineFlags have no environment variable and no key in a file. Container images set
// ETCD_VERSION.
var commandLineFlags = []string{"help", "version", "as-etcd"}

func isCommandLineOnly(flag string) bool { return slices.Contains(commandLineFlags, flag) }

// FromEnvironment sets the flags that the command line did not set: --data-dir from
// TROUPE_DATA_DIR, or else from ETCD_DATA_DIR. An invalid value is an *Error. unknown lists the
// variables with a prefix that name no flag, sorted. They are no error, because orchestrators
// define such names (ETCD_PORT_2379_TCP).
func FromEnvironment(fs *pflag.FlagSet, environment []string) (unknown []string, err error) {
	values := make(map[string]string, len(environment))
	for _, pair := range environment {
		if name, value, ok := strings.Cut(pair, "="); ok {
			values[name] = value
		}
	}
	known := map[string]bool{}
	fs.VisitAll(func(flag *pflag.Flag) {
		if isCommandLineOnly(flag.Name) {
			return
		}
		for _, prefix := range prefixes {
			name := variableName(prefix, flag.Name)
			value, set := values[name]
			known[name] = true
			// An empty variable counts as unset, as with etcd.
			if !set || value == "" || flag.Changed || err != nil {
				continue
			}
			if failure := fs.Set(flag.Name, value); failure != nil {
				err = InvalidValue(name, value, flag)
				continue
			}
			_ = fs.SetAnnotation(flag.Name, prefixAnnotation, []string{prefix})
		}
	})
	if err != nil {
		return nil, err
	}
	for name := range values {
		if IsVariable(name) && !known[name] && !clientVariables[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown, nil
}

// prefixAnnotation of a flag that was set from the environment is the prefix of its variable.
const prefixAnnotation = "variable prefix"

// precedence returns the precedence of the source that set the flag, 0 being the highest: the
// command line or the file, then the environment by prefix, then the default.
func precedence(flag *pflag.Flag) int {
	switch prefix := flag.Annotations[prefixAnnotation]; {
	case len(prefix) > 0:
		return 1 + slices.Index(prefixes, prefix[0])
	case flag.Changed:
		return 0
	}
	return 1 + len(prefixes)
}

func variableName(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// IsVariable reports whether an environment variable has a prefix of the settings.
func IsVariable(name string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
