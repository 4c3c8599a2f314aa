package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress shows the progress on stderr: on a terminal a line that rewrites itself, elsewhere a
// line now and then.
type progress struct {
	out      io.Writer
	terminal bool
	line     func() string

	mutex sync.Mutex
	shown bool // the terminal shows a line that is not ended
	stop  chan struct{}
	done  sync.WaitGroup
}

const (
	onTerminal = 200 * time.Millisecond
	inLog      = 5 * time.Second
)

func startProgress(out io.Writer, line func() string) *progress {
	p := &progress{out: out, line: line, stop: make(chan struct{})}
	every := inLog
	if isTerminal(out) {
		p.terminal, every = true, onTerminal
	}
	p.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.show()
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// isTerminal takes /dev/null for a terminal, which does not matter.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) show() {
	text := p.line()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
		p.shown = true
	} else {
		fmt.Fprintln(p.out, text)
	}
}

// clear removes the line, so that something else can be written there.
func (p *progress) clear() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	p.clear()
}
