//go:build cgo

package serve

// tuneGC does nothing: with cgo, the caches of the store are not on the Go heap.
func tuneGC() {}
