package console_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
	"github.com/closeloop/closeloop/services/console/rulebook"
)

const rulesInForce = `rules:
  - name: late
    when: values.QID1 == "Late"
    publish: feedback.delivery_late
    with: {subject: '"Late"', text: values.why, accountId: values.account}
`

// A reader looks at the rules that a service told; an operator tries a change to them as well.
func TestAnOperatorTriesAChangeToTheRulesThatWereTold(t *testing.T) {
	broker, _ := newBroker(t)
	content, err := json.Marshal(activity.RuleSet{
		Service: topology.FeedbackRouter, Name: "rules.yaml", Hash: "5d41", Source: rulesInForce, Since: time.Now(), At: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	broker.Publish(topology.ActivitySubject(topology.FeedbackRouter, activity.KindRules), string(content))
	broker.Publish(subjects.SurveyResponseReceived,
		`{"surveyId":"SV_cart","responseId":"R_1","values":{"QID1":"Late","why":"ada@example.com waits","account":"10"}}`, "ce-loopid", "L-1")
	c := servicetest.Start(t, broker, console.Define, servicetest.Env{
		"INGRESS_AUTH": "", "INGRESS_BASIC_USERS": "eve:secret-of-eve", "CONSOLE_READERS": "rita:secret-of-rita",
	})
	is := func(user string) []string {
		return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":secret-of-"+user))}
	}
	rita, eve := is("rita"), is("eve")
	bustest.Eventually(t, "the console knows the rules in force", func() bool {
		var got struct{ RuleSets []rulebook.RuleSet }
		c.Get("/rules", rita...).Want(200).JSON(&got)
		return len(got.RuleSets) == 1 && got.RuleSets[0].Hash == "5d41" && len(got.RuleSets[0].Rules) == 1
	})

	changed := strings.ReplaceAll(rulesInForce, `"Late"', text: values.why, accountId: values.account`, `"Too late"', text: '"Hello"', accountId: '"11"'`)
	page := c.PostForm("/rules/try", url.Values{"source": {changed}, "why": {"fewer questions"}}.Encode(), append(eve, "Accept", "text/html")...).Want(200)
	for _, part := range []string{"1 difference in 1 answer", `href="/loops/L-1"`, "10 → 11", "text</code>: •••• (21 characters) → •••• (5 characters)"} {
		if !strings.Contains(page.Body, part) {
			t.Errorf("no %q in\n%s", part, page.Body)
		}
	}
	c.PostForm("/rules/try", url.Values{"source": {changed}}.Encode(), append(eve, "Origin", "https://elsewhere.example")...).WantProblem(403)

	var done struct{ Operations []console.Operation }
	c.Get("/operations?kind=try", rita...).Want(200).JSON(&done)
	if len(done.Operations) != 1 {
		t.Fatalf("recorded are %+v", done.Operations)
	}
	sum := sha256.Sum256([]byte(changed))
	if o := done.Operations[0]; o.By != "eve" || !o.Proven || o.Why != "fewer questions" || o.Tried == nil ||
		o.Tried.Rules != hex.EncodeToString(sum[:]) || o.Tried.Before != "5d41" || o.Tried.To.Sub(o.Tried.From) != 7*24*time.Hour {
		t.Errorf("recorded is %+v", o)
	}
	for _, kind := range []string{"text/html", "text/csv"} {
		if got := c.Get("/operations", append(rita, "Accept", kind)...).Want(200); !strings.Contains(got.Body, "fewer questions") || !strings.Contains(got.Body, hex.EncodeToString(sum[:])) {
			t.Errorf("%s: %s", kind, got.Body)
		}
	}

	// A rule can give what somebody wrote to a field that is shown.
	changed = strings.ReplaceAll(rulesInForce, "values.account", `'values.why.replace(" ", "_").replace("@", "_")'`)
	for _, kind := range []string{"text/html", "application/json", "text/csv"} {
		if got := c.PostForm("/rules/try", url.Values{"source": {changed}}.Encode(), append(eve, "Accept", kind)...); got.Status < 400 || strings.Contains(got.Body, "ada_") {
			t.Errorf("%s: an answer is read without a reason: %d %s", kind, got.Status, got.Body)
		}
		if got := c.PostForm("/rules/try", url.Values{"source": {changed}}.Encode(), append(rita, "Accept", kind)...); got.Status != 403 || strings.Contains(got.Body, "ada_") {
			t.Errorf("%s: a reader reads an answer: %d %s", kind, got.Status, got.Body)
		}
	}
	if got := c.Get("/rules", append(rita, "Accept", "text/html")...).Want(200); strings.Contains(got.Body, "/rules/try") {
		t.Error("a reader is offered to try a change")
	}
	if n := len(broker.Messages(topology.Events, ">")); n != 1 {
		t.Errorf("there are %d events", n)
	}
}
