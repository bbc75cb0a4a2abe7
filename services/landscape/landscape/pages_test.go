package landscape_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// post sends a form as the overview does and gives the page that follows.
func (r *running) post(t *testing.T, path string, form url.Values) (status int, page *html.Node) {
	t.Helper()
	response, err := http.PostForm(r.url+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	page, err = html.Parse(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, page
}

func (r *running) page(t *testing.T, path string) *html.Node {
	t.Helper()
	status, body := r.get(t, path)
	page, err := html.Parse(strings.NewReader(body))
	if err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	return page
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// part is the element of that id.
func part(t *testing.T, page *html.Node, id string) *html.Node {
	t.Helper()
	for n := range page.Descendants() {
		if attr(n, "id") == id {
			return n
		}
	}
	t.Fatalf("the page has no %s", id)
	return nil
}

func elements(n *html.Node, kind string) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == kind {
			found = append(found, d)
		}
	}
	return found
}

// words are what a reader reads.
func words(n *html.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

// bodyRows is the number of rows of a table's body in that part of a page.
func bodyRows(t *testing.T, page *html.Node, id string) int {
	t.Helper()
	rows := 0
	for _, body := range elements(part(t, page, id), "tbody") {
		rows += len(elements(body, "tr"))
	}
	return rows
}

func TestTheOverviewShowsWhatACampaignLedTo(t *testing.T) {
	const members = 12
	c := newCloseloop(t)
	r := start(t, c, nil)
	if err := r.PlayCampaign(t.Context(), members); err != nil {
		t.Fatal(err)
	}
	want := r.Expected(members)
	settled(t, r, want)
	page := r.page(t, "/landscape/")
	for id, rows := range map[string]int{
		"campaigns": 1, "mails": members, "answers": want.Answers, "interactions": members, "tasks": want.Tasks,
		"recognitions": want.Recognitions, "deliveries": len(r.Books().Qualtrics.Deliveries),
	} {
		if got := bodyRows(t, page, id); got != rows {
			t.Errorf("%s: %d rows, want %d", id, got, rows)
		}
	}
	for id, shown := range map[string]string{
		"figures":    fmt.Sprintf("%d of %d Answers", want.Answers, want.Answers),
		"campaigns":  "Customer feedback 1 12",
		"mails":      "answered",
		"answers":    "contact_me yes",
		"tasks":      "Cart Abandonment - Check Delivery Time Wanted by 20",
		"approvals":  "Nothing waits for approval",
		"deliveries": "delivered 200",
		"calls":      "POST /recognize " + fmt.Sprint(want.Recognitions),
		"faults":     "The vendors behave",
	} {
		if text := words(part(t, page, id)); !strings.Contains(text, shown) {
			t.Errorf("%s does not say %q: %s", id, shown, text)
		}
	}
}

func TestThePagesAreAccessible(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, func(s *landscape.Settings) { s.AwardcoApproval = true })
	if err := r.PlayCampaign(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	settled(t, r, r.Expected(12))
	r.post(t, "/landscape/faults/add", url.Values{"kind": {"hang"}, "path": {"/nowhere"}})
	books := r.Books()
	for _, path := range []string{
		"/landscape/", "/landscape/mail/" + books.Marketing.Mails[0].ID, "/landscape/tasks/" + books.SalesCloud.Tasks[0].ID,
		"/landscape/recognitions/" + books.Awardco.Recognitions[0].ID,
	} {
		page := r.page(t, path)
		if len(elements(page, "h1")) != 1 || len(elements(page, "main")) != 1 || attr(elements(page, "html")[0], "lang") != "en" {
			t.Errorf("%s needs one h1, one main and a language", path)
		}
		for _, table := range elements(page, "table") {
			if len(elements(table, "caption")) != 1 || attr(table.Parent, "tabindex") != "0" || attr(table.Parent, "aria-label") == "" {
				t.Errorf("%s: a table without caption, or that cannot be scrolled by key", path)
			}
			for _, head := range elements(table, "th") {
				if attr(head, "scope") == "" {
					t.Errorf("%s: a head without scope: %s", path, words(head))
				}
			}
		}
		checkForms(t, page)
		ids := map[string]int{}
		for n := range page.Descendants() {
			if id := attr(n, "id"); id != "" {
				ids[id]++
			}
			if attr(n, "style") != "" || n.Data == "style" {
				t.Errorf("%s: a style that the policy forbids", path)
			}
		}
		for id, times := range ids {
			if times != 1 {
				t.Errorf("%s: %s is there %d times", path, id, times)
			}
		}
	}
}

func checkForms(t *testing.T, page *html.Node) {
	t.Helper()
	for _, field := range slices.Concat(elements(page, "input"), elements(page, "select")) {
		labelled := false
		for around := range field.Ancestors() {
			labelled = labelled || around.Data == "label" && words(around) != ""
		}
		if !labelled {
			t.Errorf("field %s has no label", attr(field, "name"))
		}
	}
	names := map[string]bool{}
	for _, button := range elements(page, "button") {
		name := attr(button, "aria-label")
		if name != "" && names[name] {
			t.Errorf("two buttons are called %s", name)
		}
		names[name] = true
	}
}

func TestAMailLeadsToItsSurvey(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, func(s *landscape.Settings) { s.People = "off" })
	if err := r.PlayCampaign(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	settled(t, r, r.Expected(2))
	mail := r.Books().Marketing.Mails[0]
	if _, same := r.get(t, "/landscape/mail/"+mail.OutboundID); !strings.Contains(same, mail.To) {
		t.Errorf("by its outbound id the mail is not found")
	}
	page := r.page(t, "/landscape/mail/"+mail.ID)
	if text := words(page); !strings.Contains(text, mail.To) || !strings.Contains(text, "How was your service visit?") {
		t.Errorf("the mail says %s", text)
	}
	links := elements(elements(page, "main")[0], "a")
	if len(links) != 1 || attr(links[0], "href") != mail.Link {
		t.Fatalf("%d links", len(links))
	}
	response, err := http.Get(mail.Link)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the survey: status %d", response.StatusCode)
	}
	if status, _ := r.get(t, "/landscape/mail/none"); status != http.StatusNotFound {
		t.Errorf("a mail that is not there: status %d", status)
	}
}

func TestATaskAndARecognitionHavePagesOfTheirOwn(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	if err := r.PlayCampaign(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	settled(t, r, r.Expected(12))
	task, recognition := r.Books().SalesCloud.Tasks[0], r.Books().Awardco.Recognitions[0]
	for path, says := range map[string][]string{
		"/landscape/tasks/" + task.ID:               {task.Subject, task.AccountID, task.Texts[0]},
		"/landscape/tasks/" + task.ObjectID:         {task.Subject, task.ID},
		"/landscape/recognitions/" + recognition.ID: {recognition.ID, recognition.Tags[0], "granted"},
	} {
		text := words(r.page(t, path))
		for _, said := range says {
			if !strings.Contains(text, strings.Join(strings.Fields(said), " ")) {
				t.Errorf("%s does not say %q: %s", path, said, text)
			}
		}
	}
	for _, path := range []string{"/landscape/tasks/none", "/landscape/recognitions/none"} {
		if status, _ := r.get(t, path); status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

func TestWhatPeopleTypeIsShownAsText(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, func(s *landscape.Settings) { s.People = "off" })
	const attack = `<script>alert(1)</script>`
	response, err := http.PostForm(r.url+"/jfe/form/"+landscape.ServiceSurvey, url.Values{"QID1": {"1"}, "QID2": {"3"}, "QID3": {attack}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	settled(t, r, landscape.Expectation{Answers: 1})
	r.post(t, "/landscape/faults/add", url.Values{"kind": {"hang"}, "path": {attack}})
	_, body := r.get(t, "/landscape/")
	if shown := strings.Count(body, "&lt;script&gt;alert(1)&lt;/script&gt;"); strings.Contains(body, attack) || shown != 2 {
		t.Errorf("an answer and a fault: %d are shown escaped", shown)
	}
}

func TestFaultsAreAddedAndRemovedByForm(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	form := url.Values{
		"vendor": {landscape.Awardco}, "method": {"GET"}, "path": {"/users$"}, "kind": {"status"}, "status": {"429"},
		"retryAfter": {"7"}, "delayMs": {""}, "rate": {"1"}, "times": {"2"},
	}
	status, page := r.post(t, "/landscape/faults/add", form)
	shown := words(part(t, page, "fault-list"))
	if status != http.StatusOK || !strings.Contains(shown, "F1 awardco GET, /users$ status 429, Retry-After 7 s 2 times, rate 1 0") {
		t.Errorf("%d %s", status, shown)
	}
	if status, _ := r.get(t, "/api/users"); status != http.StatusTooManyRequests {
		t.Errorf("status %d with the fault", status)
	}
	if _, page = r.post(t, "/landscape/faults/F1/remove", nil); !strings.Contains(words(part(t, page, "fault-list")), "The vendors behave") {
		t.Error("it is still there")
	}
	if status, _ := r.get(t, "/api/users"); status != http.StatusUnauthorized {
		t.Errorf("status %d without the fault", status)
	}
}

func TestAFaultThatMakesNoSenseIsRefusedWithWhatWasTyped(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	for want, form := range map[string]url.Values{
		"status: 200 is not between 400 and 599": {"kind": {"status"}, "status": {"200"}, "path": {"/typed"}},
		"delayMs must be a whole number":         {"kind": {"slow"}, "delayMs": {"soon"}, "path": {"/typed"}},
		"rate must be a number":                  {"kind": {"hang"}, "rate": {"often"}, "path": {"/typed"}},
		"vendor: there is none":                  {"kind": {"hang"}, "vendor": {"other"}, "path": {"/typed"}},
		"kind:":                                  {"kind": {""}, "path": {"/typed"}},
	} {
		status, page := r.post(t, "/landscape/faults/add", form)
		section := part(t, page, "faults")
		if status != http.StatusUnprocessableEntity || !strings.Contains(words(section), want) {
			t.Errorf("%q: %d %s", want, status, words(section))
		}
		kept := slices.ContainsFunc(elements(section, "input"), func(n *html.Node) bool { return attr(n, "value") == "/typed" })
		if !kept || len(elements(part(t, page, "fault-list"), "tr")) != 0 {
			t.Errorf("%q: typed values kept: %v", want, kept)
		}
	}
}

func TestTheApprovalsQueueIsWorkedOffByForm(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, func(s *landscape.Settings) { s.AwardcoApproval = true })
	if err := r.PlayCampaign(t.Context(), 25); err != nil {
		t.Fatal(err)
	}
	want := r.Expected(25)
	settled(t, r, want)
	queue := r.Books().Awardco.Recognitions
	if len(queue) < 2 || queue[0].State != "pending" {
		t.Fatalf("the queue: %+v", queue)
	}
	_, page := r.post(t, "/landscape/recognitions/"+queue[0].ID+"/approve", url.Values{"points": {"20"}})
	if got := words(part(t, page, "recognitions")); !strings.Contains(got, queue[0].ID) || !strings.Contains(got, "20 granted") {
		t.Errorf("after the approval: %s", got)
	}
	_, page = r.post(t, "/landscape/recognitions/"+queue[1].ID+"/deny", url.Values{"reason": {"twice the same"}})
	if got := words(part(t, page, "recognitions")); !strings.Contains(got, "denied twice the same") {
		t.Errorf("after the denial: %s", got)
	}
	if cards := elements(part(t, page, "approval-list"), "h3"); len(cards) != want.Recognitions-2 {
		t.Errorf("%d wait", len(cards))
	}
	status, page := r.post(t, "/landscape/recognitions/"+queue[0].ID+"/approve", nil)
	if status != http.StatusConflict || !strings.Contains(words(part(t, page, "approvals")), "no pending recognition") {
		t.Errorf("a second approval: status %d", status)
	}
	if status, _ := r.post(t, "/landscape/recognitions/"+queue[2].ID+"/approve", url.Values{"points": {"many"}}); status != http.StatusUnprocessableEntity {
		t.Errorf("many points: status %d", status)
	}
}

func TestAnotherCampaignIsRunByForm(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	if status, page := r.post(t, "/landscape/campaigns", url.Values{"members": {"3"}}); status != http.StatusOK || bodyRows(t, page, "campaigns") != 1 {
		t.Fatalf("status %d", status)
	}
	settled(t, r, r.Expected(3))
	for _, members := range []string{"", "0", "-1", "some", "99999999"} {
		status, page := r.post(t, "/landscape/campaigns", url.Values{"members": {members}})
		if status != http.StatusUnprocessableEntity || len(elements(part(t, page, "campaigns"), "tr")) != 2 {
			t.Errorf("%q members: status %d", members, status)
		}
	}
}

func TestSAPIsDisturbedByForm(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	const root = "/sap/c4c/odata/v1/c4codataapi/"
	write := func() (status int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		header := http.Header{"Authorization": {"Basic c2ltdWxhdG9yOnNpbXVsYXRvcg=="}, "X-Csrf-Token": {c.tokens[root]}}
		status, _ = c.call(c.sap, "POST", root+"TasksCollection", map[string]any{"Subject": "Test"}, header)
		return status
	}
	c.mu.Lock()
	c.odata(root, "TasksCollection", map[string]any{"Subject": "Test"})
	c.mu.Unlock()
	r.post(t, "/landscape/locks", url.Values{"writes": {"1"}})
	if status := write(); status != http.StatusConflict {
		t.Errorf("with a lock: status %d", status)
	}
	if status := write(); status != http.StatusCreated {
		t.Errorf("after the lock: status %d", status)
	}
	r.post(t, "/landscape/sessions/expire", nil)
	if status := write(); status != http.StatusForbidden {
		t.Errorf("after the session: status %d", status)
	}
	if status, _ := r.post(t, "/landscape/locks", url.Values{"writes": {"x"}}); status != http.StatusUnprocessableEntity {
		t.Errorf("x writes: status %d", status)
	}
}

func TestOtherSitesCannotChangeAnything(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	for _, path := range []string{"/landscape/campaigns", "/landscape/faults", "/landscape/faults/add", "/landscape/sessions/expire"} {
		request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, r.url+path, strings.NewReader(`members=3&kind=hang`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", "https://elsewhere.example")
		request.Header.Set("Sec-Fetch-Site", "cross-site")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d", path, response.StatusCode)
		}
	}
	if len(r.Campaigns()) != 0 || !strings.Contains(words(part(t, r.page(t, "/landscape/"), "fault-list")), "The vendors behave") {
		t.Error("something was changed")
	}
}

func TestThePagesLoadNothingFromElsewhere(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	response, err := http.Get(r.url + "/landscape")
	if err != nil {
		t.Fatal(err)
	}
	page, err := html.Parse(response.Body)
	_ = response.Body.Close()
	policy := response.Header.Get("Content-Security-Policy")
	if err != nil || response.Request.URL.Path != "/landscape/" || !strings.HasPrefix(policy, "default-src 'none'; ") ||
		strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("%s: %s", response.Request.URL.Path, policy)
	}
	kinds := map[string]string{".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
	loaded := 0
	for _, n := range slices.Concat(elements(page, "link"), elements(page, "script")) {
		source := attr(n, "href") + attr(n, "src")
		response, err := http.Get(r.url + source)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		kind := kinds[source[strings.LastIndex(source, "."):]]
		if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", source, response.StatusCode, response.Header.Get("Content-Type"))
		}
		loaded++
	}
	if loaded != 3 {
		t.Errorf("%d files are loaded", loaded)
	}
}
