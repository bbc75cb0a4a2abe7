package numbers

import (
	"strconv"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// sheet is one table in two forms: as people read it, and as programs take it.
type sheet struct {
	// name is that of the parameter "table" and of the CSV file.
	name, caption string
	head          []column
	rows          [][]cell
}

// column has the words above it, and its name in CSV.
type column struct{ words, key string }

// cell is what is shown, and what is exact.
type cell struct {
	shown g.Node
	exact string
}

func words(text string) cell { return cell{g.Text(text), text} }

// linked is a name that leads somewhere.
func linked(address, text, exact string) cell {
	return cell{html.A(html.Href(address), g.Text(text)), exact}
}

func count(n int) cell { return cell{web.Number(n), strconv.Itoa(n)} }

// lasting is a duration, in CSV in seconds; what took no time did not happen.
func lasting(d time.Duration) cell {
	if d <= 0 {
		return cell{g.Text("–"), ""}
	}
	return cell{g.Text(web.Took(d)), strconv.FormatFloat(d.Seconds(), 'f', -1, 64)}
}

func moment(t time.Time, shown string) cell { return cell{g.Text(shown), stamp(t)} }

// stamp is a moment as programs write it, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (s sheet) table() g.Node {
	head := make([]g.Node, len(s.head))
	for i, c := range s.head {
		head[i] = g.Text(c.words)
	}
	rows := make([]web.Row, len(s.rows))
	for i, cells := range s.rows {
		for _, c := range cells {
			rows[i].Cells = append(rows[i].Cells, c.shown)
		}
	}
	return web.TableOf(s.caption, head, rows)
}

func (s sheet) csv() *httpdoor.Response {
	head, rows := make([]string, len(s.head)), make([][]string, len(s.rows))
	for i, c := range s.head {
		head[i] = c.key
	}
	for i, cells := range s.rows {
		for _, c := range cells {
			rows[i] = append(rows[i], c.exact)
		}
	}
	return web.Table(s.name, head, rows)
}

// behind is the table behind a picture, to be opened, with the way to its CSV.
func (s sheet) behind(r *httpdoor.Request, of string) g.Node {
	return web.Details(of+"-table", "Table", s.table(),
		html.P(html.Class("exports"), html.A(html.Href(web.With(r, "format", string(web.CSV), "table", s.name)), html.Download(""),
			html.Aria("label", "CSV: "+s.caption), g.Text("CSV"))))
}
