package top

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A style is how text looks, by what it means.
type style uint8

const (
	normal style = iota
	title
	label
	good
	bad
	chart
)

// A line is a row of the page.
type line []span

// A span is text of one style.
type span struct {
	text  string
	style style
}

func (l line) String() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.text)
	}
	return strings.TrimRight(b.String(), " ")
}

func (l line) width() (n int) {
	for _, s := range l {
		n += utf8.RuneCountInString(s.text)
	}
	return n
}

// cut is the line as far as it fits.
func (l line) cut(width int) line {
	for i, s := range l {
		n := utf8.RuneCountInString(s.text)
		if n > width {
			runes := []rune(s.text)[:max(width, 0)]
			return append(slices.Clone(l[:i]), span{string(runes), s.style})
		}
		width -= n
	}
	return l
}

// printable replaces what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}
