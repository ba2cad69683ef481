package pcluster

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

// doc builds a kubeconfig with one cluster, user and context from the fields of the cluster and the user.
func doc(cluster, user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {%s}}]
users: [{name: u, user: {%s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, cluster, user)
}

const (
	server = `server: "https://edge.example.com:6443"`
	token  = "token: " + canary
)

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func TestParseAccepts(t *testing.T) {
	ca := newCert(t, x509.Certificate{}, nil)
	user := newCert(t, x509.Certificate{}, ca)
	caPEM, userPEM, keyPEM := certPEM(ca.cert.Raw), certPEM(user.cert.Raw), user.keyPEM(t)
	cluttered := slices.Concat([]byte("# our CA\n"), caPEM, keyPEM, certPEM([]byte("broken")), []byte("the end\n"))

	for name, test := range map[string]struct {
		reason     string
		kubeconfig string
		want       rest.Config
	}{
		"token": {
			reason:     "system roots vouch for the server when there is no CA",
			kubeconfig: doc(server, token),
			want:       rest.Config{Host: "https://edge.example.com:6443", BearerToken: canary},
		},
		"client certificate and CA": {
			reason: "all that can be inline is inline",
			kubeconfig: doc(server+", tls-server-name: kubernetes, certificate-authority-data: "+b64(caPEM),
				"client-certificate-data: "+b64(userPEM)+", client-key-data: "+b64(keyPEM)),
			want: rest.Config{
				Host: "https://edge.example.com:6443",
				TLSClientConfig: rest.TLSClientConfig{
					ServerName: "kubernetes", CAData: caPEM, CertData: userPEM, KeyData: keyPEM,
				},
			},
		},
		"two CAs": {
			reason:     "a bundle, with blank lines",
			kubeconfig: doc(server+", certificate-authority-data: "+b64([]byte(string(caPEM)+"\n\n"+string(userPEM)+"\n")), token),
			want: rest.Config{
				Host: "https://edge.example.com:6443", BearerToken: canary,
				TLSClientConfig: rest.TLSClientConfig{CAData: []byte(string(caPEM) + "\n\n" + string(userPEM) + "\n")},
			},
		},
		"text around the CAs": {
			reason:     "the pool of crypto/x509, which kubectl uses, skips what is no certificate: text, other blocks, broken certificates",
			kubeconfig: doc(server+", certificate-authority-data: "+b64(cluttered), token),
			want: rest.Config{
				Host: "https://edge.example.com:6443", BearerToken: canary, TLSClientConfig: rest.TLSClientConfig{CAData: cluttered},
			},
		},
		"separator at the end": {
			reason:     "kubectl reads the first document",
			kubeconfig: doc(server, token) + "---\n",
			want:       rest.Config{Host: "https://edge.example.com:6443", BearerToken: canary},
		},
		"separators and comments": {
			reason:     "as tools that join manifests leave them",
			kubeconfig: "---\n" + doc(server, token) + "---\n# end\n---\n\n...\n",
			want:       rest.Config{Host: "https://edge.example.com:6443", BearerToken: canary},
		},
		"token and certificate": {
			reason:     "client-go sends both, so we do",
			kubeconfig: doc(server, token+", client-certificate-data: "+b64(userPEM)+", client-key-data: "+b64(keyPEM)),
			want: rest.Config{
				Host: "https://edge.example.com:6443", BearerToken: canary,
				TLSClientConfig: rest.TLSClientConfig{CertData: userPEM, KeyData: keyPEM},
			},
		},
		"path in the URL": {
			reason:     "as of a proxy or a workspace",
			kubeconfig: doc(`server: "https://[2001:db8::1]/k8s/clusters/c-1"`, token),
			want:       rest.Config{Host: "https://[2001:db8::1]/k8s/clusters/c-1", BearerToken: canary},
		},
		"slashes at the end": {
			reason:     "what is asked for is put behind the URL, with a slash of its own",
			kubeconfig: doc(`server: "https://edge.example.com:6443//"`, token),
			want:       rest.Config{Host: "https://edge.example.com:6443", BearerToken: canary},
		},
		"path with a slash at the end": {
			kubeconfig: doc(`server: "https://edge.example.com/prefix/"`, token),
			want:       rest.Config{Host: "https://edge.example.com/prefix", BearerToken: canary},
		},
		"only one context": {
			reason:     "then it is the current one",
			kubeconfig: strings.Replace(doc(server, token), "current-context: x", "", 1),
			want:       rest.Config{Host: "https://edge.example.com:6443", BearerToken: canary},
		},
		"current of two": {
			reason: "the other context's entries are read, but not used",
			kubeconfig: `
clusters:
- {name: a, cluster: {server: "https://a"}}
- {name: b, cluster: {server: "https://b"}}
users: [{name: u, user: {token: one}}, {name: v, user: {token: two}}]
contexts:
- {name: x, context: {cluster: a, user: u}}
- {name: y, context: {cluster: b, user: v, namespace: n}}
current-context: y`,
			want: rest.Config{Host: "https://b", BearerToken: "two"},
		},
		"harmless fields": {
			reason: "what tools add, and forbidden fields that ask for nothing",
			kubeconfig: `
apiVersion: v1
kind: Config
preferences: {colors: true}
extensions: [{name: e, extension: {exec: this is not a user}}]
clusters:
- name: c
  cluster:
    server: https://c
    insecure-skip-tls-verify: false
    disable-compression: true
    proxy-url: ""
    extensions: [{name: e, extension: {a: [b]}}]
users: [{name: u, user: {token: 12345, exec: null, auth-provider: ~, username: ""}}]
contexts: [{name: x, context: {cluster: c, user: u, extensions: []}}]
current-context: ""`,
			want: rest.Config{Host: "https://c", BearerToken: "12345"},
		},
		"JSON": {
			reason: "is YAML",
			kubeconfig: `{"clusters":[{"name":"c","cluster":{"server":"https://c"}}],"users":[{"name":"u","user":{"token":"t"}}],` +
				`"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}]}`,
			want: rest.Config{Host: "https://c", BearerToken: "t"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(test.kubeconfig))
			if err != nil {
				t.Fatalf("%s: Parse() = %v", test.reason, err)
			}
			test.want.QPS, test.want.UserAgent = -1, userAgent
			if diff := cmp.Diff(test.want.TLSClientConfig, got.TLSClientConfig); diff != "" {
				t.Errorf("%s: TLS, -want +got:\n%s", test.reason, diff)
			}
			test.want.TLSClientConfig, got.TLSClientConfig = rest.TLSClientConfig{}, rest.TLSClientConfig{}
			// cmp cannot compare the functions, and fmt prints an embedded struct's String in place of all the rest.
			type fields struct {
				Host, BearerToken, UserAgent string
				QPS                          float32
			}
			of := func(c *rest.Config) fields { return fields{c.Host, c.BearerToken, c.UserAgent, c.QPS} }
			if diff := cmp.Diff(of(&test.want), of(got)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
			// Nothing else is set.
			got.Host, got.BearerToken, got.UserAgent, got.QPS = "", "", "", 0
			if !reflect.DeepEqual(got, &rest.Config{}) {
				t.Errorf("%s: more is set: %#v", test.reason, got)
			}
		})
	}
}
