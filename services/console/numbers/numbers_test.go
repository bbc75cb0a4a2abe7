package numbers_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/numbers"
)

// now is the time of every test with a source of its own.
var now = time.Date(2026, 11, 22, 14, 30, 0, 0, time.UTC)

// source answers with what a test says, and keeps what it was asked for.
type source struct {
	numbers   loops.Numbers
	campaigns []string
	vendors   []loops.VendorStatus
	behind    uint64
	err       error
	asked     loops.Span
}

func (s *source) Numbers(_ context.Context, span loops.Span) (loops.Numbers, error) {
	s.asked = span
	return s.numbers, s.err
}
func (s *source) Campaigns(context.Context) ([]string, error)           { return s.campaigns, s.err }
func (s *source) Vendors(context.Context) ([]loops.VendorStatus, error) { return s.vendors, s.err }
func (s *source) Progress() loops.Progress                              { return loops.Progress{Behind: s.behind} }

func funnel(counts ...int) (f []loops.Count) {
	for i, stage := range loops.Funnel {
		f = append(f, loops.Count{Name: string(stage), Count: counts[i]})
	}
	return f
}

// hostile is a campaign that somebody named so that it would break out of a page.
const hostile = `</option></title></svg><script>alert(1)</script>"' onload=x`

// some are the figures of a campaign of which a part answered.
func some() *source {
	return &source{
		campaigns: []string{"0000012345", hostile},
		numbers: loops.Numbers{
			Funnel:  funnel(120, 112, 112, 40, 31, 30),
			Closing: []loops.Bucket{{Most: time.Hour, Count: 6}, {Most: 4 * time.Hour, Count: 18}, {Most: 24 * time.Hour, Count: 5}, {Count: 1}},
			Flow: []loops.Hour{
				{At: now.Truncate(time.Hour), Counts: map[string]int{"survey.link.requested": 100, "survey.link.created": 90}},
				{At: now.Truncate(time.Hour).Add(-26 * time.Hour), Counts: map[string]int{
					"survey.link.requested": 20, "feedback.delivery_late": 3, "feedback.wrong_price": 4, "order.strange": 5,
				}},
			},
			Campaigns: []loops.Group{
				{Name: "0000012345", Funnel: funnel(20, 20, 20, 10, 1, 1), Failed: 2, Median: 90 * time.Minute}, {Name: hostile, Funnel: funnel(100, 92, 92, 30, 30, 29)},
				{Name: "", Funnel: funnel(0, 0, 0, 2, 0, 0)},
			},
			Rules: []loops.Group{{Name: "delivery-too-late", Funnel: funnel(30, 30, 30, 31, 31, 29), Failed: 1, Median: 2 * time.Hour}},
			Vendors: []loops.Calls{
				{Vendor: "qualtrics", Operation: "import contacts", Calls: 12, Saved: 108, Failed: 1, Mean: 850 * time.Millisecond},
				{Vendor: "awardco", Operation: "create recognition", Calls: 30, Mean: 100 * time.Millisecond},
			},
		},
	}
}

// ask asks one of the pages for an address, as a browser does or as a program.
func ask(t *testing.T, s numbers.Source, path, query, accept string) (*httpdoor.Response, error) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now
	if _, ok := s.(*source); ok {
		clock = func() time.Time { return now }
	}
	pages := numbers.New(s, clock)
	r := &httpdoor.Request{Method: http.MethodGet, Path: path, Query: q, Header: http.Header{"Accept": {accept}}}
	if path == "/vendors" {
		return pages.Vendors(t.Context(), r)
	}
	return pages.Numbers(t.Context(), r)
}

func body(t *testing.T, answer *httpdoor.Response, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	switch b := answer.Body.(type) {
	case []byte:
		return b
	case io.WriterTo:
		var written bytes.Buffer
		if _, err := b.WriteTo(&written); err != nil {
			t.Fatal(err)
		}
		return written.Bytes()
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
}

// page asks as a browser, and holds the answer to what every page promises.
func page(t *testing.T, s numbers.Source, path, query string) *node {
	t.Helper()
	answer, err := ask(t, s, path, query, "text/html")
	doc, err := html.Parse(bytes.NewReader(body(t, answer, err)))
	if err != nil {
		t.Fatal(err)
	}
	root := &node{doc}
	root.sound(t)
	return root
}

func table(t *testing.T, s numbers.Source, path, query string) [][]string {
	t.Helper()
	answer, err := ask(t, s, path, query, "text/csv")
	rows, err := csv.NewReader(bytes.NewReader(body(t, answer, err))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// node is an element of a page.
type node struct{ *html.Node }

func (n *node) attr(name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func (n *node) all(name string) (found []*node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name {
			found = append(found, &node{d})
		}
	}
	return found
}

func (n *node) id(t *testing.T, id string) *node {
	t.Helper()
	for d := range n.Descendants() {
		if e := (&node{d}); e.attr("id") == id {
			return e
		}
	}
	t.Fatalf("nothing has the id %s", id)
	return nil
}

func (n *node) text() string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (n *node) says(t *testing.T, words ...string) {
	t.Helper()
	text := n.text()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not said in %q", w, text)
		}
	}
}

// sound: one heading of the first order and none left out after it, no id twice, nothing that the policy forbids, a name for
// every input and picture, and a head for every table.
func (n *node) sound(t *testing.T) {
	t.Helper()
	ids, level := map[string]bool{}, 0
	for d := range n.Descendants() {
		e := &node{d}
		if d.Type != html.ElementNode {
			continue
		}
		for _, a := range d.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has the attribute %s", d.Data, a.Key)
			}
		}
		if id := e.attr("id"); id != "" {
			if ids[id] {
				t.Errorf("the id %s is there twice", id)
			}
			ids[id] = true
		}
		switch d.Data {
		case "script":
			if e.attr("src") == "" || d.FirstChild != nil {
				t.Error("there is a script in the page")
			}
		case "style", "b", "foreignobject":
			t.Errorf("there is a <%s>", d.Data)
		case "h1", "h2", "h3", "h4":
			at := int(d.Data[1] - '0')
			if at > level+1 || at == 1 && level > 0 {
				t.Errorf("the heading %q of order %d comes after one of order %d", e.text(), at, level)
			}
			level = at
		case "table":
			if len(e.all("caption")) != 1 || len(e.all("th")) == 0 {
				t.Error("a table has no caption or no head")
			}
		}
	}
	for _, label := range n.all("label") {
		if f := label.attr("for"); f != "" && !ids[f] {
			t.Errorf("a label is for %s, which is not there", f)
		}
	}
	for _, svg := range n.all("svg") {
		if svg.attr("role") != "img" || !ids[svg.attr("aria-labelledby")] || !ids[svg.attr("aria-describedby")] {
			t.Errorf("the picture %s has no role, title or description", svg.attr("id"))
		}
	}
}

// cells are those of a table by row, as they are read.
func (n *node) cells() (rows [][]string) {
	for _, tr := range n.all("tbody")[0].all("tr") {
		var row []string
		for _, td := range tr.all("td") {
			row = append(row, td.text())
		}
		rows = append(rows, row)
	}
	return rows
}

// bars gives the widths of the solid bars of a picture in percent.
func (n *node) bars(t *testing.T) (widths []float64) {
	t.Helper()
	for _, r := range n.all("rect") {
		if r.attr("class") != "chart-bar" {
			continue
		}
		w, err := strconv.ParseFloat(strings.TrimSuffix(r.attr("width"), "%"), 64)
		if err != nil {
			t.Fatal(err)
		}
		widths = append(widths, w)
	}
	return widths
}

func TestEachPictureSaysWhatItShows(t *testing.T) {
	root := page(t, some(), "/numbers", "")
	for id, said := range map[string]string{
		"funnel":    "112 of 120 invited got a link; mailed 112, answered 40, acted on 31, closed 30.",
		"closing":   "30 loops are closed; 24 of them (80%) within 4 h.",
		"flow":      "222 events; most of them in the hour from 22 Nov 14:00: 190.",
		"campaigns": "3 campaigns; the largest is " + hostile + ", where 30 of 100 answered.",
		"rules":     "1 rule fired; most often delivery-too-late, for 31 loops, 29 closed.",
		"calls":     "42 calls did the work of 150: batching saved 72% of them. 1 failed.",
	} {
		svg := root.id(t, id)
		if got := svg.all("desc")[0].text(); got != said {
			t.Errorf("the picture %s is described as %q instead of %q", id, got, said)
		}
		if part := root.id(t, id+"-part"); !strings.Contains(part.text(), said) {
			t.Errorf("%q is not on the page", said)
		}
	}
	if got := root.id(t, "funnel").bars(t); len(got) != 6 || got[0] != 100 || got[1] != 93.333 || got[3] != 33.333 || got[5] != 25 {
		t.Errorf("the bars of the funnel are %v", got)
	}
	if got := root.id(t, "calls").bars(t); !slices.Equal(got, []float64{10, 25}) {
		t.Errorf("the bars of the calls are %v", got)
	}
}

func TestTheTableIsBehindEachPicture(t *testing.T) {
	root := page(t, some(), "/numbers", "campaign=0000012345&period=30d")
	for id, rows := range map[string][][]string{
		"funnel": {
			{"invited", "120", "–"}, {"link", "112", "93%"}, {"mailed", "112", "100%"}, {"answered", "40", "36%"}, {"acted on", "31", "78%"}, {"closed", "30", "97%"},
		},
		"closing": {{"up to 1 h", "1 hour", "6"}, {"1 h to 4 h", "4 hours", "18"}, {"4 h to 1 d", "24 hours", "5"}, {"longer than 1 d", "–", "1"}},
		"campaigns": {
			{"0000012345", "20", "20", "20", "10", "1", "1", "2", "1 hour"}, {hostile, "100", "92", "92", "30", "30", "29", "0", "–"},
			{"no campaign", "0", "0", "0", "2", "0", "0", "0", "–"},
		},
		"rules": {{"delivery-too-late", "30", "30", "30", "31", "31", "29", "1", "2 hours"}},
		"calls": {
			{"Qualtrics", "import contacts", "12", "120", "108", "1", "850 ms"}, {"Awardco", "create recognition", "30", "30", "0", "0", "100 ms"},
		},
	} {
		if got := root.id(t, id+"-table").cells(); !slices.EqualFunc(got, rows, slices.Equal) {
			t.Errorf("the table of %s is\n%q instead of\n%q", id, got, rows)
		}
	}
	link := root.id(t, "funnel-table").all("td")[0].all("a")[0].attr("href")
	if want := "/loops?campaign=0000012345&from=2026-10-23T14%3A00%3A00Z&stage=invited&to=2026-11-22T15%3A00%3A00Z"; link != want {
		t.Errorf("the loops of a stage are at %s", link)
	}
}

func TestTablesAsCSV(t *testing.T) {
	for name, want := range map[string][][]string{
		"":        {{"stage", "loops", "share_of_stage_before"}, {"invited", "120", ""}, {"link", "112", "0.9333"}},
		"funnel":  {{"stage", "loops", "share_of_stage_before"}, {"invited", "120", ""}, {"link", "112", "0.9333"}},
		"closing": {{"time_to_close", "at_most_seconds", "loops"}, {"up to 1 h", "3600", "6"}},
		"campaigns": {
			{"campaign", "invited", "link", "mailed", "answered", "acted_on", "closed", "failed", "median_seconds"},
			{"0000012345", "20", "20", "20", "10", "1", "1", "2", "5400"}, {hostile, "100", "92", "92", "30", "30", "29", "0", ""},
		},
		"rules": {
			{"rule", "invited", "link", "mailed", "answered", "acted_on", "closed", "failed", "median_seconds"},
			{"delivery-too-late", "30", "30", "30", "31", "31", "29", "1", "7200"},
		},
		"vendors": {
			{"vendor", "operation", "calls", "one_by_one", "saved", "failed", "mean_seconds"}, {"qualtrics", "import contacts", "12", "120", "108", "1", "0.85"},
		},
	} {
		got := table(t, some(), "/numbers", "format=csv&table="+name)
		if len(got) < len(want) || !slices.EqualFunc(got[:len(want)], want, slices.Equal) {
			t.Errorf("the table %q begins with\n%q instead of\n%q", name, got, want)
		}
	}
}

func TestFlowIsByHourForAWeekAndKeepsEveryTypeInCSV(t *testing.T) {
	root := page(t, some(), "/numbers", "period=7d")
	flow := root.id(t, "flow-part")
	flow.says(t, "Flow per hour", "survey.link.requested", "survey.link.requested 120, up to 100", "feedback.* 7, up to 7", "other events 5, up to 5")
	rows := root.id(t, "flow-table").cells()
	if len(rows) != 7*24+1 || !slices.Equal(rows[7*24], []string{"22 Nov 14:00", "100", "90", "0", "0"}) {
		t.Errorf("%d rows, the last is %q", len(rows), rows[len(rows)-1])
	}
	got := table(t, some(), "/numbers", "format=csv&table=flow&from=2026-11-21T11:00&to=2026-11-21T13:00")
	want := [][]string{
		{"from", "survey.link.requested", "feedback.delivery_late", "feedback.wrong_price", "order.strange"},
		{"2026-11-21T11:00:00Z", "0", "0", "0", "0"}, {"2026-11-21T12:00:00Z", "20", "3", "4", "5"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the CSV is %q", got)
	}
}

// TestLongFlowIsAddedUp: 720 hours are too many to be told apart on any screen.
func TestLongFlowIsAddedUp(t *testing.T) {
	s := &source{}
	for i := range 720 {
		s.numbers.Flow = append(s.numbers.Flow, loops.Hour{At: now.Add(-time.Duration(i) * time.Hour).Truncate(time.Hour), Counts: map[string]int{"task.created": 1 + i%3}})
	}
	root := page(t, s, "/numbers", "period=30d")
	root.id(t, "flow-part").says(t, "Flow per day", "1,440 events", "Seven days and less are shown by hour; the CSV always is.")
	rows := root.id(t, "flow-table").cells()
	if len(rows) != 31 || !slices.Equal(rows[1], []string{"24 Oct", "48"}) || rows[30][0] != "22 Nov" {
		t.Errorf("%d days: %q", len(rows), rows)
	}
	if got := len(root.id(t, "flow").bars(t)); got != 31 {
		t.Errorf("%d columns", got)
	}
	if got := table(t, s, "/numbers", "format=csv&table=flow&period=30d"); len(got) != 722 {
		t.Errorf("%d rows in CSV", len(got))
	}
	year := page(t, s, "/numbers", "from=2020-01-01&to=2026-11-22")
	year.id(t, "flow-part").says(t, "Flow per week", "by hour")
	if rows := year.id(t, "flow-table").cells(); len(rows) != 5 || rows[0][0] != "19 Oct 2026" {
		t.Errorf("%d weeks: %q", len(rows), rows)
	}
}

func TestOneHugeValueHidesNoOther(t *testing.T) {
	s := &source{numbers: loops.Numbers{
		Funnel:    funnel(1_000_000_000, 3, 2, 1, 1, 0),
		Campaigns: []loops.Group{{Name: "huge", Funnel: funnel(1_000_000_000, 0, 0, 7, 0, 0)}, {Name: "small", Funnel: funnel(1, 1, 1, 1, 1, 1)}},
	}}
	root := page(t, s, "/numbers", "")
	root.id(t, "funnel").says(t, "1,000,000,000", "3 (under 1% of invited)")
	if got := root.id(t, "campaigns").bars(t); len(got) != 2 || got[0] <= 0 || got[1] <= 0 || got[1] > 1 {
		t.Errorf("the bars are %v", got)
	}
}

func TestManyCampaignsAreDrawnInPartAndListedWhole(t *testing.T) {
	s := &source{}
	for i := range 40 {
		s.numbers.Campaigns = append(s.numbers.Campaigns, loops.Group{Name: fmt.Sprintf("campaign %02d", i), Funnel: funnel(i+1, 0, 0, 0, 0, 0)})
	}
	root := page(t, s, "/numbers", "")
	part := root.id(t, "campaigns-part")
	part.says(t, "The 15 largest are drawn; 25 more are in the table.", "40 campaigns; the largest is campaign 39")
	if got := len(root.id(t, "campaigns-table").cells()); got != 40 {
		t.Errorf("%d rows", got)
	}
	if got := len(root.id(t, "campaigns").all("g")); got != 15 {
		t.Errorf("%d bars", got)
	}
}

func TestTimesThatNothingTookAreNotDrawn(t *testing.T) {
	s := &source{numbers: loops.Numbers{Closing: []loops.Bucket{{Most: time.Minute}, {Most: time.Hour, Count: 2}, {Most: 24 * time.Hour}, {Count: 0}}}}
	root := page(t, s, "/numbers", "")
	if got := root.id(t, "closing").text(); !strings.HasSuffix(got, "0 2 0 1 min 1 h") {
		t.Errorf("the picture says %q", got)
	}
	if got := root.id(t, "closing-table").cells(); len(got) != 4 {
		t.Errorf("the table has %d rows", len(got))
	}
	s.numbers.Closing[3].Count = 9
	page(t, s, "/numbers", "").id(t, "closing-part").says(t, "11 loops are closed; half of them or more took longer than 1 d.")
}

func TestNothingIsSaidInWords(t *testing.T) {
	root := page(t, &source{}, "/numbers", "")
	root.says(t, "No loop began in this period.", "No loop of this period is closed.", "Nothing happened in this period.",
		"No rule fired for a loop of this period.", "No vendor was called.")
	answer, err := ask(t, &source{}, "/numbers", "", "application/json")
	if got := string(body(t, answer, err)); !strings.Contains(got, `"from":"2026-11-15T14:00:00Z"`) || !strings.Contains(got, `"to":"2026-11-22T15:00:00Z"`) {
		t.Errorf("the answer is %s", got)
	}
}

func TestWhatIsAskedFor(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for query, want := range map[string]loops.Span{
		"":                        {From: at("2026-11-15T14:00:00Z"), To: at("2026-11-22T15:00:00Z")},
		"period=1d&campaign=+7+":  {From: at("2026-11-21T14:00:00Z"), To: at("2026-11-22T15:00:00Z"), Campaign: "7"},
		"period=30d&survey=SV_1":  {From: at("2026-10-23T14:00:00Z"), To: at("2026-11-22T15:00:00Z"), Survey: "SV_1"},
		"from=&to=&period=1d":     {From: at("2026-11-21T14:00:00Z"), To: at("2026-11-22T15:00:00Z")},
		"from=2026-11-01":         {From: at("2026-11-01T00:00:00Z"), To: at("2026-11-22T15:00:00Z")},
		"from=2026-11-01T10:15":   {From: at("2026-11-01T10:00:00Z"), To: at("2026-11-22T15:00:00Z")},
		"to=2026-11-01":           {From: at("2026-10-26T00:00:00Z"), To: at("2026-11-02T00:00:00Z")},
		"period=1d&to=2026-11-01": {From: at("2026-11-01T00:00:00Z"), To: at("2026-11-02T00:00:00Z")},
		"from=2026-11-01T00:00:00%2B02:00&to=2026-11-01T12:00:00Z": {From: at("2026-10-31T22:00:00Z"), To: at("2026-11-01T12:00:00Z")},
	} {
		s := some()
		if _, err := ask(t, s, "/numbers", query, "application/json"); err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if s.asked != want {
			t.Errorf("%q asks for %v instead of %v", query, s.asked, want)
		}
	}
	root := page(t, some(), "/numbers", "from=2026-11-01&to=2026-11-02T10:00&campaign=7")
	values := map[string]string{}
	for _, input := range root.all("input") {
		values[input.attr("name")] = input.attr("value")
	}
	if values["from"] != "2026-11-01T00:00" || values["to"] != "2026-11-02T10:00" || values["campaign"] != "7" {
		t.Errorf("the form holds %v", values)
	}
	if options := root.all("option"); len(options) != 2 || options[1].attr("value") != hostile {
		t.Errorf("%d campaigns are offered", len(options))
	}
}

func TestWhatIsWrongWithARequestIsSaid(t *testing.T) {
	for query, wrong := range map[string]string{
		"period=2d": "period", "from=yesterday": "from", "to=2026-13-01": "to", "from=2026-11-02&to=2026-11-01": "from", "table=pie": "table", "campain=1": "campain",
	} {
		_, err := ask(t, some(), "/numbers", query, "application/json")
		var p *httpdoor.Problem
		if !errors.As(err, &p) || p.Status != http.StatusBadRequest || len(p.Errors) != 1 || p.Errors[0].Field != wrong {
			t.Errorf("%s is answered %v", query, err)
		}
	}
	_, err := ask(t, &source{err: errors.New("database is locked")}, "/numbers", "", "text/html")
	var p *httpdoor.Problem
	if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
		t.Errorf("a read model that cannot be asked is answered %v", err)
	}
	if _, err := ask(t, some(), "/vendors", "table=funnel", "text/csv"); !errors.As(err, &p) || p.Status != http.StatusBadRequest {
		t.Errorf("a table that is not there is answered %v", err)
	}
}

func TestFiguresThatAreNotWholeSaySo(t *testing.T) {
	s := some()
	s.behind = 12_000
	page(t, s, "/numbers", "").says(t, "12,000 messages are missing at most")
	s.behind = 3
	if strings.Contains(page(t, s, "/numbers", "").text(), "missing") {
		t.Error("a read model that is as good as up to date is told to be behind")
	}
}

// vendors are one of each kind.
func vendors() *source {
	return &source{vendors: []loops.VendorStatus{
		{
			Vendor: "sap-sales-cloud", State: activity.Out, Since: now.Add(-12 * time.Minute), Until: now.Add(3 * time.Minute), Reason: "503 Service Unavailable",
			By: []string{"c4c-tasker"}, Waiting: 1200, OldestWaiting: now.Add(-26 * time.Hour),
		},
		{
			Vendor: "qualtrics", State: activity.Throttled, Since: now.Add(-90 * time.Second), Until: now.Add(-30 * time.Second), Reason: "429 Too Many Requests",
			By: []string{"qualtrics-linker", "feedback-router"}, QuotaAt: now.Add(-5 * time.Second),
			Limits: []activity.Limit{{Name: "all", Used: 2400, Most: 3000}, {Name: "parallel", Used: 3, Most: 8}, {Name: "distribution links", Used: 7}},
			Calls:  []loops.Calls{{Vendor: "qualtrics", Operation: "import contacts", Calls: 12, Saved: 108, Mean: time.Second}},
			Saved:  108, Waiting: 400, OldestWaiting: now.Add(-10 * time.Minute), PerMinute: 40, Left: 10 * time.Minute,
		},
		{Vendor: "sap-marketing", State: activity.Healthy, Since: now.Add(-48 * time.Hour), By: []string{"sap-interaction-writer"}},
		{Vendor: `s4"><b>`, State: activity.Healthy, Since: now.Add(-time.Hour), By: []string{"ingress"}},
		{Vendor: "awardco", State: activity.Healthy},
	}}
}

func TestVendorsSayHowTheyAre(t *testing.T) {
	root := page(t, vendors(), "/vendors", "")
	var heads []string
	for _, h := range root.all("h2") {
		heads = append(heads, h.text())
	}
	if want := []string{"Overview", "Qualtrics", "SAP Marketing Cloud", "SAP Sales Cloud", "Awardco", `s4"><b>`}; !slices.Equal(heads, want) {
		t.Errorf("the headings are %q", heads)
	}
	root.id(t, "vendor-sap-sales-cloud").says(t, "out since 14:18:00 UTC (12 minutes); it is asked again at 14:33:00 UTC, in 3 minutes", "503 Service Unavailable", "c4c-tasker",
		"1,200 loops wait for it, the oldest since 21 Nov 2026, 12:30:00 UTC (26 hours). How long that will take cannot be told", "It was not called.")
	s := vendors()
	s.vendors[0].PerMinute, s.vendors[0].Left = 1.2, 5*time.Minute
	again := page(t, s, "/vendors", "")
	again.id(t, "vendor-sap-sales-cloud").says(t, "Once it is back, about 5 minutes at the pace of before.")
	again.id(t, "vendors-overview").says(t, "once it is back")
	if out := again.id(t, "vendor-sap-sales-cloud").text(); strings.Contains(out, "will take") {
		t.Errorf("a vendor that is out is said to take work: %s", out)
	}
	qualtrics := root.id(t, "vendor-qualtrics")
	qualtrics.says(t, "throttled since 14:28:30 UTC (1 minute); it has been asked again since 14:29:30 UTC", "qualtrics-linker, feedback-router",
		"400 loops wait for it, the oldest since 14:20:00 UTC (10 minutes). At the recent pace of 40 a minute that will take about 10 minutes.",
		"All calls 2,400 of 3,000 a minute (80%)", "Calls at the same time 3 of 8 now (38%)", "distribution links 7 a minute, without a limit",
		"12 calls did the work of 120: batching saved 90% of them. None failed.")
	meters := qualtrics.all("meter")
	if len(meters) != 2 || meters[0].attr("value") != "2400" || meters[0].attr("max") != "3000" || meters[0].attr("min") != "0" {
		t.Errorf("%d meters", len(meters))
	}
	if got := root.id(t, "vendor-qualtrics-calls").bars(t); !slices.Equal(got, []float64{10}) {
		t.Errorf("the bars are %v", got)
	}
	root.id(t, "vendor-sap-marketing").says(t, "healthy since 20 Nov 2026, 14:30:00 UTC (2 days)", "Nothing waits for it.")
	if got := root.id(t, "vendor-awardco").text(); !strings.HasSuffix(got, "not called yet Nothing waits for it.") {
		t.Errorf("of Awardco is said %q", got)
	}
}

func TestVendorsForPrograms(t *testing.T) {
	answer, err := ask(t, vendors(), "/vendors", "", "application/json")
	var list numbers.VendorList
	if err := json.Unmarshal(body(t, answer, err), &list); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, v := range list.Vendors {
		states = append(states, v.Vendor+" "+v.State)
	}
	if want := []string{"qualtrics throttled", "sap-marketing healthy", "sap-sales-cloud out", "awardco not called yet", `s4"><b> healthy`}; !slices.Equal(states, want) {
		t.Errorf("the vendors are %q", states)
	}
	rows := table(t, vendors(), "/vendors", "")
	if want := []string{"qualtrics", "throttled", "2026-11-22T14:28:30Z", "2026-11-22T14:29:30Z", "400", "2026-11-22T14:20:00Z", "40.00", "600", "12", "108", "0"}; !slices.Equal(rows[1], want) {
		t.Errorf("the row is %q", rows[1])
	}
	if want := []string{"awardco", "not called yet", "", "", "0", "", "", "", "0", "0", "0"}; !slices.Equal(rows[4], want) {
		t.Errorf("the row is %q", rows[4])
	}
	if got := table(t, vendors(), "/vendors", "table=limits"); len(got) != 4 || !slices.Equal(got[1], []string{"qualtrics", "all", "2400", "3000", "2026-11-22T14:29:55Z"}) {
		t.Errorf("the limits are %q", got)
	}
	if got := table(t, vendors(), "/vendors", "table=calls"); len(got) != 2 || got[1][3] != "120" {
		t.Errorf("the calls are %q", got)
	}
}

func TestNoVendorWasCalledYet(t *testing.T) {
	root := page(t, &source{}, "/vendors", "")
	if got := strings.Count(root.text(), "not called yet"); got != 8 { // four in the overview, and four below it
		t.Errorf("it is said %d times", got)
	}
}
