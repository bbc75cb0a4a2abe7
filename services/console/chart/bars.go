package chart

import (
	"strconv"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/services/console/web"
)

// Bar is one row of a picture of bars.
type Bar struct {
	Name string
	// Value is the length of the bar. Part of it is drawn solid and the rest hatched; a part of Value or more is all of it.
	Value, Part int
	// Says is written at the end of the row, and holds the figures.
	Says string
}

// Bars draws one bar below the other from zero, each with its name and its figures above it. Lengths are in proportion,
// but for what would be too short to be seen.
func Bars(a About, bars []Bar) g.Node {
	longest := 0
	for _, b := range bars {
		longest = max(longest, b.Value, b.Part)
	}
	if longest == 0 {
		return empty(a)
	}
	rest := a.ID + "-rest"
	rows := make([]g.Node, 0, len(bars)+1)
	rows = append(rows, hatch(rest))
	for i, b := range bars {
		rows = append(rows, b.row(i*rowHeight, longest, rest))
	}
	return picture(a, "chart", len(bars)*rowHeight, rows...)
}

func (b Bar) row(y, longest int, rest string) g.Node {
	says := cut(b.Says, labelSize, narrowest*0.8)
	all, part := share(float64(max(b.Value, b.Part)), float64(longest)), share(float64(b.Part), float64(longest))
	return g.El("g",
		name(y+baseline, b.Name, breadth(says, labelSize)+labelSize),
		text("100%", y+baseline, "chart-label", "end", says, whole(b.Says, says)),
		rect(0, 100, y+barTop, barHeight, html.Class("chart-track")),
		g.Iff(part < all, func() g.Node {
			return rect(part, all-part, y+barTop, barHeight, html.Class("chart-rest"), g.Attr("fill", "url(#"+rest+")"))
		}),
		g.Iff(part > 0, func() g.Node { return rect(0, part, y+barTop, barHeight, html.Class("chart-bar")) }),
	)
}

// hatch is the pattern of what is left of a bar beside its part.
func hatch(id string) g.Node {
	const size = 6
	side := strconv.Itoa(size)
	return g.El("defs", g.El("pattern", html.ID(id), g.Attr("width", side), g.Attr("height", side),
		g.Attr("patternUnits", "userSpaceOnUse"), g.Attr("patternTransform", "rotate(45)"),
		g.El("line", html.Class("chart-hatch"), g.Attr("x1", "0"), g.Attr("y1", "0"), g.Attr("x2", "0"), g.Attr("y2", side))))
}

// Stage is one step of a funnel.
type Stage struct {
	Name  string
	Count int
}

// Funnel draws how many came to each stage: solid who did, hatched who came to the stage before and no further. A stage can
// have more than the one before it, and says so.
func Funnel(a About, stages []Stage) g.Node {
	bars := make([]Bar, len(stages))
	for i, s := range stages {
		bars[i] = Bar{Name: s.Name, Value: s.Count, Part: s.Count, Says: web.Count(s.Count)}
		if i > 0 {
			before := stages[i-1]
			bars[i].Value = max(before.Count, s.Count)
			bars[i].Says = web.Count(s.Count) + ofBefore(s, before)
		}
	}
	return Bars(a, bars)
}

func ofBefore(s, before Stage) string {
	switch {
	case s.Count > before.Count:
		return " (" + web.Count(s.Count-before.Count) + " more)"
	case before.Count == 0:
		return ""
	default:
		return " (" + Percent(s.Count, before.Count) + " of " + before.Name + ")"
	}
}
