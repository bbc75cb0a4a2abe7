// Package users writes the broker's users from the topology: who may do what, as a nats-server reads it.
//
// All are users of one account. Accounts would keep them from each other by exports and imports of every subject that two
// of them share, the API of JetStream included; permissions by subject say the same in one place, and nothing is shared
// that they do not name.
package users

import (
	"fmt"
	"io"
	"strings"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

const (
	// Job is the user of the topology job, which deletes nothing. But who may change a stream can have it forget or repeat what it
	// holds: its password is as good as the operator's.
	Job = "topology"
	// Operator is the user of people with the nats CLI, who may do everything.
	Operator = "operator"
)

// User is one user of the broker.
type User struct {
	Name        string
	Permissions topology.Permissions
}

// Of gives one user for each service, and [Job] and [Operator].
func Of(t topology.Topology) []User {
	var all []User
	for _, s := range t.Services {
		all = append(all, User{s.Name, s.Permissions()})
	}
	return append(all, User{Job, job}, User{Operator, topology.Permissions{Publish: []string{">"}, Subscribe: []string{">"}}})
}

var job = topology.Permissions{
	Publish:   []string{"$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.CONSUMER.CREATE.>"},
	Subscribe: []string{topology.InboxPrefix(Job) + ".>"},
}

// PasswordVariable is the variable of the server's environment that holds the user's password: NATS_PASSWORD_C4C_TASKER.
func (u User) PasswordVariable() string {
	return "NATS_PASSWORD_" + strings.ToUpper(strings.ReplaceAll(u.Name, "-", "_"))
}

// about is what both forms begin with.
const about = `# Made by ` + "`topology permissions`" + `: each service may do what it needs and no more.
# Passwords come from the server's environment, which it reads as values of its configuration: a letter first, then letters
# and digits. What has other characters is quoted there, NATS_PASSWORD_X='"…"'; so is a bcrypt hash in place of a password.
`

// WriteConfig writes users as the authorization block of a server's configuration.
func WriteConfig(w io.Writer, all []User) error {
	var b strings.Builder
	b.WriteString(about + "authorization {\n  users: [\n")
	for _, u := range all {
		fmt.Fprintf(&b, "    {\n      user: %q, password: $%s\n      permissions: {\n", u.Name, u.PasswordVariable())
		fmt.Fprintf(&b, "        publish: {allow: [\n%s        ]}\n", list("          ", u.Permissions.Publish))
		fmt.Fprintf(&b, "        subscribe: {allow: [\n%s        ]}\n      }\n    }\n", list("          ", u.Permissions.Subscribe))
	}
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// KubernetesName is that of the Secret from whose keys, named after the users, the chart's servers take passwords.
const KubernetesName = "closeloop-nats-users"

// WriteHelm writes users as values of the official NATS chart: the authorization block, and the environment of the servers
// with the passwords of [KubernetesName].
func WriteHelm(w io.Writer, all []User) error {
	var b strings.Builder
	b.WriteString(about + "config:\n  merge:\n    authorization:\n      users:\n")
	for _, u := range all {
		fmt.Fprintf(&b, "        - user: %s\n          password: << $%s >>\n          permissions:\n", u.Name, u.PasswordVariable())
		fmt.Fprintf(&b, "            publish:\n              allow:\n%s", list("                - ", u.Permissions.Publish))
		fmt.Fprintf(&b, "            subscribe:\n              allow:\n%s", list("                - ", u.Permissions.Subscribe))
	}
	b.WriteString("container:\n  env:\n")
	for _, u := range all {
		fmt.Fprintf(&b, "    %s: {valueFrom: {secretKeyRef: {name: %s, key: %s}}}\n", u.PasswordVariable(), KubernetesName, u.Name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func list(before string, all []string) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%s%q\n", before, s)
	}
	return b.String()
}
