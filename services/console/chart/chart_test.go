package chart_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	g "maragu.dev/gomponents"

	"github.com/closeloop/closeloop/services/console/chart"
)

// node is an element of a picture that was read back.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []node     `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (n node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all finds elements by name, and by class where one is given, in the order of the document.
func (n node) all(name, class string) (found []node) {
	if n.XMLName.Local == name && (class == "" || slices.Contains(strings.Fields(n.attr("class")), class)) {
		found = append(found, n)
	}
	for _, c := range n.Children {
		found = append(found, c.all(name, class)...)
	}
	return found
}

func (n node) texts(class string) (texts []string) {
	for _, e := range n.all("text", class) {
		texts = append(texts, e.Text)
	}
	return texts
}

// share reads a length in percent of the picture's width.
func (n node) share(t *testing.T, name string) float64 {
	t.Helper()
	number, ok := strings.CutSuffix(n.attr(name), "%")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok && v != 0 {
		t.Fatalf("%s of <%s> is %q, no share of the width", name, n.XMLName.Local, n.attr(name))
	}
	return v
}

func (n node) pixels(t *testing.T, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(n.attr(name), 64)
	if err != nil {
		t.Fatalf("%s of <%s> is %q, no number of pixels", name, n.XMLName.Local, n.attr(name))
	}
	return v
}

// about has in it what would break out of a page that does not escape it.
var about = chart.About{ID: "p", Title: `Flow of <b>"A&B"</b>`, Finding: "112 of 120 invited have a link."}

// draw reads a picture back and holds it to what all of them promise.
func draw(t *testing.T, drawn g.Node) node {
	t.Helper()
	var b bytes.Buffer
	if err := drawn.Render(&b); err != nil {
		t.Fatal(err)
	}
	var root node
	decoder := xml.NewDecoder(&b)
	if err := decoder.Decode(&root); err != nil {
		t.Fatalf("the picture is not well-formed: %v", err)
	}
	svgs := root.all("svg", "")
	if len(svgs) != 1 {
		t.Fatalf("%d pictures instead of one", len(svgs))
	}
	svg := svgs[0]
	described(t, svg)
	plain(t, root)
	inside(t, svg)
	apart(t, svg, 272, "chart-wide")
	apart(t, svg, 560, "chart-narrow")
	return svg
}

// described: a picture has a role, a name and a description that are really there.
func described(t *testing.T, svg node) {
	t.Helper()
	if svg.attr("role") != "img" {
		t.Errorf("the role is %q", svg.attr("role"))
	}
	if len(svg.Children) < 2 || svg.Children[0].XMLName.Local != "title" || svg.Children[1].XMLName.Local != "desc" {
		t.Fatal("a picture begins with its title and its description")
	}
	title, desc := svg.Children[0], svg.Children[1]
	if title.Text != about.Title || strings.TrimSpace(desc.Text) == "" {
		t.Errorf("title %q, description %q", title.Text, desc.Text)
	}
	if svg.attr("aria-labelledby") != title.attr("id") || svg.attr("aria-describedby") != desc.attr("id") || title.attr("id") == desc.attr("id") {
		t.Error("title and description are not those that the picture names")
	}
}

// plain: nothing is in it that the content security policy forbids, and no id is there twice.
func plain(t *testing.T, root node) {
	t.Helper()
	ids := map[string]bool{}
	var walk func(node)
	walk = func(n node) {
		for _, a := range n.Attrs {
			if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") {
				t.Errorf("<%s> has the attribute %s", n.XMLName.Local, a.Name.Local)
			}
			if a.Name.Local == "id" {
				if ids[a.Value] {
					t.Errorf("the id %s is there twice", a.Value)
				}
				ids[a.Value] = true
			}
		}
		if slices.Contains([]string{"script", "style", "foreignObject", "b"}, n.XMLName.Local) {
			t.Errorf("there is a <%s>", n.XMLName.Local)
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(root)
	for _, r := range root.all("rect", "chart-rest") {
		if fill := r.attr("fill"); !ids[strings.TrimSuffix(strings.TrimPrefix(fill, "url(#"), ")")] {
			t.Errorf("the pattern %s is not there", fill)
		}
	}
}

// inside: nothing is drawn outside of the picture.
func inside(t *testing.T, svg node) {
	t.Helper()
	height := svg.pixels(t, "height")
	for _, r := range svg.all("rect", "") {
		x, y, w, h := r.share(t, "x"), r.pixels(t, "y"), r.share(t, "width"), r.pixels(t, "height")
		if x < 0 || y < 0 || w < 0 || h < 0 || x+w > 100.001 || y+h > height {
			t.Errorf("%s at %.1f%%,%.0f of %.1f%%×%.0f lies outside of 100%%×%.0f", r.attr("class"), x, y, w, h, height)
		}
	}
	for _, e := range svg.all("text", "") {
		if x, y := e.share(t, "x"), e.pixels(t, "y"); x < 0 || x > 100 || y < 11 || y > height {
			t.Errorf("%q is written at %.1f%%,%.0f, outside of 100%%×%.0f", e.Text, x, y, height)
		}
	}
}

// apart: on a screen of that width, where words of the hidden class are not shown, no words lie on others. Letters are taken
// to be as wide as those of common typefaces are on average.
func apart(t *testing.T, svg node, width float64, hidden string) {
	t.Helper()
	for class := range strings.FieldsSeq(svg.attr("class")) {
		if rem, err := strconv.Atoi(strings.TrimPrefix(class, "chart-")); err == nil {
			width = max(width, float64(rem*16))
		}
	}
	type box struct {
		left, right, y float64
		words          string
	}
	var boxes []box
	for _, e := range svg.all("text", "") {
		if strings.Contains(e.attr("class"), hidden) {
			continue
		}
		size := 14.0
		if e.attr("class") == "chart-small" {
			size = 12
		}
		w := 0.0
		for _, r := range e.Text {
			if r > utf8.RuneSelf && r != '…' {
				w += size
			} else {
				w += size * 0.5
			}
		}
		x := e.share(t, "x") / 100 * width
		switch e.attr("text-anchor") {
		case "end":
			x -= w
		case "middle":
			x -= w / 2
		}
		b := box{x, x + w, e.pixels(t, "y"), e.Text}
		if b.left < -0.5 || b.right > width+0.5 {
			t.Errorf("%q reaches from %.0f to %.0f of %.0f pixels", e.Text, b.left, b.right, width)
		}
		for _, o := range boxes {
			if math.Abs(o.y-b.y) < 10 && b.left < o.right && o.left < b.right {
				t.Errorf("%q lies on %q", b.words, o.words)
			}
		}
		boxes = append(boxes, b)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.01 }

func TestFunnelTellsWhoCameToEachStageAndWhoDidNot(t *testing.T) {
	svg := draw(t, chart.Funnel(about, []chart.Stage{{"invited", 1200}, {"link", 1120}, {"mailed", 1120}, {"answered", 400}, {"acted on", 0}}))
	want := []string{
		"invited", "1,200", "link", "1,120 (93% of invited)", "mailed", "1,120 (100% of link)",
		"answered", "400 (36% of mailed)", "acted on", "0 (0% of answered)",
	}
	if got := svg.texts(""); !slices.Equal(got, want) {
		t.Errorf("the words are %q", got)
	}
	solid, hatched := svg.all("rect", "chart-bar"), svg.all("rect", "chart-rest")
	if len(solid) != 4 || len(hatched) != 3 {
		t.Fatalf("%d solid bars and %d hatched ones", len(solid), len(hatched))
	}
	for i, count := range []float64{1200, 1120, 1120, 400} {
		if got := solid[i].share(t, "width"); !near(got, count/12) {
			t.Errorf("the bar of %v is %v%% wide", count, got)
		}
		if solid[i].share(t, "x") != 0 {
			t.Error("a bar does not begin at zero")
		}
	}
	// 80 have no link; 720 did not answer; 400 were not acted on. Each begins where its solid part ends.
	for i, v := range []struct{ x, width float64 }{{1120, 80}, {400, 720}, {0, 400}} {
		if x, w := hatched[i].share(t, "x"), hatched[i].share(t, "width"); !near(x, v.x/12) || !near(w, v.width/12) {
			t.Errorf("hatched is %v%% from %v%% in place of %v of %v", w, x, v.width, v.x)
		}
	}
}

func TestFunnelCountsLoopsThatBeginLater(t *testing.T) {
	svg := draw(t, chart.Funnel(about, []chart.Stage{{"invited", 0}, {"link", 0}, {"answered", 30}}))
	if got := svg.texts(""); !slices.Equal(got, []string{"invited", "0", "link", "0", "answered", "30 (30 more)"}) {
		t.Errorf("the words are %q", got)
	}
	if len(svg.all("rect", "chart-rest")) != 0 {
		t.Error("something is missing of a stage that has more than the one before it")
	}
}

func TestBarsOfStrangeNames(t *testing.T) {
	bars := []chart.Bar{
		{Name: `</text><script>alert("1")</script>`, Value: 10, Part: 4, Says: "4 of 10"},
		{Name: strings.Repeat("Wintermarketing ", 20), Value: 1_000_000_000, Part: 1_000_000_000, Says: "1,000,000,000"},
		{Name: strings.Repeat("夏の顧客満足度調査", 9), Value: 1, Part: 0, Says: "0 of 1"},
		{Name: "", Value: 0, Says: "0"},
		{Name: "a\nb\x00", Value: 3, Part: 5, Says: strings.Repeat("9", 80)},
	}
	svg := draw(t, chart.Bars(about, bars))
	// Beside a thousand million, ten are hardly anything, and still seen.
	rows := svg.all("g", "")
	if wide := rows[0].all("text", "chart-wide"); len(wide) != 1 || wide[0].Text != bars[0].Name || len(wide[0].Children) != 0 {
		t.Errorf("where there is room for the name, it reads %v", wide)
	}
	if narrow := rows[0].all("text", "chart-narrow"); len(narrow) != 1 || !strings.HasPrefix(narrow[0].Text, "</text><script>") || !strings.HasSuffix(narrow[0].Text, "…") {
		t.Errorf("where there is no room for the name, it reads %v", narrow)
	}
	for at := 1; at < 3; at++ {
		names := append(rows[at].all("text", "chart-wide"), rows[at].all("text", "chart-narrow")...)
		if len(names) != 2 || len(names[0].Text) <= len(names[1].Text) {
			t.Errorf("a long name reads %v", names)
		}
		for _, name := range names {
			if title := name.all("title", ""); !strings.HasSuffix(name.Text, "…") || len(title) != 1 || title[0].Text != bars[at].Name {
				t.Errorf("%q is not cut, or has not the whole of it as its title", name.Text)
			}
		}
	}
	if got := rows[0].all("rect", "chart-bar")[0].share(t, "width"); got <= 0 || got > 1 {
		t.Errorf("the short bar is %v%% wide", got)
	}
	if got := rows[1].all("rect", "chart-bar")[0].share(t, "width"); got != 100 {
		t.Errorf("the longest bar is %v%% wide", got)
	}
	if len(rows[2].all("rect", "chart-bar")) != 0 || len(rows[2].all("rect", "chart-rest")) != 1 {
		t.Error("one of which none is a part is not drawn as hatched alone")
	}
	if len(rows[3].all("rect", "chart-bar"))+len(rows[3].all("rect", "chart-rest")) != 0 {
		t.Error("nothing is drawn as something")
	}
}

func TestHistogramIsInProportion(t *testing.T) {
	edges, counts := []string{"0", "1 h", "4 h", "1 day", "more"}, []int{3, 12, 0, 6}
	svg := draw(t, chart.Histogram(about, edges, counts))
	columns := svg.all("rect", "chart-bar")
	if len(columns) != 3 {
		t.Fatalf("%d columns", len(columns))
	}
	unit := columns[1].pixels(t, "height") / 12
	bottom := svg.all("line", "chart-axis")[0].pixels(t, "y1")
	for i, n := range []float64{3, 12, 6} {
		if h := columns[i].pixels(t, "height"); math.Abs(h-n*unit) > 1 || columns[i].pixels(t, "y")+h != bottom {
			t.Errorf("the column of %v is %v high", n, h)
		}
	}
	if x := columns[2].share(t, "x"); x < 75 || x > 78 {
		t.Errorf("the last of four columns begins at %v%%", x)
	}
	if got := svg.texts("chart-small"); !slices.Equal(got, append([]string{"3", "12", "0", "6"}, edges...)) {
		t.Errorf("the words are %q", got)
	}
}

func TestHistogramOfMuchScrollsInItsOwnRegion(t *testing.T) {
	var edges []string
	counts := make([]int, 16)
	for i := range 17 {
		edges = append(edges, fmt.Sprint(i, " min"))
	}
	counts[3] = 123_456_789
	drawn := chart.Histogram(about, edges, counts)
	svg := draw(t, drawn)
	if !slices.Contains(svg.texts("chart-small"), "123M") {
		t.Errorf("the words are %q", svg.texts("chart-small"))
	}
	var b bytes.Buffer
	_ = drawn.Render(&b)
	var region node
	if err := xml.Unmarshal(b.Bytes(), &region); err != nil {
		t.Fatal(err)
	}
	if region.attr("role") != "region" || region.attr("tabindex") != "0" || region.attr("aria-label") != about.Title {
		t.Errorf("the region is %v", region.Attrs)
	}
}

func TestStripsHaveTheirOwnScales(t *testing.T) {
	many, few := make([]int, 48), make([]int, 48)
	many[0], many[47], few[5] = 870, 435, 2
	svg := draw(t, chart.Strips(about, 48, []chart.Tick{{0, "22 Nov"}, {3, "03:00"}, {24, "23 Nov"}, {47, "23:00"}}, []chart.Strip{
		{Name: "survey.link.created", Says: "1,305, up to 870", Values: many},
		{Name: "task.created", Says: "2, up to 2", Values: few},
		{Name: "order.completed", Says: "0", Values: nil},
	}))
	rows := svg.all("g", "")
	first, second := rows[0].all("rect", "chart-bar"), rows[1].all("rect", "chart-bar")
	if len(first) != 2 || len(second) != 1 || len(rows[2].all("rect", "chart-bar")) != 0 {
		t.Fatalf("%d and %d columns", len(first), len(second))
	}
	if a, b := first[0].pixels(t, "height"), first[1].pixels(t, "height"); math.Abs(a-2*b) > 1 {
		t.Errorf("870 is %v high, and 435 is %v", a, b)
	}
	grid := rows[0].all("line", "chart-grid")[0].pixels(t, "y1")
	axis := rows[0].all("line", "chart-axis")[0].pixels(t, "y1")
	if got, want := first[0].pixels(t, "height"), (axis-grid)*0.87; math.Abs(got-want) > 1 {
		t.Errorf("870 of a scale to 1000 is %v high instead of %v", got, want)
	}
	if got := first[1].share(t, "x"); got < 47.0/48*100 {
		t.Errorf("the last column begins at %v%%", got)
	}
	if got := rows[0].texts("chart-small"); !slices.Equal(got, []string{"1,305, up to 870", "1000"}) {
		t.Errorf("it says %q", got)
	}
	if got := rows[1].texts("chart-small"); !slices.Equal(got, []string{"2, up to 2", "2"}) {
		t.Errorf("it says %q", got)
	}
	words := svg.texts("chart-small")
	if slices.Contains(words, "03:00") || slices.Contains(words, "23:00") {
		t.Errorf("a tick without room is written: %q", words)
	}
	if !slices.Contains(words, "22 Nov") || !slices.Contains(words, "23 Nov") {
		t.Errorf("a tick is missing: %q", words)
	}
}

func TestNothingSaysSo(t *testing.T) {
	told := about
	told.Empty = "No loop was closed."
	for name, drawn := range map[string]g.Node{
		"bars": chart.Bars(told, nil), "zeros": chart.Bars(told, []chart.Bar{{Name: "a"}}), "funnel": chart.Funnel(told, []chart.Stage{{"invited", 0}}),
		"histogram": chart.Histogram(told, []string{"0", "1"}, []int{0}), "no columns": chart.Histogram(told, nil, nil),
		"strips": chart.Strips(told, 24, nil, nil), "no time": chart.Strips(told, 0, nil, []chart.Strip{{Name: "a"}}),
	} {
		t.Run(name, func(t *testing.T) {
			svg := draw(t, drawn)
			if got := svg.texts(""); !slices.Equal(got, []string{told.Empty}) || svg.Children[1].Text != told.Empty {
				t.Errorf("it says %q, and describes itself as %q", got, svg.Children[1].Text)
			}
		})
	}
	if got := draw(t, chart.Bars(about, nil)).texts(""); len(got) != 1 || got[0] == "" {
		t.Errorf("without words for nothing it says %q", got)
	}
}

func TestShares(t *testing.T) {
	for _, c := range []struct {
		part, whole int
		want        string
	}{{0, 10, "0%"}, {1, 1000, "under 1%"}, {1, 3, "33%"}, {999, 1000, "over 99%"}, {10, 10, "100%"}, {3, 0, "0%"}, {15, 10, "150%"}} {
		if got := chart.Percent(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d is %q", c.part, c.whole, got)
		}
	}
}
