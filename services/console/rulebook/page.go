package rulebook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/trial"
	"github.com/closeloop/closeloop/services/console/web"
)

// section is the path of the pages.
const section = "/rules"

// shownMost is how many differences of a rule a page shows; the CSV has more.
const shownMost = 50

// rulesPage shows what is in force, and the form.
func rulesPage(r *httpdoor.Request, sets []RuleSet, form g.Node) *httpdoor.Response {
	operates := web.Person(r).Operates
	body := []g.Node{html.P(g.Text("What is done about an answer. "),
		g.If(operates, g.Group{html.A(html.Href("#try"), g.Text("Try a change")), g.Text(" before it is put in force.")}))}
	if len(sets) == 0 {
		body = append(body, web.Notice("info", "No service has told which rules it has in force. feedback-router tells when it starts, when they change, and every hour."))
	}
	for _, s := range sets {
		body = append(body, setPart(s))
	}
	if operates {
		body = append(body, web.Part("try", "Try a change", form))
	}
	if len(sets) > 0 {
		body = append(body, web.Exports(r))
	}
	return web.Show(r, web.View{Title: "Rules", Section: section, Body: body})
}

func setPart(s RuleSet) g.Node {
	rows := make([]web.Row, len(s.Rules))
	for i, rule := range s.Rules {
		surveys := strings.Join(rule.Surveys, ", ")
		if surveys == "" {
			surveys = "all"
		}
		line := strconv.Itoa(rule.Line)
		rows[i] = web.Cells(
			html.A(html.Href("#"+lineID(s, rule.Line)), html.Aria("label", rule.Name+", line "+line), g.Text(rule.Name)),
			g.Text(surveys), web.Code(rule.When), web.Code(rule.Publish),
			html.A(html.Class("number"), html.Href("/loops?rule="+url.QueryEscape(rule.Name)),
				html.Aria("label", "Loops in which "+rule.Name+" fired: "+web.Count(rule.Fired)), g.Text(web.Count(rule.Fired))),
		)
	}
	heading := "In force at " + s.Service
	parts := []g.Node{
		g.If(s.Refused != "", web.Notice("warn", "The file as it is now was refused. The rules shown here stay in force.", web.Block(s.Refused))),
		web.Facts(
			web.Fact{Name: "File", Says: web.Code(s.Name)},
			web.Fact{Name: "SHA-256", Says: web.Code(s.Hash)},
			web.Fact{Name: "Loaded", Says: web.Time(s.Since)},
			web.Fact{Name: "Told", Says: web.Ago(s.At)},
		),
	}
	if s.set == nil {
		parts = append(parts, web.Notice("info", "Its rules cannot be shown: "+unknown(s)+"."))
		return web.Part("force-"+s.Service, heading, parts...)
	}
	return web.Part("force-"+s.Service, heading, append(parts,
		web.TableOf("Rules of "+s.Service, web.Texts("Rule", "Surveys", "Condition", "Publishes", "Fired, last 7 days"), rows),
		html.H3(g.Text("The file")), numberedLines(s))...)
}

func lineID(s RuleSet, line int) string { return fmt.Sprintf("%s-line-%d", s.Service, line) }

// numberedLines is the file as it is, each line with its number.
func numberedLines(s RuleSet) g.Node {
	lines := strings.Split(strings.TrimRight(s.Source, "\n"), "\n")
	width := len(strconv.Itoa(len(lines)))
	return html.Pre(html.TabIndex("0"), html.Role("region"), html.Aria("label", "The file of "+s.Service+", with line numbers"),
		html.Code(numbered(s, lines, width)...))
}

func numbered(s RuleSet, lines []string, width int) []g.Node {
	nodes := make([]g.Node, len(lines))
	for i, line := range lines {
		nodes[i] = html.Span(html.ID(lineID(s, i+1)), g.Text(fmt.Sprintf("%*d  %s\n", width, i+1, strings.TrimRight(line, "\r"))))
	}
	return nodes
}

// unwrapped leaves the lines of a file as they are.
var unwrapped = g.Attr("wrap", "off")

// form is where a changed file is put in. It begins with the file in force.
func (p *Pages) form(r *httpdoor.Request, sets []RuleSet, a askedTrial) g.Node {
	force := ofRouter(sets)
	source := a.Source
	if source == "" && force.set != nil {
		source = force.Source
	}
	from, to, err := a.period(p.now().Add(-lately), p.now())
	if err != nil { // said above the form
		from, to = p.now().Add(-lately), p.now()
	}
	// What is shown are whole minutes; the last one counts too.
	return web.Post("/rules/try",
		html.P(g.Text("Change the file, or put another in its place. It is evaluated over recorded answers, beside the file in force, and you see "+
			"what it would publish, not publish any more, or publish otherwise. Nothing is sent by looking, and nothing is put in force.")),
		html.P(g.Text("A rule can ask anything about an answer: who tries rules, why, and over which answers, is recorded.")),
		html.P(g.Text("A rule publishes once for each answer, and is known by its name: a rule that is renamed publishes again for answers that are replayed.")),
		web.Area("Changed file", "source", source, 20, html.Required(), unwrapped),
		g.If(force.set == nil, g.Group{
			html.P(g.Text("It is not known here which rules are in force: " + unknown(force) + ".")),
			web.Area("File to compare with", "before", a.Before, 10, html.Required(), unwrapped),
		}),
		web.Field("Answers from (UTC)", "from", from.Format(web.FieldTime), html.Type("datetime-local")),
		web.Field("to (UTC)", "to", to.Add(time.Minute-time.Nanosecond).Format(web.FieldTime), html.Type("datetime-local")),
		web.Field("Survey, empty for all", "survey", a.Survey, html.AutoComplete("off"), html.Placeholder("SV_…")),
		web.WhyField(r, a.Why, a.By),
		html.Div(html.Class("buttons"), web.Button("Try"),
			web.Button("Differences as CSV", html.Class("quiet"), html.FormAction("/rules/try?format=csv"))),
	)
}

// refusedPage says what is wrong with what was asked for; nil where that is not the caller's fault.
func refusedPage(r *httpdoor.Request, err error, form g.Node) *httpdoor.Response {
	var said []g.Node
	if wrong, ok := errors.AsType[*refusedFile](err); ok {
		said = []g.Node{web.Notice("bad", "The file would be refused. It has "+web.Plural(len(wrong.List), "mistake")+"."), mistakes(wrong)}
	} else if problem, ok := errors.AsType[*httpdoor.Problem](err); ok && problem.Status < http.StatusInternalServerError {
		said = []g.Node{web.Refusal(problem)}
	} else {
		return nil
	}
	return web.Show(r, web.View{Title: "The change cannot be tried", Section: section, Status: http.StatusUnprocessableEntity,
		Body: append(said, web.Part("try", "Try it again", form))})
}

func mistakes(wrong *refusedFile) g.Node {
	rows := make([]web.Row, len(wrong.List))
	for i, m := range wrong.List {
		rows[i] = web.Cells(web.Number(m.Line), web.Number(m.Column), g.Text(strings.Trim(m.Rule, `"`)), g.Text(m.Message))
	}
	return web.TableOf("Mistakes in the file", web.Texts("Line", "Column", "Rule", "What is wrong"), rows)
}

// trialPage shows what a change would do.
func trialPage(r *httpdoor.Request, t Trial, form g.Node) *httpdoor.Response {
	body := []g.Node{finding(t)}
	if !t.Complete {
		body = append(body, web.Notice("warn", "It was stopped "+t.Stopped+".", stoppedAt(t)))
	}
	for _, w := range t.Warnings {
		body = append(body, web.Notice("warn", w))
	}
	body = append(body, facts(t), ruleTable(t))
	if t.Different > len(t.Differences) {
		body = append(body, html.P(g.Text(fmt.Sprintf("Of the differences %s are listed, of the latest answers first.", web.Count(len(t.Differences))))))
	}
	for i, rule := range t.Rules {
		body = append(body, rulePart(t, i, rule))
	}
	body = append(body, web.Part("try", "Try it again", form))
	return web.Show(r, web.View{Title: "What the change would do", Section: section, Body: body})
}

// finding says it in a sentence.
func finding(t Trial) g.Node {
	answers := web.Plural(t.Answers, "answer")
	switch {
	case t.Answers == 0:
		return web.Notice("info", "There are no answers in this period.")
	case t.Different == 0:
		return web.Notice("good", "No difference in "+answers+".")
	default:
		return web.Notice("info", web.Plural(t.Different, "difference")+" in "+answers+". Nothing was sent.")
	}
}

func stoppedAt(t Trial) g.Node {
	if t.Since.IsZero() {
		return html.P(g.Text("A shorter period may help."))
	}
	return html.P(g.Text("All answers since "), web.Time(t.Since), g.Text(" were looked at; a period that ends there goes on with those before."))
}

func facts(t Trial) g.Node {
	list := []web.Fact{
		{Name: "Answers", Says: g.Text(web.Count(t.Answers))}, {Name: "Recorded from", Says: web.Time(t.From)}, {Name: "to", Says: web.Time(t.To)},
	}
	if t.Survey != "" {
		list = append(list, web.Fact{Name: "Survey", Says: web.Code(t.Survey)})
	}
	if t.RuleSet != "" {
		list = append(list, web.Fact{Name: "Compared with", Says: web.Code(t.RuleSet)})
	}
	if t.Unreadable > 0 {
		list = append(list, web.Fact{Name: "Left out", Says: g.Text(web.Plural(t.Unreadable, "message") + " that break their contract")})
	}
	return web.Facts(list...)
}

// kindNames say what a difference is.
var kindNames = map[string]string{
	trial.Publish: "would publish", trial.Drop: "no longer publishes", trial.Change: "changes",
	trial.Fail: "becomes a dead letter", trial.Mend: "no longer a dead letter",
}

func ruleTable(t Trial) g.Node {
	head := []string{"Rule", "Is", "Publishes now", "Publishes then"}
	for _, kind := range trial.Kinds {
		head = append(head, strings.ToUpper(kindNames[kind][:1])+kindNames[kind][1:])
	}
	rows := make([]web.Row, len(t.Rules))
	for i, rule := range t.Rules {
		cells := []g.Node{ruleLink(i, rule), g.Text(standing(rule)), web.Number(rule.Before.Published), web.Number(rule.After.Published)}
		for _, kind := range trial.Kinds {
			cells = append(cells, web.Number(rule.Counts[kind]))
		}
		rows[i] = web.Cells(cells...)
	}
	return web.TableOf("Rules, by answers", web.Texts(head...), rows)
}

func different(rule *trial.Rule) bool { return len(rule.Counts) > 0 || len(rule.Reasons) > 0 }

func ruleLink(i int, rule *trial.Rule) g.Node {
	if !different(rule) {
		return g.Text(rule.Rule)
	}
	return html.A(html.Href("#"+partID(i)), g.Text(rule.Rule))
}

func partID(i int) string { return "rule-" + strconv.Itoa(i+1) }

func standing(rule *trial.Rule) string {
	switch {
	case rule.New:
		return "new"
	case rule.Gone:
		return "gone"
	case rule.Was != "":
		return "was " + rule.Was
	default:
		return "there before"
	}
}

// rulePart lists what would be otherwise by one rule.
func rulePart(t Trial, i int, rule *trial.Rule) g.Node {
	if !different(rule) {
		return nil
	}
	var rows []web.Row
	all := 0
	for _, d := range t.Differences {
		if d.Rule != rule.Rule {
			continue
		}
		if all++; all <= shownMost {
			rows = append(rows, differenceRow(d))
		}
	}
	return web.Part(partID(i), rule.Rule, reasons(rule),
		g.If(all > 0, web.TableOf("Differences of "+rule.Rule, web.Texts("Loop", "Answer", "Recorded", "What", "Published to", "Fields", "Why"), rows)),
		g.If(all > shownMost, html.P(g.Text(fmt.Sprintf("%s more are in the CSV.", web.Count(all-shownMost))))))
}

func reasons(rule *trial.Rule) g.Node {
	if len(rule.Reasons) == 0 {
		return nil
	}
	rows := make([]web.Row, len(rule.Reasons))
	for i, r := range rule.Reasons {
		rows[i] = web.Cells(web.Number(r.Count), g.Text(r.Reason))
	}
	return g.Group{
		web.Notice("bad", web.Plural(rule.After.DeadLetters, "answer")+" would be in the dead letters for it."),
		web.TableOf("Why "+rule.Rule+" could not be worked out", web.Texts("Answers", "Reason"), rows),
	}
}

func differenceRow(d trial.Difference) web.Row {
	return web.Cells(
		html.A(html.Href("/loops/"+url.PathEscape(d.LoopID)), web.Code(d.LoopID)), web.Code(d.ResponseID), web.Time(d.At),
		g.Text(kindNames[d.Kind]), published(d), fields(d.Fields), g.Text(d.Why),
	)
}

func published(d trial.Difference) g.Node {
	switch {
	case d.Kind == trial.Change && d.Before != d.After:
		return g.Group{web.Code(d.Before), g.Text(" → "), web.Code(d.After)}
	case d.After != "":
		return web.Code(d.After)
	default:
		return web.Code(d.Before)
	}
}

func fields(list []trial.Field) g.Node {
	if len(list) == 0 {
		return g.Text("–")
	}
	value := func(text string) string {
		if text == "" {
			return "nothing"
		}
		return text
	}
	return html.Ul(g.Map(list, func(f trial.Field) g.Node {
		return html.Li(html.Code(g.Text(f.Field)), g.Text(": "+value(f.Before)+" → "+value(f.After)))
	}))
}
