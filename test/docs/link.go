package docs

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/synctarget/synctarget/test/docs/markdown"
)

// link leads from a line of a page to another place.
type link struct {
	Line   int
	Target string
}

// linkForms are [text](target), [name]: target, and src and href of HTML. The group is the target.
var linkForms = []*regexp.Regexp{
	regexp.MustCompile(`\]\(\s*([^()\s]+)(?:\s+"[^"]*")?\s*\)`),
	regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s*(\S+)`),
	regexp.MustCompile(`<[^>]*\b(?:src|href)="([^"]+)"`),
}

var codeSpan = regexp.MustCompile("``[^`](?s:.*?)``|`[^`]+`")

// links returns the links of the page in order. Code holds none.
func links(p page) []link {
	var found []link
	for _, b := range p.Blocks {
		if b.Kind == markdown.Code || b.Kind == markdown.Comment {
			continue
		}
		text := codeSpan.ReplaceAllStringFunc(b.Text(), blank)
		for _, form := range linkForms {
			for _, at := range form.FindAllStringSubmatchIndex(text, -1) {
				line := b.Line + strings.Count(text[:at[2]], "\n")
				found = append(found, link{Line: line, Target: text[at[2]:at[3]]})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b link) int { return cmp.Compare(a.Line, b.Line) })
	return found
}

// blank keeps the length and the line ends of a text, so that offsets and line numbers stay right.
func blank(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, text)
}

var scheme = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9+.-]*:|//)`)

// resolve returns the file in the repository that a link of a page leads to, and the anchor in it. ok is false for a
// link to elsewhere.
func resolve(from page, target string) (name, anchor string, ok bool) {
	if scheme.MatchString(target) {
		return "", "", false
	}
	name, anchor, _ = strings.Cut(target, "#")
	if decoded, err := url.PathUnescape(name); err == nil {
		name = decoded
	}
	switch {
	case name == "":
		return from.Path, anchor, true
	case path.IsAbs(name):
		return strings.TrimPrefix(path.Clean(name), "/"), anchor, true // GitHub: from the root of the repository
	}
	return path.Join(path.Dir(from.Path), name), anchor, true
}

// checkLinks verifies that each link within the repository leads to a file, and its anchor to a heading.
func checkLinks(root fs.FS, pages []page) []problem {
	var problems []problem
	for _, p := range pages {
		for _, l := range links(p) {
			if text := checkLink(root, pages, p, l.Target); text != "" {
				problems = append(problems, problem{Path: p.Path, Line: l.Line, Text: text})
			}
		}
	}
	return problems
}

func checkLink(root fs.FS, pages []page, from page, target string) string {
	name, anchor, ok := resolve(from, target)
	if !ok {
		return ""
	}
	if _, err := fs.Stat(root, name); err != nil {
		return fmt.Sprintf("the link %q leads to %q, which does not exist; correct the link", target, name)
	}
	to, isPage := find(pages, name)
	if anchor == "" || !isPage || anchors(to)[anchor] {
		return ""
	}
	return fmt.Sprintf("no heading of %s has the anchor %q; correct the link, or restore the heading", name, anchor)
}

// checkReachable verifies that a reader who starts at a page and follows links finds all others below docs.
func checkReachable(pages []page, start string) []problem {
	seen := map[string]bool{start: true}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		from, _ := find(pages, queue[0])
		for _, l := range links(from) {
			if name, _, ok := resolve(from, l.Target); ok && !seen[name] {
				seen[name] = true
				queue = append(queue, name)
			}
		}
	}
	var problems []problem
	for _, p := range pages {
		if strings.HasPrefix(p.Path, "docs/") && !seen[p.Path] {
			problems = append(problems, problem{Path: p.Path, Line: 1,
				Text: fmt.Sprintf("no chain of links leads from %s to this page; link to it, or delete it", start)})
		}
	}
	return problems
}
