package mutations

var storage = []Mutation{
	{
		Name:   "promises leave before the write",
		Breaks: "the LogStore says what a batch promised, then writes it",
		Edits: []Edit{
			{"actors/logstore/store.go", `	if err := s.write(); err != nil {
		panic(&actors.StorageFault{Doing: "append to the log in " + s.config.Log.Dir, Err: err})
	}
	s.lastWrite = s.env.Now()
`, ""},
			{"actors/logstore/store.go", "	for _, mark := range s.batch.told {\n", `	if err := s.write(); err != nil {
		panic(&actors.StorageFault{Doing: "append to the log in " + s.config.Log.Dir, Err: err})
	}
	s.lastWrite = s.env.Now()
	for _, mark := range s.batch.told {
`},
		},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "a write without a sync",
		Breaks: "the log writes its frames and leaves the sync to the system",
		Edits:  []Edit{{"persistence/log.go", "	if err := l.file.SyncData(); err != nil {\n		return fmt.Errorf(\"sync %s: %w\", path, err)\n	}\n", ""}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"disk as told"},
	},
	{
		Name:   "every other sync is left out",
		Breaks: "the log syncs only where something is in the frame besides term and vote",
		Edits:  []Edit{{"persistence/log.go", "	if err := l.file.SyncData(); err != nil {\n", "	if f.count == 0 {\n		l.off += int64(len(b))\n		l.sequence, l.chain, l.hard, l.lastIdle = f.sequence, f.crc, f.hard, f.kind == kindIdle\n		return nil\n	}\n	if err := l.file.SyncData(); err != nil {\n"}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "a failed sync is ignored",
		Breaks: "the log takes a failed sync for a warning and speaks (E5)",
		Edits:  []Edit{{"persistence/log.go", "	if err := l.file.SyncData(); err != nil {\n		return fmt.Errorf(\"sync %s: %w\", path, err)\n	}\n", "	_ = l.file.SyncData()\n"}},
		Hunt:   Hunt{Profile: "disks"}, Caught: []string{"disk as told", "fail-stop", "write, then speak", "recovery tells the disk"},
	},
	{
		Name:   "a rename without a sync of its directory",
		Breaks: "a new segment is written to before its name is durable: a power cut takes it away (E6)",
		Edits:  []Edit{{"persistence/begin.go", "	if err == nil {\n		err = l.o.FS.SyncDir(l.o.Dir)\n	}\n", ""}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"disk as told"},
	},
	{
		Name:   "a segment is named before it is whole",
		Breaks: "a new segment's first frames are not synced before it gets its name",
		Edits:  []Edit{{"persistence/begin.go", "	if err = writeAll(file, path, content, 0); err == nil {\n		err = file.Sync()\n	}\n", "	err = writeAll(file, path, content, 0)\n"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"disk as told", "a stop has a cause"},
	},
	{
		Name:   "the last frame is dropped by recovery",
		Breaks: "a frame that no later one claims is taken for a write that never finished",
		Edits:  []Edit{{"persistence/recovery.go", "l.begin(0, r.predecessor, r.copies)", "l.begin(0, r.predecessor, nil)"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"recovery tells the disk", "disk as told"},
	},
	{
		Name:   "a torn write is believed",
		Breaks: "the sums of the entries are not checked when the log is read after a crash",
		Edits:  []Edit{{"persistence/frame.go", "	return f.checkEntries(b, b[at:], 0, f.count)\n", "	return nil\n"}},
		Hunt:   Hunt{Package: "./persistence", Test: "TestE7AWriteTornAtAnySectorIsDroppedOrWhole"},
	},
	{
		Name:   "what is read wrong is not read again",
		Breaks: "a bit flipped on its way from the disk, in the newest frame, passes for a write that never finished",
		Edits: []Edit{
			{"persistence/window.go", "	if !errors.Is(bad, errBadFrame) && !errors.Is(bad, ErrCorrupt) {\n", "	if true {\n"},
		},
		Hunt: Hunt{Scenario: "recovery-read-flips"}, Caught: []string{"disk as told", "write, then speak", "script"}, // or the log is refused though it is whole
	},
	{
		Name:   "a read that fails is the end of the log",
		Breaks: "a recovery that cannot read on takes what it has read for all there is",
		Edits:  []Edit{{"persistence/window.go", "		return unreadable(w.path, off, err)\n", "		return badFrame(\"%v\", err)\n"}},
		Hunt:   Hunt{Profile: "disks"}, Caught: []string{"a fault stops the node", "disk as told"},
	},
	{
		Name:   "sums are not chained",
		Breaks: "a frame does not say which one it follows: one of another history passes",
		Edits:  []Edit{{"persistence/scan.go", "	case f.previous != s.chain:\n", "	case f.previous != s.chain && s.frames < 0:\n"}},
		Hunt:   Hunt{Package: "./persistence", Test: "TestAFrameThatWasReplacedByAnotherBreaksTheChain"},
	},
	{
		Name:   "a restarted LogStore goes on alone",
		Breaks: "supervision restarts the LogStore and leaves its Node with what it believed",
		Edits:  []Edit{{"supervisor/strategy.go", "	if name == actors.ReaderName || ", "	if name == actors.ReaderName || name == actors.LogName || "}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"silence in recovery", "log as told"},
	},
}
