package pcluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A billion laughs: nine levels of nine aliases each, 9^9 strings when expanded.
func TestParseBillionLaughs(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString(`a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]` + "\n")
	for level := 'b'; level <= 'i'; level++ {
		fmt.Fprintf(&bomb, "%c: &%c [%s]\n", level, level, strings.Repeat(fmt.Sprintf("*%c, ", level-1), 9))
	}
	for name, kubeconfig := range map[string]string{
		"in the open":   bomb.String(),
		"in extensions": doc(server, token) + "extensions:\n  " + strings.ReplaceAll(strings.TrimSpace(bomb.String()), "\n", "\n  "),
		"as merge keys": "a: &a {x: y}\nb: &b {<<: [*a, *a, *a]}\nc: {<<: [*b, *b, *b]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := Parse([]byte(kubeconfig))
			if want := "YAML anchors, aliases and explicit tags are not allowed"; err == nil || err.Error() != want {
				t.Errorf("Parse() = %v, want %q", err, want)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %s: the bomb went off", took)
			}
		})
	}
}

// Documents as large as allowed that are built to be slow.
func TestParseIsCheap(t *testing.T) {
	for name, kubeconfig := range map[string]string{
		"nested lists":    strings.Repeat("[", 60<<10),
		"nested mappings": strings.Repeat("{a: ", 15<<10),
		"nested blocks":   strings.Repeat("- ", 30<<10),
		"many users":      "users:\n" + users(3000),
		"many fields":     "kind: a\n" + strings.Repeat("extensions: a\n", 4000),
		"long key":        "? " + strings.Repeat("k", 60<<10),
		"comments":        strings.Repeat("#\n", 30<<10),
		"many documents":  doc(server, token) + strings.Repeat("---\n", 14<<10) + "end",
		"quotes":          `kind: "` + strings.Repeat(`\u0041`, 10<<10),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if _, err := Parse([]byte(kubeconfig)); !errors.Is(err, ErrInvalid) {
				t.Errorf("Parse() = %v, want ErrInvalid", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func users(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "- name: u%d\n", i)
	}
	return s.String()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(doc(server, token)))
	f.Add([]byte("a: &a [x]\nb: *a"))
	f.Add([]byte(doc(server, token) + "---\n---\n"))
	f.Add([]byte(doc(server+", certificate-authority-data: "+b64([]byte("text\n-----BEGIN CERTIFICATE-----\n")), token)))
	f.Add([]byte("{\"users\": [{\"name\": \"u\", \"user\": {\"exec\": {}}}]}"))
	f.Fuzz(func(t *testing.T, kubeconfig []byte) {
		config, err := Parse(kubeconfig)
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse() = %v, want ErrInvalid", err)
		}
		if err == nil && (config.ExecProvider != nil || config.Insecure || !strings.HasPrefix(config.Host, "https://")) {
			t.Errorf("Parse() accepted %q", kubeconfig)
		}
	})
}
