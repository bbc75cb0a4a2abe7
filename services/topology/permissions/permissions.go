// Package permissions writes the broker's users from the topology.
package permissions

import (
	"fmt"
	"io"
	"strings"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// Write writes one NATS user for each service, as the authorization block of a server's configuration. Passwords come
// from variables of the server's environment: NATS_PASSWORD_C4C_TASKER.
func Write(w io.Writer, t topology.Topology) error {
	var b strings.Builder
	b.WriteString("# Made by `topology permissions`: each service may do what it needs and no more.\n")
	b.WriteString("# Passwords come from the server's environment.\nauthorization {\n  users: [\n")
	for _, s := range t.Services {
		p := s.Permissions()
		fmt.Fprintf(&b, "    {\n      user: %q, password: $NATS_PASSWORD_%s\n      permissions: {\n",
			s.Name, strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_")))
		fmt.Fprintf(&b, "        publish: {allow: [\n%s        ]}\n", subjects(p.Publish))
		fmt.Fprintf(&b, "        subscribe: {allow: [\n%s        ]}\n      }\n    }\n", subjects(p.Subscribe))
	}
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func subjects(all []string) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "          %q\n", s)
	}
	return b.String()
}
