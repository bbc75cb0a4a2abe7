// Package k8stest holds the tests of the manifests: every overlay is rendered as kubectl does it, each object is decoded
// strictly with the types of its API, and what the services expect of their manifests is checked against the real binaries.
package k8stest
