// Package permissions writes the broker's users from the topology.
package permissions

import (
	"fmt"
	"io"
	"strings"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// Job is the user of the topology job.
const Job = "topology"

// job is what the topology job needs: to create and to change, never to delete or purge.
var job = topology.Permissions{
	Publish: []string{
		"$JS.API.INFO", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.INFO.*",
		"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.INFO.>",
	},
	Subscribe: []string{topology.InboxPrefix(Job) + ".>"},
}

// Operator is the user for people with the nats CLI, who may do everything.
const Operator = "operator"

var everything = topology.Permissions{Publish: []string{">"}, Subscribe: []string{">"}}

// Write writes one NATS user for each service, one for this job and one for people, as the authorization block of a
// server's configuration. Passwords come from variables of the server's environment: NATS_PASSWORD_C4C_TASKER.
func Write(w io.Writer, t topology.Topology) error {
	var b strings.Builder
	b.WriteString("# Made by `topology permissions`: each service may do what it needs and no more.\n")
	b.WriteString("# Passwords come from the server's environment. Quote them there, NATS_PASSWORD_X='\"…\"': the server reads them as values.\n")
	b.WriteString("authorization {\n  users: [\n")
	for _, s := range t.Services {
		user(&b, s.Name, s.Permissions())
	}
	user(&b, Job, job)
	user(&b, Operator, everything)
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func user(b *strings.Builder, name string, p topology.Permissions) {
	fmt.Fprintf(b, "    {\n      user: %q, password: $%s\n      permissions: {\n", name, PasswordVariable(name))
	fmt.Fprintf(b, "        publish: {allow: [\n%s        ]}\n", subjects(p.Publish))
	fmt.Fprintf(b, "        subscribe: {allow: [\n%s        ]}\n      }\n    }\n", subjects(p.Subscribe))
}

// PasswordVariable is the variable of the server's environment with a user's password.
func PasswordVariable(user string) string {
	return "NATS_PASSWORD_" + strings.ToUpper(strings.ReplaceAll(user, "-", "_"))
}

func subjects(all []string) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "          %q\n", s)
	}
	return b.String()
}
