package odatasim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// answer writes {"d": d}.
func (x *exchange) answer(status int, d any) {
	encoded, err := json.Marshal(map[string]any{"d": d})
	if err != nil {
		x.fault(err)
		return
	}
	write(x.w, status, "application/json; charset=utf-8", encoded)
}

func (x *exchange) answerEntity(status int, set *Set, row Row, selects, expands []string) {
	x.setETag(row)
	switch {
	case !x.json:
		write(x.w, status, "application/atom+xml;type=entry", []byte(xmlHeader+x.atomEntry(set, row, selects, atomNamespaces)))
	case x.Profile.ObjectInResults:
		x.answer(status, map[string]any{"results": x.render(set, row, selects, expands)})
	default:
		x.answer(status, x.render(set, row, selects, expands))
	}
}

// uri is the absolute address of an entity.
func (x *exchange) uri(set *Set, row Row) string {
	var parts []string
	keys := set.Type.keys()
	for _, p := range keys {
		literal := strings.ReplaceAll(url.PathEscape(p.urlLiteral(row.Values[p.Name])), "%27", "'")
		if len(keys) > 1 {
			literal = p.Name + "=" + literal
		}
		parts = append(parts, literal)
	}
	if len(parts) == 0 {
		return x.base + "/" + set.Name
	}
	return x.base + "/" + set.Name + "(" + strings.Join(parts, ",") + ")"
}

// etag writes the concurrency token as C4C does: W/"datetimeoffset'…'" with seven digits and encoded colons.
func (x *exchange) etag(row Row) string {
	when, err := time.Parse(time.RFC3339, row.Values[x.Profile.ETag])
	if err != nil {
		return ""
	}
	text := when.UTC().Format("2006-01-02T15:04:05.0000000Z")
	return `W/"datetimeoffset'` + strings.ReplaceAll(text, ":", "%3A") + `'"`
}

func (x *exchange) setETag(row Row) {
	if etag := x.etag(row); etag != "" {
		x.w.Header().Set("ETag", etag)
	}
}

// render makes the JSON of one entity: its properties, and its children expanded or deferred.
func (x *exchange) render(set *Set, row Row, selects, expands []string) map[string]any {
	uri := x.uri(set, row)
	meta := map[string]any{"id": uri, "uri": uri, "type": x.Namespace + "." + set.Type.Name}
	if etag := x.etag(row); etag != "" {
		meta["etag"] = etag
	}
	entity := map[string]any{"__metadata": meta}
	for _, p := range set.Type.Properties {
		if x.shows(&p, selects) {
			entity[p.Name] = p.json(row.Values[p.Name], x.Profile.NoOffset)
		}
	}
	for _, n := range set.Type.Navigations {
		switch {
		case slices.Contains(expands, n.Name):
			entity[n.Name] = x.nested(n, row.Children[n.Name])
		case len(selects) == 0 || slices.Contains(selects, n.Name):
			entity[n.Name] = map[string]any{"__deferred": map[string]any{"uri": uri + "/" + n.Name}}
		}
	}
	return entity
}

func (x *exchange) shows(p *Property, selects []string) bool {
	if p.CodeText && x.quiet("odata-no-codedescs") {
		return false
	}
	return len(selects) == 0 || slices.Contains(selects, p.Name)
}

func (x *exchange) nested(n Navigation, rows []Row) any {
	set, err := x.set(n.Set)
	if err != nil {
		return nil
	}
	list := make([]any, 0, len(rows))
	for _, row := range rows {
		list = append(list, x.render(set, row, nil, nil))
	}
	switch {
	case x.Profile.Nested == NestedArray:
		return list
	case x.Profile.Nested == NestedSingle && len(list) == 1:
		return list[0]
	}
	return map[string]any{"results": list}
}

func (s *Service) listed() []*Set {
	return slices.DeleteFunc(slices.Clone(s.Sets), func(set *Set) bool { return set.Unlisted })
}

func (s *Service) setNames() []string {
	var names []string
	for _, set := range s.listed() {
		names = append(names, set.Name)
	}
	return names
}

const (
	xmlHeader      = `<?xml version="1.0" encoding="utf-8"?>`
	dataNamespace  = "http://schemas.microsoft.com/ado/2007/08/dataservices"
	atomNamespaces = ` xmlns="http://www.w3.org/2005/Atom" xmlns:m="` + dataNamespace + `/metadata" xmlns:d="` + dataNamespace + `"`
)

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}

func (x *exchange) atomService() []byte {
	var b strings.Builder
	b.WriteString(xmlHeader + `<app:service xmlns:app="http://www.w3.org/2007/app" xmlns:atom="http://www.w3.org/2005/Atom"><app:workspace>`)
	for _, name := range x.setNames() {
		fmt.Fprintf(&b, `<app:collection href="%s"><atom:title>%s</atom:title></app:collection>`, name, name)
	}
	b.WriteString(`</app:workspace></app:service>`)
	return []byte(b.String())
}

// atomEntry is an entity as an Atom entry, with its properties and without its children.
func (x *exchange) atomEntry(set *Set, row Row, selects []string, namespaces string) string {
	var b strings.Builder
	uri := escape(x.uri(set, row))
	fmt.Fprintf(&b, `<entry%s><id>%s</id><title type="text">%s</title>`, namespaces, uri, set.Type.Name)
	fmt.Fprintf(&b, `<link href="%s" rel="edit" title="%s"/>`, uri, set.Type.Name)
	b.WriteString(`<content type="application/xml"><m:properties>`)
	for _, p := range set.Type.Properties {
		if x.shows(&p, selects) {
			b.WriteString(atomProperty(&p, row.Values[p.Name]))
		}
	}
	b.WriteString(`</m:properties></content></entry>`)
	return b.String()
}

func atomProperty(p *Property, text string) string {
	switch {
	case p.Type == String:
		return fmt.Sprintf(`<d:%s>%s</d:%s>`, p.Name, escape(text), p.Name)
	case text == "":
		return fmt.Sprintf(`<d:%s m:type="%s" m:null="true"/>`, p.Name, p.Type)
	}
	if p.Type == DateTime {
		text = strings.TrimSuffix(text, "Z")
	}
	return fmt.Sprintf(`<d:%s m:type="%s">%s</d:%s>`, p.Name, p.Type, text, p.Name)
}

func (x *exchange) atomFeed(set *Set, p page, q query, next string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `%s<feed%s><id>%s/%s</id><title type="text">%s</title>`, xmlHeader, atomNamespaces, escape(x.base), set.Name, set.Name)
	if q.count {
		fmt.Fprintf(&b, `<m:count>%d</m:count>`, p.total)
	}
	for _, row := range p.rows {
		b.WriteString(x.atomEntry(set, row, q.selects, ""))
	}
	if next != "" {
		fmt.Fprintf(&b, `<link rel="next" href="%s"/>`, escape(next))
	}
	b.WriteString(`</feed>`)
	return []byte(b.String())
}

// metadata describes the service in EDMX, made from the same tables that writes are checked against.
func (x *exchange) metadata() []byte {
	var b strings.Builder
	b.WriteString(xmlHeader + `<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"` +
		` xmlns:m="` + dataNamespace + `/metadata" xmlns:sap="http://www.sap.com/Protocols/SAPData" xmlns:c4c="http://www.sap.com/Protocols/C4CData">` +
		`<edmx:DataServices m:DataServiceVersion="2.0"><Schema Namespace="` + x.Namespace + `" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">`)
	var associations, container strings.Builder
	done := map[string]bool{}
	for _, set := range x.listed() {
		fmt.Fprintf(&container, `<EntitySet Name="%s" EntityType="%s.%s" sap:creatable="%t" sap:updatable="%t" sap:deletable="%t" sap:requires-filter="%t"/>`,
			set.Name, x.Namespace, set.Type.Name, set.Create != nil, set.Update != nil, set.Delete != nil, set.RequiresFilter)
		if done[set.Type.Name] {
			continue
		}
		done[set.Type.Name] = true
		x.describeType(&b, &associations, set.Type)
	}
	b.WriteString(associations.String())
	fmt.Fprintf(&b, `<EntityContainer Name="%s" m:IsDefaultEntityContainer="true">%s</EntityContainer>`, x.Namespace+"_Entities", container.String())
	b.WriteString(`</Schema></edmx:DataServices></edmx:Edmx>`)
	return []byte(b.String())
}

func (x *exchange) describeType(b, associations *strings.Builder, t *EntityType) {
	fmt.Fprintf(b, `<EntityType Name="%s">`, t.Name)
	if keys := t.keys(); len(keys) > 0 {
		b.WriteString(`<Key>`)
		for _, p := range keys {
			fmt.Fprintf(b, `<PropertyRef Name="%s"/>`, p.Name)
		}
		b.WriteString(`</Key>`)
	}
	for _, p := range t.Properties {
		b.WriteString(p.describe())
	}
	for _, n := range t.Navigations {
		set, err := x.set(n.Set)
		if err != nil {
			continue
		}
		name := t.Name + "_" + n.Name
		fmt.Fprintf(b, `<NavigationProperty Name="%s" Relationship="%s.%s" FromRole="Parent" ToRole="Child"/>`, n.Name, x.Namespace, name)
		fmt.Fprintf(associations, `<Association Name="%s"><End Type="%s.%s" Multiplicity="1" Role="Parent"/><End Type="%s.%s" Multiplicity="*" Role="Child"/></Association>`,
			name, x.Namespace, t.Name, x.Namespace, set.Type.Name)
	}
	b.WriteString(`</EntityType>`)
}

func (p *Property) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<Property Name="%s" Type="%s" Nullable="%t"`, p.Name, p.Type, !p.Key && !p.Required && !p.NotNull)
	if p.MaxLength > 0 {
		fmt.Fprintf(&b, ` MaxLength="%d"`, p.MaxLength)
	}
	if p.Type == Decimal {
		fmt.Fprintf(&b, ` Precision="%d" Scale="%d"`, p.Precision, p.Scale)
	}
	fmt.Fprintf(&b, ` sap:creatable="%t" sap:updatable="%t" sap:filterable="%t" sap:sortable="%t"`,
		!p.ReadOnly && !p.ServerSet && !p.CodeText, !p.fixed(), !p.NotFilterable, !p.NotSortable)
	if p.Extension {
		b.WriteString(` c4c:extension-field="true"`)
	}
	return b.String() + `/>`
}

var _ http.Handler = (*Service)(nil)
