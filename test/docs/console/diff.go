package console

import "strings"

// Diff shows where the output differs from the page: a line of the page that is missing has a minus sign, a line of the
// output that is not on the page a plus sign. It is empty if the output is what the page shows.
func Diff(want, got []string) string {
	patterns, lines := compileAll(want), trimEnd(got)
	cost := costs(patterns, lines)
	if cost[0][0] == 0 {
		return ""
	}
	var text strings.Builder
	add := func(sign, line string) { text.WriteString(strings.TrimRight(sign+" "+line, " ") + "\n") }
	i, j := 0, 0
	for i < len(patterns) || j < len(lines) {
		switch step := next(patterns, lines, cost, i, j); step {
		case matchLine:
			add(" ", lines[j])
			i, j = i+1, j+1
		case endAnyLines:
			add(" ", patterns[i].text)
			i++
		case skipAnyLine:
			j++
		case missLine:
			add("-", patterns[i].text)
			i++
		case moreLine:
			add("+", lines[j])
			j++
		}
	}
	return text.String()
}

// step is how the comparison goes on from a line of the page and a line of the output.
type step int

const (
	// matchLine: the lines match.
	matchLine step = iota
	// endAnyLines: the … of the page stands for no more lines.
	endAnyLines
	// skipAnyLine: the … of the page stands for the line of the output.
	skipAnyLine
	// missLine: the line of the page is not in the output.
	missLine
	// moreLine: the line of the output is not on the page.
	moreLine
)

// next chooses a step that leads to the fewest differences.
func next(patterns []pattern, lines []string, cost [][]int, i, j int) step {
	switch {
	case i == len(patterns):
		return moreLine
	case patterns[i].anyLines() && cost[i][j] == cost[i+1][j]:
		return endAnyLines
	case patterns[i].anyLines():
		return skipAnyLine
	case j == len(lines):
		return missLine
	case patterns[i].matches(lines[j]) && cost[i][j] == cost[i+1][j+1]:
		return matchLine
	case cost[i][j] == 1+cost[i+1][j]:
		return missLine
	}
	return moreLine
}

// costs is the edit distance: at [i][j], the least number of lines that are missing or too many from line i of the page
// and line j of the output on.
func costs(patterns []pattern, lines []string) [][]int {
	cost := make([][]int, len(patterns)+1)
	for i := len(patterns); i >= 0; i-- {
		cost[i] = make([]int, len(lines)+1)
		for j := len(lines); j >= 0; j-- {
			cost[i][j] = leastCost(patterns, lines, cost, i, j)
		}
	}
	return cost
}

func leastCost(patterns []pattern, lines []string, cost [][]int, i, j int) int {
	pageEnds, outputEnds := i == len(patterns), j == len(lines)
	switch {
	case pageEnds:
		return len(lines) - j
	case patterns[i].anyLines() && outputEnds:
		return cost[i+1][j]
	case patterns[i].anyLines():
		return min(cost[i+1][j], cost[i][j+1])
	case outputEnds:
		return 1 + cost[i+1][j]
	case patterns[i].matches(lines[j]):
		return cost[i+1][j+1]
	}
	return 1 + min(cost[i+1][j], cost[i][j+1])
}
