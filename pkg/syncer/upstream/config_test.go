package upstream

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestRotatedTokenIsReadAtOnce(t *testing.T) {
	cases := map[string]struct {
		reason string
		setUp  func(t *testing.T, k *kcp, dir string) (path string)
		rotate func(t *testing.T, k *kcp, dir, token string)
	}{
		"TokenFile": {
			reason: "A mounted Secret's token file changes under the running syncer.",
			setUp: func(t *testing.T, k *kcp, dir string) string {
				write(t, filepath.Join(dir, "token"), "t-1\n")
				return k.kubeconfig(t, dir, "{tokenFile: token}")
			},
			rotate: func(t *testing.T, _ *kcp, dir, token string) { write(t, filepath.Join(dir, "token"), token+"\n") },
		},
		"InlineToken": {
			reason: "Who installs by hand may have the token in the kubeconfig itself.",
			setUp: func(t *testing.T, k *kcp, dir string) string {
				return k.kubeconfig(t, dir, "{token: t-1}")
			},
			rotate: func(t *testing.T, k *kcp, dir, token string) { k.kubeconfig(t, dir, "{token: "+token+"}") },
		},
		"FileBeforeInline": {
			reason: "With both, the file counts, as client-go has it.",
			setUp: func(t *testing.T, k *kcp, dir string) string {
				write(t, filepath.Join(dir, "token"), "t-1")
				return k.kubeconfig(t, dir, "{token: stale, tokenFile: token}")
			},
			rotate: func(t *testing.T, _ *kcp, dir, token string) { write(t, filepath.Join(dir, "token"), token) },
		},
		"KubernetesSecretVolume": {
			reason: "kubelet swaps a symbolic link to a directory.",
			setUp: func(t *testing.T, k *kcp, dir string) string {
				volume(t, dir, "1", "t-1")
				path := k.kubeconfig(t, dir, "{tokenFile: token}")
				if err := os.Symlink(filepath.Join("..data", "token"), filepath.Join(dir, "token")); err != nil {
					t.Fatal(err)
				}
				return path
			},
			rotate: func(t *testing.T, _ *kcp, dir, token string) { volume(t, dir, "2", token) },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k, dir := newKcp(t), t.TempDir()
			config, _, err := Config(tc.setUp(t, k, dir))
			if err != nil {
				t.Fatal(err)
			}
			target, err := NewSyncTarget(config, "edge-1")
			if err != nil {
				t.Fatal(err)
			}
			patch := func() error { return target.PatchStatus(t.Context(), []byte(`[]`)) }

			if err := patch(); err != nil {
				t.Fatalf("%s\nwant the first token to be accepted, got %v", tc.reason, err)
			}
			tc.rotate(t, k, dir, "t-2")
			if err := patch(); err != nil {
				t.Fatalf("%s\nwant the first token to serve as long as it is accepted, got %v", tc.reason, err)
			}
			k.accept("t-2")
			if err := patch(); !apierrors.IsUnauthorized(err) {
				t.Fatalf("%s\nwant the first token to be refused, got %v", tc.reason, err)
			}
			if err := patch(); err != nil {
				t.Fatalf("%s\nwant the very next attempt to use the new token, got %v", tc.reason, err)
			}
			var tokens []string
			for _, r := range k.seen() {
				tokens = append(tokens, r.Token)
			}
			equal(t, tc.reason, []string{"Bearer t-1", "Bearer t-1", "Bearer t-1", "Bearer t-2"}, tokens)
		})
	}
}

// volume writes a Secret volume's next version as kubelet does.
func volume(t *testing.T, dir, version, token string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, version, "token"), token)
	if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

func TestConfig(t *testing.T) {
	k := newKcp(t)
	config, _, err := Config(k.kubeconfig(t, t.TempDir(), "{token: t-1}"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "The workspace is part of the address.", k.URL+"/clusters/abc", config.Host)
	equal(t, "Nothing throttles an agent that paces itself.", float32(-1), config.QPS)
	equal(t, "No copy of the token can outlive a rotation.", "", config.BearerToken+config.BearerTokenFile)

	if _, _, err := Config(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("want an error for a kubeconfig that is missing")
	}
}

func TestTokenSource(t *testing.T) {
	k := newKcp(t)
	cases := map[string]struct {
		reason string
		user   string
		token  string
		want   string
	}{
		"Inline":     {reason: "The kubeconfig's own.", user: "{token: t-1}", want: "t-1"},
		"File":       {reason: "Without the newline that editors add.", user: "{tokenFile: token}", token: " t-1\n", want: "t-1"},
		"EmptyFile":  {reason: "An empty token is none.", user: "{tokenFile: token}", token: "\n"},
		"NoToken":    {reason: "Nor is none at all.", user: "{}"},
		"FileIsGone": {reason: "A file that is gone is an error.", user: "{tokenFile: absent}"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "token"), tc.token)
			source := &tokenSource{path: k.kubeconfig(t, dir, tc.user)}
			got, err := source.Token()
			if (err == nil) != (tc.want != "") {
				t.Fatalf("\n%s\nToken(): unexpected error %v", tc.reason, err)
			}
			if err == nil {
				equal(t, tc.reason, tc.want, got.AccessToken)
			}
		})
	}
}

// tokenIn is a token that kcp has issued in the Secret of this name.
func tokenIn(secret string) string {
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/secret.name":"` + secret + `"}`))
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + claims + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

// TestTokenSecret: it is that of the token which requests carry, not of the one that the file holds by now.
func TestTokenSecret(t *testing.T) {
	k, dir := newKcp(t), t.TempDir()
	first, second := tokenIn("syncer-token"), tokenIn("syncer-token-2")
	k.accept(first)
	write(t, filepath.Join(dir, "token"), first)
	config, tokenSecret, err := Config(k.kubeconfig(t, dir, "{tokenFile: token}"))
	if err != nil {
		t.Fatal(err)
	}
	target, err := NewSyncTarget(config, "edge-1")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "Before the first request, it is what that will carry.", "syncer-token", tokenSecret())
	if err := target.PatchStatus(t.Context(), []byte(`[]`)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "token"), second)
	equal(t, "No request has carried the new token yet.", "syncer-token", tokenSecret())
	k.accept(second)
	for range 2 { // the first is refused
		err = target.PatchStatus(t.Context(), []byte(`[]`))
	}
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "The new one is used.", "syncer-token-2", tokenSecret())
}

func TestSecretOf(t *testing.T) {
	for name, tc := range map[string]struct{ token, want string }{
		"of a Secret":   {tokenIn("syncer-token"), "syncer-token"},
		"of no Secret":  {tokenIn(""), ""},
		"not a JWT":     {"opaque", ""},
		"a broken JWT":  {"a.b.c", ""},
		"without token": {"", ""},
	} {
		t.Run(name, func(t *testing.T) { equal(t, "", tc.want, secretOf(tc.token)) })
	}
}
