package pcluster

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRefuses(t *testing.T) {
	ca, other := newCert(t, x509.Certificate{}, nil), newCert(t, x509.Certificate{}, nil)
	cert, key := b64(certPEM(ca.cert.Raw)), b64(ca.keyPEM(t))
	allowedUser := "; allowed are token, client-certificate-data, client-key-data, extensions"

	for name, test := range map[string]struct{ kubeconfig, want string }{
		// The document.
		"nothing":             {"", "the kubeconfig is empty"},
		"blank":               {" \n\n", "the kubeconfig is empty"},
		"comment":             {"# " + canary, "the kubeconfig is empty"},
		"null":                {"null", "the kubeconfig is empty"},
		"empty mapping":       {"{}", "the kubeconfig has no context"},
		"scalar":              {canary, "the kubeconfig is not a YAML mapping"},
		"list":                {"[" + canary + "]", "the kubeconfig is not a YAML mapping"},
		"not YAML":            {"a: b\n  c: {" + canary, "the kubeconfig is not valid YAML: see line 2"},
		"binary":              {"\x00\x01" + canary, "the kubeconfig is not valid YAML"},
		"too large":           {"# " + strings.Repeat("x", 64<<10) + "\n" + doc(server, token), "the kubeconfig is larger than 64 KiB"},
		"two documents":       {doc(server, token) + "---\n" + doc(server, token), "the kubeconfig has more than one YAML document"},
		"empty, then another": {doc(server, token) + "---\n---\nkind: Config\n", "the kubeconfig has more than one YAML document"},
		"anchor at the end":   {doc(server, token) + "--- &" + canary + "\n", "the kubeconfig has more than one YAML document"},
		"first is empty":      {"---\n---\n" + doc(server, token), "the kubeconfig has more than one YAML document"},
		"broken second":       {doc(server, token) + "---\n[", "the kubeconfig is not valid YAML: see line 8"},
		"anchor":              {"kind: &a Config\n" + canary + ": *a", "YAML anchors, aliases and explicit tags are not allowed"},
		"unknown alias":       {"kind: *" + canary, "the kubeconfig is not valid YAML"},
		"merge key":           {"<<: {kind: Config}", "the kubeconfig has a field that is not allowed; allowed are apiVersion, kind, preferences, extensions, clusters, users, contexts, current-context"},
		"tag":                 {"kind: !!binary Q29uZmln", "YAML anchors, aliases and explicit tags are not allowed"},
		"unknown field":       {canary + ": x", "the kubeconfig has a field that is not allowed; allowed are apiVersion, kind, preferences, extensions, clusters, users, contexts, current-context"},
		"duplicate field":     {"kind: Config\nkind: Config", "the kubeconfig has kind twice"},
		"users not a list":    {"users: {a: b}", "users is not a list"},
		"entry is a scalar":   {"users: [" + canary + "]", "an entry of users is not a mapping"},
		"entry without name":  {"users: [{user: {token: " + canary + "}}]", "an entry of users has no name"},
		"unknown in entry":    {"users: [{name: u, token: " + canary + "}]", "an entry of users has a field that is not allowed; allowed are name, user"},
		"name is a mapping":   {"users: [{name: {a: b}}]", "an entry of users: name is not a plain value"},
		"user defined twice":  {"users: [{name: u}, {name: u}]", `user "u" is defined twice`},
		"unknown in user":     {doc(server, canary+": x"), `user "u" has a field that is not allowed` + allowedUser},
		"another case":        {doc(server, "Exec: {command: sh}"), `user "u" has a field that is not allowed` + allowedUser},
		"key is a mapping":    {doc(server, "? {a: b} : c"), `user "u" has a field that is not allowed` + allowedUser},
		"user is a list":      {"users: [{name: u, user: [" + canary + "]}]", `user "u" is not a mapping`},
		"token is a list":     {doc(server, "token: ["+canary+"]"), `user "u": token is not a plain value`},
		"hostile name":        {"users: [{name: \"a\\nb\", user: {exec: {}}}]", `user "a\nb": exec is not allowed: this service runs no programs; use a token or a client certificate`},
		"long name":           {"users: [{name: " + strings.Repeat("n", 100) + ", user: [x]}]", `user "` + strings.Repeat("n", 64) + `…" is not a mapping`},

		// Contexts.
		"two contexts": {
			"contexts: [{name: x, context: {cluster: c, user: u}}, {name: y, context: {cluster: c, user: u}}]",
			"the kubeconfig has several contexts and no current-context; set current-context",
		},
		"no such context": {"current-context: y\ncontexts: [{name: x}]", `current-context "y" does not exist`},
		"no cluster name": {"contexts: [{name: x, context: {user: u}}]", `context "x": cluster is missing`},
		"no user name":    {"contexts: [{name: x, context: {cluster: c}}]", `context "x": user is missing`},
		"no such cluster": {"contexts: [{name: x, context: {cluster: c, user: u}}]", `context "x": cluster "c" does not exist`},
		"no such user": {
			"clusters: [{name: c}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]", `context "x": user "u" does not exist`,
		},
		"null context": {"contexts: [{name: x, context: null}]", `context "x": cluster is missing`},

		// Clusters.
		"no server":      {doc("", token), `cluster "c": server is missing`},
		"no URL":         {doc(`server: "https://%zz`+canary+`"`, token), `cluster "c": server is not a valid URL`},
		"http":           {doc(`server: "http://c"`, token), `cluster "c": server must be an https URL`},
		"unix":           {doc(`server: "unix:///run/x.sock"`, token), `cluster "c": server must be an https URL`},
		"no scheme":      {doc(`server: c.example.com`, token), `cluster "c": server must be an https URL`},
		"no host":        {doc(`server: "https://:6443"`, token), `cluster "c": server must name a host`},
		"opaque":         {doc(`server: "https:c"`, token), `cluster "c": server must name a host`},
		"long host":      {doc(`server: "https://`+strings.Repeat("h", 254)+`"`, token), `cluster "c": server must name a host`},
		"userinfo":       {doc(`server: "https://admin:`+canary+`@c"`, token), `cluster "c": server must not contain a user name or password`},
		"query":          {doc(`server: "https://c?token=`+canary+`"`, token), `cluster "c": server must not contain a query`},
		"empty query":    {doc(`server: "https://c?"`, token), `cluster "c": server must not contain a query`},
		"fragment":       {doc(`server: "https://c#`+canary+`"`, token), `cluster "c": server must not contain a fragment`},
		"port 0":         {doc(`server: "https://c:0"`, token), `cluster "c": server must name a port between 1 and 65535`},
		"port too large": {doc(`server: "https://c:65536"`, token), `cluster "c": server must name a port between 1 and 65535`},
		"CA not base64":  {doc(server+", certificate-authority-data: "+canary, token), `cluster "c": certificate-authority-data is not valid base64`},
		"CA not PEM": {
			doc(server+", certificate-authority-data: "+b64([]byte(canary)), token),
			`cluster "c": certificate-authority-data contains no PEM certificate`,
		},
		"key as CA": {
			doc(server+", certificate-authority-data: "+key, token),
			`cluster "c": certificate-authority-data contains no PEM certificate`,
		},
		"CA with headers": {
			doc(server+", certificate-authority-data: "+b64(pem.EncodeToMemory(&pem.Block{
				Type: "CERTIFICATE", Headers: map[string]string{"Proc-Type": canary}, Bytes: ca.cert.Raw,
			})), token),
			`cluster "c": certificate-authority-data contains no PEM certificate`,
		},
		"CA with broken certificate": {
			doc(server+", certificate-authority-data: "+b64(certPEM([]byte(canary))), token),
			`cluster "c": certificate-authority-data contains no PEM certificate`,
		},
		"certificate-authority": {
			doc(server+", certificate-authority: /etc/"+canary, token),
			`cluster "c": certificate-authority is not allowed: this service reads no files; put the content into certificate-authority-data`,
		},
		"insecure-skip-tls-verify": {
			doc(server+", insecure-skip-tls-verify: true", token),
			`cluster "c": insecure-skip-tls-verify is not allowed: the server must prove who it is; put its CA into certificate-authority-data`,
		},
		"insecure in other words": {
			doc(server+", insecure-skip-tls-verify: yes", token),
			`cluster "c": insecure-skip-tls-verify is not allowed: the server must prove who it is; put its CA into certificate-authority-data`,
		},
		"proxy-url": {
			doc(server+`, proxy-url: "http://`+canary+`@proxy"`, token),
			`cluster "c": proxy-url is not allowed: this service connects directly`,
		},

		// Users.
		"exec": {
			doc(server, "exec: {command: /bin/"+canary+", apiVersion: client.authentication.k8s.io/v1}"),
			`user "u": exec is not allowed: this service runs no programs; use a token or a client certificate`,
		},
		"auth-provider": {
			doc(server, "auth-provider: {name: gcp, config: {cmd-path: "+canary+"}}"),
			`user "u": auth-provider is not allowed: this service runs no plugins; use a token or a client certificate`,
		},
		"client-certificate": {
			doc(server, token+", client-certificate: /etc/"+canary),
			`user "u": client-certificate is not allowed: this service reads no files; put the content into client-certificate-data`,
		},
		"client-key": {
			doc(server, token+", client-key: /etc/"+canary),
			`user "u": client-key is not allowed: this service reads no files; put the content into client-key-data`,
		},
		"tokenFile": {
			doc(server, token+", tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/"+canary),
			`user "u": tokenFile is not allowed: this service reads no files; put the content into token`,
		},
		"as":                  {doc(server, token+", as: "+canary), impersonation("as")},
		"as-uid":              {doc(server, token+", as-uid: "+canary), impersonation("as-uid")},
		"as-groups":           {doc(server, token+", as-groups: ["+canary+"]"), impersonation("as-groups")},
		"as-user-extra":       {doc(server, token+", as-user-extra: {a: ["+canary+"]}"), impersonation("as-user-extra")},
		"username":            {doc(server, "username: "+canary), basicAuth("username")},
		"password":            {doc(server, "password: "+canary), basicAuth("password")},
		"no credentials":      {doc(server, ""), `user "u": there are no credentials; a token, or client-certificate-data with client-key-data, is required`},
		"null user":           {strings.Replace(doc(server, ""), "user: {}", "user: null", 1), `user "u": there are no credentials; a token, or client-certificate-data with client-key-data, is required`},
		"line break in token": {doc(server, `token: "`+canary+`\n"`), `user "u": token contains a space, a line break or another character that no token has`},
		"unicode in token":    {doc(server, `token: "`+canary+`é"`), `user "u": token contains a space, a line break or another character that no token has`},
		"certificate alone":   {doc(server, token+", client-certificate-data: "+cert), `user "u": client-certificate-data needs client-key-data`},
		"key alone":           {doc(server, token+", client-key-data: "+key), `user "u": client-key-data needs client-certificate-data`},
		"key not base64":      {doc(server, "client-certificate-data: "+cert+", client-key-data: "+canary), `user "u": client-key-data is not valid base64`},
		"not a pair": {
			doc(server, "client-certificate-data: "+cert+", client-key-data: "+b64(other.keyPEM(t))),
			`user "u": client-certificate-data and client-key-data are not a PEM certificate and its unencrypted key`,
		},
		"giant key": {
			doc(server, "client-certificate-data: "+cert+", client-key-data: "+b64(make([]byte, 9<<10))),
			`user "u": client-key-data is larger than 8 KiB`,
		},
		"encrypted key": {
			doc(server, "client-certificate-data: "+cert+", client-key-data: "+
				b64(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte(canary)}))),
			`user "u": client-certificate-data and client-key-data are not a PEM certificate and its unencrypted key`,
		},

		// What the current context does not use.
		"forbidden in another user": {
			strings.Replace(doc(server, token), "users: [", "users: [{name: other, user: {exec: {command: "+canary+"}}}, ", 1),
			`user "other": exec is not allowed: this service runs no programs; use a token or a client certificate`,
		},
		"forbidden in another cluster": {
			strings.Replace(doc(server, token), "clusters: [", "clusters: [{name: other, cluster: {insecure-skip-tls-verify: true}}, ", 1),
			`cluster "other": insecure-skip-tls-verify is not allowed: the server must prove who it is; put its CA into certificate-authority-data`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.kubeconfig))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("Parse() = %v, want ErrInvalid", err)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
				t.Errorf("the error carries the secret: %#v", err)
			}
		})
	}
}

func impersonation(field string) string {
	return `user "u": ` + field + ` is not allowed: this service impersonates no one; use the credentials of the user it should act as`
}

func basicAuth(field string) string {
	return `user "u": ` + field + ` is not allowed: basic authentication is not supported; use a token or a client certificate`
}
