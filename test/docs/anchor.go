package docs

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/synctarget/synctarget/test/docs/markdown"
)

var (
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	htmlAnchor = regexp.MustCompile(`<a\s[^>]*\b(?:id|name)="([^"]+)"`)
)

// anchors returns what can stand after # in a link to the page, by the rules of GitHub: a heading's text makes the
// anchor, and a second heading with the same anchor gets a number.
func anchors(p page) map[string]bool {
	found := map[string]bool{}
	for _, b := range p.Blocks {
		switch b.Kind {
		case markdown.Code, markdown.Comment:
		case markdown.Heading:
			name := slug(b.Text())
			for n, base := 1, name; found[name]; n++ {
				name = fmt.Sprintf("%s-%d", base, n)
			}
			found[name] = true
		default:
			for _, match := range htmlAnchor.FindAllStringSubmatch(b.Text(), -1) {
				found[match[1]] = true
			}
		}
	}
	return found
}

// slug is the anchor of a heading: letters, digits, hyphens and underscores of the text in lower case, and a hyphen for
// each blank. See https://docs.github.com/get-started/writing-on-github, "Section links".
func slug(heading string) string {
	text := strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(heading), "#"))
	if i := strings.LastIndex(text, " #"); i >= 0 && strings.Trim(text[i:], " #") == "" {
		text = strings.TrimSpace(text[:i]) // the hashes that may close a heading
	}
	text = linkText.ReplaceAllString(text, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}
