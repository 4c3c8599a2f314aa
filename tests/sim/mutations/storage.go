package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var storage = []Mutation{
	{
		Name:   "deferred messages leave before the write",
		Breaks: "the LogStore sends the deferred messages of a batch, then writes it",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "syncBatch").Replace(`
				_s.check(_operation, _s.makeDurable())
				_s.idleWork.lastWrite = _now
				for _, _d := range _s.batch.deferred { ___send }`, `
				for _, _d := range _s.batch.deferred { ___send }
				_s.check(_operation, _s.makeDurable())
				_s.idleWork.lastWrite = _now`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "write without a sync",
		Breaks: "the log writes its frames and does not sync",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentWriter.writeFrame").Replace(
			`_file.SyncData()`,
			`error(nil)`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"disk matches appends"},
	},
	{
		Name:   "some syncs are left out",
		Breaks: "the log syncs only frames that hold more than term and vote",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentWriter.writeFrame").InsertBefore(
			`if _err := _l.file.SyncData(); _err != nil { ___fail }`, `
				if f.entryCount == 0 {
					_l.writeOffset += int64(len(b))
					_l.lastSequence, _l.lastCRC, _l.hard, _l.lastFrameIdle = f.sequence, f.crc, f.hard, f.kind == kindIdle
					return nil
				}`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "failed sync is ignored",
		Breaks: "the log treats a failed sync as a warning and continues (E5)",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentWriter.writeFrame").Replace(
			`if _err := _file.SyncData(); _err != nil { ___fail }`,
			`if _err := _file.SyncData(); false { ___fail }`)},
		Hunt: Hunt{Profile: "disks"}, Caught: []string{"disk matches appends", "fail-stop", "persist before send", "recovery matches disk"},
	},
	{
		Name:   "rename without a directory sync",
		Breaks: "a new segment is written before its name is durable: a power failure removes it (E6)",
		Edits: []mutation.Edit{mutation.In("persistence", "Log.createSegmentFile").Delete(
			`if _err == nil { _err = _fs.SyncDir(_dir) }`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"disk matches appends"},
	},
	{
		Name:   "segment is named before its sync",
		Breaks: "the first frames of a new segment are not synced before it receives its name",
		Edits: []mutation.Edit{mutation.In("persistence", "Log.createSegmentFile").Replace(
			`if _err = writeFull(___content); _err == nil { _err = _file.Sync() }`,
			`_err = writeFull(___content)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"disk matches appends", "stop has a cause"},
	},
	{
		Name:   "recovery drops the last frame",
		Breaks: "a frame without a successor counts as an incomplete write",
		Edits: []mutation.Edit{mutation.In("persistence", "openLog").Replace(
			`_l.startSegment(_need, _before, _r.unproven)`,
			`_l.startSegment(_need, _before, nil)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"recovery matches disk", "disk matches appends"},
	},
	{
		Name:   "torn write is accepted",
		Breaks: "recovery does not check the sums of entries",
		Edits: []mutation.Edit{mutation.In("persistence", "checkPayload").Replace(
			`_f.checkEntries(___entries)`,
			`nil`)},
		Hunt: Hunt{Package: "./persistence", Test: "TestE7TornWriteIsDroppedOrWhole"},
	},
	{
		Name:   "invalid read is not repeated",
		Breaks: "a bit that flips between disk and memory makes the newest frame count as an incomplete write",
		Edits: []mutation.Edit{mutation.In("persistence", "fileWindow.withReread").Replace(
			`!errors.Is(_bad, errInvalidFrame) && !errors.Is(_bad, ErrCorrupt)`,
			`true`)},
		// The script failRead if recovery refuses the log although the disk holds it undamaged.
		Hunt: Hunt{Scenario: "recovery-read-flips"}, Caught: []string{"disk matches appends", "persist before send", "script"},
	},
	{
		Name:   "failed read ends the log",
		Breaks: "recovery takes a failed read for the end of the log",
		Edits: []mutation.Edit{mutation.In("persistence", "fileWindow.load").Replace(
			`readError(_path, _off, _err)`,
			`invalidFrame("%v", _err)`)},
		Hunt: Hunt{Profile: "disks"}, Caught: []string{"fault stops the node", "disk matches appends"},
	},
	{
		Name:   "checksums are not chained",
		Breaks: "a frame does not name its predecessor: a frame of another history is accepted",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentScanner.checkOrder").Replace(
			`_f.previousCRC != _s.lastCRC`,
			`_f.previousCRC != _s.lastCRC && _s.frameCount < 0`)},
		Hunt: Hunt{Package: "./persistence", Test: "TestReplacedFrameBreaksTheChain"},
	},
	{
		Name:   "LogStore is restarted alone",
		Breaks: "supervision restarts the LogStore and keeps its Node's state",
		Edits: []mutation.Edit{mutation.In("supervisor", "decide").Replace(
			`_name == actors.LogReaderName || _peer`,
			`_name == actors.LogReaderName || _name == actors.LogStoreName || _peer`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"no message before recovery", "log matches appends", "disk matches appends"},
	},
}
