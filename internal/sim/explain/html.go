package explain

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page_model.js
	pageModel string
	//go:embed page_diagram.js
	pageDiagram string
	//go:embed page_control.js
	pageControl string
)

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// HTML writes a trace as a self-contained page: a space-time diagram, time downwards, a lane for
// each member, and above it the member's log at the chosen moment. The page may load nothing and
// run nothing but its own script, whatever text the trace has.
func HTML(w io.Writer, r io.Reader, o Options) error {
	in, err := trace.NewReader(r)
	if err != nil {
		return err
	}
	window, err := readEvents(in, o)
	if err != nil {
		return err
	}
	// json.Marshal escapes <, > and &: the data cannot end the element that contains it.
	data, err := json.Marshal(newPage(in.Header(), window))
	if err != nil {
		return fmt.Errorf("write the page of a trace: %w", err)
	}
	script := "\"use strict\";\n(() => {\n" + pageModel + pageDiagram + pageControl + "})();\n"
	sum := sha256.Sum256([]byte(script))
	out := bufio.NewWriter(w)
	err = pageTemplate.Execute(out, map[string]any{
		"Title": title(in.Header()), "CSS": template.CSS(pageCSS), "Data": template.JS(data), "Script": template.JS(script),
		"Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the page of a trace: %w", err)
	}
	return nil
}
