package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/troupe-raft/troupe/statemachine"
)

// checkFilter checks that no key with a row in space c or d is reported as absent.
func (r *replica) checkFilter() {
	r.t.Helper()
	for _, space := range []byte{spaceCurrent, spaceTombstones} {
		if err := r.s.eachRow(space, func(key, _ []byte) error {
			if r.s.keyFilter.absent(r.s.metadataCache.hash(key)) {
				return fmt.Errorf("key %q has a row in space %c and is reported as absent", key, space)
			}
			return nil
		}); err != nil {
			r.t.Fatalf("%v", err)
		}
	}
}

func TestNewKeysNeedNoTableRead(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), Options{metadataBytes: 1})
	defer r.close()
	const keys = 50_000
	for i := 0; i < keys; i += 500 {
		var commands [][]byte
		for k := range 500 {
			commands = append(commands, put(fmt.Sprint("key", i+k), "v"))
		}
		r.apply(commands...)
	}
	r.checkFilter()
	wrong := 0
	for i := range 10_000 {
		if !r.s.keyFilter.absent(r.s.metadataCache.hash(fmt.Append(nil, "other", i))) {
			wrong++
		}
	}
	if wrong > 300 {
		t.Errorf("of 10000 keys that were never put, %d are possibly present: more than 3 %%", wrong)
	}
}

// A store that was opened with keys scans them while puts and deletes go on. Keys that move between
// the spaces meanwhile are not missed: versions and creation revisions stay right.
func TestKeyFilterScanMissesNoKey(t *testing.T) {
	fs := vfs.NewMem()
	r := openReplica(t, fs, Options{})
	const keys = 20_000
	name := func(i int) string { return fmt.Sprintf("key%06d", i) }
	var commands [][]byte
	for i := range keys {
		commands = append(commands, put(name(i), "v"))
	}
	r.apply(commands...)
	r.close()

	r = openReplica(t, fs, Options{metadataBytes: 1})
	defer r.close()
	if r.s.keyFilter.complete {
		t.Fatal("the filter of a store that was opened with keys is complete without a scan")
	}
	random := rand.New(rand.NewPCG(1, 2))
	version := make([]int64, keys)
	for i := range version {
		version[i] = 1
	}
	fresh, scanned := 0, false
	for batch := 0; batch < 200 && !(r.s.keyFilter.complete && batch > 60); batch++ {
		commands = commands[:0]
		for range 200 { // reads that find nothing start the scan
			commands = append(commands, put(fmt.Sprint("new", fresh), "v"))
			fresh++
		}
		for range 200 {
			i := random.IntN(keys)
			if version[i] > 0 && random.IntN(2) == 0 {
				commands = append(commands, del(name(i), ""))
				version[i] = 0
			} else {
				commands = append(commands, put(name(i), "w"))
				version[i]++
			}
		}
		r.apply(commands...)
		scanned = scanned || r.s.keyFilter.scanFrom != nil
		r.checkFilter()
	}
	if !scanned || !r.s.keyFilter.complete {
		t.Fatalf("scanned: %v, complete: %v", scanned, r.s.keyFilter.complete)
	}
	w := newWriter(r.s, &statemachine.Batch{})
	defer w.close()
	for i, want := range version {
		m, err := w.metadata([]byte(name(i)))
		if err != nil || m.version != want {
			t.Fatalf("%s: version %d, want %d (%v)", name(i), m.version, want, err)
		}
	}
}

func TestKeyFilterIsDisabledAboveItsLimit(t *testing.T) {
	f := keyFilter{complete: true}
	for i := 0; !f.disabled; i++ {
		if i > 100_000_000 {
			t.Fatal("the filter grows without bound")
		}
		f.add(keyHash{uint64(i) * 0x9e3779b97f4a7c15, uint64(i) * 0xc2b2ae3d27d4eb4f})
		if len(f.layers) > 0 { // full at once: the test needs only the layers' sizes
			last := &f.layers[len(f.layers)-1]
			last.keys = last.capacity
		}
	}
	if f.absent(keyHash{1, 2}) {
		t.Error("a disabled filter reports a key as absent")
	}
}
