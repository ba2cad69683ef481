package main

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestStringValue(t *testing.T) {
	root := fstest.MapFS{
		"p/a.go":      {Data: []byte("package p\n\nconst prefix = `x` + \"y\"\n")},
		"p/b.go":      {Data: []byte("package p\n\nconst (\n\tname = prefix + (\"-z\")\n\tbad = name + f()\n\tnumber = 1\n)\n")},
		"p/b_test.go": {Data: []byte("package p\n\nconst name = \"test\"\n")},
	}
	p, err := parsePackage(root, "p")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ want, err string }{
		"prefix": {want: "xy"},
		"name":   {want: "xy-z"},
		"bad":    {err: "p/b.go:5:15: this is no constant string"},
		"number": {err: "p/b.go:6:11: this is no constant string"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			constants := p.constants()
			got, err := p.stringValue(constants, constants[name])
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("stringValue() = %v, want the error %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("stringValue() = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestParsePackageRefusesWhatIsNoGo(t *testing.T) {
	if _, err := parsePackage(fstest.MapFS{"p/a.go": {Data: []byte("no Go")}}, "p"); err == nil {
		t.Error("parsePackage() = nil, want the error of the parser")
	}
}
