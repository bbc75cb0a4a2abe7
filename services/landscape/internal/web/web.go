// Package web is the landscape's own pages: what the simulated vendors hold, a mail, a task and a recognition as people see
// them, and the controls of the demonstration.
//
// Pages are made by the server and can be read and used without a script; the one script there is refreshes the overview.
// They ask nobody for credentials: a landscape is for demonstrations and tests.
package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"

	g "maragu.dev/gomponents"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/demo"
	"github.com/closeloop/closeloop/services/landscape/internal/faults"
	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
	"github.com/closeloop/closeloop/services/landscape/internal/traffic"
)

// Landscape is what the pages show and change.
type Landscape struct {
	Qualtrics  *qualtrics.Simulator
	Marketing  *marketing.Simulator
	SalesCloud *salescloud.Simulator
	Awardco    *awardco.Simulator
	People     *people.People // nil where nobody answers by themselves
	Campaigns  *demo.Campaigns
	Faults     *faults.Desk
	Traffic    *traffic.Counter
	Switches   qualtrics.Switches // that the settings give
	Surveys    []qualtrics.Survey
	// Books gives what books.json shows.
	Books func() any
	// Reached and Expected are what the figures at the top of the overview tell.
	Reached  func() demo.Expectation
	Expected func(members int) demo.Expectation
}

//go:embed static
var staticFiles embed.FS

// Pages serves everything below /landscape.
type Pages struct {
	Landscape
	log     *slog.Logger
	handler http.Handler
}

// New makes the pages of a landscape:
//
//	GET  /landscape/                            the overview
//	GET  /landscape/mail/{id}                   a mail as its reader sees it, by its id or the outbound id
//	GET  /landscape/tasks/{id}                  a task, by either of its ids
//	GET  /landscape/recognitions/{id}           a recognition
//	GET  /landscape/books.json                  all books
//	GET  /landscape/calls                       calls by vendor and operation, and how Qualtrics's limits stand
//	DELETE /landscape/calls                     begins to count anew
//	GET  /landscape/qualtrics/switches          how Qualtrics behaves
//	PATCH /landscape/qualtrics/switches         changes some of it, see [qualtrics.Switches.With]
//	DELETE /landscape/qualtrics/switches        back to what the settings say
//	DELETE /landscape/qualtrics/tokens          ends every OAuth access token
//	     /landscape/faults                      see [faults.Desk.Routes]
//	POST /landscape/faults/add                  a fault, from the form of the overview
//	POST /landscape/faults/{id}/remove          ends it
//	POST /landscape/campaigns                   another campaign: members
//	POST /landscape/recognitions/{id}/approve   grants what waits for approval: points, note
//	POST /landscape/recognitions/{id}/deny      denies it: reason
//	POST /landscape/sessions/expire             ends every session with SAP
//	POST /landscape/locks                       lock conflicts for the next writes to SAP Sales Cloud: writes
//
// What changes something is refused to pages of other sites.
func New(l Landscape, log *slog.Logger) *Pages {
	p := &Pages{Landscape: l, log: log}
	static, err := fs.Sub(staticFiles, "static")
	if err != nil {
		panic(err) // the directory is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /landscape", http.RedirectHandler("/landscape/", http.StatusMovedPermanently))
	mux.HandleFunc("GET /landscape/{$}", func(w http.ResponseWriter, _ *http.Request) {
		p.showOverview(w, http.StatusOK, problem{}, faultForm{})
	})
	mux.HandleFunc("GET /landscape/mail/{id}", p.showMail)
	mux.HandleFunc("GET /landscape/tasks/{id}", p.showTask)
	mux.HandleFunc("GET /landscape/recognitions/{id}", p.showRecognition)
	mux.HandleFunc("GET /landscape/books.json", p.showBooks)
	mux.Handle("GET /landscape/static/", http.StripPrefix("/landscape/static/", http.FileServerFS(static)))
	mux.HandleFunc("GET /landscape/calls", p.showCalls)
	mux.HandleFunc("DELETE /landscape/calls", p.forgetCalls)
	mux.HandleFunc("GET /landscape/qualtrics/switches", p.showSwitches)
	mux.HandleFunc("PATCH /landscape/qualtrics/switches", p.changeSwitches)
	mux.HandleFunc("DELETE /landscape/qualtrics/switches", p.resetSwitches)
	mux.HandleFunc("DELETE /landscape/qualtrics/tokens", p.revokeTokens)
	p.Faults.Routes(mux)
	mux.HandleFunc("POST /landscape/faults/add", p.addFault)
	mux.HandleFunc("POST /landscape/faults/{id}/remove", p.removeFault)
	mux.HandleFunc("POST /landscape/campaigns", p.queueCampaign)
	mux.HandleFunc("POST /landscape/recognitions/{id}/approve", p.approve)
	mux.HandleFunc("POST /landscape/recognitions/{id}/deny", p.deny)
	mux.HandleFunc("POST /landscape/sessions/expire", p.expireSessions)
	mux.HandleFunc("POST /landscape/locks", p.lock)
	p.handler = http.NewCrossOriginProtection().Handler(guarded(mux))
	return p
}

// ServeHTTP answers one request.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// guarded lets the pages load nothing but what they bring along, and nobody frame them.
func guarded(next http.Handler) http.Handler {
	const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer") // survey links are keys
		header.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		next.ServeHTTP(w, r)
	})
}

func show(w http.ResponseWriter, status int, page g.Node) {
	var body bytes.Buffer
	_ = page.Render(&body) // a buffer takes all of it
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // the reader may be gone; there is nobody else to tell
}

func (p *Pages) showBooks(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(p.Books(), "", "  ")
	p.answerJSON(w, body, err)
}

func (p *Pages) answerJSON(w http.ResponseWriter, body []byte, err error) {
	if err != nil {
		p.log.Error("an answer could not be written", "error", err)
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // as above
}

// done leads back to the part of the overview that was changed.
func done(w http.ResponseWriter, r *http.Request, part string) {
	http.Redirect(w, r, "/landscape/#"+part, http.StatusSeeOther)
}

// refused shows the overview with what is wrong beside the form.
func (p *Pages) refused(w http.ResponseWriter, status int, part string, err error) {
	p.showOverview(w, status, problem{part, err.Error()}, faultForm{})
}

func (p *Pages) queueCampaign(w http.ResponseWriter, r *http.Request) {
	members, err := number(r, "members")
	if err == nil {
		_, err = p.Campaigns.Queue(members)
	}
	if err != nil {
		p.refused(w, http.StatusUnprocessableEntity, partCampaigns, err)
		return
	}
	done(w, r, partCampaigns)
}

func (p *Pages) approve(w http.ResponseWriter, r *http.Request) {
	points, err := number(r, "points")
	if err == nil {
		_, err = p.Awardco.Approve(r.PathValue("id"), awardco.Approval{Points: points, Note: r.PostFormValue("note")})
	}
	p.decided(w, r, err)
}

func (p *Pages) deny(w http.ResponseWriter, r *http.Request) {
	_, err := p.Awardco.Deny(r.PathValue("id"), r.PostFormValue("reason"))
	p.decided(w, r, err)
}

func (p *Pages) decided(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case err == nil:
		done(w, r, partApprovals)
	case errors.Is(err, awardco.ErrNotPending):
		p.refused(w, http.StatusConflict, partApprovals, err)
	default:
		p.refused(w, http.StatusUnprocessableEntity, partApprovals, err)
	}
}

func (p *Pages) expireSessions(w http.ResponseWriter, r *http.Request) {
	p.Marketing.ExpireSessions()
	p.SalesCloud.ExpireSessions()
	done(w, r, partFaults)
}

func (p *Pages) lock(w http.ResponseWriter, r *http.Request) {
	writes, err := number(r, "writes")
	if err != nil {
		p.refused(w, http.StatusUnprocessableEntity, partFaults, err)
		return
	}
	p.SalesCloud.LockNext(writes)
	done(w, r, partFaults)
}
