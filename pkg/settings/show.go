package settings

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"text/tabwriter"
)

// Help writes what --help shows: name and doc of the service, then its variables. settings is the struct or a pointer
// to it; its values are not shown.
func Help(w io.Writer, name, doc string, settings any) {
	_, _ = fmt.Fprintf(w, "%s: %s\n\nSettings are environment variables:\n\n", name, doc)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows(settings) {
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", row[0], row[1], row[2])
	}
	_ = table.Flush()
}

// Table writes the same for a README, as a Markdown table with a line break at its end.
func Table(settings any) string {
	var b strings.Builder
	b.WriteString("| variable | default | what |\n| --- | --- | --- |\n")
	escape := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, row := range rows(settings) {
		if row[1] != "" && row[1] != requiredMark {
			row[1] = "`" + row[1] + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row[0], escape.Replace(row[1]), escape.Replace(row[2]))
	}
	return b.String()
}

// Attrs gives the settings in force for the log, by variable. Secrets are masked, and so are user and password in
// whatever looks like the address of a server.
func Attrs(settings any) []slog.Attr {
	vars, _ := gather(structOf(settings))
	attrs := make([]slog.Attr, len(vars))
	for i, v := range vars {
		attrs[i] = slog.String(v.name, masked(fmt.Sprint(v.field.Interface())))
	}
	return attrs
}

const requiredMark = "required"

// rows gives variable, default and description of each setting.
func rows(settings any) [][3]string {
	vars, _ := gather(structOf(settings))
	table := make([][3]string, len(vars))
	for i, v := range vars {
		value := v.tags.Get("default")
		if v.required() && value == "" {
			value = requiredMark
		}
		table[i] = [3]string{v.name, value, v.what()}
	}
	return table
}

// structOf gives an addressable copy of the struct, or of the one that a pointer leads to.
func structOf(settings any) reflect.Value {
	from := reflect.Indirect(reflect.ValueOf(settings))
	s := reflect.New(from.Type()).Elem()
	s.Set(from)
	return s
}

// userInfo is what stands before the @ of a server's address: nats://user:password@host, and user:password@host, which
// NATS takes too, also in a list of servers.
var userInfo = regexp.MustCompile(`(://)[^/?#,\s]*@|(^|[,\[\s])[^\s,/@:]+:[^\s,/]*@`)

func masked(value string) string { return userInfo.ReplaceAllString(value, "${1}${2}"+mask+"@") }
