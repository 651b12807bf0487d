package shell

import (
	"errors"
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []word
		err  string
	}{
		{"", nil, ""},
		{" \t ", nil, ""},
		{"# a comment 'with a quote", nil, ""},
		{"   # another", nil, ""},
		{"sub #", []word{{"sub", false, 0}, {"#", false, 4}}, ""},
		{"sub a/#", []word{{"sub", false, 0}, {"a/#", false, 4}}, ""},
		{" pub\ta  b ", []word{{"pub", false, 1}, {"a", false, 5}, {"b", false, 8}}, ""},
		{`'it is' "so"`, []word{{"it is", true, 0}, {"so", true, 8}}, ""},
		{`''`, []word{{"", true, 0}}, ""},
		{`'\n "'`, []word{{`\n "`, true, 0}}, ""},
		{`"a\n\t\"\\\x00\u00e9'"`, []word{{"a\n\t\"\\\x00é'", true, 0}}, ""},
		{`"\xff"`, []word{{"\xff", true, 0}}, ""},
		{`a'b c'"d"e`, []word{{"ab cde", false, 0}}, ""},
		{`@'C:\a b'`, []word{{`@C:\a b`, false, 0}}, ""},
		{`a\ b\é\'`, []word{{"a bé'", false, 0}}, ""},
		{"a\xffb", []word{{"a\xffb", false, 0}}, ""},
		{`a\`, []word{{"a", false, 0}}, "the backslash at the end of the line has nothing to escape"},
		{`pub 'a b`, []word{{"pub", false, 0}, {"a b", true, 4}}, "the quote ' in column 5 isn't closed"},
		{`pub "a b`, []word{{"pub", false, 0}, {"a b", true, 4}}, `the quote " in column 5 isn't closed`},
		{`"a\`, []word{{"a", true, 0}}, `the quote " in column 1 isn't closed`},
		{`"a\q"`, []word{{"a", true, 0}}, `unknown escape \q in column 3; double quotes know \n \t \r \" \\ \xhh and \uhhhh, single quotes keep all as it is`},
	} {
		words, err := split(tt.line)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if !slices.Equal(words, tt.want) || text != tt.err {
			t.Errorf("%q: %+v, %q\nwant %+v, %q", tt.line, words, text, tt.want, tt.err)
		}
	}
}

// FuzzSplit proves that no line makes the parser panic or lose its place, and
// that it reads back what quote writes.
func FuzzSplit(f *testing.F) {
	for _, line := range []string{"pub a/b 'x y' --qos 1", `"\x00\u00e9`, `a\`, "# c", "'", "\"\\", "\xff\\\xff"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if len(line) > 200 {
			return // many short lines find more than a few long ones
		}
		words, err := split(line)
		at := -1
		for _, w := range words {
			if w.at <= at || w.at >= len(line) {
				t.Fatalf("%q: word %q at %d after one at %d", line, w.text, w.at, at)
			}
			at = w.at
			again, err := split(quote(w.text))
			if err != nil || len(again) != 1 || again[0].text != w.text {
				t.Fatalf("%q: quote(%q) is %s, which reads as %+v, %v", line, w.text, quote(w.text), again, err)
			}
		}
		if unclosed, ok := errors.AsType[*unclosedError](err); ok && line[unclosed.at] != unclosed.quote {
			t.Fatalf("%q: no quote at %d", line, unclosed.at)
		}
	})
}
