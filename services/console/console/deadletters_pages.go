package console

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// doChange is what a selection page is for beside replay and discard: a change in each body, and its replay.
const doChange = "change"

// listPage shows the causes, and below them the letters; of one cause only its letters.
func (d *desk) listPage(r *httpdoor.Request, f filter, l letterList) *httpdoor.Response {
	operates := web.Person(r).Operates
	next := ""
	if l.Next > 0 {
		next = strconv.FormatUint(l.Next, 10)
	}
	return web.Show(r, web.View{Title: "Dead letters", Section: lettersSection, Body: []g.Node{
		html.P(g.Text("Events that a service could not handle, and that wait for a person. "), html.A(html.Href("/dead-letters/jobs"), g.Text("What is being done about many at once"))),
		d.letterFilter(r),
		g.Iff(f.cause == "", func() g.Node { return web.Part("causes", "Causes", causesNode(r, l.Causes)) }),
		g.Iff(f.cause != "" && len(l.Causes) > 0, func() g.Node { return causePart(f, l.Causes[0], l.upTo(), operates) }),
		web.Part("letters", "Letters", html.P(g.Text(web.Plural(l.Total, "letter"))), lettersForm(l.Letters, operates), web.Pager(r, next)),
		web.Exports(r),
	}})
}

// upTo is the newest of the letters that are shown: what comes later has not been seen.
func (l letterList) upTo() uint64 {
	if len(l.Letters) == 0 {
		return 0
	}
	return l.Letters[0].Sequence
}

func (d *desk) letterFilter(r *httpdoor.Request) g.Node {
	q := r.Query
	known := func(of func(*Letter) string) []web.Option {
		return web.Options("all", d.book.values(of)...)
	}
	return web.Filter("/dead-letters",
		web.Select("Service", "service", q.Get("service"), known(func(l *Letter) string { return l.Service })),
		web.Select("Event", "subject", q.Get("subject"), known(func(l *Letter) string { return l.Subject })),
		web.Select("Class", "class", q.Get("class"), web.Options("all", classes...)),
		web.Select("State", "state", q.Get("state"), []web.Option{{Value: "", Text: "open"}, {Value: string(Replayed), Text: "replayed"}, {Value: string(Discarded), Text: "discarded"}, {Value: allStates, Text: "all"}}),
		web.Field("Loop", "loop", q.Get("loop")),
		web.Field("Cause", "cause", q.Get("cause")),
	)
}

func causesNode(r *httpdoor.Request, all []*Cause) g.Node {
	var rows []web.Row
	for _, c := range all {
		rows = append(rows, web.Cells(
			html.A(html.Href(web.With(r, "cause", c.Cause, "before", "")), g.Text(c.Reason)), g.Text(c.Service), web.Code(c.Subject), g.Text(c.Class),
			web.Code(c.Field), web.Number(c.Open), web.Number(c.Replayed), web.Number(c.Discarded), web.Ago(c.Oldest)))
	}
	return web.TableOf("Causes, those with the most open letters first",
		web.Texts("Reason of the newest", "Service", "Event", "Class", "Field", "Open", "Replayed", "Discarded", "Oldest"), rows)
}

// causePart says what the letters have in common, and what can be done about all of them.
func causePart(f filter, c *Cause, upTo uint64, operates bool) g.Node {
	return web.Part("cause", "One cause",
		web.Facts(
			web.Fact{Name: "Reason", Says: g.Text(c.Reason)}, web.Fact{Name: "Field", Says: codeOr(c.Field)},
			web.Fact{Name: "Class", Says: g.Text(c.Class)}, web.Fact{Name: "Service", Says: g.Text(c.Service)}, web.Fact{Name: "Event", Says: web.Code(c.Subject)},
			web.Fact{Name: "Open", Says: web.Number(c.Open)}, web.Fact{Name: "Oldest", Says: web.Ago(c.Oldest)}, web.Fact{Name: "Cause", Says: web.Code(c.Cause)},
		),
		g.If(operates && c.Open > 0 && f.before == 0, html.Form(html.Class("buttons"), html.Method("get"), html.Action("/dead-letters/selection"),
			web.Hidden("cause", f.cause), web.Hidden("upTo", strconv.FormatUint(upTo, 10)),
			web.Button("Replay all", html.Name("do"), html.Value(Replay)),
			web.Button("Edit and replay all", html.Name("do"), html.Value(doChange)),
			web.Button("Discard all", html.Name("do"), html.Value(Discard), html.Class("quiet")),
		)),
		html.P(html.A(html.Href("/dead-letters"), g.Text("All causes"))),
	)
}

// lettersForm is the list of letters, with boxes for a selection.
func lettersForm(letters []Standing, operates bool) g.Node {
	var rows []web.Row
	for _, l := range letters {
		row := []g.Node{
			letterLink(l.Sequence), web.Ago(l.Time), web.State(l.State), g.Text(l.Service), web.Code(l.Subject), g.Text(l.Class), g.Text(l.Reason),
			web.Code(l.Field), loopLink(l.LoopID),
		}
		if operates {
			sequence := strconv.FormatUint(l.Sequence, 10)
			row = append([]g.Node{web.Pick("sequences", sequence, "Select #"+sequence)}, row...)
		}
		rows = append(rows, web.Cells(row...))
	}
	head := web.Texts("Letter", "When", "State", "Service", "Event", "Class", "Reason", "Field", "Loop")
	const caption = "Dead letters, newest first"
	if !operates {
		return web.TableOf(caption, head, rows)
	}
	head = append([]g.Node{g.Group{web.PickAll("sequences"), html.Span(html.Class("unseen"), g.Text("Select"))}}, head...)
	return html.Form(html.Method("get"), html.Action("/dead-letters/selection"),
		web.TableOf(caption, head, rows),
		g.If(len(rows) > 0, html.Div(html.Class("buttons"),
			web.Button("Replay selected", html.Name("do"), html.Value(Replay)),
			web.Button("Edit and replay selected", html.Name("do"), html.Value(doChange)),
			web.Button("Discard selected", html.Name("do"), html.Value(Discard), html.Class("quiet")),
		)),
	)
}

var letterColumns = []string{
	"sequence", "time", "state", "service", "subject", "class", "field", "reason", "attempts", "eventId", "loopId", "cause",
}

func letterRows(letters []Standing) [][]string {
	var rows [][]string
	for _, l := range letters {
		rows = append(rows, []string{
			strconv.FormatUint(l.Sequence, 10), l.Time.Format(time.RFC3339), string(l.State), l.Service, l.Subject, l.Class, l.Field, l.Reason,
			strconv.Itoa(l.Attempts), l.EventID, l.LoopID, l.Cause,
		})
	}
	return rows
}

func causesTable(all []*Cause) *httpdoor.Response {
	var rows [][]string
	for _, c := range all {
		rows = append(rows, []string{
			c.Cause, c.Service, c.Subject, c.Class, c.Field, c.Reason, strconv.Itoa(c.Open), strconv.Itoa(c.Replayed), strconv.Itoa(c.Discarded),
			c.Oldest.Format(time.RFC3339), c.Newest.Format(time.RFC3339),
		})
	}
	return web.Table("dead-letter-causes", []string{
		"cause", "service", "subject", "class", "field", "reason", "open", "replayed", "discarded", "oldest", "newest",
	}, rows)
}

// selectionView is the page on which it is decided about many letters.
type selectionView struct {
	do      string
	asked   askedMany
	chosen  []uint64
	typed   typed
	preview *Preview
}

func (d *desk) selectionPage(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := knownIn(r.Query, "do", "sequences", "cause", "upTo"); err != nil {
		return nil, err
	}
	a, err := typed{values: r.Query}.manyOf()
	if err != nil {
		return nil, err
	}
	do := r.Query.Get("do")
	if !slices.Contains([]string{Replay, doChange, Discard}, do) {
		return nil, web.Wrong("do", "must be replay, change or discard")
	}
	if a.Cause == "" && len(a.Sequences) == 0 {
		return nil, httpdoor.BadRequest("no letter is selected: go back and tick some", httpdoor.FieldError{Field: "sequences", Message: "are required, or cause"})
	}
	return d.selectionWith(r, selectionView{do: do, asked: a, typed: typed{form: "many"}})
}

// selectionWith shows the page of a selection.
func (d *desk) selectionWith(r *httpdoor.Request, v selectionView) (*httpdoor.Response, error) {
	var err error
	if v.chosen, err = d.chosen(v.asked); err != nil {
		return nil, err
	}
	what := map[string]string{Replay: "Replay", doChange: "Edit and replay", Discard: "Discard"}[v.do]
	return web.Show(r, web.View{
		Title: what + " " + web.Plural(len(v.chosen), "dead letter"), Section: lettersSection, Status: v.typed.status(),
		Body: []g.Node{
			v.typed.summary(),
			d.selectedPart(v),
			g.Iff(v.preview != nil, func() g.Node { return v.previewPart() }),
			g.If(len(v.chosen) == 0, html.P(g.Text("No open letter is left of the selection."))),
			g.Iff(len(v.chosen) > 0, func() g.Node { return d.manyPart(r, v) }),
		},
	}), nil
}

// selectedPart says which letters it is about.
func (d *desk) selectedPart(v selectionView) g.Node {
	var facts []web.Fact
	if first, ok := d.book.look(firstOf(v.chosen)); ok && v.asked.Cause != "" {
		facts = append(facts, web.Fact{Name: "Reason", Says: g.Text(first.Reason)}, web.Fact{Name: "Field", Says: codeOr(first.Field)})
	}
	facts = append(facts, web.Fact{Name: "Letters", Says: lettersNode(v.chosen)})
	return web.Part("selected", "Selected", web.Facts(facts...))
}

func firstOf(sequences []uint64) uint64 {
	if len(sequences) == 0 {
		return 0
	}
	return sequences[0]
}

// namedMostLetters is how many letters are named one by one.
const namedMostLetters = 10

func lettersNode(sequences []uint64) g.Node {
	var all []g.Node
	for i, sequence := range sequences {
		if i == namedMostLetters {
			all = append(all, g.Text(fmt.Sprintf("and %d more", len(sequences)-i)))
			break
		}
		all = append(all, letterLink(sequence), g.Text(" "))
	}
	return g.Group(all)
}

func (d *desk) manyPart(r *httpdoor.Request, v selectionView) g.Node {
	kind, heading := Replay, "Replay them"
	if v.do == Discard {
		kind, heading = Discard, "Discard them"
	}
	t := v.typed
	t.form = "many"
	form := []g.Node{t.key(), v.hidden()}
	if v.do == doChange {
		heading = "The change"
		form = append(form, d.changeFields(v, t), web.Button("Preview", html.Class("quiet"), html.FormAction("/dead-letters/preview"), g.Attr("formnovalidate")))
	}
	form = append(form, t.whoAndWhy(r, ""))
	switch {
	case v.do == Discard:
		form = append(form, web.Button("Discard "+web.Plural(len(v.chosen), "dead letter"), html.Class("danger")))
	case len(v.chosen) == 1:
		form = append(form, web.Button("Replay it"))
	default:
		form = append(form,
			html.P(g.Text("One is replayed first. You see what comes of it, and then say that the rest follows.")),
			web.Button("Replay one first", html.Name("sample"), html.Value("1")),
			web.Button(fmt.Sprintf("Replay all %d at once", len(v.chosen)), html.Name("sample"), html.Value("0"), html.Class("quiet")))
	}
	return web.Part("many", heading, web.Post("/dead-letters/"+kind, form...))
}

// hidden sends the selection along.
func (v selectionView) hidden() g.Node {
	fields := []g.Node{web.Hidden("do", v.do)}
	if v.asked.Cause != "" {
		fields = append(fields, web.Hidden("cause", v.asked.Cause), web.Hidden("upTo", strconv.FormatUint(lastOf(v.chosen, v.asked.UpTo), 10)))
	}
	for _, sequence := range v.asked.Sequences {
		fields = append(fields, web.Hidden("sequences", strconv.FormatUint(sequence, 10)))
	}
	return g.Group(fields)
}

// lastOf bounds a cause by what was seen: letters that come later are another matter.
func lastOf(sequences []uint64, upTo uint64) uint64 {
	if upTo == 0 && len(sequences) > 0 {
		return sequences[len(sequences)-1]
	}
	return upTo
}

// changeFields ask for one change that is made in every body.
func (d *desk) changeFields(v selectionView, t typed) g.Node {
	proposed := ""
	subject := ""
	if first, ok := d.book.look(firstOf(v.chosen)); ok {
		proposed, subject = first.Field, first.Subject
	}
	choose := func(label, name string, options []web.Option) g.Node {
		return t.input(name, func(attributes ...g.Node) g.Node {
			return web.Select(label, name, t.get(name, options[0].Value), options, attributes...)
		})
	}
	return g.Group{
		choose("What to do in each body", "op", []web.Option{
			{Value: opSet, Text: "set a field to a value"}, {Value: opRemove, Text: "remove a field"},
			{Value: opRename, Text: "rename a field"}, {Value: opReplace, Text: "replace a text in a field"},
		}),
		t.text("Field, as contact.email or members[].email", "field", proposed, html.Required(), html.List("contract-fields"), html.AutoComplete("off")),
		html.DataList(html.ID("contract-fields"), g.Map(contractOf(subject), func(f contractField) g.Node { return html.Option(html.Value(f.Path)) })),
		html.FieldSet(html.Legend(g.Text("To set it")),
			t.text("Value", "value", "", html.AutoComplete("off")),
			choose("The value is", "as", []web.Option{{Value: asText, Text: "a text"}, {Value: asJSON, Text: "JSON: a number, true, false, null, a list or an object"}})),
		html.FieldSet(html.Legend(g.Text("To rename it")), t.text("New name", "to", "", html.AutoComplete("off"))),
		html.FieldSet(html.Legend(g.Text("To replace a text in it")),
			t.text("Text", "text", "", html.AutoComplete("off")), t.text("Replaced by", "with", "", html.AutoComplete("off"))),
		web.Details("contract", "What the contract says", contractTable(subject)),
	}
}

// previewPart says what the change would do.
func (v selectionView) previewPart() g.Node {
	p := v.preview
	kind, text := "good", fmt.Sprintf("%d of %d bodies keep the contract after the change.", p.Valid, p.Total)
	if p.Invalid > 0 {
		kind = "warn"
		text += fmt.Sprintf(" %d do not, and would not be replayed.", p.Invalid)
	}
	if p.Looked < p.Total {
		text += fmt.Sprintf(" The first %d were looked at.", p.Looked)
	}
	part := []g.Node{web.Notice(kind, text, g.Text("Nothing was recorded or sent."))}
	if p.Invalid > 0 {
		var rows []web.Row
		for _, reason := range p.Reasons {
			rows = append(rows, web.Cells(g.Text(reason.Reason), web.Number(reason.Count), letterLink(reason.First)))
		}
		part = append(part, web.TableOf("Why bodies would not be replayed", web.Texts("Reason", "Letters", "First"), rows))
	}
	if p.Sample != nil {
		part = append(part,
			html.H3(g.Text("A sample, masked: "), letterLink(p.Sample.Sequence)),
			html.Div(html.Class("columns"),
				html.Div(html.H4(g.Text("Before")), web.Block(indented(p.Sample.Before))),
				html.Div(html.H4(g.Text("After")), web.Block(indented(p.Sample.After))),
			))
	}
	return web.Part("preview", "Preview", part...)
}

// selectionOf reads a form about a selection.
func selectionOf(r *httpdoor.Request, kind string) (selectionView, error) {
	t, err := formOf(r, "many")
	if err != nil {
		return selectionView{}, err
	}
	v := selectionView{do: t.values.Get("do"), typed: t}
	if !slices.Contains([]string{Replay, doChange, Discard}, v.do) {
		v.do = kind
	}
	if v.do != doChange {
		t.values.Del("op")
	}
	v.asked, err = t.manyOf()
	return v, err
}

func (d *desk) previewForm(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	v, err := selectionOf(r, doChange)
	if err != nil {
		return nil, err
	}
	v.preview, err = d.previewed(ctx, v.asked)
	if err != nil {
		return d.refusedSelection(r, v, err)
	}
	return d.selectionWith(r, v)
}

// manyForm has it done to a selection, and leads to the page on which that can be followed.
func (d *desk) manyForm(ctx context.Context, r *httpdoor.Request, kind string) (*httpdoor.Response, error) {
	v, err := selectionOf(r, kind)
	if err != nil {
		return nil, err
	}
	wanted, err := d.selection(r, kind, v.asked)
	var chosen []uint64
	if err == nil {
		chosen, err = d.chosen(v.asked)
	}
	var j *Job
	if err == nil {
		j, err = d.begin(ctx, wanted, v.asked, chosen)
	}
	if err != nil {
		return d.refusedSelection(r, v, err)
	}
	return web.Redirect(jobAddress(j.ID)), nil
}

func (d *desk) refusedSelection(r *httpdoor.Request, v selectionView, err error) (*httpdoor.Response, error) {
	var failed error
	answer, err := refused(err, func(p *httpdoor.Problem) *httpdoor.Response {
		v.typed = v.typed.because(p)
		var page *httpdoor.Response
		page, failed = d.selectionWith(r, v)
		return page
	})
	if failed != nil {
		return nil, failed
	}
	return answer, err
}

func jobAddress(id string) string { return "/dead-letters/jobs/" + id }

// title names a job.
func (j *Job) title() string {
	what := map[string]string{Replay: "Replay", Discard: "Discard"}[j.Does]
	return what + " " + web.Plural(j.Total, "dead letter")
}

func (d *desk) jobsPage(r *httpdoor.Request, all []*Job, next uint64) *httpdoor.Response {
	var rows []web.Row
	for _, j := range all {
		rows = append(rows, web.Cells(html.A(html.Href(jobAddress(j.ID)), g.Text(j.title())), workState(j.State), web.Time(j.At), g.Text(j.By), g.Text(j.Why),
			g.Text(j.changes()), web.Number(j.Done), web.Number(j.Skipped), web.Number(j.Failed), web.Number(j.Left)))
	}
	before := ""
	if next > 0 {
		before = strconv.FormatUint(next, 10)
	}
	return web.Show(r, web.View{Title: "Many dead letters at once", Section: lettersSection, Body: []g.Node{
		web.TableOf("What was asked for, newest first", web.Texts("What", "State", "When", "Who", "Why", "Change", "Done", "Skipped", "Failed", "Left"), rows),
		web.Pager(r, before), web.Exports(r),
	}})
}

var jobColumns = []string{
	"id", "does", "state", "at", "by", "why", "change", "cause", "total", "done", "skipped", "failed", "left",
}

func jobRows(all []*Job) [][]string {
	var rows [][]string
	for _, j := range all {
		rows = append(rows, []string{
			j.ID, j.Does, j.State, j.At.Format(time.RFC3339), j.By, j.Why, j.changes(), j.Cause, strconv.Itoa(j.Total), strconv.Itoa(j.Done),
			strconv.Itoa(j.Skipped), strconv.Itoa(j.Failed), strconv.Itoa(j.Left),
		})
	}
	return rows
}

// changes says in words what is changed in the bodies.
func (j *Job) changes() string {
	return changesInWords(j.Edit)
}

func changesInWords(changes []Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, c.says())
	}
	return strings.Join(all, ", ")
}

var workShapes = map[string][2]string{
	jobWorking: {"busy", "…"}, jobWaiting: {"wait", "?"}, jobDone: {"good", "✓"}, jobStopped: {"off", "–"},
}

// workState is the state of long work: a job's, or an erasure's.
func workState(state string) g.Node {
	return web.Badge(workShapes[state][0], workShapes[state][1], state)
}

func (d *desk) jobPage(r *httpdoor.Request, p jobProgress, t typed) *httpdoor.Response {
	return web.Show(r, web.View{Title: p.title(), Section: lettersSection, Status: t.status(), Live: jobAddress(p.ID) + "/live", Body: []g.Node{
		t.summary(),
		p.progressPart(),
		p.forms(r, t),
		p.aboutPart(),
	}})
}

// progressPart is what changes while the job goes on.
func (p jobProgress) progressPart() g.Node {
	done := map[string]string{Replay: "Replayed", Discard: "Discarded"}[p.Does]
	part := []g.Node{
		p.notice(),
		html.P(html.Label(html.For("progress-bar"), g.Text(fmt.Sprintf("%d of %d looked at", p.looked(), p.Total))), g.Text(" "),
			html.Progress(html.ID("progress-bar"), html.Max(strconv.Itoa(p.Total)), html.Value(strconv.Itoa(p.looked())))),
		web.Facts(
			web.Fact{Name: "State", Says: workState(p.State)},
			web.Fact{Name: done, Says: web.Number(p.Done)},
			web.Fact{Name: "Skipped, since somebody had decided", Says: web.Number(p.Skipped)},
			web.Fact{Name: "Failed", Says: web.Number(p.Failed)},
			web.Fact{Name: "Came back as a new dead letter", Says: web.Number(p.CameBack)},
			web.Fact{Name: "Left", Says: web.Number(p.Left)},
		),
	}
	if p.State == jobWorking {
		part = append(part, html.P(html.A(html.Href(jobAddress(p.ID)), g.Text("Reload"))))
	}
	if len(p.Failures) > 0 {
		var rows []web.Row
		for _, f := range p.Failures {
			rows = append(rows, web.Cells(letterLink(f.Sequence), g.Text(f.Reason)))
		}
		part = append(part, web.TableOf(first("Letters that failed", p.Failed, len(p.Failures)), web.Texts("Letter", "Reason"), rows))
	}
	if len(p.Back) > 0 {
		var rows []web.Row
		for _, b := range p.Back {
			rows = append(rows, web.Cells(letterLink(b.Sequence), letterLink(b.As), g.Text(b.Reason)))
		}
		part = append(part, web.TableOf(first("Replays that came back", p.CameBack, len(p.Back)), web.Texts("Letter", "Came back as", "Reason"), rows))
	}
	return web.Part("progress", "Progress", part...)
}

func first(caption string, all, shown int) string {
	if shown < all {
		return fmt.Sprintf("%s, the first %d of %d", caption, shown, all)
	}
	return caption
}

func (p jobProgress) notice() g.Node {
	switch {
	case p.State == jobWaiting && p.CameBack > 0:
		return web.Notice("warn", "The sample came back: look at why before the rest follows.")
	case p.State == jobWaiting && p.Failed > 0:
		return web.Notice("warn", "The sample failed: look at why before the rest follows.")
	case p.State == jobWaiting:
		return web.Notice("info", "The sample was replayed, and has not come back so far. See that it arrived; then the rest can follow.")
	case p.State == jobStopped:
		return web.Notice("info", "It was stopped. What was done stays done.")
	case p.State == jobDone && p.Failed+p.CameBack > 0:
		return web.Notice("warn", "It is done. Some letters need another look.")
	case p.State == jobDone:
		return web.Notice("good", "It is done.")
	}
	return nil
}

// forms are what a person can do about a job that goes on.
func (p jobProgress) forms(r *httpdoor.Request, t typed) g.Node {
	if !web.Person(r).Operates || p.over() {
		return html.Div(html.ID("act"))
	}
	goOn, stop := t.of("continue"), t.of("stop")
	return html.Div(html.ID("act"),
		g.Iff(p.State == jobWaiting, func() g.Node {
			return web.Part("continue", "The rest", web.Post(jobAddress(p.ID)+"/continue",
				goOn.whoAndWhy(r, p.Why), web.Button(fmt.Sprintf("Replay all the rest (%d)", p.Left))))
		}),
		web.Part("stop", "Stop", html.P(g.Text("What is done stays done; the rest stays open.")),
			web.Post(jobAddress(p.ID)+"/stop", stop.whoAndWhy(r, ""), web.Button("Stop", html.Class("danger")))),
	)
}

// jobLive sends what changes on a job's page.
func (d *desk) jobLive(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
	return newParts(to).keep(ctx, poll, func() ([]web.Piece, bool) {
		j, ok := d.jobs.book.find(r.Param("id"))
		if !ok {
			return nil, false
		}
		p := d.progress(j)
		return []web.Piece{{ID: "progress", Node: p.progressPart()}, {ID: "act", Node: p.forms(r, typed{})}}, true
	})
}

func (p jobProgress) aboutPart() g.Node {
	said := func(name string, s *Said) web.Fact {
		if s == nil {
			return web.Fact{Name: name}
		}
		return web.Fact{Name: name, Says: g.Group{g.Text(s.By + ": " + s.Why + " "), web.Time(s.At)}}
	}
	var cause g.Node
	if p.Cause != "" {
		cause = html.A(html.Href("/dead-letters?state=all&cause="+url.QueryEscape(p.Cause)), html.Code(g.Text(p.Cause)))
	}
	return web.Part("about", "What was asked for", web.Facts(
		said("By", &p.Said), said("Went on after the sample", p.Went), said("Stopped", p.Ended),
		web.Fact{Name: "Change", Says: textOr(p.changes())}, web.Fact{Name: "Cause", Says: cause}, web.Fact{Name: "Letters", Says: lettersNode(p.letters)},
	))
}

func textOr(text string) g.Node {
	if text == "" {
		return nil
	}
	return g.Text(text)
}

// alterForm has a job go on, or stops it.
func (d *desk) alterForm(ctx context.Context, r *httpdoor.Request, alter alteration) (*httpdoor.Response, error) {
	t, err := formOf(r, r.Path[strings.LastIndexByte(r.Path, '/')+1:])
	if err != nil {
		return nil, err
	}
	known, ok := d.jobs.book.find(r.Param("id"))
	if !ok {
		return nil, noJob()
	}
	who, err := d.person(r, t.values.Get("by"), "why", t.values.Get("why"))
	if err == nil {
		_, err = alter(ctx, known.ID, said(who, d.now()))
	}
	if err != nil {
		return refused(err, func(p *httpdoor.Problem) *httpdoor.Response { return d.jobPage(r, d.progress(known), t.because(p)) })
	}
	return web.Redirect(jobAddress(known.ID)), nil
}
