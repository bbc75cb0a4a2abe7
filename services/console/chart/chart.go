// Package chart draws numbers as pictures, on the server, as SVG that needs no script.
//
// Measures across are shares of the picture's width and measures down are pixels: a picture fills a screen of any width, and
// its letters keep their size. Every picture says in words what it shows ([About]), has its figures written in it, and tells
// nothing by colour alone. Its looks are classes of the console's stylesheet (chart-*), since the content security policy
// allows no style in the page.
package chart

import (
	"fmt"
	"math"
	"strconv"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"
)

// About says what a picture shows, to who sees it and to who does not.
type About struct {
	// ID is one that nothing else on the page has; ids within the picture begin with it.
	ID string
	// Title is what the picture is of, in a few words.
	Title string
	// Finding is what it shows, in a sentence or two: "112 of 120 invited have a link."
	Finding string
	// Empty stands in place of a picture that has nothing to show; default: "There is nothing to show."
	Empty string
}

const nothing = "There is nothing to show."

// Sizes in pixels. Letters are those of the classes chart-label and chart-small in the stylesheet.
const (
	labelSize  = 14.0
	smallSize  = 12.0
	narrowest  = 272.0 // the width of a picture on a screen of 320
	wide       = 560.0 // and on one on which the stylesheet shows chart-wide in place of chart-narrow
	rowHeight  = 46
	baseline   = 15 // of the words, from the top of their row
	barTop     = 22
	barHeight  = 14
	plotHeight = 150
	stripRow   = 84
	stripTop   = 34 // of the columns, from the top of their row
	stripPlot  = 36
	axisHeight = 20
)

// least is the width of what is not nothing, in percent, so that it is seen beside something huge.
const least = 0.4

// picture is the frame of each.
func picture(a About, class string, height int, children ...g.Node) g.Node {
	title, desc := a.ID+"-title", a.ID+"-desc"
	return g.El("svg", html.ID(a.ID), html.Class(class), html.Role("img"), html.Aria("labelledby", title), html.Aria("describedby", desc),
		g.Attr("width", "100%"), g.Attr("height", strconv.Itoa(height)), g.Attr("focusable", "false"),
		g.El("title", html.ID(title), g.Text(a.Title)), g.El("desc", html.ID(desc), g.Text(a.Finding)),
		g.Group(children))
}

func empty(a About) g.Node {
	if a.Empty == "" {
		a.Empty = nothing
	}
	a.Finding = a.Empty
	return picture(a, "chart", rowHeight, text("0", rowHeight/2, "chart-label", "", a.Empty))
}

// scrolling lets a picture that needs more than a narrow screen has scroll in a region of its own.
func scrolling(a About, svg g.Node) g.Node {
	return html.Div(html.Class("scroll"), html.Role("region"), html.Aria("label", a.Title), html.TabIndex("0"), svg)
}

// roomFor gives the class that keeps a picture at least as wide as that, "" for one that any screen has room for.
func roomFor(pixels float64) string {
	if pixels <= narrowest {
		return ""
	}
	for _, rem := range []int{20, 30, 45, 60} {
		if pixels <= float64(rem*16) {
			return fmt.Sprintf(" chart-%d", rem)
		}
	}
	return " chart-80"
}

func rect(x, width float64, y, height int, attrs ...g.Node) g.Node {
	return g.El("rect", g.Attr("x", percent(x)), g.Attr("y", strconv.Itoa(y)), g.Attr("width", percent(width)), g.Attr("height", strconv.Itoa(height)),
		g.Group(attrs))
}

// text is what is written at a place; anchor is "" for the start.
func text(x string, y int, class, anchor, words string, more ...g.Node) g.Node {
	return g.El("text", g.Attr("x", x), g.Attr("y", strconv.Itoa(y)), html.Class(class), g.If(anchor != "", g.Attr("text-anchor", anchor)),
		g.Group(more), g.Text(words))
}

// name is written at the beginning of a row, where what stands at its end takes some of the room. A name that is too long is cut,
// on narrow screens shorter than on others, and has the whole of it as its title.
func name(y int, words string, taken float64) g.Node {
	short, long := cut(words, labelSize, narrowest-taken), cut(words, labelSize, wide-taken)
	if short == long {
		return text("0", y, "chart-label", "", long, whole(words, long))
	}
	return g.Group{
		text("0", y, "chart-label chart-narrow", "", short, whole(words, short)),
		text("0", y, "chart-label chart-wide", "", long, whole(words, long)),
	}
}

// whole is the title of words that were cut.
func whole(words, shown string) g.Node {
	if words == shown {
		return nil
	}
	return g.El("title", g.Text(words))
}

func line(y int, class string) g.Node {
	at := strconv.Itoa(y)
	return g.El("line", g.Attr("x1", "0"), g.Attr("x2", "100%"), g.Attr("y1", at), g.Attr("y2", at), html.Class(class))
}

func percent(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) + "%"
}

// share of a whole, in percent of the picture's width.
func share(value, whole float64) float64 {
	if value <= 0 || whole <= 0 {
		return 0
	}
	return max(least, min(100, value/whole*100))
}
