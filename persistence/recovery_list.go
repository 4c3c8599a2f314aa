package persistence

import (
	"path/filepath"
	"slices"
	"strings"
)

// listSegments lists the directory, and follows the chain of segments from the newest down: each
// header names the segment before it.
func (r *recoveryState) listSegments() error {
	names, err := r.options.FS.List(r.options.Dir)
	if err != nil {
		return readError(r.options.Dir, 0, err)
	}
	bySequence := map[uint64]*segment{}
	var newest uint64
	var markers []uint64
	for _, name := range names {
		path := filepath.Join(r.options.Dir, name)
		if sequence, ok := parseSegmentName(name); ok {
			size, err := r.fileSize(path)
			if err != nil {
				return err
			}
			bySequence[sequence] = &segment{sequence: sequence, path: path, size: size}
			newest = max(newest, sequence)
		} else if sequence, ok := parseMarkerName(name); ok {
			markers = append(markers, sequence)
		} else if strings.HasSuffix(name, spareSuffix) {
			size, err := r.fileSize(path)
			if err != nil {
				return err
			}
			r.spares = append(r.spares, spare{path: path, size: size})
		} else if strings.HasSuffix(name, partialSpareSuffix) || strings.HasSuffix(name, newSuffix) {
			r.leftovers = append(r.leftovers, path)
		}
	}
	if err := r.checkMarkers(markers, newest); err != nil {
		return err
	}
	// The chain ends at a segment that is missing: it was compacted, or it is lost, which shows when
	// the entries are put together.
	for s := bySequence[newest]; s != nil; s = bySequence[r.headers[len(r.headers)-1].previousSequence] {
		h, err := r.readHeader(s)
		if err != nil {
			return err
		}
		r.segments, r.headers = append(r.segments, s), append(r.headers, h)
		delete(bySequence, s.sequence)
	}
	slices.Reverse(r.segments)
	slices.Reverse(r.headers)
	return r.checkUnlinked(bySequence)
}

func (r *recoveryState) fileSize(path string) (int64, error) {
	info, err := r.options.FS.Stat(path)
	if err != nil {
		return 0, readError(path, 0, err)
	}
	return info.Size(), nil
}

// checkUnlinked handles the segments outside the chain. Those older than the chain are leftovers: a
// crash may undo the removal of compacted segments, in any order. (addNewest checks that the base
// covers them.) Any other segment must be in the chain.
func (r *recoveryState) checkUnlinked(bySequence map[uint64]*segment) error {
	var sequences []uint64
	for sequence := range bySequence {
		sequences = append(sequences, sequence)
	}
	slices.Sort(sequences)
	for _, sequence := range sequences {
		s := bySequence[sequence]
		if sequence > r.segments[0].sequence {
			return corruptError(s.path, 0, "segment %016x is not in the chain that ends with %s", sequence, r.segments[len(r.segments)-1].path)
		}
		r.leftovers = append(r.leftovers, s.path)
	}
	return nil
}

// checkMarkers refuses a directory whose newest marker names a segment that is missing. Older
// markers are leftovers.
func (r *recoveryState) checkMarkers(markers []uint64, newest uint64) error {
	for _, sequence := range markers {
		r.markedSegment = max(r.markedSegment, sequence)
	}
	for _, sequence := range markers {
		if sequence != r.markedSegment {
			r.leftovers = append(r.leftovers, r.options.path(markerName(sequence)))
		}
	}
	if r.markedSegment > newest && !r.options.concurrentWriter {
		return corruptError(r.options.path(segmentName(r.markedSegment)), 0,
			"the file is missing: it existed, as %s shows, and may hold the end of the log", markerName(r.markedSegment))
	}
	return nil
}

// readHeader reads and checks the header of a segment.
func (r *recoveryState) readHeader(s *segment) (segmentHeader, error) {
	w, err := openFileWindow(r.options.FS, s.path, segmentHeaderBytes)
	if err != nil {
		return segmentHeader{}, err
	}
	defer w.file.Close()
	var h segmentHeader
	err = w.withReread(0, func() (err error) {
		h, err = w.readSegmentHeader(s)
		return err
	})
	r.addWarning(w)
	if err != nil {
		return segmentHeader{}, err
	}
	if r.options.skipOwnerCheck {
		return h, nil
	}
	return h, h.checkOwner(s.path, r.options)
}

func (w *fileWindow) readSegmentHeader(s *segment) (segmentHeader, error) {
	b, err := w.bytes(0, min(segmentHeaderBytes, w.size))
	if err != nil {
		return segmentHeader{}, err
	}
	return decodeSegmentHeader(s.path, s.sequence, b)
}
