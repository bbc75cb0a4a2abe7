package people_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const seed = 7

// survey is a page with one of each, which keeps what it was sent.
type survey struct {
	mu     sync.Mutex
	status int // of GET
	thanks int // of POST
	gets   int
	forms  []url.Values
}

const onePage = `<!doctype html><title>Survey</title><body><h1>Survey</h1><form method="post" action="send?x=1">
<input type="hidden" name="token" value="t1">
<fieldset><legend>Reason</legend>
<label><input type="radio" name="a" value="1"> Delivery too late</label>
<label><input type="radio" name="a" value="2"> Price too high</label>
<label><input type="radio" name="a" value="3"> Just <b>browsing</b></label></fieldset>
<fieldset><label><input type="radio" name="b" value="91">Yes</label><label><input type="radio" name="b" value="92">No</label></fieldset>
<select name="c"><option value="">choose</option><option value="v1">one</option><option value="v2">two</option></select>
<input type="date" name="d"><textarea name="e" required></textarea><button>Send</button></form>`

const scorePage = `<form method="post"><label>1<input type="radio" name="s" value="1"></label><label>2<input type="radio" name="s" value="2"></label>
<label>3<input type="radio" name="s" value="3"></label><label>4<input type="radio" name="s" value="4"></label><label>5<input type="radio" name="s" value="5"></label>
<label><input type="radio" name="ok" value="y">yes</label><label><input type="radio" name="ok" value="p">partly</label><label><input type="radio" name="ok" value="n">no</label>
<textarea name="why"></textarea></form>`

func (s *survey) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet {
		s.gets++
		w.WriteHeader(s.status)
		_, _ = fmt.Fprint(w, map[string]string{"/one": onePage, "/score": scorePage, "/none": "<p>Nothing here"}[r.URL.Path])
		return
	}
	if err := r.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.forms = append(s.forms, r.Form)
	w.WriteHeader(s.thanks)
}

func (s *survey) set(status, thanks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.thanks = status, thanks
}

func (s *survey) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

func (s *survey) sent() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forms
}

func serve(t *testing.T) (*survey, string) {
	t.Helper()
	s := &survey{status: 200, thanks: 200}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

// crowd opens the people on a store; run lets them act until the test or stop ends.
func crowd(t *testing.T, dir string, settings people.Settings) (p *people.People, run func(), stop func()) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	settings.Seed, settings.RetryDelay = seed, time.Millisecond
	p, err = people.New(st, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return p, func() {
		running.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}, stop
}

func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(10*time.Second), time.NewTicker(2*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func mail(t *testing.T, p *people.People, id, to, link string) {
	t.Helper()
	if err := p.OnMail(t.Context(), people.Mail{ID: id, To: to, Link: link}); err != nil {
		t.Fatal(err)
	}
}

func state(p *people.People, id string) string {
	for _, v := range p.Visits() {
		if v.ID == id {
			return v.State
		}
	}
	return ""
}

func TestThePersonAtANumberIsAlwaysTheSame(t *testing.T) {
	answering, scores := 0, map[int]bool{}
	for i := range 200 {
		p := people.PersonAt(seed, i)
		if again := people.PersonAt(seed, i); again != p {
			t.Fatalf("got %+v and %+v", p, again)
		}
		of := people.PersonOf(seed, " "+strings.ToUpper(p.Email))
		if of.Score != p.Score || of.Answers != p.Answers || of.Reason != p.Reason || of.ContactMe != p.ContactMe {
			t.Fatalf("by number %+v, by address %+v", p, of)
		}
		if p.ExternalID != fmt.Sprintf("P-%d", 1001+i) {
			t.Errorf("got %s", p.ExternalID)
		}
		if p.Answers {
			answering++
		}
		scores[p.Score] = true
	}
	if answering < 120 || answering > 190 || len(scores) != 5 {
		t.Errorf("%d of 200 answer, with %d different scores", answering, len(scores))
	}
	if people.PersonAt(seed, 1) == people.PersonAt(seed+1, 1) {
		t.Error("another seed, the same person")
	}
}

func TestPeopleFillTheFormInAsTheyAre(t *testing.T) {
	s, address := serve(t)
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	for i := range 20 {
		person := people.PersonAt(seed, i)
		id := fmt.Sprint("m", i)
		mail(t, p, id, person.Email, address+"/one")
		until(t, "it is answered", func() bool { return state(p, id) == people.Answered })
		got := s.sent()[i]
		wantReason := map[string]string{"Delivery too late": "1", "Price too high": "2", "Just browsing": "3"}[person.Reason]
		wantContact := map[bool]string{true: "91", false: "92"}[person.ContactMe]
		if got.Get("a") != wantReason || got.Get("b") != wantContact || got.Get("token") != "t1" || got.Get("x") != "1" {
			t.Errorf("%+v filled in %v", person, got)
		}
		date, err := time.Parse(time.DateOnly, got.Get("d"))
		if err != nil || time.Until(date) <= 0 || got.Get("e") == "" || got.Get("c") != "v1" && got.Get("c") != "v2" {
			t.Errorf("%+v filled in %v", person, got)
		}
	}
}

func TestPeopleRateAsTheyFeel(t *testing.T) {
	s, address := serve(t)
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	for i := range 20 {
		person := people.PersonAt(seed, i)
		id := fmt.Sprint("m", i)
		mail(t, p, id, person.Email, address+"/score")
		until(t, "it is answered", func() bool { return state(p, id) == people.Answered })
		got := s.sent()[i]
		wantSolved := map[int]string{1: "n", 2: "n", 3: "p", 4: "y", 5: "y"}[person.Score]
		if got.Get("s") != fmt.Sprint(person.Score) || got.Get("ok") != wantSolved || got.Get("why") != person.Why {
			t.Errorf("%+v filled in %v", person, got)
		}
	}
}

func TestSomePeopleIgnoreTheirMail(t *testing.T) {
	s, address := serve(t)
	p, run, _ := crowd(t, t.TempDir(), people.Settings{})
	run()
	index := 0
	for people.PersonAt(seed, index).Answers {
		index++
	}
	mail(t, p, "m", people.PersonAt(seed, index).Email, address+"/one")
	if state(p, "m") != people.Ignored || s.opened() != 0 {
		t.Errorf("got %s, the page was opened %d times", state(p, "m"), s.opened())
	}
}

func TestTheSameMailIsAnsweredOnce(t *testing.T) {
	s, address := serve(t)
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	for range 3 {
		mail(t, p, "m", "ada@example.org", address+"/one")
	}
	until(t, "it is answered", func() bool { return state(p, "m") == people.Answered })
	mail(t, p, "m", "ada@example.org", address+"/one")
	mail(t, p, "n", "ada@example.org", address+"/one")
	until(t, "the other is answered", func() bool { return state(p, "n") == people.Answered })
	if len(s.sent()) != 2 {
		t.Errorf("%d answers, want 2", len(s.sent()))
	}
}

func TestATroubleThatPassesIsTriedAgain(t *testing.T) {
	s, address := serve(t)
	s.set(500, 503)
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	mail(t, p, "m", "ada@example.org", address+"/one")
	until(t, "a second try", func() bool { return s.opened() >= 2 })
	s.set(200, 503)
	until(t, "an answer that was not taken", func() bool { return len(s.sent()) >= 1 })
	s.set(200, 200)
	until(t, "it is answered", func() bool { return state(p, "m") == people.Answered })
}

func TestADeadLinkIsRefused(t *testing.T) {
	s, address := serve(t)
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	mail(t, p, "no form", "ada@example.org", address+"/none")
	until(t, "it is refused", func() bool { return state(p, "no form") == people.Refused })
	s.set(200, 422)
	mail(t, p, "not taken", "ada@example.org", address+"/one")
	until(t, "it is refused", func() bool { return state(p, "not taken") == people.Refused })
	s.set(410, 200)
	mail(t, p, "used", "ada@example.org", address+"/one")
	until(t, "it is refused", func() bool { return state(p, "used") == people.Refused })
}

func TestAPageThatNeverOpensIsGivenUp(t *testing.T) {
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true, RetryFor: time.Nanosecond})
	run()
	mail(t, p, "m", "ada@example.org", "http://127.0.0.1:1/")
	until(t, "it is given up", func() bool { return state(p, "m") == people.GivenUp })
}

func TestMailsNotYetActedUponAreActedUponAfterARestart(t *testing.T) {
	s, address := serve(t)
	dir := t.TempDir()
	p, _, stop := crowd(t, dir, people.Settings{AnswerAll: true})
	mail(t, p, "m", "ada@example.org", address+"/one")
	stop()
	if s.opened() != 0 {
		t.Fatal("it was answered before the restart")
	}
	p, run, stop := crowd(t, dir, people.Settings{AnswerAll: true})
	run()
	until(t, "it is answered", func() bool { return state(p, "m") == people.Answered })
	stop()
	p, run, stop = crowd(t, dir, people.Settings{AnswerAll: true})
	run()
	mail(t, p, "m", "ada@example.org", address+"/one")
	stop()
	if len(s.sent()) != 1 || state(p, "m") != people.Answered {
		t.Errorf("%d answers after two restarts", len(s.sent()))
	}
}

func TestUnusableMailsAndSettingsAreRefused(t *testing.T) {
	p, _, _ := crowd(t, "", people.Settings{})
	for _, m := range []people.Mail{
		{To: "ada@example.org", Link: "http://x/"}, {ID: "m", Link: "http://x/"}, {ID: "m", To: "ada@example.org"},
		{ID: "m", To: "ada@example.org", Link: "mailto:x"}, {ID: "m", To: "ada@example.org", Link: "http://a b/"},
	} {
		if err := p.OnMail(t.Context(), m); err == nil || strings.Contains(err.Error(), "ada@") {
			t.Errorf("%+v: got %v", m, err)
		}
	}
	st, err := store.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people.New(st, people.Settings{MinDelay: 2, MaxDelay: 1}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("settings with the most below the least were taken")
	}
}
