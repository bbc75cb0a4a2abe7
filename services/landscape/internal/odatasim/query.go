package odatasim

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query holds the system query options of a read.
type query struct {
	filter  *Filter
	selects []string
	expands []string
	order   []ordering
	top     int // -1: no limit
	skip    int
	token   int // where a next link goes on
	count   bool
	format  string
	given   []option // as sent, for the next link
}

type option struct{ name, value string }

type ordering struct {
	property   *Property
	descending bool
}

// parseQuery reads the options of a URL. An unknown $option, one given twice and a malformed one are refused; other
// parameters (sap-client and the like) are left alone.
func (s *Service) parseQuery(raw string, t *EntityType) (query, error) {
	q := query{top: -1}
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		switch {
		case errName != nil || errValue != nil:
			return q, badQuery("the query string is not encoded correctly")
		case !strings.HasPrefix(name, "$"):
			continue
		case slices.ContainsFunc(q.given, func(o option) bool { return o.name == name }):
			return q, badQuery("%s is given twice", name)
		}
		if err := s.option(&q, t, name, value); err != nil {
			return q, err
		}
		q.given = append(q.given, option{name, value})
	}
	return q, nil
}

func (s *Service) option(q *query, t *EntityType, name, value string) (err error) {
	switch name {
	case "$filter":
		q.filter, err = ParseFilter(value, t, s.Profile.Grammar)
	case "$select":
		q.selects, err = parseSelect(value, t)
	case "$expand":
		q.expands, err = parseExpand(value, t)
	case "$orderby":
		q.order, err = parseOrder(value, t)
	case "$top":
		q.top, err = parseCount(name, value)
	case "$skip":
		q.skip, err = parseCount(name, value)
	case "$skiptoken":
		q.token, err = parseCount(name, value)
	case "$inlinecount":
		q.count = value == "allpages"
		if !q.count && value != "none" {
			err = badQuery("$inlinecount is allpages or none")
		}
	case "$format":
		q.format = value
		if value != "json" && value != "atom" {
			err = badQuery("$format is json or atom")
		}
	default:
		err = badQuery("option %s is not supported", name)
	}
	return err
}

func parseSelect(value string, t *EntityType) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		_, isProperty := t.property(name)
		_, isNavigation := t.navigation(name)
		switch {
		case name == "*":
			return nil, nil
		case strings.Contains(name, "/"):
			return nil, Refuse(http.StatusNotImplemented, CodeBadQuery, "$select below a navigation is not simulated")
		case !isProperty && !isNavigation:
			return nil, Refuse(http.StatusBadRequest, CodeUnknownProperty, "Property %s is not known in entity type %s", name, t.Name)
		}
		names = append(names, name)
	}
	return names, nil
}

func parseExpand(value string, t *EntityType) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if _, ok := t.navigation(name); !ok {
			return nil, badQuery("%s is not a navigation of entity type %s", name, t.Name)
		}
		names = append(names, name)
	}
	return names, nil
}

func parseOrder(value string, t *EntityType) ([]ordering, error) {
	var orders []ordering
	for part := range strings.SplitSeq(value, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || (len(words) == 2 && words[1] != "asc" && words[1] != "desc") {
			return nil, badQuery("$orderby is a list of properties, each with asc or desc")
		}
		property, ok := t.property(words[0])
		if !ok || property.NotSortable {
			return nil, badQuery("property %s is not sortable", words[0])
		}
		orders = append(orders, ordering{property, len(words) == 2 && words[1] == "desc"})
	}
	return orders, nil
}

func parseCount(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, badQuery("%s is a number from 0", name)
	}
	return n, nil
}

func badQuery(format string, args ...any) error {
	return Refuse(http.StatusBadRequest, CodeBadQuery, "Invalid query: "+format, args...)
}

// page is the answer to a read of many: one page of rows, how many there are in all, and where the next page starts
// (0: this was the last).
type page struct {
	rows  []Row
	total int
	next  int
}

// take filters, orders and cuts the rows to one page.
func (q query) take(rows []Row, size int) page {
	rows = slices.DeleteFunc(slices.Clone(rows), func(row Row) bool { return !q.filter.Matches(row) })
	if len(q.order) > 0 {
		slices.SortStableFunc(rows, q.compare)
	}
	p := page{total: len(rows)}
	rows = rows[min(q.skip, len(rows)):]
	if q.top >= 0 {
		rows = rows[:min(q.top, len(rows))]
	}
	from := min(q.token, len(rows))
	to := min(from+size, len(rows))
	if to < len(rows) {
		p.next = to
	}
	p.rows = rows[from:to]
	return p
}

func (q query) compare(a, b Row) int {
	for _, o := range q.order {
		order := o.property.compare(a.Values[o.property.Name], b.Values[o.property.Name])
		if o.descending {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

// nextQuery is the query string of the next page.
func (q query) nextQuery(token int) string {
	var parts []string
	for _, o := range q.given {
		if o.name != "$skiptoken" {
			parts = append(parts, o.name+"="+strings.ReplaceAll(url.QueryEscape(o.value), "+", "%20"))
		}
	}
	return strings.Join(append(parts, "$skiptoken="+strconv.Itoa(token)), "&")
}

// segment is one step of a resource path: a name, and a key in brackets if there is one.
type segment struct {
	name   string
	key    string
	hasKey bool
}

func parsePath(escaped string) ([]segment, error) {
	var segments []segment
	for part := range strings.SplitSeq(escaped, "/") {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil, badQuery("the path is not encoded correctly")
		}
		s := segment{name: text}
		if name, rest, found := strings.Cut(text, "("); found {
			inner, closed := strings.CutSuffix(rest, ")")
			if !closed || inner == "" {
				return nil, badQuery("the key in the path is not closed")
			}
			s = segment{name: name, key: inner, hasKey: true}
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// parseKey reads 'x', guid'…', Name='x' or A='x',B='y' into the values of the key properties.
func (t *EntityType) parseKey(text string) (map[string]string, error) {
	keys := t.keys()
	values := map[string]string{}
	for rest := text; ; {
		name, tail := "", rest
		if before, after, found := strings.Cut(rest, "="); found && !strings.ContainsAny(before, "'") {
			name, tail = before, after
		} else if len(keys) == 1 {
			name = keys[0].Name
		}
		literal := tokenForm.FindString(tail)
		property, ok := t.property(name)
		if !ok || !property.Key || literal == "" {
			return nil, badQuery("the key does not fit entity type %s", t.Name)
		}
		value, err := property.literal(literal)
		if err != nil {
			return nil, err
		}
		values[name] = value
		tail = tail[len(literal):]
		if tail == "" {
			break
		}
		if rest, ok = strings.CutPrefix(tail, ","); !ok {
			return nil, badQuery("the key does not fit entity type %s", t.Name)
		}
	}
	if len(values) != len(keys) {
		return nil, badQuery("the key does not fit entity type %s", t.Name)
	}
	return values, nil
}
