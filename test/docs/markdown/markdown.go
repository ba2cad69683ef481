// Package markdown splits a page into blocks: the part of Markdown that the tests of the documentation need. It knows
// what these pages use, not all of CommonMark: fenced code, headings with #, tables whose rows begin with |, lists,
// paragraphs and HTML comments.
package markdown

import (
	"regexp"
	"strings"
)

// Kind is what a block is.
type Kind int

// The kinds of blocks.
const (
	Paragraph Kind = iota
	Heading
	// Item is one item of a list without the items nested in it.
	Item
	Table
	// Code is a fenced block without its fences.
	Code
	Comment
)

// Block is a run of lines that belong together.
type Block struct {
	Kind Kind
	// Line is the number of the first of Lines in the page, counted from 1.
	Line  int
	Lines []string
	// Info is what stands after the opening fence of Code.
	Info string
}

// Text is the block as it stands in the page.
func (b Block) Text() string { return strings.Join(b.Lines, "\n") }

// Parse returns the blocks of a page in order. Blank lines between them belong to none.
func Parse(page string) []Block {
	var p parser
	for i, line := range strings.Split(page, "\n") {
		p.add(i+1, strings.TrimSuffix(line, "\r"))
	}
	p.end()
	return p.blocks
}

type parser struct {
	blocks []Block
	// open is the block that the next line may belong to.
	open *Block
	// fence opened the code block that is open; empty outside of one.
	fence string
}

var (
	fenceLine   = regexp.MustCompile("^\\s*(```+|~~~+)\\s*([^`]*)$")
	headingLine = regexp.MustCompile(`^ {0,3}#{1,6}(\s|$)`)
	itemLine    = regexp.MustCompile(`^\s*([-*+]|\d+[.)])\s`)
	tableLine   = regexp.MustCompile(`^\s*\|`)
)

func (p *parser) add(number int, line string) {
	switch {
	case p.fence != "":
		p.addCode(line)
	case p.open != nil && p.open.Kind == Comment:
		p.addComment(number, line)
	case fenceLine.MatchString(line):
		match := fenceLine.FindStringSubmatch(line)
		p.end()
		p.fence = match[1]
		p.open = &Block{Kind: Code, Line: number + 1, Info: strings.TrimSpace(match[2])}
	case strings.TrimSpace(line) == "":
		p.end()
	case strings.HasPrefix(strings.TrimSpace(line), "<!--"):
		p.end()
		p.addComment(number, line)
	case headingLine.MatchString(line):
		p.end()
		p.extend(Heading, number, line)
		p.end()
	case itemLine.MatchString(line):
		p.end()
		p.extend(Item, number, line)
	case tableLine.MatchString(line):
		p.extend(Table, number, line)
	case p.open != nil && p.open.Kind == Item:
		p.extend(Item, number, line)
	default:
		p.extend(Paragraph, number, line)
	}
}

// addCode ends the block at a fence that is at least as long as the opening one and has no info string.
func (p *parser) addCode(line string) {
	match := fenceLine.FindStringSubmatch(line)
	if match != nil && match[2] == "" && strings.HasPrefix(match[1], p.fence) {
		p.fence = ""
		p.end()
		return
	}
	p.open.Lines = append(p.open.Lines, line)
}

func (p *parser) addComment(number int, line string) {
	p.extend(Comment, number, line)
	if strings.Contains(line, "-->") {
		p.end()
	}
}

// extend adds the line to the open block if that is of the kind, and to a new one if not.
func (p *parser) extend(kind Kind, number int, line string) {
	if p.open == nil || p.open.Kind != kind {
		p.end()
		p.open = &Block{Kind: kind, Line: number}
	}
	p.open.Lines = append(p.open.Lines, line)
}

func (p *parser) end() {
	if p.open != nil {
		p.blocks = append(p.blocks, *p.open)
		p.open = nil
	}
}
