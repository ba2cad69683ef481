package docs

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestLinks(t *testing.T) {
	tests := map[string]struct {
		reason string
		page   string
		want   []link
	}{
		"Forms": {
			page: "[a](a.md) ![i](i.png \"title\")\n[n]: n.md\n<img src=\"h.svg\">\n",
			want: []link{{1, "a.md"}, {1, "i.png"}, {2, "n.md"}, {3, "h.svg"}},
		},
		"Wrapped": {
			reason: "the line is that of the target",
			page:   "text\n\na [text that\ngoes on](a.md#b) and\n[more](c.md)\n",
			want:   []link{{4, "a.md#b"}, {5, "c.md"}},
		},
		"CodeInText": {
			reason: "the text of a link may be code",
			page:   "[`make`](Makefile)\n",
			want:   []link{{1, "Makefile"}},
		},
		"Everywhere": {
			page: "# [h](h.md)\n- [i](i.md)\n\n| [t](t.md) |\n",
			want: []link{{1, "h.md"}, {2, "i.md"}, {4, "t.md"}},
		},
		"Code": {
			reason: "code holds no links",
			page:   "`[a](a.md)` ``[b](b.md)``\n\n```\n[c](c.md)\n```\n<!-- [d](d.md) -->\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, links(newPage("x.md", tt.page))); diff != "" {
				t.Errorf("%s\n%s", tt.reason, diff)
			}
		})
	}
}

func TestCheckLinks(t *testing.T) {
	root := fstest.MapFS{
		"README.md":     {Data: []byte("# Top\n")},
		"docs/a.md":     {Data: []byte("# A\n\n## Part one\n")},
		"docs/ref/b.md": {Data: []byte("# B\n")},
		"Makefile":      {},
	}
	tests := map[string]struct {
		link string
		want string
	}{
		"Page":            {link: "ref/b.md"},
		"Anchor":          {link: "ref/b.md#b"},
		"AnchorHere":      {link: "#part-one"},
		"Up":              {link: "../README.md#top"},
		"Folder":          {link: "ref"},
		"File":            {link: "../Makefile#L10"},
		"FromRoot":        {link: "/Makefile"},
		"Elsewhere":       {link: "https://example.com/x.md#y"},
		"Mail":            {link: "mailto:a@example.com"},
		"NoPage":          {link: "b.md", want: `"docs/b.md", which does not exist`},
		"OutOfRepository": {link: "../../x.md", want: `"../x.md", which does not exist`},
		"NoAnchor":        {link: "ref/b.md#c", want: `no heading of docs/ref/b.md has the anchor "c"`},
		"NoAnchorHere":    {link: "#part-two", want: `no heading of docs/a.md has the anchor "part-two"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pages, err := loadPages(withFile(root, "CONTRIBUTING.md", ""))
			if err != nil {
				t.Fatal(err)
			}
			from, _ := find(pages, "docs/a.md")
			got := checkLink(root, pages, from, tt.link)
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("checkLink(%q) = %q, want %q in it", tt.link, got, tt.want)
			}
		})
	}
}

func TestCheckLinksNamesTheLine(t *testing.T) {
	root := fstest.MapFS{"docs/a.md": {}}
	got := checkLinks(root, []page{newPage("docs/a.md", "# A\n\n[b](b.md)\n")})
	if len(got) != 1 || got[0].Path != "docs/a.md" || got[0].Line != 3 {
		t.Errorf("checkLinks() = %v, want one problem at docs/a.md:3", got)
	}
}

func TestCheckReachable(t *testing.T) {
	pages := []page{
		newPage("README.md", "[a](docs/a.md#x)\n"),
		newPage("CONTRIBUTING.md", ""),
		newPage("docs/a.md", "[b](ref/b.md) [top](../README.md)\n"),
		newPage("docs/ref/b.md", ""),
		newPage("docs/c.md", "[a](a.md)\n"),
	}
	got := checkReachable(pages, "README.md")
	if len(got) != 1 || got[0].Path != "docs/c.md" {
		t.Errorf("checkReachable() = %v, want one problem of docs/c.md", got)
	}
}

// withFile is the file system with one file more.
func withFile(root fstest.MapFS, name, text string) fstest.MapFS {
	result := fstest.MapFS{name: {Data: []byte(text)}}
	for n, f := range root {
		result[n] = f
	}
	return result
}
