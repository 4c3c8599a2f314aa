package conformance

import (
	"debug/elf"
	"runtime"
	"testing"
)

// TestBinaryNeedsNoLibraries holds the binary to what the sample container needs.
func TestBinaryNeedsNoLibraries(t *testing.T) {
	if runtime.GOOS != "linux" || program.Name != "troupe" {
		t.Skip("not about this program")
	}
	file, err := elf.Open(program.Path)
	mustSucceed(t, err)
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	mustSucceed(t, err)
	if len(libraries) > 0 {
		t.Errorf("the binary needs %q; build it with CGO_ENABLED=0", libraries)
	}
}
