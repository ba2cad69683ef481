package console

import (
	"strings"
	"testing"
	"time"
)

func TestRunPage(t *testing.T) {
	tests := map[string]struct {
		reason  string
		page    []string
		timeout time.Duration
		want    []string // in the error; none if there is to be no error
	}{
		"Works": {
			page: []string{"$ export who=world", "$ cat > greeting <<EOF", "> hello $who", "> EOF", "$ cat greeting", "hello …"},
		},
		"OtherOutput": {
			page: []string{"$ true", "$ echo a && \\", ">   echo b", "a", "c"},
			want: []string{"x.md:3: the output is not what the page shows", "  $ echo a && \\\n  >   echo b\n", "    a\n  - c\n  + b\n", "put it into x.md"},
		},
		"NoOutput": {
			page: []string{"$ true", "done"},
			want: []string{"x.md:2: ", "- done"},
		},
		"Fails": {
			reason: "a command that fails is wrong although the page shows its output",
			page:   []string{"$ echo oops; false", "oops"},
			want:   []string{"x.md:2: the command failed with exit status 1", "oops", "|| true"},
		},
		"FailsWithOtherOutput": {
			page: []string{"$ ls /no/such/folder"},
			want: []string{"exit status 2", "+ ls: "},
		},
		"Stops": {
			reason: "the commands after the first fault are not run",
			page:   []string{"$ false", "$ echo second"},
			want:   []string{"x.md:2: "},
		},
		"Timeout": {
			page:    []string{"$ echo before; sleep 600", "before"},
			timeout: time.Second,
			want:    []string{"x.md:2: the command did not end in time: it took longer than 1s", "before"},
		},
		"Exit": {
			page: []string{"$ exit 0"},
			want: []string{"x.md:2: the command ended the shell"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			commands, err := Parse("x.md", "```console run\n"+strings.Join(tt.page, "\n")+"\n```\n")
			if err != nil {
				t.Fatal(err)
			}
			if tt.timeout == 0 {
				tt.timeout = testTimeout
			}
			err = RunPage(t.TempDir(), commands, tt.timeout, t.Logf)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("%s\nRunPage() = %v, want %q in it", tt.reason, err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s\n%v\nwant in it: %q", tt.reason, err, want)
				}
			}
		})
	}
}
