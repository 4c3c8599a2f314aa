package client

import (
	"fmt"
	"net"
	"strings"
)

// Endpoint is an address on which a member serves clients.
type Endpoint struct {
	// Address is host:port, or the path of a Unix socket.
	Address string
	Secure  bool // with TLS
	Unix    bool
}

func (e Endpoint) String() string {
	scheme := "http://"
	switch {
	case e.Unix && e.Secure:
		scheme = "unixs://"
	case e.Unix:
		scheme = "unix://"
	case e.Secure:
		scheme = "https://"
	}
	return scheme + e.Address
}

func (e Endpoint) network() string {
	if e.Unix {
		return "unix"
	}
	return "tcp"
}

// ParseEndpoints parses a list with commas: host:port, http://host:port, https://host:port,
// unix://path or unixs://path. An endpoint without a scheme uses TLS if secure is true.
func ParseEndpoints(text string, secure bool) ([]Endpoint, error) {
	var endpoints []Endpoint
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		e, err := parseEndpoint(part, secure)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, e)
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("--endpoints: %q names no endpoint; write host:port, separated by commas", text)
	}
	return endpoints, nil
}

func parseEndpoint(text string, secure bool) (Endpoint, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "http", text
		if secure {
			scheme = "https"
		}
	}
	e := Endpoint{Address: strings.TrimSuffix(rest, "/")}
	switch strings.ToLower(scheme) {
	case "http":
	case "https":
		e.Secure = true
	case "unix":
		e.Unix = true
	case "unixs":
		e.Unix, e.Secure = true, true
	default:
		return e, fmt.Errorf("--endpoints: %q has the scheme %s; use http, https, unix or unixs", text, scheme)
	}
	if e.Unix {
		e.Address = rest
		return e, nil
	}
	if _, port, err := net.SplitHostPort(e.Address); err != nil || port == "" {
		return e, fmt.Errorf("--endpoints: %q has no port; write host:port, for instance 127.0.0.1:2379", text)
	}
	return e, nil
}
