package pcluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/rest"
)

const (
	// maxKubeconfigBytes is far above what a kubeconfig with inline data needs.
	maxKubeconfigBytes = 64 << 10
	// maxClientKeyBytes holds an RSA key of 8192 bits in PEM. The cost of checking a key grows with the cube of its size.
	maxClientKeyBytes = 8 << 10
	// maxHostLength is that of DNS (RFC 1035).
	maxHostLength = 253

	userAgent = "synctarget-controller"
	// noLimit is the QPS of clients without a limit of requests: a pass has a time budget instead.
	noLimit = -1
)

// Parse reads a tenant's kubeconfig by allow-list and returns how to connect by its current context, or by its only
// one. Everything it refuses is an ErrInvalid with one sentence that names the entry and carries nothing of its
// values. What is forbidden is refused wherever it stands, also in entries that the context does not use.
func Parse(kubeconfig []byte) (*rest.Config, error) {
	root, err := readDocument(kubeconfig)
	if err != nil {
		return nil, err
	}
	file, err := readFile(root)
	if err != nil {
		return nil, err
	}
	context, err := file.currentContext()
	if err != nil {
		return nil, err
	}
	clusterName, userName := text(context.fields["cluster"]), text(context.fields["user"])
	if clusterName == "" {
		return nil, invalid("context %q: cluster is missing", short(context.name))
	}
	if userName == "" {
		return nil, invalid("context %q: user is missing", short(context.name))
	}
	cluster, ok := find(file.clusters, clusterName)
	if !ok {
		return nil, invalid("context %q: cluster %q does not exist", short(context.name), short(clusterName))
	}
	user, ok := find(file.users, userName)
	if !ok {
		return nil, invalid("context %q: user %q does not exist", short(context.name), short(userName))
	}

	config := &rest.Config{QPS: noLimit, UserAgent: userAgent}
	if err := cluster.connect(config); err != nil {
		return nil, err
	}
	if err := user.authenticate(config); err != nil {
		return nil, err
	}
	return config, nil
}

// connect reads where the server is and how it is known.
func (e entry) connect(config *rest.Config) error {
	server, complaint := parseServer(text(e.fields["server"]))
	if complaint != "" {
		return invalid("cluster %q: server %s", short(e.name), complaint)
	}
	ca, err := e.data("certificate-authority-data")
	if err != nil {
		return err
	}
	if len(ca) > 0 && !hasCertificate(ca) {
		return invalid("cluster %q: certificate-authority-data contains no PEM certificate", short(e.name))
	}
	config.Host, config.CAData, config.ServerName = server, ca, text(e.fields["tls-server-name"])
	return nil
}

// parseServer returns the URL in its usual form, or what is wrong with it without quoting it: it may hold a password.
func parseServer(server string) (normal, complaint string) {
	if server == "" {
		return "", "is missing"
	}
	parsed, err := url.Parse(server)
	switch {
	case err != nil:
		return "", "is not a valid URL"
	case parsed.User != nil:
		return "", "must not contain a user name or password"
	case parsed.Scheme != "https":
		return "", "must be an https URL"
	case parsed.Hostname() == "", len(parsed.Hostname()) > maxHostLength:
		return "", "must name a host"
	case parsed.RawQuery != "", parsed.ForceQuery:
		return "", "must not contain a query"
	case strings.Contains(server, "#"):
		return "", "must not contain a fragment"
	}
	if port := parsed.Port(); port != "" {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return "", "must name a port between 1 and 65535"
		}
	}
	return strings.TrimRight(parsed.String(), "/"), "" // it ends with the path, behind which more is put
}

// authenticate reads who we are to the server.
func (e entry) authenticate(config *rest.Config) error {
	token := text(e.fields["token"])
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return invalid("user %q: token contains a space, a line break or another character that no token has", short(e.name))
	}
	certificate, err := e.data("client-certificate-data")
	if err != nil {
		return err
	}
	key, err := e.data("client-key-data")
	if err != nil {
		return err
	}
	switch {
	case token == "" && len(certificate) == 0 && len(key) == 0:
		return invalid("user %q: there are no credentials; a token, or client-certificate-data with client-key-data, is required",
			short(e.name))
	case len(certificate) > 0 && len(key) == 0:
		return invalid("user %q: client-certificate-data needs client-key-data", short(e.name))
	case len(key) > 0 && len(certificate) == 0:
		return invalid("user %q: client-key-data needs client-certificate-data", short(e.name))
	case len(key) > maxClientKeyBytes:
		return invalid("user %q: client-key-data is larger than %d KiB", short(e.name), maxClientKeyBytes>>10)
	case len(key) > 0:
		if _, err := tls.X509KeyPair(certificate, key); err != nil {
			return invalid("user %q: client-certificate-data and client-key-data are not a PEM certificate and its unencrypted key",
				short(e.name))
		}
	}
	config.BearerToken, config.CertData, config.KeyData = token, certificate, key
	return nil
}

// data decodes a base64 field; an absent one is nil.
func (e entry) data(field string) ([]byte, error) {
	if isUnset(e.fields[field]) {
		return nil, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(text(e.fields[field]))
	if err != nil {
		return nil, invalid("%s %q: %s is not valid base64", e.kind, short(e.name), field)
	}
	return decoded, nil
}

// hasCertificate reports whether client-go finds at least one certificate in data. It uses the same pool and skips what is
// not a certificate: text, blocks of another type, certificates that cannot be parsed.
func hasCertificate(data []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(data) }

// text is the value of a scalar; absent and null are empty.
func text(node *yaml.Node) string {
	if isUnset(node) {
		return ""
	}
	return node.Value
}
