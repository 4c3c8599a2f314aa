package live

import "time"

var processStart = time.Now()

// Now returns the monotonic time since the start of the process, for every environment in it.
func Now() time.Duration { return time.Since(processStart) }

// nanosSinceStart returns the monotonic time since the start of the process; never 0.
func nanosSinceStart() int64 { return int64(Now()) + 1 }

// timer is an actors.Timer.
type timer struct{ *time.Timer }

func (t timer) Stop() { t.Timer.Stop() }
