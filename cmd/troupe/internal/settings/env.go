package settings

import (
	"errors"
	"maps"
	"slices"
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
// TROUPE_DATA_DIR, or else from ETCD_DATA_DIR. The error joins an *Error for each invalid value.
//
// The warnings are about variables with a prefix that have no effect: those that are empty, that
// another source has precedence over, or that name no flag. They are no error, because
// orchestrators define such names (ETCD_PORT_2379_TCP).
func FromEnvironment(fs *pflag.FlagSet, environment []string) (warnings []Error, err error) {
	values := variables(environment)
	known := map[string]bool{}
	var errs []error
	fs.VisitAll(func(flag *pflag.Flag) {
		if isCommandLineOnly(flag.Name) {
			return
		}
		setBy := ""
		if flag.Changed {
			setBy = "--" + flag.Name
		}
		for _, prefix := range prefixes {
			name := variableName(prefix, flag.Name)
			value := values[name]
			known[name] = true
			switch {
			case value == "": // as with etcd, which warns too
			case setBy != "":
				if value != flag.Value.String() {
					warnings = append(warnings, Error{name, "has no effect: " + setBy + " has precedence", "unset one of them"})
				}
			default:
				errs = append(errs, SetFlag(fs, flag, name, value))
				_ = fs.SetAnnotation(flag.Name, prefixAnnotation, []string{prefix})
				setBy = name
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !known[name]:
			warnings = append(warnings, unknownVariable(name))
		case values[name] == "":
			warnings = append(warnings, emptyVariable(name, fs))
		}
	}
	return warnings, errors.Join(errs...)
}

// variables returns the variables that have a prefix of the settings and do not set up clients.
func variables(environment []string) map[string]string {
	values := map[string]string{}
	for _, pair := range environment {
		if name, value, ok := strings.Cut(pair, "="); ok && IsVariable(name) && !clientVariables[name] {
			values[name] = value
		}
	}
	return values
}

func unknownVariable(name string) Error {
	return Error{name, "the environment variable is not a setting and is ignored", "check its name, or unset it"}
}

// clusterOfItsOwn is the end of warnings about an empty value in place of a list of members.
const clusterOfItsOwn = "without --initial-cluster this member is a cluster of its own"

func emptyVariable(name string, fs *pflag.FlagSet) Error {
	problem := "is empty, which counts as unset"
	if strings.HasSuffix(name, "_INITIAL_CLUSTER") && !fs.Changed("initial-cluster") {
		problem += ": " + clusterOfItsOwn
	}
	return Error{name, problem, "give a value, or unset the variable"}
}

// BesideFile returns a warning for the variables that have no effect because there is a
// configuration file, and one for each that is no setting anyway.
func BesideFile(fs *pflag.FlagSet, environment []string, file string) (warnings []Error) {
	values, known := variables(environment), map[string]bool{}
	fs.VisitAll(func(flag *pflag.Flag) {
		for _, prefix := range prefixes {
			known[variableName(prefix, flag.Name)] = !isCommandLineOnly(flag.Name)
		}
	})
	var ignored []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		isFile := strings.HasSuffix(name, "_CONFIG_FILE") && values[name] == file
		switch {
		case !known[name]:
			warnings = append(warnings, unknownVariable(name))
		case values[name] != "" && !isFile:
			ignored = append(ignored, name)
		}
	}
	if len(ignored) > 0 {
		warnings = append(warnings, Error{
			strings.Join(ignored, ", "), "ignored: the settings are those of the configuration file " + file + " alone",
			"move them into the file, or unset the variables",
		})
	}
	return warnings
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
