// Computegen writes the APIResourceSchemas and the APIExport of config/kcp-compute: the workload APIs of Kubernetes, for
// workspaces of kcp, which have none.
//
//	go run . --kubernetes ../kubernetes --output ../../../config/kcp-compute
//
// They are made from the OpenAPI documents in the module k8s.io/kubernetes, of the version that the module given by
// --kubernetes pins: references are resolved (openapi.go), what a CRD needs beside a schema is added (resources.go), and
// the result is validated as an API server validates a CRD, before it is converted as kcp converts one (manifest.go).
//
// A CRD cannot do all that the built-in API does:
//
//   - Of Kubernetes' validation, only types and required fields are left; and of its defaults, those of the document and
//     the few in defaults.go.
//   - Quantities are strings or integers, so 0.5 has to be written "0.5" or 500m.
//   - An entry of a list that is a map by a key cannot be there twice, which Kubernetes accepts with a warning for
//     environment variables, for example.
//   - Strategic merge patches replace lists, as kcp v0.31.2 takes such patches for these groups but, other than merge keys,
//     gives CRDs no patch strategy: kubectl edit, set image, patch without --type, and apply without --server-side to an
//     object that exists, lose what the patch leaves out, such as the other containers. Nothing in a schema can prevent it.
//     kubectl apply --server-side and patches of the types merge and json are safe.
package main
