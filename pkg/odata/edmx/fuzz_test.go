package edmx_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/odata/edmx"
)

// FuzzParse holds that any document is a schema with at least one entity and lengths that can be kept to, or refused.
func FuzzParse(f *testing.F) {
	const document = `<?xml version="1.0"?><edmx:Edmx xmlns:edmx="e"><edmx:DataServices><Schema><EntityType Name="A"><Key><PropertyRef Name="k"/></Key>` +
		`<Property Name="k" Type="Edm.String" MaxLength="40" Nullable="false"/><NavigationProperty Name="n"/></EntityType></Schema></edmx:DataServices></edmx:Edmx>`
	for _, s := range []string{
		document, strings.Replace(document, `"40"`, `"Max"`, 1), strings.Replace(document, `"40"`, `"-1"`, 1), strings.Replace(document, `"40"`, `"99999999999999999999"`, 1),
		"<a>", "", `<!DOCTYPE a [<!ENTITY b "c">]><Edmx>&b;</Edmx>`, strings.Repeat("<a>", 20000), `<?xml version="1.0" encoding="utf-16"?><Edmx/>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		schema, err := edmx.Parse(bytes.NewReader(document))
		if (err == nil) != (len(schema) > 0) {
			t.Errorf("%d entities and %v", len(schema), err)
		}
		for name, entity := range schema {
			if entity.Name != name {
				t.Errorf("%q is called %q", name, entity.Name)
			}
			for _, p := range entity.Properties {
				if p.MaxLength < 0 {
					t.Errorf("%s.%s holds %d characters", name, p.Name, p.MaxLength)
				}
			}
		}
	})
}
