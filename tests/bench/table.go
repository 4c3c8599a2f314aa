package main

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// table is a Markdown table with aligned columns.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var s strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(&s, "| %s%s ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		s.WriteString("|\n")
	}
	line(t.head)
	for i, width := range widths {
		rule := strings.Repeat("-", width)
		if i > 0 {
			rule = rule[:width-1] + ":" // figures are aligned to the right
		}
		fmt.Fprintf(&s, "| %s ", rule)
	}
	s.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
	return s.String()
}

// replaceSection replaces the section of a mode in a Markdown file. Two comments mark the section;
// if they are missing, it is added at the end.
func replaceSection(path, name, title, body string) error {
	begin, end := fmt.Sprintf("<!-- bench:%s:begin -->\n", name), fmt.Sprintf("<!-- bench:%s:end -->\n", name)
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := string(old)
	section := begin + body + end
	before, rest, found := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	switch {
	case found && ended:
		text = before + section + after
	case found:
		return fmt.Errorf("%s has %q without the comment at its end; add it", path, strings.TrimSpace(begin))
	default:
		text = strings.TrimRight(text, "\n") + fmt.Sprintf("\n\n## %s\n\n%s", title, section)
		text = strings.TrimLeft(text, "\n")
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
