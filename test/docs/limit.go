package docs

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/synctarget/synctarget/test/docs/markdown"
)

// The limits of hand-written pages, in lines, columns and headings.
const (
	maxReadmeLines    = 150
	maxColumns        = 120
	maxParagraphLines = 6
	maxItemLines      = 3
	maxGlossaryTerms  = 30
)

// checkLength verifies that a page has at most so many lines.
func checkLength(p page, limit int) []problem {
	if p.lines() <= limit {
		return nil
	}
	return []problem{{Path: p.Path, Line: limit + 1,
		Text: fmt.Sprintf("the page has %d lines, %d are allowed; move something to a page in docs", p.lines(), limit)}}
}

// checkProse verifies the length of lines, paragraphs and list items. Code, tables and generated pages have no limit.
func checkProse(p page) []problem {
	if p.generated() {
		return nil
	}
	var problems []problem
	for _, b := range p.Blocks {
		switch b.Kind {
		case markdown.Code, markdown.Table:
			continue
		case markdown.Paragraph:
			problems = append(problems, checkBlock(p, b, "paragraph", maxParagraphLines)...)
		case markdown.Item:
			problems = append(problems, checkBlock(p, b, "list item", maxItemLines)...)
		}
		problems = append(problems, checkColumns(p, b)...)
	}
	return problems
}

func checkBlock(p page, b markdown.Block, what string, limit int) []problem {
	if len(b.Lines) <= limit {
		return nil
	}
	return []problem{{Path: p.Path, Line: b.Line,
		Text: fmt.Sprintf("the %s has %d lines, %d are allowed; shorten or divide it", what, len(b.Lines), limit)}}
}

func checkColumns(p page, b markdown.Block) []problem {
	var problems []problem
	for i, line := range b.Lines {
		if n := utf8.RuneCountInString(line); n > maxColumns {
			problems = append(problems, problem{Path: p.Path, Line: b.Line + i,
				Text: fmt.Sprintf("the line has %d columns, %d are allowed; break it", n, maxColumns)})
		}
	}
	return problems
}

// checkGlossary verifies that the glossary stays short. Each heading but the title is a term.
func checkGlossary(p page) []problem {
	terms := 0
	for _, b := range p.Blocks {
		if b.Kind == markdown.Heading && strings.HasPrefix(b.Lines[0], "##") {
			if terms++; terms > maxGlossaryTerms {
				return []problem{{Path: p.Path, Line: b.Line,
					Text: fmt.Sprintf("there are more than %d terms; remove one, and explain it where it is used", maxGlossaryTerms)}}
			}
		}
	}
	return nil
}
