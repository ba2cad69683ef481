package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const helpText = `go: downloading example.com/module v1.0.0
Usage of /tmp/go-build768252390/b001/exe/synctarget-controller:
      --address string           Address that serves; "0" turns it off. (default ":8443")
      --allow-cidr strings       Address ranges.
      --deadline duration        How long a thing (of any kind) may take. (default 15m0s)
      --elect                    Elect a leader.
  -h, --host string              Host of the
                                 server.
      --level level              Level, one of 'debug' | 'info'.
      --qps float32              Requests; negative is unlimited. (default 40)
      --secure                   Serve by HTTPS. (default true)
      --silence duration         How long.
      --verbosity int            Verbosity.
      --zap-time-encoding time-encoding    Zap time encoding. Defaults to 'epoch'.
`

func TestParseHelp(t *testing.T) {
	want := []programFlag{
		{Name: "address", Type: "string", Default: ":8443", Help: `Address that serves; "0" turns it off.`},
		{Name: "allow-cidr", Type: "strings", Help: "Address ranges."},
		{Name: "deadline", Type: "duration", Default: "15m0s", Help: "How long a thing (of any kind) may take."},
		{Name: "elect", Type: "bool", Default: "false", Help: "Elect a leader."},
		{Name: "host", Type: "string", Help: "Host of the server."},
		{Name: "level", Type: "level", Help: "Level, one of 'debug' | 'info'."},
		{Name: "qps", Type: "float32", Default: "40", Help: "Requests; negative is unlimited."},
		{Name: "secure", Type: "bool", Default: "true", Help: "Serve by HTTPS."},
		{Name: "silence", Type: "duration", Default: "0s", Help: "How long."},
		{Name: "verbosity", Type: "int", Default: "0", Help: "Verbosity."},
		{Name: "zap-time-encoding", Type: "time-encoding", Help: "Zap time encoding. Defaults to 'epoch'."},
	}
	if diff := cmp.Diff(want, parseHelp(helpText)); diff != "" {
		t.Error(diff)
	}
}

func TestFlagsPage(t *testing.T) {
	flags := parseHelp(helpText)
	page, err := flagsPage(flags, flags[:2])
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "flags.md", page)
}

func TestFlagsPageRefusesAProgramWithoutFlags(t *testing.T) {
	if _, err := flagsPage(parseHelp(helpText), parseHelp("another format\n")); err == nil {
		t.Error("flagsPage() = nil, want an error")
	}
}
