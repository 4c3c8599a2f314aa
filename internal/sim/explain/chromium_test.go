package explain_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var screenshotDir = flag.String("explain.shots", "", "a directory for screenshots of the page")

// chromium is a headless browser. It is controlled over a pipe with the DevTools protocol: messages
// in JSON, each ended by a NUL.
type chromium struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	calls   int
	session string
	// What the page did and must not do: errors, requests, dialogs.
	problems []string
}

// openChromium starts a browser with a page, or skips the test if none is installed.
func openChromium(t *testing.T) *chromium {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes too long for -short")
	}
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium on this machine, so the page was not tested: apt-get install chromium")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--remote-debugging-pipe", "--user-data-dir="+profileDir(t), "about:blank")
	from, browserOut := pipe(t)
	browserIn, to := pipe(t)
	cmd.ExtraFiles = []*os.File{browserIn, browserOut} // its descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s does not start: %v", program, err)
	}
	browserIn.Close()
	browserOut.Close()
	b := &chromium{t: t, to: to, from: bufio.NewReaderSize(from, 1<<20)}
	t.Cleanup(func() {
		fmt.Fprintf(to, `{"id":1000000,"method":"Browser.close"}`+"\x00")
		to.Close()
		cmd.Wait()
		cancel()
		from.Close()
	})
	b.attach()
	return b
}

// profileDir returns a directory that is removed a little after the test: the helpers of the
// browser write for a moment after it has exited, and t.TempDir would report a failure.
func profileDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "troupe-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(dir) != nil && time.Now().Before(deadline); {
			<-time.After(10 * time.Millisecond)
		}
	})
	return dir
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func (b *chromium) attach() {
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
}

type devtoolsMessage struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct{ Message string }
}

func (b *chromium) call(method string, params, result any) {
	b.t.Helper()
	if err := b.try(method, params, result); err != nil {
		b.t.Fatal(err)
	}
}

// try sends a command and waits for its response. Events that arrive meanwhile are checked. The
// error is that of the browser; a browser that has exited ends the test.
func (b *chromium) try(method string, params, result any) error {
	b.t.Helper()
	b.calls++
	message := map[string]any{"id": b.calls, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	line, err := json.Marshal(message)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(line, 0)); err != nil {
		b.t.Fatalf("the browser has exited: %v", err)
	}
	for {
		line, err := b.from.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("the browser has exited before it responded to %s: %v", method, err)
		}
		var m devtoolsMessage
		if err := json.Unmarshal(line[:len(line)-1], &m); err != nil {
			b.t.Fatal(err)
		}
		if m.ID != b.calls {
			b.handleEvent(&m)
			continue
		}
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return nil
	}
}

func (b *chromium) handleEvent(m *devtoolsMessage) {
	switch m.Method {
	case "Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening":
		b.problems = append(b.problems, m.Method+": "+string(m.Params))
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		if err := json.Unmarshal(m.Params, &p); err != nil || !strings.HasPrefix(p.Request.URL, "file://") && p.Request.URL != "about:blank" {
			b.problems = append(b.problems, "a request: "+p.Request.URL)
		}
	}
}

// open loads a local file.
func (b *chromium) open(file string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	for {
		// The former page may still be there for a moment, or disappear during the request.
		var answer struct{ Result struct{ Value bool } }
		err := b.try("Runtime.evaluate", map[string]any{"returnByValue": true, "awaitPromise": true, "expression": `location.protocol === "file:" &&
			new Promise((done) => document.readyState === "complete" ? done(true) : addEventListener("load", () => done(true)))`}, &answer)
		if err != nil && !strings.Contains(err.Error(), "context") {
			b.t.Fatal(err)
		}
		if answer.Result.Value {
			return
		}
	}
}

// eval evaluates an expression in the page and waits for a promise.
func (b *chromium) eval(expression string, result any) {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	if e := answer.ExceptionDetails; e != nil {
		b.t.Fatalf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if result != nil {
		if err := json.Unmarshal(answer.Result.Value, result); err != nil {
			b.t.Fatalf("%s gave %s: %v", expression, answer.Result.Value, err)
		}
	}
}

// press presses and releases a key.
func (b *chromium) press(key string, code int) {
	b.t.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// click presses the left button in the middle of an element.
func (b *chromium) click(selector string) {
	b.t.Helper()
	var at struct{ X, Y float64 }
	b.eval(fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return { X: r.x + r.width / 2, Y: r.y + r.height / 2 }; })()`, selector), &at)
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// size sets the size of the window.
func (b *chromium) size(width, height int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.settle()
}

// settle waits until the page is painted.
func (b *chromium) settle() {
	b.t.Helper()
	b.eval(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, nil)
}

func (b *chromium) mustHaveNoProblems() {
	b.t.Helper()
	for _, c := range b.problems {
		b.t.Errorf("the page: %s", c)
	}
}

// screenshot saves what the window shows, if a directory was given.
func (b *chromium) screenshot(name string) {
	b.t.Helper()
	if *screenshotDir == "" {
		return
	}
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshotDir, name), data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
