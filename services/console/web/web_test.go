package web_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	g "maragu.dev/gomponents"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

func request(path string, header ...string) *httpdoor.Request {
	u, err := url.Parse(path)
	if err != nil {
		panic(err)
	}
	r := &httpdoor.Request{Method: http.MethodGet, Path: u.Path, Query: u.Query(), Header: http.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func render(t *testing.T, n g.Node) string {
	t.Helper()
	var b bytes.Buffer
	if err := n.Render(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func page(t *testing.T, r *httpdoor.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := r.Body.(*web.Rendered).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheFormIsWhatTheCallerPrefers(t *testing.T) {
	for _, tt := range []struct {
		path, accept string
		want         web.Form
	}{
		{"/loops", "", web.JSON},
		{"/loops", "*/*", web.JSON},
		{"/loops", "application/json", web.JSON},
		{"/loops", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", web.Page},
		{"/loops", "text/csv", web.CSV},
		{"/loops?format=csv", "text/html", web.CSV},
		{"/loops?format=json", "text/html", web.JSON},
		{"/loops?format=html", "", web.Page},
		{"/loops?format=pdf", "text/html", web.Page},
	} {
		if got := web.FormOf(request(tt.path, "Accept", tt.accept)); got != tt.want {
			t.Errorf("%s with Accept %q: %s", tt.path, tt.accept, got)
		}
	}
}

func TestASpreadsheetTakesNoCellForAFormula(t *testing.T) {
	for cell, want := range map[string]string{
		`=HYPERLINK("https://evil.example")`: `"'=HYPERLINK(""https://evil.example"")"`, "+1+2": `"'+1+2"`, "@SUM(A1)": `"'@SUM(A1)"`, "-x": `"'-x"`, "-": `"'-"`,
		"＝1+1": `"'＝1+1"`, "＋1": `"'＋1"`, "－1": `"'－1"`, "＠x": `"'＠x"`, "−x": `"'−x"`,
		"  =1": `"'  =1"`, "\u00a0=1": "\"'\u00a0=1\"", "\ufeff=1": "\"'\ufeff=1\"", `"=1"`: `"'""=1"""`, "'=1": `"''=1"`, "\x00=1": "\"'\x00=1\"",
		"\tx": "\"'\tx\"", "\rx": "\"'\rx\"", "\n=x": "\"'\n'=x\"",
		"a,=1": `"a,'=1"`, "a;=1": `"a;'=1"`, "a; =1": `"a;' =1"`, "a|@x": `"a|'@x"`, "a\t=1": "\"a\t'=1\"", "a\n=1": "\"a\n'=1\"", `a";=1`: `"a"";'=1"`,
		"+0;0": `"'+0;0"`, "+0\t": "\"'+0\t\"", "-1\n": "\"'-1\n\"", "1;-2": `"1;'-2"`, "-Inf": `"'-Inf"`, "-0x1": `"'-0x1"`,
		// what stays as it is
		"": "", "L-1": "L-1", "-5": "-5", "+4.5": "+4.5", "-1.5e-7": "-1.5e-7", "1=1": "1=1", "a@example.com": "a@example.com", "2026-07-24T09:30:00Z": "2026-07-24T09:30:00Z",
		"late; -5 degrees": `"late;' -5 degrees"`, "a, b": `"a, b"`, `a "b"`: `"a ""b"""`, " a": `" a"`, "a;b": `"a;b"`, "it's": `"it's"`, "••••": "••••",
	} {
		answer := web.Table("loops", []string{"id", "count"}, [][]string{{cell, "1"}})
		if got := string(answer.Body.([]byte)); got != "id,count\n"+want+",1\n" {
			t.Errorf("%q is written as %q", cell, got)
		}
	}
	if d := web.Table("loops", nil, nil).Header.Get("Content-Disposition"); d != `attachment; filename="loops.csv"` {
		t.Error(d)
	}
}

// FuzzNoCellIsAFormula reads what was written as spreadsheets of all countries do, also those for which the quotes do not count.
func FuzzNoCellIsAFormula(f *testing.F) {
	for _, seed := range []string{"=1", "a;=1", `";=1`, "x\n\t=1", "1;-2;=3", "-1", "+0;0", "+0\t", "'", "\u200b＝1", "a,\"\",=1"} {
		f.Add(seed)
	}
	number := regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, cell string) {
		written := string(web.Table("x", []string{"a", "b"}, [][]string{{"L-1", cell}}).Body.([]byte))
		rows, err := csv.NewReader(strings.NewReader(written)).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != 2 {
			t.Fatalf("%q is no row of two cells: %v", written, err)
		}
		if plain := strings.ReplaceAll(rows[1][1], "'", ""); plain != strings.ReplaceAll(strings.ReplaceAll(cell, "\r\n", "\n"), "'", "") {
			t.Errorf("%q is read as %q", cell, rows[1][1])
		}
		for _, separators := range []string{",", ";", "|", "\t", ",;|\t\r\n"} {
			for _, piece := range strings.FieldsFunc(written, func(r rune) bool { return strings.ContainsRune(separators+"\r\n", r) }) {
				bare := strings.Trim(piece, ` "`)
				if bare != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(bare)[0]) && !number.MatchString(bare) {
					t.Errorf("%q: separated by %q, %q is a formula", written, separators, piece)
				}
			}
		}
	})
}

func TestOnlyPathsOfThisHostAreLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"/": true, "/loops?q=1": true, "/loops/a%2Fb": true,
		"": false, "loops": false, "//evil.example": false, "/\\evil.example": false, "\\/evil.example": false, "https://evil.example/": false,
		"/\t/evil.example": false, "/\n/evil.example": false, "javascript:alert(1)": false, "///evil.example": false,
	} {
		if got := web.Local(address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}

func TestOnlySafeLinksLead(t *testing.T) {
	for address, want := range map[string]string{
		"/loops":                       `<a href="/loops">x</a>`,
		"https://vendor.example/1?a=b": `<a href="https://vendor.example/1?a=b" rel="noopener noreferrer external">x</a>`,
		"http://vendor.example":        `<a href="http://vendor.example" rel="noopener noreferrer external">x</a>`,
		"javascript:alert(1)":          "x", "data:text/html,x": "x", "//evil.example": "x", "ftp://x.example": "x", "": "x", "JaVaScRiPt:alert(1)//http://": "x",
	} {
		if got := render(t, web.Link(address, "x")); got != want {
			t.Errorf("%q: %s", address, got)
		}
	}
}

func TestWhatPeopleWroteIsNoMarkup(t *testing.T) {
	evil := `"><script>alert(1)</script>`
	for name, node := range map[string]g.Node{
		"field": web.Field(evil, evil, evil), "area": web.Area(evil, evil, evil, 3), "select": web.Select(evil, evil, evil, []web.Option{{evil, evil}}),
		"state": web.State(evil), "table": web.TableOf(evil, web.Texts(evil), []web.Row{{ID: evil, Cells: web.Texts(evil)}}), "code": web.Code(evil),
		"notice": web.Notice("bad", evil), "pick": web.Pick(evil, evil, evil), "link": web.Link("/"+evil, evil), "block": web.Block(evil),
	} {
		if got := render(t, node); strings.Contains(got, "<script") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAPageHasItsPolicyAndNothingThatItForbids(t *testing.T) {
	answer := web.Show(request("/loops"), web.View{Title: "Loops", Section: "/loops", Live: "/loops/live?"})
	policy := answer.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy has no %s: %s", part, policy)
		}
	}
	text := page(t, answer)
	for _, wanted := range []string{`<html lang="en">`, "<title>Loops · closeloop</title>", `href="/loops" aria-current="page"`, `data-live="/loops/live?"`, "<h1>Loops</h1>"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page has no %s:\n%s", wanted, text)
		}
	}
}

func TestWhoIsNotKnownIsAskedAndRemembered(t *testing.T) {
	nobody := request("/dead-letters/1")
	if got := render(t, web.WhyField(nobody, "", "")); !strings.Contains(got, `name="why"`) || !strings.Contains(got, `name="by"`) {
		t.Error(got)
	}
	nobody.ContentType, nobody.Body = "application/x-www-form-urlencoded", []byte("by=Ada+Lovelace%3B&why=x")
	answer := web.Redirect("/loops")
	web.Remember(nobody, answer)
	set := (&http.Response{Header: answer.Header}).Cookies()
	if len(set) != 1 || !set[0].HttpOnly || set[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("%+v", set)
	}
	again := request("/dead-letters/1", "Cookie", set[0].Name+"="+set[0].Value)
	if who := web.Person(again); who.Name != "Ada Lovelace;" || who.Proven || !who.Operates {
		t.Errorf("%+v", who)
	}
	if got := render(t, web.WhyField(again, "", "")); !strings.Contains(got, `value="Ada Lovelace;"`) {
		t.Error(got)
	}
	proven := request("/dead-letters/1")
	proven.User = "ada"
	if got := render(t, web.WhyField(proven, "", "")); strings.Contains(got, `name="by"`) {
		t.Error(got)
	}
}

func TestErrorsArePagesForPeople(t *testing.T) {
	wrong := httpdoor.BadRequest("from must be a date", httpdoor.FieldError{Field: "from", Message: "must be a date"})
	if web.Problem(request("/loops"), wrong) != nil {
		t.Error("a program gets a page")
	}
	answer := web.Problem(request("/loops", "Accept", "text/html"), wrong)
	if text := page(t, answer); answer.Status != 400 || !strings.Contains(text, "From must be a date.") || !strings.Contains(text, "<code>from</code> must be a date") {
		t.Errorf("%d %s", answer.Status, text)
	}
	stranger := httpdoor.Unauthorized("credentials are missing or wrong")
	if to := web.Problem(request("/loops?q=1&state=failed", "Accept", "text/html"), stranger).Header.Get("Location"); to != "/sign-in?next=%2Floops%3Fq%3D1%26state%3Dfailed" {
		t.Error(to)
	}
	post := request("/dead-letters/1/replay", "Accept", "text/html", "Referer", "http://console.example/dead-letters/1?x=1")
	post.Method = http.MethodPost
	if to := web.Problem(post, stranger).Header.Get("Location"); to != "/sign-in?next=%2Fdead-letters%2F1%3Fx%3D1" {
		t.Error(to)
	}
	post.Header.Set("Referer", "http://console.example//evil.example")
	if to := web.Problem(post, stranger).Header.Get("Location"); to != "/sign-in?next=%2F" {
		t.Error(to)
	}
}

func TestWhyTheReadModelDoesNotAnswerIsForTheLogAlone(t *testing.T) {
	inner := errors.New("SQL logic error: near Ada")
	err := web.Unread(inner)
	p, ok := errors.AsType[*httpdoor.Problem](err)
	if !ok || p.Status != http.StatusServiceUnavailable || p.RetryAfter <= 0 {
		t.Fatal(err)
	}
	told, jsonErr := json.Marshal(p)
	if jsonErr != nil || strings.Contains(string(told), "Ada") || strings.Contains(page(t, web.Problem(request("/loops", "Accept", "text/html"), p)), "Ada") {
		t.Errorf("callers are told %s, %v", told, jsonErr)
	}
	if !errors.Is(err, inner) || !strings.Contains(err.Error(), "Ada") {
		t.Errorf("the log is told %v", err)
	}
}

func TestAPlusThatArrivesAsASpaceIsOne(t *testing.T) {
	for text, want := range map[string]string{
		"2026-07-24T09:30:00 02:00": "2026-07-24T07:30:00Z", "2026-07-24T09:30:00+02:00": "2026-07-24T07:30:00Z", " 2026-07-24T09:30 ": "2026-07-24T09:30:00Z",
		"2026-07-24 09:30": "", "2026-07-24T09:30:00 02:00 x": "", "2026-07-24 ": "2026-07-24T00:00:00Z",
	} {
		got, err := web.Instant(url.Values{"from": {text}}, "from")
		if (err == nil) != (want != "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestTimesAreInWords(t *testing.T) {
	now := time.Date(2026, 9, 14, 12, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		time.Second: "just now", 45 * time.Second: "45 seconds ago", 61 * time.Second: "1 minute ago", 2 * time.Hour: "2 hours ago",
		30 * time.Hour: "30 hours ago", 49 * time.Hour: "2 days ago", -3 * time.Minute: "in 3 minutes", -time.Second: "just now",
	} {
		if got := web.AgoText(now.Add(-ago), now); got != want {
			t.Errorf("%s: %s", ago, got)
		}
	}
	for d, want := range map[time.Duration]string{time.Microsecond: "< 1 ms", 85 * time.Millisecond: "85 ms", 2400 * time.Millisecond: "2.4 s", 3 * time.Minute: "3 minutes"} {
		if got := web.Took(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := web.Count(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestAddressesKeepTheirFilter(t *testing.T) {
	r := request("/loops?state=failed&before=x&q=")
	if got := web.With(r, "before", "y"); got != "/loops?before=y&state=failed" {
		t.Error(got)
	}
	if got := web.With(r, "before", "", "state", ""); got != "/loops" {
		t.Error(got)
	}
	if len(r.Query["before"]) != 1 || r.Query.Get("before") != "x" {
		t.Error("the request was changed")
	}
	if got := render(t, web.Pager(r, "z")); !strings.Contains(got, "before=z") || !strings.Contains(got, `href="/loops?state=failed"`) {
		t.Error(got)
	}
}

func TestFilesMayBeKeptUnderTheirVersion(t *testing.T) {
	text := page(t, web.Show(request("/loops"), web.View{Title: "x"}))
	for _, name := range []string{"console.css", "console.js", "charts.css", "icon.svg"} {
		_, rest, found := strings.Cut(text, "/assets/"+name+"?v=")
		if !found {
			t.Fatalf("the page has no %s", name)
		}
		version, _, _ := strings.Cut(rest, `"`)
		r := request("/assets/" + name + "?v=" + version)
		r.Params = map[string]string{"name": name}
		answer, err := web.Asset(t.Context(), r)
		if err != nil || !strings.Contains(answer.Header.Get("Cache-Control"), "immutable") || answer.ContentType == "" || len(answer.Body.([]byte)) == 0 {
			t.Errorf("%s: %v, %+v", name, err, answer)
		}
	}
	for _, name := range []string{"none.css", "../web.go", ""} {
		r := request("/assets/x")
		r.Params = map[string]string{"name": name}
		if _, err := web.Asset(t.Context(), r); err == nil {
			t.Errorf("%q is there", name)
		}
	}
}
