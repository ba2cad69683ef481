// Package sanitize makes text that a server has written fit for a message of this project.
package sanitize

import (
	"regexp"
	"strings"
	"unicode"
)

// Line returns text as one line of printable characters.
func Line(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	return strings.Join(strings.Fields(text), " ")
}

// WithoutSourcePort returns text without the address and port that a connection happened to come from, which is another one at
// each attempt.
func WithoutSourcePort(text string) string {
	return regexp.MustCompile(`\S+:\d+->`).ReplaceAllString(text, "")
}

// Truncate returns text with at most limit characters, which is at least 1, and shows by an ellipsis that it was cut.
func Truncate(text string, limit int) string {
	if len(text) <= limit { // It has at least as many bytes as characters.
		return text
	}
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return strings.TrimSpace(string(runes[:limit-1])) + "…"
}
