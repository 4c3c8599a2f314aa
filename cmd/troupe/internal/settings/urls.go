package settings

import (
	"fmt"
	"net"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// URL is where something listens, or is said to be reached: scheme and address, nothing else.
type URL struct {
	// Scheme is "http", "https", "unix" or "unixs".
	Scheme string
	// Address is host:port; for unix sockets the path of the socket.
	Address string
}

// String is the URL in one spelling, so that equal ones compare equal.
func (u URL) String() string { return u.Scheme + "://" + u.Address }

// Secure tells whether TLS is spoken there.
func (u URL) Secure() bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// Unix tells whether it is a socket of the file system.
func (u URL) Unix() bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// Wildcard tells whether the address means "all of this host": good to listen on, and of no use to anybody else.
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

// Loopback tells whether only this machine can reach the address.
func (u URL) Loopback() bool {
	host, _, err := net.SplitHostPort(u.Address)
	if err != nil {
		return u.Unix()
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// parseURLs reads a list of URLs separated by commas. It keeps their order: the first one is preferred.
func parseURLs(setting, text string, schemes ...string) ([]URL, error) {
	var urls []URL
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			return nil, &Error{setting, fmt.Sprintf("a URL is missing in %q", text), "write " + example(schemes)}
		}
		u, err := parseURL(setting, part, schemes)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
	}
	return urls, nil
}

func parseURL(setting, text string, schemes []string) (URL, error) {
	wrong := func(what string) (URL, error) {
		return URL{}, &Error{setting, fmt.Sprintf("%q %s", text, what), "write " + example(schemes)}
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return wrong("has no scheme")
	}
	scheme = strings.ToLower(scheme)
	if !contains(schemes, scheme) {
		return wrong(fmt.Sprintf("has the scheme %s, which is not served here", scheme))
	}
	if scheme == "unix" || scheme == "unixs" {
		if rest == "" {
			return wrong("names no socket")
		}
		return URL{scheme, rest}, nil
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return wrong("is no URL")
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

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// Strings are the URLs as texts, in their order.
func Strings(urls []URL) []string {
	texts := make([]string, len(urls))
	for i, u := range urls {
		texts[i] = u.String()
	}
	return texts
}

// sameURLs compares two lists as sets.
func sameURLs(a, b []URL) bool {
	x, y := Strings(a), Strings(b)
	sort.Strings(x)
	sort.Strings(y)
	return strings.Join(x, ",") == strings.Join(y, ",")
}
