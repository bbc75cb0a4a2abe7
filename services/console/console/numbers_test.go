package console_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
	"github.com/closeloop/closeloop/services/console/numbers"
)

// readers starts a console at which rita may read.
func readers(t *testing.T, broker *bustest.Broker) (*servicetest.Service, []string) {
	t.Helper()
	c := servicetest.Start(t, broker, console.Define, servicetest.Env{
		"INGRESS_AUTH": "", "INGRESS_BASIC_USERS": "eve:secret-of-eve", "CONSOLE_READERS": "rita:secret-of-rita",
	})
	return c, []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("rita:secret-of-rita"))}
}

func TestAReaderSeesNumbersAndVendors(t *testing.T) {
	broker, _ := newBroker(t)
	broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"r1","contact":{"externalId":"P-1"},"campaign":{"campaignId":"<C&1>"}}`, "ce-loopid", "L-1")
	c, rita := readers(t, broker)
	bustest.Eventually(t, "the loop is counted", func() bool {
		var got numbers.Numbers
		c.Get("/numbers?period=1d", rita...).Want(http.StatusOK).JSON(&got)
		return len(got.Funnel) > 0 && got.Funnel[0].Count == 1 && got.To.Sub(got.From) >= 24*time.Hour
	})
	page := c.Get("/numbers?period=1d", append(rita, "Accept", "text/html")...).Want(http.StatusOK)
	for _, part := range []string{`<svg id="funnel"`, "0 of 1 invited got a link", "&lt;C&amp;1&gt;", `aria-current="page">Numbers`, "/assets/charts.css"} {
		if !strings.Contains(page.Body, part) {
			t.Errorf("no %q in\n%s", part, page.Body)
		}
	}
	if strings.Contains(page.Body, "<C&1>") {
		t.Error("the name of a campaign is not escaped")
	}
	links := regexp.MustCompile(`href="(/loops\?[^"]+)"`).FindAllStringSubmatch(page.Body, -1)
	if len(links) != 7 { // six stages and a campaign
		t.Errorf("%d links lead to lists of loops", len(links))
	}
	for _, link := range links {
		c.Get(html.UnescapeString(link[1]), rita...).Want(http.StatusOK)
	}
	sheet := c.Get("/numbers?format=csv&table=campaigns", rita...).Want(http.StatusOK)
	if !strings.Contains(sheet.Body, "<C&1>,1,0,0,0,0,0,0,\n") || sheet.Header.Get("Content-Disposition") != `attachment; filename="campaigns.csv"` {
		t.Errorf("the sheet is %q, %v", sheet.Body, sheet.Header)
	}
	c.Get("/numbers?table=pie", rita...).WantProblem(http.StatusBadRequest, "table")
	if page := c.Get("/vendors", append(rita, "Accept", "text/html")...).Want(http.StatusOK); !strings.Contains(page.Body, `data-live="/vendors/live"`) {
		t.Error("the page of vendors is not kept up to date")
	}
	for _, path := range []string{"/numbers", "/vendors", "/vendors/live"} {
		c.Get(path).Want(http.StatusUnauthorized)
	}
}

func TestTheVendorsPageIsKeptUpToDate(t *testing.T) {
	broker, _ := newBroker(t)
	c, rita := readers(t, broker)
	next := listen(t, c.URL+"/vendors/live", rita)
	first := next()
	for _, part := range []string{`id="vendors-overview"`, `id="vendor-qualtrics"`, `id="vendor-awardco"`} {
		if !strings.Contains(first, part) {
			t.Errorf("no %s in what comes first", part)
		}
	}
	told, err := json.Marshal(activity.Vendor{
		Service: topology.SAPInteractionWriter, Vendor: "sap-marketing", State: activity.Out, Since: time.Now(), Until: time.Now().Add(time.Hour), Reason: "503 Service Unavailable", At: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	broker.Publish(topology.ActivitySubject(topology.SAPInteractionWriter, activity.KindVendor), string(told))
	for {
		changed := next()
		if strings.Contains(changed, `id="vendor-awardco"`) {
			t.Fatal("what has not changed is sent again")
		}
		if strings.Contains(changed, "503 Service Unavailable") {
			if !strings.Contains(changed, `id="vendor-sap-marketing"`) || !strings.Contains(changed, `id="vendors-overview"`) {
				t.Errorf("what has changed is not all of %s", changed)
			}
			return
		}
	}
}

// listen gives the data of one server-sent event after the other.
func listen(t *testing.T, address string, header []string) func() string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(header[0], header[1])
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("answered %d, %v", answer.StatusCode, answer.Header)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return func() string {
		t.Helper()
		var data strings.Builder
		for lines.Scan() {
			switch text := lines.Text(); {
			case strings.HasPrefix(text, "data: "):
				data.WriteString(strings.TrimPrefix(text, "data: "))
			case text == "" && data.Len() > 0:
				return data.String()
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
}
