package console

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// formErase is the form on the page of erasures, and sure its box to tick: it cannot be taken back.
const (
	formErase = "erase"
	sure      = "sure"
)

func erasureAddress(id string) string { return "/erasures/" + id }

// erasuresPage lists who asked for erasures and what became of them, and asks for one more.
func erasuresPage(r *httpdoor.Request, all []*Erasure, next uint64, t typed) *httpdoor.Response {
	var rows []web.Row
	for _, e := range all {
		rows = append(rows, web.Cells(
			html.A(html.Href(erasureAddress(e.ID)), html.Aria("label", "Erasure "+e.ID), short(e.ID)), workState(e.State), web.Time(e.At), web.Time(e.DoneAt),
			g.Text(whoSaid(e.By, e.Proven)), g.Text(e.Why), web.Number(sum(e.Deleted)), g.Text(cmp.Or(strings.Join(e.atVendors(), ", "), "–")),
		))
	}
	older := ""
	if next > 0 {
		older = strconv.FormatUint(next, 10)
	}
	return web.Show(r, web.View{Title: "Erasures", Section: operationsSection, Status: t.status(), Body: []g.Node{
		t.summary(),
		html.P(g.Text("People who were forgotten, or are being forgotten. Who they are is not said: that is deleted with the rest.")),
		web.TableOf("Erasures, newest first",
			web.Texts("Erasure", "State", "Asked", "Done", "Who asked", "Why", "Messages deleted", "At the vendors"), rows),
		web.Pager(r, older), web.Exports(r),
		g.Iff(web.Person(r).Operates, func() g.Node { return erasePart(r, t) }),
	}})
}

// erasePart asks who is to be forgotten.
func erasePart(r *httpdoor.Request, t typed) g.Node {
	t.form = formErase
	off := html.AutoComplete("off")
	return web.Part("ask", "Forget a person",
		html.P(g.Text("It deletes what is known of the person from all streams and from the ledger, and asks the vendors that have an interface for it. "+
			"Say who it is by e-mail address or an id; with address and external id both, most is found. An answer that names nobody is forgotten by its own id. Do not name them in the reason: it stays in the receipt.")),
		web.Post("/erasures", t.key(),
			t.text("E-mail address", "email", "", html.Type("email"), html.MaxLength(strconv.Itoa(namedMost)), off),
			t.text("External id", "externalId", "", html.MaxLength(strconv.Itoa(namedMost)), off),
			t.text("Id of the contact in Qualtrics, CID_…, or in SAP Sales Cloud", "contactId", "", html.MaxLength(strconv.Itoa(namedMost)), off),
			t.text("Phone number, to find contacts that have nothing else", "phone", "", html.Type("tel"), off),
			t.text("Id of an answer of theirs", "responseId", "", html.MaxLength(strconv.Itoa(namedMost)), off),
			t.text("Id of an invitation of theirs", "requestId", "", html.MaxLength(strconv.Itoa(namedMost)), off),
			t.whoAndWhy(r, ""),
			t.input(sure, func(attributes ...g.Node) g.Node {
				return web.Check("I know that it cannot be taken back", sure, "true", false, append(attributes, html.Required())...)
			}),
			web.Button("Forget this person", html.Class("danger")),
		))
}

// erasurePage shows how far an erasure is, and in the end its receipt.
func erasurePage(r *httpdoor.Request, e *Erasure) *httpdoor.Response {
	view := web.View{Title: "Erasure " + e.ID, Section: operationsSection, Live: erasureAddress(e.ID) + "/live"}
	for _, part := range e.parts() {
		view.Body = append(view.Body, part.Node)
	}
	view.Body = append(view.Body, html.P(html.A(html.Href("/erasures"), g.Text("All erasures"))), html.P(html.Class("exports"), g.Text("The same as "),
		html.A(html.Href(erasureAddress(e.ID)+"?format=json"), g.Text("JSON"))))
	return web.Show(r, view)
}

// parts are the sections of an erasure's page.
func (e *Erasure) parts() []web.Piece {
	return []web.Piece{
		{ID: "standing", Node: web.Part("standing", "Where it stands", e.notice(), web.Facts(
			web.Fact{Name: "State", Says: workState(e.State)},
			web.Fact{Name: "Waits for", Says: textOr(e.WaitsFor)},
			web.Fact{Name: "Who asked", Says: g.Text(whoSaid(e.By, e.Proven))},
			web.Fact{Name: "Why", Says: g.Text(e.Why)},
			web.Fact{Name: "Asked", Says: web.Time(e.At)},
			fact("Done", !e.DoneAt.IsZero(), web.Time(e.DoneAt)),
		))},
		{ID: "vendors", Node: web.Part("vendors", "At the vendors", e.vendorTable())},
		{ID: "streams", Node: web.Part("streams", "Messages", e.streamTable())},
		{ID: "ledger", Node: web.Part("ledger", "Effect ledger", e.ledgerTable())},
	}
}

// notice says in a sentence what is left to do.
func (e *Erasure) notice() g.Node {
	if e.State != erasureDone {
		return web.Notice("info", "It goes on in the background; this page may be closed.")
	}
	var left []string
	for _, v := range e.Vendors {
		if v.Outcome == atVendorPerson {
			left = append(left, v.Vendor)
		}
	}
	if len(left) > 0 {
		return web.Notice("warn", "It is done here. Somebody must still erase the person at "+strings.Join(left, ", ")+".")
	}
	return web.Notice("good", "It is done.")
}

func (e *Erasure) vendorTable() g.Node {
	if len(e.Vendors) == 0 {
		return html.P(g.Text("It is not known yet what is to be done at the vendors."))
	}
	var rows []web.Row
	for _, v := range e.Vendors {
		outcome := web.State(cmp.Or(v.Outcome, "asked"))
		if v.Outcome == atVendorPerson {
			outcome = web.Badge("wait", "!", "a person must do it")
		}
		rows = append(rows, web.Cells(g.Text(v.Vendor), outcome, web.Number(v.Made), web.Code(v.RequestID), g.Text(cmp.Or(v.Where, "–")), g.Text(cmp.Or(v.Reason, "–"))))
	}
	return web.TableOf("What becomes of the person at each vendor",
		web.Texts("Vendor", "Outcome", "Made there for the person", "Request", "How it is done there", "Because"), rows)
}

func (e *Erasure) streamTable() g.Node {
	var rows []web.Row
	for _, stream := range e.streams() {
		rows = append(rows, web.Cells(web.Code(stream), web.Number(e.Deleted[stream]), g.Text(strconv.FormatUint(e.LookedAt[stream], 10))))
	}
	return web.TableOf("Messages deleted and overwritten", web.Texts("Stream", "Deleted", "Looked at, up to message"), rows)
}

// streams are those that were looked at, by name.
func (e *Erasure) streams() []string {
	all := slices.Collect(maps.Keys(e.Deleted))
	all = slices.AppendSeq(all, maps.Keys(e.LookedAt))
	slices.Sort(all)
	return slices.Compact(all)
}

func (e *Erasure) ledgerTable() g.Node {
	var rows []web.Row
	for _, count := range []struct {
		of string
		n  int
	}{
		{"tombstones: it is only kept that they must not be made again", e.Ledger.Tombstones},
		{"records of many people, without this one", e.Ledger.Cut},
		{"records that were only remembered, dropped", e.Ledger.Dropped},
		{"tombstones of changes of which it was not known whether they were made: look for them at the vendors", e.Ledger.Unsettled},
		{"tombstones whose key holds an address of the person", e.Ledger.PersonalKeys},
		{"records whose old content may still be on the broker's disk", e.Ledger.NotOverwritten},
	} {
		rows = append(rows, web.Cells(g.Text(capital(count.of)), web.Number(count.n)))
	}
	return web.TableOf("Records of effects", web.Texts("What", "How many"), rows)
}

// atVendors says in words what becomes of the person at each vendor.
func (e *Erasure) atVendors() []string {
	var all []string
	for _, v := range e.Vendors {
		all = append(all, v.Vendor+": "+cmp.Or(v.Outcome, "asked"))
	}
	return all
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

var erasureColumns = []string{"erasure", "state", "at", "done", "by", "proven", "why", "waits for", "messages", "tombstones", "cut", "dropped", "unsettled", "vendors"}

func erasureRows(all []*Erasure) [][]string {
	var rows [][]string
	for _, e := range all {
		rows = append(rows, []string{
			e.ID, e.State, stamp(e.At), stamp(e.DoneAt), e.By, strconv.FormatBool(e.Proven), e.Why, e.WaitsFor, strconv.Itoa(sum(e.Deleted)),
			strconv.Itoa(e.Ledger.Tombstones), strconv.Itoa(e.Ledger.Cut), strconv.Itoa(e.Ledger.Dropped), strconv.Itoa(e.Ledger.Unsettled),
			strings.Join(e.atVendors(), "; "),
		})
	}
	return rows
}

// eraseForm asks for an erasure as the form says, and leads to its page.
func (p *erasurePages) eraseForm(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	t, err := formOf(r, formErase)
	if err != nil {
		return nil, err
	}
	v := t.values
	var e *Erasure
	if v.Get(sure) == "" {
		err = web.Wrong(sure, "must be ticked: it cannot be taken back")
	} else {
		e, err = p.asked(ctx, r, askedErasure{
			Why: v.Get("why"), By: v.Get("by"), Email: v.Get("email"), ExternalID: v.Get("externalId"), Phone: v.Get("phone"), ContactID: v.Get("contactId"),
			ResponseID: v.Get("responseId"), RequestID: v.Get("requestId"),
		})
	}
	if err == nil {
		return web.Redirect(erasureAddress(e.ID)), nil
	}
	return refused(err, func(wrong *httpdoor.Problem) *httpdoor.Response {
		all, next := cut(p.shown(), page, 0, (*Erasure).place)
		return erasuresPage(r, all, next, t.because(wrong))
	})
}

// live sends what changes on an erasure's page.
func (p *erasurePages) live(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
	return newParts(to).keep(ctx, poll, func() ([]web.Piece, bool) {
		e, err := p.find(r)
		if err != nil { // its receipt has expired, and the page stays as it is
			return nil, false
		}
		return e.parts(), true
	})
}
