//go:build !unix

package serve

// descriptorLimit returns how many files the process may have open, or 0 if that is unknown.
func descriptorLimit() uint64 { return 0 }
