package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var storage = []Mutation{
	{
		Name:   "promises leave before the write",
		Breaks: "the LogStore says what a batch promised, then writes it",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "flush").Replace(`
				_s.check(_operation, _s.makeDurable())
				_s.idleWork.lastWrite = _now
				for _, _d := range _s.batch.deferred { ___send }`, `
				for _, _d := range _s.batch.deferred { ___send }
				_s.check(_operation, _s.makeDurable())
				_s.idleWork.lastWrite = _now`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "a write without a sync",
		Breaks: "the log writes its frames and leaves the sync to the system",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentWriter.writeFrame").Replace(
			`_file.SyncData()`,
			`error(nil)`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"disk matches appends"},
	},
	{
		Name:   "every other sync is left out",
		Breaks: "the log syncs only where something is in the frame besides term and vote",
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
		Name:   "a failed sync is ignored",
		Breaks: "the log takes a failed sync for a warning and speaks (E5)",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentWriter.writeFrame").Replace(
			`if _err := _file.SyncData(); _err != nil { ___fail }`,
			`if _err := _file.SyncData(); false { ___fail }`)},
		Hunt: Hunt{Profile: "disks"}, Caught: []string{"disk matches appends", "fail-stop", "persist before send", "recovery matches disk"},
	},
	{
		Name:   "a rename without a sync of its directory",
		Breaks: "a new segment is written to before its name is durable: a power cut takes it away (E6)",
		Edits: []mutation.Edit{mutation.In("persistence", "Log.createSegmentFile").Delete(
			`if _err == nil { _err = _fs.SyncDir(_dir) }`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"disk matches appends"},
	},
	{
		Name:   "a segment is named before it is whole",
		Breaks: "a new segment's first frames are not synced before it gets its name",
		Edits: []mutation.Edit{mutation.In("persistence", "Log.createSegmentFile").Replace(
			`if _err = writeFull(___content); _err == nil { _err = _file.Sync() }`,
			`_err = writeFull(___content)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"disk matches appends", "stop has a cause"},
	},
	{
		Name:   "the last frame is dropped by recovery",
		Breaks: "a frame that no later one claims is taken for a write that never finished",
		Edits: []mutation.Edit{mutation.In("persistence", "openLog").Replace(
			`_l.startSegment(_need, _before, _r.unproven)`,
			`_l.startSegment(_need, _before, nil)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"recovery matches disk", "disk matches appends"},
	},
	{
		Name:   "a torn write is believed",
		Breaks: "the sums of the entries are not checked when the log is read after a crash",
		Edits: []mutation.Edit{mutation.In("persistence", "checkPayload").Replace(
			`_f.checkEntries(___entries)`,
			`nil`)},
		Hunt: Hunt{Package: "./persistence", Test: "TestE7TornWriteIsDroppedOrWhole"},
	},
	{
		Name:   "what is read wrong is not read again",
		Breaks: "a bit flipped on its way from the disk, in the newest frame, passes for a write that never finished",
		Edits: []mutation.Edit{mutation.In("persistence", "fileWindow.withReread").Replace(
			`!errors.Is(_bad, errInvalidFrame) && !errors.Is(_bad, ErrCorrupt)`,
			`true`)},
		// The script failRead if recovery refuses the log although the disk holds it undamaged.
		Hunt: Hunt{Scenario: "recovery-read-flips"}, Caught: []string{"disk matches appends", "persist before send", "script"},
	},
	{
		Name:   "a read that fails is the end of the log",
		Breaks: "a recovery that cannot read on takes what it has read for all there is",
		Edits: []mutation.Edit{mutation.In("persistence", "fileWindow.load").Replace(
			`readError(_path, _off, _err)`,
			`invalidFrame("%v", _err)`)},
		Hunt: Hunt{Profile: "disks"}, Caught: []string{"fault stops the node", "disk matches appends"},
	},
	{
		Name:   "sums are not chained",
		Breaks: "a frame does not say which one it follows: one of another history passes",
		Edits: []mutation.Edit{mutation.In("persistence", "segmentScanner.checkOrder").Replace(
			`_f.previousCRC != _s.lastCRC`,
			`_f.previousCRC != _s.lastCRC && _s.frameCount < 0`)},
		Hunt: Hunt{Package: "./persistence", Test: "TestReplacedFrameBreaksTheChain"},
	},
	{
		Name:   "a restarted LogStore goes on alone",
		Breaks: "supervision restarts the LogStore and leaves its Node with what it believed",
		Edits: []mutation.Edit{mutation.In("supervisor", "decide").Replace(
			`_name == actors.LogReaderName || _peer`,
			`_name == actors.LogReaderName || _name == actors.LogStoreName || _peer`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"no message before recovery", "log matches appends"},
	},
}
