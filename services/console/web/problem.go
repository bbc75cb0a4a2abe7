package web

import (
	"net/http"
	"net/url"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// Problem shows an error as a page to whoever wants pages, and leads strangers to where they sign in; nil for programs.
func Problem(r *httpdoor.Request, p *httpdoor.Problem) *httpdoor.Response {
	if FormOf(r) != Page {
		return nil
	}
	if p.Status == http.StatusUnauthorized && r.Header.Get("Authorization") == "" {
		return Redirect("/sign-in?next=" + url.QueryEscape(back(r)))
	}
	return Show(r, View{Title: p.Title, Status: p.Status, Body: []g.Node{
		Refusal(p),
		html.P(html.A(html.Href("/"), g.Text("To the list of loops"))),
	}})
}

// Refusal says what is wrong, and with which fields.
func Refusal(p *httpdoor.Problem) g.Node {
	return Notice("bad", Sentence(p.Detail), g.If(len(p.Errors) > 0, html.Ul(g.Map(p.Errors, func(f httpdoor.FieldError) g.Node {
		return html.Li(html.Code(g.Text(f.Field)), g.Text(" "+f.Message))
	})...)))
}

// Sentence begins with a capital letter and ends with a full stop.
func Sentence(text string) string {
	if text == "" {
		return ""
	}
	if first := text[0]; first >= 'a' && first <= 'z' {
		text = string(first-'a'+'A') + text[1:]
	}
	if text[len(text)-1] != '.' {
		text += "."
	}
	return text
}

// back is where to go on after signing in: the page that was asked for, or that a form was on.
func back(r *httpdoor.Request) string {
	if r.Method == http.MethodGet {
		return localPath(r)
	}
	if u, err := url.Parse(r.Header.Get("Referer")); err == nil && Local(u.RequestURI()) {
		return u.RequestURI()
	}
	return "/"
}

// Redirect leads to a path of ours, by a GET whatever the request was.
func Redirect(to string) *httpdoor.Response {
	return &httpdoor.Response{Status: http.StatusSeeOther, Header: http.Header{"Location": {to}, "Cache-Control": {"no-store"}}}
}
