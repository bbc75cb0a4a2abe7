package people_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// brand is the simulated Qualtrics behind a real server.
func brand(t *testing.T) (sim *qualtrics.Simulator, call func(path, body string) map[string]any) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	st, err := store.Open("")
	if err != nil {
		t.Fatal(err)
	}
	settings := qualtrics.Defaults()
	settings.BaseURL = server.URL
	sim, err = qualtrics.New(st, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/API/", sim.API())
	mux.Handle("/jfe/", sim.Pages())
	return sim, func(path, body string) map[string]any {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/API/v3"+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-API-TOKEN", settings.Token)
		request.Header.Set("Content-Type", "application/json")
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		var answer struct{ Result map[string]any }
		if err != nil || response.StatusCode != http.StatusOK || json.Unmarshal(text, &answer) != nil {
			t.Fatalf("%s: %d %s %v", path, response.StatusCode, text, err)
		}
		return answer.Result
	}
}

func TestPeopleAnswerBothDemoSurveysByTheirPersonalLinks(t *testing.T) {
	sim, call := brand(t)
	const count = 12
	for i := range count {
		person := people.PersonAt(seed, i)
		body := fmt.Sprintf(`{"firstName":%q,"email":%q,"extRef":%q}`, person.FirstName, person.Email, person.ExternalID)
		call("/directories/POOL_simulated/mailinglists/CG_simulated/contacts", body)
	}
	for _, survey := range []string{qualtrics.ServiceSurvey, qualtrics.CartSurvey} {
		call("/distributions", `{"action":"CreateDistribution","linkType":"Individual","mailingListId":"CG_simulated","surveyId":"`+survey+`"}`)
	}
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	persons := map[string]people.Person{} // by link
	for i, link := range sim.Books().Links {
		persons[link.ID] = people.PersonAt(seed, i%count)
		mail(t, p, link.ID, persons[link.ID].Email, link.URL)
	}
	until(t, "all have answered", func() bool { return len(sim.Books().Responses) == 2*count })
	for _, response := range sim.Books().Responses {
		person, got := persons[response.LinkID], response.Embedded
		if response.SurveyID == qualtrics.ServiceSurvey {
			if got["csat"] != strconv.Itoa(person.Score) || got["why"] != person.Why {
				t.Errorf("%+v answered %v", person, got)
			}
			continue
		}
		contact := map[bool]string{true: "yes", false: "no"}[person.ContactMe]
		if got["QID1"] != person.Reason || got["contact_me"] != contact || got["desired_date"] == "" {
			t.Errorf("%+v answered %v", person, got)
		}
	}
	for _, v := range p.Visits() {
		until(t, "it is known to be answered", func() bool { return state(p, v.ID) == people.Answered })
	}
}

func TestPeopleFindThatALinkWasUsed(t *testing.T) {
	sim, call := brand(t)
	call("/directories/POOL_simulated/mailinglists/CG_simulated/contacts", `{"extRef":"P-1"}`)
	call("/distributions", `{"action":"CreateDistribution","linkType":"Individual","mailingListId":"CG_simulated","surveyId":"SV_cart"}`)
	link := sim.Books().Links[0].URL
	p, run, _ := crowd(t, t.TempDir(), people.Settings{AnswerAll: true})
	run()
	mail(t, p, "first", "ada@example.org", link)
	until(t, "it is answered", func() bool { return state(p, "first") == people.Answered })
	mail(t, p, "second", "ada@example.org", link)
	until(t, "it is refused", func() bool { return state(p, "second") == people.Refused })
	if n := len(sim.Books().Responses); n != 1 {
		t.Errorf("%d responses", n)
	}
}
