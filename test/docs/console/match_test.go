package console

import "testing"

func TestMatch(t *testing.T) {
	tests := map[string]struct {
		reason    string
		want, got []string
		match     bool
	}{
		"Nothing":        {match: true},
		"Equal":          {want: []string{"a", "b"}, got: []string{"a", "b"}, match: true},
		"Other":          {want: []string{"a"}, got: []string{"b"}},
		"Missing":        {want: []string{"a", "b"}, got: []string{"a"}},
		"More":           {want: []string{"a"}, got: []string{"a", "b"}},
		"Unexpected":     {reason: "a page that shows no output says that there is none", got: []string{"a"}},
		"Part":           {reason: "a line matches as a whole", want: []string{"a"}, got: []string{"ab"}},
		"Blanks":         {want: []string{"a  b\tc"}, got: []string{"a b     c   "}, match: true},
		"NoBlank":        {want: []string{"a b"}, got: []string{"ab"}},
		"Indentation":    {want: []string{"  a"}, got: []string{"\ta"}, match: true},
		"NoIndentation":  {want: []string{"  a"}, got: []string{"a"}},
		"BlankLines":     {reason: "blank lines count, but not at the end", want: []string{"a", "", "b"}, got: []string{"a", " ", "b", ""}, match: true},
		"NoBlankLine":    {want: []string{"a", "", "b"}, got: []string{"a", "b"}},
		"SpecialSigns":   {want: []string{`{"a":[1]}.*`}, got: []string{`{"a":[1]}.*`}, match: true},
		"NoExpression":   {want: []string{"a.*"}, got: []string{"abc"}},
		"Ellipsis":       {want: []string{"pod/web-…  Running  …"}, got: []string{"pod/web-5d9f   Running   3   x"}, match: true},
		"EllipsisEmpty":  {want: []string{"a…b"}, got: []string{"ab"}, match: true},
		"EllipsisOther":  {want: []string{"pod/web-… Running"}, got: []string{"pod/web-5d9f Failed"}},
		"AnyLines":       {want: []string{"a", "…", "d"}, got: []string{"a", "b", "c", "d"}, match: true},
		"AnyLinesNone":   {want: []string{"a", "…", "d"}, got: []string{"a", "d"}, match: true},
		"AnyLinesAll":    {want: []string{" … "}, got: []string{"a", "b"}, match: true},
		"AnyLinesEmpty":  {want: []string{"…"}, match: true},
		"AnyLinesStart":  {want: []string{"…", "d"}, got: []string{"a", "d", "d"}, match: true},
		"AnyLinesTwice":  {want: []string{"…", "b", "…", "d"}, got: []string{"a", "b", "b", "c", "d"}, match: true},
		"AnyLinesOrder":  {want: []string{"…", "b", "…", "a", "…"}, got: []string{"a", "b"}},
		"Durations":      {want: []string{"5s 2m45s 1.5s 3h"}, got: []string{"12m 3d4h 250ms 1s"}, match: true},
		"NoDuration":     {want: []string{"age 5s"}, got: []string{"age unknown"}},
		"InBrackets":     {want: []string{"(5s), after=3m."}, got: []string{"(1h), after=10s."}, match: true},
		"EllipsisUnit":   {want: []string{"  …s  Ready"}, got: []string{"  12.5s  Ready"}, match: true},
		"PartOfName":     {reason: "a name is no duration", want: []string{"web-5d9f"}, got: []string{"web-6d9f"}},
		"EndOfName":      {reason: "a name is no duration", want: []string{"web-5d"}, got: []string{"web-6d"}},
		"VersionsDiffer": {reason: "a version is no duration", want: []string{"v1.5s"}, got: []string{"v1.6s"}},
		"NumbersDiffer":  {want: []string{"3"}, got: []string{"2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Match(tt.want, tt.got); got != tt.match {
				t.Errorf("%s\nMatch(%q, %q) = %t, want %t", tt.reason, tt.want, tt.got, got, tt.match)
			}
		})
	}
}
