package pcluster

// fields says which fields a mapping may have, and which are refused when set, each with the reason.
type fields struct {
	known     []string
	forbidden map[string]string
}

func fileFields() fields {
	return fields{known: []string{
		"apiVersion", "kind", "preferences", "extensions", "clusters", "users", "contexts", "current-context",
	}}
}

func contextFields() fields {
	return fields{known: []string{"cluster", "user", "namespace", "extensions"}}
}

func clusterFields() fields {
	return fields{
		known: []string{"server", "certificate-authority-data", "tls-server-name", "disable-compression", "extensions"},
		forbidden: map[string]string{
			"certificate-authority":    noFiles + "certificate-authority-data",
			"insecure-skip-tls-verify": "the server must prove who it is; put its CA into certificate-authority-data",
			"proxy-url":                "this service connects directly",
		},
	}
}

func userFields() fields {
	return fields{
		known: []string{"token", "client-certificate-data", "client-key-data", "extensions"},
		forbidden: map[string]string{
			"exec":               "this service runs no programs; use a token or a client certificate",
			"auth-provider":      "this service runs no plugins; use a token or a client certificate",
			"client-certificate": noFiles + "client-certificate-data",
			"client-key":         noFiles + "client-key-data",
			"tokenFile":          noFiles + "token",
			"as":                 noImpersonation,
			"as-uid":             noImpersonation,
			"as-groups":          noImpersonation,
			"as-user-extra":      noImpersonation,
			"username":           noBasicAuth,
			"password":           noBasicAuth,
		},
	}
}

const (
	noFiles         = "this service reads no files; put the content into "
	noImpersonation = "this service impersonates no one; use the credentials of the user it should act as"
	noBasicAuth     = "basic authentication is not supported; use a token or a client certificate"
)
