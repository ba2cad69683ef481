package console

import (
	"regexp"
	"strings"
)

// ellipsis in a line of a page stands for any text, and alone in a line for any number of lines.
const ellipsis = "…"

var (
	blanks = regexp.MustCompile(`[ \t]+`)
	// duration is what Go and kubectl print: 5s, 2m45s, 1.5s, 3d4h.
	duration = regexp.MustCompile(`(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|y|d|h|m|s))+`)
	// inWord is true for what stands beside a duration that is only part of a name, such as the 5d of web-5d9f.
	inWord = regexp.MustCompile(`[\pL\pN_-]`)
)

// pattern is a line of expected output.
type pattern struct {
	text string
	// line matches one line; nil if the pattern stands for any number of lines.
	line *regexp.Regexp
}

func compile(want string) pattern {
	if strings.TrimSpace(want) == ellipsis {
		return pattern{text: want}
	}
	var parts []string
	for part := range strings.SplitSeq(normalize(want), ellipsis) {
		parts = append(parts, quote(part))
	}
	return pattern{text: want, line: regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")}
}

func (p pattern) anyLines() bool { return p.line == nil }

func (p pattern) matches(line string) bool { return p.line.MatchString(normalize(line)) }

// normalize makes one blank of each run of blanks, and removes those at the end.
func normalize(line string) string {
	return strings.TrimRight(blanks.ReplaceAllString(line, " "), " \r")
}

// quote is a regular expression for the text in which any duration matches each duration.
func quote(text string) string {
	var expression strings.Builder
	rest := 0
	for _, at := range duration.FindAllStringIndex(text, -1) {
		if partOfWord(text, at[0], at[1]) {
			continue
		}
		expression.WriteString(regexp.QuoteMeta(text[rest:at[0]]) + duration.String())
		rest = at[1]
	}
	return expression.String() + regexp.QuoteMeta(text[rest:])
}

func partOfWord(text string, start, end int) bool {
	before, after := []rune(text[:start]), []rune(text[end:])
	return len(before) > 0 && (before[len(before)-1] == '.' || inWord.MatchString(string(before[len(before)-1:]))) ||
		len(after) > 0 && inWord.MatchString(string(after[:1]))
}

// compileAll compiles the lines of a page without the blank ones at the end.
func compileAll(want []string) []pattern {
	var patterns []pattern
	for _, line := range trimEnd(want) {
		patterns = append(patterns, compile(line))
	}
	return patterns
}

// trimEnd removes blank lines at the end.
func trimEnd(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Match is true if the output is what the page shows.
func Match(want, got []string) bool { return Diff(want, got) == "" }
