package chart

import (
	"math"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"
)

// Histogram draws how many lie between one edge and the next, as columns side by side with their counts on top. Edges are one
// more than counts; the last may say that there is no end.
func Histogram(a About, edges []string, counts []int) g.Node {
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	if most == 0 || len(edges) != len(counts)+1 {
		return empty(a)
	}
	step := 100 / float64(len(counts))
	bottom := plotHeight + axisHeight
	drawn := []g.Node{line(bottom, "chart-axis")}
	for i, n := range counts {
		height := heightOf(n, most, plotHeight)
		x := float64(i) * step
		drawn = append(drawn,
			g.Iff(n > 0, func() g.Node { return rect(x+step*0.04, step*0.92, bottom-height, height, html.Class("chart-bar")) }),
			text(percent(x+step/2), bottom-height-5, "chart-small", "middle", short(n)))
	}
	room := 0.0
	for i, edge := range edges {
		room = max(room, breadth(edge, smallSize))
		drawn = append(drawn, text(percent(float64(i)*step), bottom+16, "chart-small", anchorOf(i, len(edges)), edge))
	}
	room = (max(room, breadth("88.8k", smallSize)) + smallSize/2) * float64(len(counts))
	class := roomFor(room)
	svg := picture(a, "chart"+class, bottom+axisHeight+2, drawn...)
	if class == "" {
		return svg
	}
	return scrolling(a, svg)
}

func anchorOf(i, of int) string {
	switch i {
	case 0:
		return ""
	case of - 1:
		return "end"
	default:
		return "middle"
	}
}

func heightOf(n, most, room int) int {
	if n <= 0 {
		return 0
	}
	return max(1, int(math.Round(float64(n)/float64(most)*float64(room))))
}

// Strip is one row of columns.
type Strip struct {
	Name string
	// Says is written below the name: the sum, and the most of one column.
	Says   string
	Values []int
}

// Tick is a name at the beginning of a column.
type Tick struct {
	Column int
	Name   string
}

// Strips draws rows of columns over the same times, one row below the other. Each has a scale of its own from zero to a round
// number, which is written at its end: what is rare is seen beside what is frequent. Ticks that have no room are left out.
func Strips(a About, columns int, ticks []Tick, strips []Strip) g.Node {
	if columns < 1 || len(strips) == 0 {
		return empty(a)
	}
	bottom := len(strips) * stripRow
	drawn := make([]g.Node, 0, len(strips)+len(ticks))
	for i, s := range strips {
		drawn = append(drawn, s.row(i*stripRow, columns))
	}
	free := 0.0
	for _, t := range ticks {
		x := float64(t.Column) / float64(columns) * 100
		size := breadth(t.Name, smallSize) / narrowest * 100
		if x < free || x+size > 100 {
			continue
		}
		free = x + size + 2
		drawn = append(drawn, text(percent(x), bottom+axisHeight-6, "chart-small", "", t.Name))
	}
	return picture(a, "chart", bottom+axisHeight, drawn...)
}

func (s Strip) row(y, columns int) g.Node {
	most := 0
	for _, n := range s.Values {
		most = max(most, n)
	}
	end, bottom, step := top(most), y+stripTop+stripPlot, 100/float64(columns)
	says, scale := cut(s.Says, smallSize, narrowest*0.8), short(end)
	drawn := []g.Node{
		name(y+baseline, s.Name, 0),
		text("0", y+stripTop-4, "chart-small", "", says, whole(s.Says, says)),
		text("100%", y+stripTop-4, "chart-small", "end", scale),
		line(y+stripTop, "chart-grid"), line(bottom, "chart-axis"),
	}
	for i, n := range s.Values[:min(len(s.Values), columns)] {
		if height := heightOf(n, end, stripPlot); height > 0 {
			drawn = append(drawn, rect(float64(i)*step+step*0.1, step*0.8, bottom-height, height, html.Class("chart-bar")))
		}
	}
	return g.El("g", drawn...)
}
