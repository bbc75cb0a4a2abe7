package qualtrics_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
)

const inDirectory = "/directories/" + directory

var ada = qualtrics.Contact{
	FirstName: "Ada", LastName: "Nord", Email: "ada@example.org", Phone: "+12025550100", ExtRef: "CRM-4711", Language: "DE",
	EmbeddedData: map[string]string{"Country": "Germania"},
}

func TestCreateContact(t *testing.T) {
	c, a := serve(t, map[string]string{
		"POST " + inDirectory + "/mailinglists/" + list + "/contacts": result(`{"id":"CID_3kd0000000000001","contactLookupId":"CGC_9xx0000000000001"}`),
	})
	got, err := c.CreateContact(t.Context(), list, ada)
	if want := (qualtrics.ContactIDs{ID: "CID_3kd0000000000001", LookupID: "CGC_9xx0000000000001"}); got != want || err != nil {
		t.Errorf("got %+v, error %v", got, err)
	}
	a.wantBody(`{"firstName":"Ada","lastName":"Nord","email":"ada@example.org","phone":"+12025550100","extRef":"CRM-4711","language":"DE","embeddedData":{"Country":"Germania"}}`)

	if _, err = c.CreateContact(t.Context(), list, qualtrics.Contact{Email: "a@b.c"}); err != nil {
		t.Error(err)
	}
	a.wantBody(`{"email":"a@b.c"}`)
}

func TestRefusedContactIsNotShown(t *testing.T) {
	c, _ := serve(t, map[string]string{
		"POST " + inDirectory + "/mailinglists/" + list + "/contacts": `400 {"meta":{"error":{"errorCode":"X_1","errorMessage":"ada NORD of GERMANIA, ada@example.org, +12025550100, CRM-4711 is not valid"}}}`,
	})
	_, err := c.CreateContact(t.Context(), list, ada)
	f := wantClass(t, err, fault.Refused)
	if want := "create contact: 400 Bad Request: X_1: [personal] [personal] of [personal], [personal], +[personal], CRM-4711 is not valid"; f.Reason != want {
		t.Errorf("reason %q\nwant   %q", f.Reason, want)
	}
}

// every write of the client, for what must hold for all of them
var writes = map[string]func(*testing.T, *qualtrics.Client) error{
	"contact": func(t *testing.T, c *qualtrics.Client) error {
		_, err := c.CreateContact(t.Context(), list, ada)
		return err
	},
	"transaction": func(t *testing.T, c *qualtrics.Client) error {
		_, err := c.CreateTransaction(t.Context(), qualtrics.Transaction{ContactID: "CID_1", MailingListID: list})
		return err
	},
	"batch": func(t *testing.T, c *qualtrics.Client) error {
		_, err := c.CreateBatch(t.Context(), []string{"CTR_1"}, time.Now())
		return err
	},
	"distribution": func(t *testing.T, c *qualtrics.Client) error {
		_, err := c.CreateDistribution(t.Context(), qualtrics.Distribution{SurveyID: survey, BatchID: "BT_1", Description: "d"})
		return err
	},
}

func TestWriteWithLostAnswerIsUnknownAndSentOnce(t *testing.T) {
	for name, write := range writes {
		for how, answer := range map[string]http.HandlerFunc{
			"gateway timeout": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(504) },
			"server fault":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
			"connection lost": func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				conn, _, _ := w.(http.Hijacker).Hijack()
				conn.Close()
			},
			"empty answer": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, result(`{}`)) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				var sent atomic.Int32
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					sent.Add(1)
					answer(w, r)
				}))
				t.Cleanup(s.Close)
				err := write(t, newClient(t, s.URL, nil, qualtrics.Options{Token: settings.SecretOf(token), DirectoryID: directory}))
				if wantClass(t, err, fault.Unknown); sent.Load() != 1 {
					t.Errorf("sent %d times", sent.Load())
				}
			})
		}
	}
}

func TestFindContact(t *testing.T) {
	const search = "POST " + inDirectory + "/contacts/search?pageSize=100"
	member := func(lookup string) string {
		return result(`{"contactId":"CID_2","email":"ada@example.org","extRef":"CRM-4711","creationDate":1768469400000,
			"mailingListMembership":{"CG_other":{"contactLookupId":"CGC_other"},"` + list + `":{"contactLookupId":"` + lookup + `","name":"L","unsubscribed":false,"unsubscribeDate":null,"ownerId":"UR_1"}}}`)
	}
	outside := result(`{"contactId":"CID_1","mailingListMembership":{"CG_other":{"contactLookupId":"CGC_other"}}}`)

	t.Run("by extRef on a later page, skipping a contact of another list", func(t *testing.T) {
		c, a := serve(t, map[string]string{
			search:                                   result(`{"elements":[{"id":"CID_1","phoneNumber":"1"}],"skipToken":"s/1"}`),
			search + "&skipToken=s%2F1":              result(`{"elements":[{"id":"CID_2"}]}`),
			"GET " + inDirectory + "/contacts/CID_1": outside,
			"GET " + inDirectory + "/contacts/CID_2": member("CGC_2"),
		})
		got, found, err := c.FindContact(t.Context(), list, "CRM-4711", "ada@example.org")
		if want := (qualtrics.ContactIDs{ID: "CID_2", LookupID: "CGC_2"}); got != want || !found || err != nil {
			t.Errorf("got %+v, %t, error %v", got, found, err)
		}
		if want := `{"filter":{"comparison":"eq","filterType":"extRef","value":"CRM-4711"}}`; a.bodies[0] != want || a.bodies[2] != want {
			t.Errorf("searched with %q", a.bodies)
		}
	})
	t.Run("by e-mail where there is no extRef", func(t *testing.T) {
		c, a := serve(t, map[string]string{search: result(`{"elements":[]}`)})
		_, found, err := c.FindContact(t.Context(), list, "", "ada@example.org")
		if found || err != nil {
			t.Errorf("found %t, error %v", found, err)
		}
		a.wantBody(`{"filter":{"comparison":"eq","filterType":"email","value":"ada@example.org"}}`)
	})
	t.Run("not in the list", func(t *testing.T) {
		c, _ := serve(t, map[string]string{search: result(`{"elements":[{"id":"CID_1"}]}`), "GET " + inDirectory + "/contacts/CID_1": outside})
		if _, found, err := c.FindContact(t.Context(), list, "CRM-4711", ""); found || err != nil {
			t.Errorf("found %t, error %v", found, err)
		}
	})
	t.Run("not readable yet", func(t *testing.T) {
		c, _ := serve(t, map[string]string{search: result(`{"elements":[{"id":"CID_1"}]}`), "GET " + inDirectory + "/contacts/CID_1": `404 {}`})
		_, _, err := c.FindContact(t.Context(), list, "CRM-4711", "")
		wantClass(t, err, fault.NotYet)
	})
	t.Run("search is a read", func(t *testing.T) {
		c, _ := serve(t, map[string]string{search: `500 {"meta":{"error":{"errorMessage":"no ada@example.org"}}}`})
		_, _, err := c.FindContact(t.Context(), list, "CRM-4711", "")
		if f := wantClass(t, err, fault.Transient); strings.Contains(f.Reason, "ada") {
			t.Errorf("reason = %q", f.Reason)
		}
	})
}

func TestCreateTransaction(t *testing.T) {
	c, a := serve(t, map[string]string{
		"POST " + inDirectory + "/transactions": result(`{"createdTransactions":{"transaction":{"id":"CTR_1aa0000000000001"}},"unprocessedTransactions":{}}`),
	})
	tx := qualtrics.Transaction{
		ContactID: "CID_1", MailingListID: list, Date: time.Date(2026, 1, 15, 10, 30, 0, 0, time.FixedZone("", 3600)),
		Data: map[string]any{"orderNumber": "900-1", "amount": 49.9, "express": true},
	}
	id, err := c.CreateTransaction(t.Context(), tx)
	if id != "CTR_1aa0000000000001" || err != nil {
		t.Errorf("id %q, error %v", id, err)
	}
	a.wantBody(`{"transaction":{"contactId":"CID_1","mailingListId":"` + list + `","transactionDate":"2026-01-15 09:30:00","data":{"amount":49.9,"express":true,"orderNumber":"900-1"}}}`)

	if _, err = c.CreateTransaction(t.Context(), qualtrics.Transaction{ContactID: "CID_1", MailingListID: list}); err != nil {
		t.Error(err)
	}
	a.wantBody(`{"transaction":{"contactId":"CID_1","mailingListId":"` + list + `"}}`)
}

func TestTransactionThatWasNotProcessed(t *testing.T) {
	c, _ := serve(t, map[string]string{
		"POST " + inDirectory + "/transactions": result(`{"createdTransactions":{},"unprocessedTransactions":{"transaction":{"error":"INVENTED_CODE","errorMessage":"invented text about Secret Street 5"}}}`),
	})
	_, err := c.CreateTransaction(t.Context(), qualtrics.Transaction{ContactID: "CID_1", MailingListID: list, Data: map[string]any{"address": "Secret Street 5"}})
	f := wantClass(t, err, fault.Refused)
	if want := "create transaction: not processed: INVENTED_CODE: invented text about [personal]"; f.Reason != want {
		t.Errorf("reason %q, want %q", f.Reason, want)
	}
	var status *outbound.StatusError
	if !errors.As(err, &status) || status.Code != "INVENTED_CODE" || status.Status != 200 {
		t.Errorf("cause = %#v", f.Err)
	}
}

func TestTransactionInNeitherMapIsUnknown(t *testing.T) {
	c, _ := serve(t, map[string]string{"POST " + inDirectory + "/transactions": result(`{"createdTransactions":{"other":{"id":"CTR_1"}}}`)})
	_, err := c.CreateTransaction(t.Context(), qualtrics.Transaction{ContactID: "CID_1", MailingListID: list})
	wantClass(t, err, fault.Unknown)
}

func TestTransactionDataThatIsNoPlainValueIsInvalid(t *testing.T) {
	for name, value := range map[string]any{"null": nil, "list": []string{"a"}, "object": map[string]any{}, "not a number": math.NaN()} {
		c, a := serve(t, nil)
		_, err := c.CreateTransaction(t.Context(), qualtrics.Transaction{ContactID: "CID_1", MailingListID: list, Data: map[string]any{"good": 1, "bad": value}})
		if f := wantClass(t, err, fault.Invalid); f.Field != "transaction.data.bad" || len(a.asked) != 0 {
			t.Errorf("%s: field %q, asked %q", name, f.Field, a.asked)
		}
	}
}

func TestFindTransaction(t *testing.T) {
	const path = "GET " + inDirectory + "/contacts/CID_1/transactions?pageSize=100"
	c, _ := serve(t, map[string]string{
		path + "&withData=true":              result(`{"elements":[{"transactionId":"CTR_1","data":{"requestId":"other"}},{"transactionId":"CTR_0"}],"skipToken":"t1"}`),
		path + "&skipToken=t1&withData=true": result(`{"elements":[{"transactionId":"CTR_2","data":{"requestId":"R-2","count":5,"express":"true"}}]}`),
	})
	for key, want := range map[[2]string]string{{"requestId", "R-2"}: "CTR_2", {"requestId", "R-3"}: "", {"count", "5"}: "CTR_2", {"none", "<nil>"}: "", {"requestId", "other"}: "CTR_1"} {
		id, found, err := c.FindTransaction(t.Context(), "CID_1", key[0], key[1])
		if id != want || found != (want != "") || err != nil {
			t.Errorf("%q: got %q, %t, error %v; want %q", key, id, found, err, want)
		}
	}

	c, _ = serve(t, map[string]string{path + "&withData=true": `404 {}`})
	_, _, err := c.FindTransaction(t.Context(), "CID_1", "requestId", "R-2")
	wantClass(t, err, fault.NotYet)
}

func TestCreateBatch(t *testing.T) {
	c, a := serve(t, map[string]string{"POST " + inDirectory + "/transactionbatches": result(`{"id":"BT_7cc0000000000001"}`)})
	at := time.Date(2026, 1, 15, 9, 31, 0, 0, time.UTC)
	id, err := c.CreateBatch(t.Context(), []string{"CTR_1", "CTR_2"}, at)
	if id != "BT_7cc0000000000001" || err != nil {
		t.Errorf("id %q, error %v", id, err)
	}
	a.wantBody(`{"transactionIds":["CTR_1","CTR_2"],"creationDate":"2026-01-15 09:31:00"}`)
	if _, err := c.CreateBatch(t.Context(), nil, at); err != nil {
		t.Error(err)
	}
	a.wantBody(`{"transactionIds":[],"creationDate":"2026-01-15 09:31:00"}`)
}

func TestBatchCountStopsWhereEnoughIsKnown(t *testing.T) {
	const batch = "GET " + inDirectory + "/transactionbatches/BT_1/transactions?pageSize=100"
	c, a := serve(t, map[string]string{ // how the list writes a transaction is not documented
		batch:                   result(`{"elements":[{"transactionId":"CTR_1"},{"id":"CTR_2"}],"skipToken":"b1"}`),
		batch + "&skipToken=b1": result(`{"elements":["CTR_3"],"skipToken":"b2"}`),
		batch + "&skipToken=b2": result(`{"elements":[]}`),
	})
	for atMost, want := range map[int]struct{ count, reads int }{1: {2, 1}, 3: {3, 2}, 9: {3, 3}} {
		a.asked = nil
		n, err := c.BatchCount(t.Context(), "BT_1", atMost, nil)
		if n != want.count || err != nil || len(a.asked) != want.reads {
			t.Errorf("up to %d: %d after %d reads, error %v; want %+v", atMost, n, len(a.asked), err, want)
		}
	}
	stop := errors.New("enough")
	if _, err := c.BatchCount(t.Context(), "BT_1", 9, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the count went on: %v", err)
	}
}

func TestCreateDistribution(t *testing.T) {
	c, a := serve(t, map[string]string{"POST /distributions": result(`{"id":"EMD_8dd0000000000001"}`)})
	d := qualtrics.Distribution{
		SurveyID: survey, BatchID: "BT_7cc0000000000001", MailingListID: list, Description: "wave 2026-01-15/17",
		ExpiresAt: time.Date(2026, 4, 15, 9, 31, 0, 0, time.UTC),
	}
	id, err := c.CreateDistribution(t.Context(), d)
	if id != "EMD_8dd0000000000001" || err != nil {
		t.Errorf("id %q, error %v", id, err)
	}
	a.wantBody(`{"action":"CreateTransactionBatchDistribution","surveyId":"` + survey + `","linkType":"Individual","transactionBatchId":"BT_7cc0000000000001","mailingListId":"` + list + `","description":"wave 2026-01-15/17","expirationDate":"2026-04-15 09:31:00"}`)

	if _, err := c.CreateDistribution(t.Context(), qualtrics.Distribution{SurveyID: survey, BatchID: "BT_1", Description: "d"}); err != nil {
		t.Error(err)
	}
	a.wantBody(`{"action":"CreateTransactionBatchDistribution","surveyId":"` + survey + `","linkType":"Individual","transactionBatchId":"BT_1","description":"d"}`)
}

func TestFindDistribution(t *testing.T) {
	const path = "GET /distributions?pageSize=100&surveyId=" + survey + "&useNewPaginationScheme=true"
	c, _ := serve(t, map[string]string{
		path:                        result(`{"elements":[{"id":"EMD_1","description":"wave 1","requestType":"GeneratedInvite"}],"nextPage":"BASE/API/v3/distributions?page=2"}`),
		"GET /distributions?page=2": result(`{"elements":[{"id":"EMD_2","description":"wave 2"}],"nextPage":null}`),
	})
	for description, want := range map[string]string{"wave 1": "EMD_1", "wave 2": "EMD_2", "wave": ""} {
		id, found, err := c.FindDistribution(t.Context(), survey, description)
		if id != want || found != (want != "") || err != nil {
			t.Errorf("%s: got %q, %t, error %v; want %q", description, id, found, err, want)
		}
	}
}

const linkPage = `{"elements": [
   {"contactId": "CID_3kd0000000000001", "transactionId": "CTR_1aa0000000000001",
    "link": "https://simbrand.eu.qualtrics.com/jfe/form/SV_1aa0000000000001?Q_DL=8dd0000000000001_1aa0000000000001_CGC_9xx0000000000001&Q_CHL=gl",
    "exceededContactFrequency": false, "linkExpiration": "2026-04-15T09:31:00Z", "status": "Email not sent",
    "lastName": "Nord", "firstName": "Ada", "externalDataReference": "CRM-4711",
    "email": "ada@example.org", "unsubscribed": false}],
  "nextPage": %s}`

func TestLinksOfAllPages(t *testing.T) {
	const first = "GET /distributions/EMD_1/links?surveyId=" + survey
	c, a := serve(t, map[string]string{
		first:                                   result(fmt.Sprintf(linkPage, `"BASE/API/v3/distributions/EMD_1/links?surveyId=`+survey+`&skipToken=CID_1&proxyDepth=1"`)),
		first + "&skipToken=CID_1&proxyDepth=1": result(`{"elements":[],"nextPage":"BASE/API/v3/p3"}`),
		"GET /p3":                               result(`{"elements":[{"contactId":"CGC_2","transactionId":null,"link":null,"exceededContactFrequency":"1","linkExpiration":null,"status":null,"externalDataReference":null,"unsubscribed":1}, {"contactId":"MLRP_3","link":"https://b.eu.qualtrics.com/SE?Q_DL=x","unsubscribed":"0"}]}`),
	})
	var got []qualtrics.Link
	sizes := []int{}
	for page, err := range c.Links(t.Context(), "EMD_1", survey) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		sizes = append(sizes, len(page))
	}
	want := []qualtrics.Link{
		{
			URL:       "https://simbrand.eu.qualtrics.com/jfe/form/SV_1aa0000000000001?Q_DL=8dd0000000000001_1aa0000000000001_CGC_9xx0000000000001&Q_CHL=gl",
			ContactID: "CID_3kd0000000000001", TransactionID: "CTR_1aa0000000000001", ExternalDataReference: "CRM-4711", Email: "ada@example.org",
			ExpiresAt: time.Date(2026, 4, 15, 9, 31, 0, 0, time.UTC), Status: "Email not sent",
		},
		{ContactID: "CGC_2", Unsubscribed: true, ExceededContactFrequency: true},
		{ContactID: "MLRP_3", URL: "https://b.eu.qualtrics.com/SE?Q_DL=x"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !slices.Equal(sizes, []int{1, 0, 2}) || len(a.asked) != 3 {
		t.Errorf("pages of %v links, %d requests", sizes, len(a.asked))
	}

	a.asked = nil
	for range c.Links(t.Context(), "EMD_1", survey) {
		break
	}
	if len(a.asked) != 1 {
		t.Errorf("%d requests for the first page", len(a.asked))
	}
}

func TestLinkWithAnUnclearFlagIsNotGuessed(t *testing.T) {
	c, _ := serve(t, map[string]string{"GET /distributions/EMD_1/links?surveyId=" + survey: result(`{"elements":[{"contactId":"CGC_2","unsubscribed":"maybe"}]}`)})
	for _, err := range c.Links(t.Context(), "EMD_1", survey) {
		wantClass(t, err, fault.Transient)
	}
}

func TestPagesInACircleEnd(t *testing.T) {
	c, a := serve(t, map[string]string{
		"GET /distributions/EMD_1/links?surveyId=" + survey: result(`{"elements":[],"nextPage":"BASE/API/v3/p2"}`),
		"GET /p2": result(`{"elements":[],"nextPage":"BASE/API/v3/p2"}`),
	})
	var last error
	for _, err := range c.Links(t.Context(), "EMD_1", survey) {
		last = err
	}
	if wantClass(t, last, fault.Transient); len(a.asked) != 2 {
		t.Errorf("asked %q", a.asked)
	}
}

// roundTrip answers in place of any host.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// askNext gives the hosts that got the token when the first page on eu.qualtrics.com names this next one.
func askNext(t *testing.T, base, next string) (hosts []string, last error) {
	t.Helper()
	c := newClient(t, base, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("X-API-TOKEN") == token {
			hosts = append(hosts, r.URL.Host)
		}
		body := result(`{"elements":[]}`)
		if r.URL.Path == "/API/v3/distributions/EMD_1/links" && !r.URL.Query().Has("p") {
			body = result(`{"elements":[],"nextPage":"` + next + `"}`)
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}), qualtrics.Options{Token: settings.SecretOf(token)})
	for _, err := range c.Links(t.Context(), "EMD_1", survey) {
		last = err
	}
	return hosts, last
}

func TestNextPageOnAnotherHostOfQualtricsIsFollowed(t *testing.T) {
	for _, host := range []string{"sjc1.qualtrics.com", "eu.qualtrics.com", "SJC1.Qualtrics.com"} {
		hosts, err := askNext(t, "https://eu.qualtrics.com", "https://"+host+"/API/v3/distributions/EMD_1/links?p=2")
		if want := []string{"eu.qualtrics.com", host}; !slices.Equal(hosts, want) || err != nil {
			t.Errorf("token went to %q, error %v; want %q", hosts, err, want)
		}
	}
}

func TestNextPageElsewhereGetsNoToken(t *testing.T) {
	for base, nexts := range map[string][]string{
		"https://eu.qualtrics.com": {
			"https://evil.example/API/v3/x", "https://evilqualtrics.com/x", "https://qualtrics.com.evil.example/x", "https://sjc1.qualtrics.com:8443/x",
			"http://eu.qualtrics.com/API/v3/x", "http://sjc1.qualtrics.com/x", "https://user@sjc1.qualtrics.com/x", "//evil.example/x", "/API/v3/x", "https://sjc1.qualtrics.com%00/x",
		},
		"http://localhost:8080": {"https://sjc1.qualtrics.com/x", "http://sjc1.qualtrics.com/x", "http://localhost:8081/x"},
	} {
		for _, next := range nexts {
			hosts, err := askNext(t, base, next)
			u, _ := url.Parse(base)
			if !slices.Equal(hosts, []string{u.Host}) {
				t.Errorf("next page %s: the token went to %q", next, hosts)
			}
			if f := wantClass(t, err, fault.Unauthorized); strings.Contains(f.Reason, "evil") {
				t.Errorf("reason = %q", f.Reason)
			}
		}
	}
}

func TestLinkMatch(t *testing.T) {
	ada := qualtrics.ContactIDs{ID: "CID_1", LookupID: "CGC_1"}
	for name, test := range map[string]struct {
		link    qualtrics.Link
		tx, ref string
		want    bool
	}{
		"transaction": {qualtrics.Link{TransactionID: "CTR_1", ContactID: "CID_9", ExternalDataReference: "B"}, "CTR_1", "A", true},
		"another transaction of the same contact":  {qualtrics.Link{TransactionID: "CTR_2", ContactID: "CID_1", ExternalDataReference: "A"}, "CTR_1", "A", false},
		"extRef, link without transaction":         {qualtrics.Link{ExternalDataReference: " a ", ContactID: "MLRP_1"}, "CTR_1", "A", true},
		"another extRef":                           {qualtrics.Link{ExternalDataReference: "B", ContactID: "CID_1"}, "CTR_1", "A", false},
		"extRef, our transaction not known":        {qualtrics.Link{TransactionID: "CTR_1", ExternalDataReference: "A"}, "", "A", true},
		"contact id":                               {qualtrics.Link{ContactID: "CID_1"}, "CTR_1", "A", true},
		"lookup id":                                {qualtrics.Link{ContactID: "CGC_1"}, "CTR_1", "A", true},
		"contact id, our extRef not to be trusted": {qualtrics.Link{ContactID: "CGC_1", ExternalDataReference: "B"}, "CTR_1", "", true},
		"another contact":                          {qualtrics.Link{ContactID: "CGC_2"}, "CTR_1", "A", false},
		"nothing":                                  {qualtrics.Link{}, "", "", false},
	} {
		if got := test.link.Match(test.tx, test.ref, ada); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (qualtrics.Link{}).Match("", "", qualtrics.ContactIDs{}) {
		t.Error("a link without any id matches a contact without any")
	}
}

func TestResponse(t *testing.T) {
	c, _ := serve(t, map[string]string{"GET /surveys/" + survey + "/responses/R_0aa0000000000001": `{"result": {"responseId": "R_0aa0000000000001",
  "values": {"startDate": "2026-01-15T09:28:11Z", "status": 0, "finished": 1, "duration": 107, "locationLatitude": "10.5",
             "QID1": 9, "QID2": [1, 4], "QID2_DO": ["1", "2", "4"], "QID3_TEXT": "fast", "orderNumber": "900-1", "amount": "49.9"},
  "labels": {"QID2": ["Price", "Speed"], "finished": "True", "status": "IP Address"},
  "displayedFields": ["QID1", "QID2", "QID3_TEXT"], "displayedValues": {"QID2": [1, 2, 4]}},
  "meta": {"httpStatus": "200 - OK", "requestId": "00000000-0000-4000-8000-000000000011"}}`})
	got, err := c.Response(t.Context(), survey, "R_0aa0000000000001")
	if err != nil {
		t.Fatal(err)
	}
	want := &qualtrics.Response{
		ID: "R_0aa0000000000001",
		Values: map[string]any{
			"startDate": "2026-01-15T09:28:11Z", "status": 0.0, "finished": 1.0, "duration": 107.0, "locationLatitude": "10.5",
			"QID1": 9.0, "QID2": []any{1.0, 4.0}, "QID2_DO": []any{"1", "2", "4"}, "QID3_TEXT": "fast", "orderNumber": "900-1", "amount": "49.9",
		},
		Labels: map[string]any{"QID2": []any{"Price", "Speed"}, "finished": "True", "status": "IP Address"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestResponseWithoutAStatusIsNormalWhereItIsFinished(t *testing.T) {
	for values, want := range map[string]int{
		`"finished": 1`: 0, `"finished": true`: 0, `"finished": "1"`: 0, `"finished": "True", "status": null`: 0,
		`"finished": 0`: -1, `"finished": false`: -1, `"QID1": 1`: -1,
		`"finished": 1, "status": "odd"`: -1, `"finished": 1, "status": []`: -1, `"finished": 1, "status": 1`: 1,
	} {
		c, _ := serve(t, map[string]string{"GET /surveys/" + survey + "/responses/R_1": `{"result": {"responseId": "R_1", "values": {` + values + `}}}`})
		got, err := c.Response(t.Context(), survey, "R_1")
		if want < 0 {
			wantClass(t, err, fault.Transient)
			continue
		}
		if err != nil || got.Status() != want || got.Stated() != (want == 1) {
			t.Errorf("%s: %+v, %v", values, got, err)
		}
	}
}

func TestResponseThatIsNotThere(t *testing.T) {
	for answer, class := range map[string]fault.Class{
		`202 {"result": {"message": "The Survey Response is not yet available. Please try again later."}}`:               fault.NotYet,
		`404 {"meta":{"httpStatus":"404 - Not Found","error":{"errorCode":"GSI_2","errorMessage":"Survey not found."}}}`: fault.Refused,
		`500 {}`:              fault.Transient,
		`503 {}`:              fault.Down,
		`200 {"result":{}}`:   fault.Transient,
		`200 {"result":null}`: fault.Transient,
	} {
		c, _ := serve(t, map[string]string{"GET /surveys/" + survey + "/responses/R_1": answer})
		_, err := c.Response(t.Context(), survey, "R_1")
		if f := wantClass(t, err, class); f.Vendor != "qualtrics" {
			t.Errorf("vendor = %q", f.Vendor)
		}
	}
}
