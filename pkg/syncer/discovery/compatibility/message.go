package compatibility

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what is told; a document may hold names of any length. Everything but maxFound, maxListed in bytes.
const (
	maxFound   = 100
	maxListed  = 10
	maxMessage = 1024
	maxPath    = 256
	maxReason  = 256
	maxTerm    = 90 // what one of the sides says
)

// Message tells incompatibilities in one line of at most 1,024 bytes: the first ten of them, or those that fit, and
// how many more there are. It is empty for none.
func Message(list []Incompatibility) string {
	var b strings.Builder
	for i, in := range list {
		item := clip(in.Path, maxPath) + ": " + clip(in.Reason, maxReason)
		if i > 0 {
			item = "; " + item
		}
		rest := ""
		if left := len(list) - i - 1; left > 0 {
			rest = more(left)
		}
		if i == maxListed || b.Len()+len(item)+len(rest) > maxMessage {
			b.WriteString(more(len(list) - i))
			break
		}
		b.WriteString(item)
	}
	return b.String()
}

func more(n int) string { return fmt.Sprintf("; and %d more", n) }

// findings collects incompatibilities, each of a bounded size. The partial ones are apart, so as not to crowd out the others.
type findings struct{ list, partial []Incompatibility }

func (f *findings) full() bool { return len(f.list) >= maxFound }

func (f *findings) add(at path, format string, args ...any) {
	if !f.full() {
		reason := clip(fmt.Sprintf(format, args...), maxReason)
		f.list = append(f.list, Incompatibility{Path: clip(at.String(), maxPath), Reason: reason})
	}
}

func (f *findings) addPartial(at path, reason string) {
	if len(f.partial) < maxFound {
		f.partial = append(f.partial, Incompatibility{Path: clip(at.String(), maxPath), Reason: clip(reason, maxReason), Partial: true})
	}
}

// path is where a value is in an object, field by field.
type path []string

// field returns the path of a field. Paths share memory but never change.
func (p path) field(name string) path { return append(p[:len(p):len(p)], name) }

// element returns the path of the elements of a list.
func (p path) element() path { return p.field("[]") }

func (p path) String() string {
	var b strings.Builder
	for _, name := range p {
		switch {
		case name == "[]":
			b.WriteString(name)
			continue
		case !plain(name):
			name = "[" + strconv.Quote(clip(name, maxPath)) + "]"
		case b.Len() > 0:
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// plain says whether a name can stand in a path as it is.
func plain(name string) bool {
	return name == "*" || name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && r != '$' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// clip shortens a text to a number of bytes, and shows that it did.
func clip(s string, size int) string {
	const mark = "…"
	if len(s) <= size {
		return s
	}
	end := size - len(mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
