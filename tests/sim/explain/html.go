package explain

import (
	"bytes"
	"fmt"
	"html"
	"io"
)

// HTML writes a trace as one page that needs nothing but itself.
func HTML(w io.Writer, r io.Reader, o Options) error {
	var listing bytes.Buffer
	if err := Text(&listing, r, o); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "<!doctype html><meta charset=utf-8><title>troupe-sim</title><pre>%s</pre>\n", html.EscapeString(listing.String()))
	return err
}
