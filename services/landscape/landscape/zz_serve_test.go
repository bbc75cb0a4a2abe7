package landscape_test

import ("testing";"os";"time";"net/http";"strings"
"github.com/closeloop/closeloop/services/landscape/landscape")

func TestServe(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, func(s *landscape.Settings){ s.AwardcoApproval = os.Getenv("APPR")!=""; s.PeopleDelay=time.Second })
	_ = r.PlayCampaign(t.Context(), 25)
	http.Post(r.url+"/landscape/faults","application/json",strings.NewReader(`{"vendor":"qualtrics","method":"POST","path":"/distributions$","kind":"lost-answer","times":1}`))
	http.Post(r.url+"/landscape/faults","application/json",strings.NewReader(`{"vendor":"awardco","kind":"status","status":429,"retryAfter":2,"rate":0.5}`))
	os.WriteFile("/tmp/land.url", []byte(r.url), 0o644)
	time.Sleep(time.Hour)
}
