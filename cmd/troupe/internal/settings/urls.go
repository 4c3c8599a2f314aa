package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// URL is a scheme and an address that a server listens on or advertises.
type URL struct {
	// Scheme is "http", "https", "unix" or "unixs".
	Scheme string
	// Address is host:port, or the path of a Unix socket.
	Address string
}

// String returns the URL in one spelling: equal URLs have equal strings.
func (u URL) String() string { return u.Scheme + "://" + u.Address }

// Secure reports whether connections use TLS.
func (u URL) Secure() bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// Unix reports whether the address is a Unix socket.
func (u URL) Unix() bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// Wildcard reports whether the address means all addresses of this host. A server can listen on it,
// but no other host can connect to it.
func (u URL) Wildcard() bool {
	if u.Unix() {
		return false
	}
	host, _, err := net.SplitHostPort(u.Address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" || (ip != nil && ip.IsUnspecified())
}

// Loopback reports whether only this machine can reach the address.
func (u URL) Loopback() bool {
	host, _, err := net.SplitHostPort(u.Address)
	if err != nil {
		return u.Unix()
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// parseURLs parses a list of URLs with commas between them and keeps their order: the first one is
// preferred. A URL that occurs again is dropped, as etcd does. The error joins all invalid ones.
func parseURLs(setting, text string, schemes ...string) ([]URL, error) {
	var urls []URL
	var errs []error
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			errs = append(errs, &Error{setting, fmt.Sprintf("a URL between two commas is missing in %q", text), "write " + example(schemes)})
			continue
		}
		u, err := parseURL(setting, part, schemes)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return urls, nil
}

func parseURL(setting, text string, schemes []string) (URL, error) {
	wrong := func(problem string) (URL, error) {
		return URL{}, &Error{setting, fmt.Sprintf("%q %s", text, problem), "write " + example(schemes)}
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return wrong("has no scheme")
	}
	scheme = strings.ToLower(scheme)
	if !slices.Contains(schemes, scheme) {
		return wrong(fmt.Sprintf("has the scheme %s, which is not supported here", scheme))
	}
	if scheme == "unix" || scheme == "unixs" {
		if rest == "" {
			return wrong("names no socket")
		}
		return URL{scheme, rest}, nil
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return wrong("is not a URL")
	}
	if strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.User != nil || parsed.Fragment != "" {
		return wrong("holds more than scheme, host and port")
	}
	host, port, err := net.SplitHostPort(parsed.Host)
	if err != nil || port == "" {
		return wrong("has no port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return wrong(fmt.Sprintf("has the port %s, which is not between 0 and 65535", port))
	}
	return URL{scheme, net.JoinHostPort(strings.ToLower(host), port)}, nil
}

func example(schemes []string) string {
	if len(schemes) > 0 && schemes[0] == "unix" {
		return "unix://path"
	}
	return "http://host:port or https://host:port"
}

// Strings returns the URLs as texts, in their order.
func Strings(urls []URL) []string {
	texts := make([]string, len(urls))
	for i, u := range urls {
		texts[i] = u.String()
	}
	return texts
}

// sameURLs reports whether two lists hold the same URLs, in any order.
func sameURLs(a, b []URL) bool {
	x, y := Strings(a), Strings(b)
	sort.Strings(x)
	sort.Strings(y)
	return strings.Join(x, ",") == strings.Join(y, ",")
}
