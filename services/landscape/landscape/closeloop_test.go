package landscape_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

const doorsKey = "a-key-of-the-doors"

// closeloop stands in for the services: it does by hand, one call after the other, what the contracts say that each has
// to do, with the rules that come with closeloop.
type closeloop struct {
	*httptest.Server
	t    *testing.T
	base string // of the landscape
	// take decides the status of a package; 0 means that it is worked on and answered 202.
	take func(number int) int

	mu        sync.Mutex
	packages  int
	invited   map[string]int    // packages in which an outbound id came
	brought   map[string]string // response to the content type in which a task brought it
	served    map[string]bool   // responses that were acted upon
	subscribe int               // checks of the subscription's URL
	trouble   []string
	sap       *http.Client
	tokens    map[string]string // by OData service
}

func newCloseloop(t *testing.T) *closeloop {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &closeloop{
		t: t, invited: map[string]int{}, brought: map[string]string{}, served: map[string]bool{},
		sap: &http.Client{Jar: jar}, tokens: map[string]string{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sap/open-channel", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /sap/open-channel", c.campaign)
	mux.HandleFunc("GET /qualtrics/events", func(http.ResponseWriter, *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.subscribe++
	})
	mux.HandleFunc("POST /qualtrics/events", c.notified)
	mux.HandleFunc("POST /qualtrics/responses", c.received)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		c.Close()
		c.check()
	})
	return c
}

// wrong notes what should not have happened; handlers cannot fail the test.
func (c *closeloop) wrong(format string, args ...any) {
	c.trouble = append(c.trouble, fmt.Sprintf(format, args...))
}

func (c *closeloop) check() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, trouble := range c.trouble {
		c.t.Error(trouble)
	}
}

type attribute struct{ AttributeId, Value string }

type packed struct {
	D struct {
		CampaignTargetGroupMembers []struct {
			OutboundId                     string
			TargetGroupMemberAttributeData []attribute
		}
	} `json:"d"`
}

func (c *closeloop) campaign(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var p packed
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Header.Get("X-API-Key") != doorsKey {
		c.wrong("a package without a key, or no package: %v", err)
	}
	c.packages++
	if c.take != nil {
		if status := c.take(c.packages); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	for _, m := range p.D.CampaignTargetGroupMembers {
		c.invited[m.OutboundId]++
		if c.invited[m.OutboundId] == 1 {
			c.invite(m.OutboundId, fields(m.TargetGroupMemberAttributeData))
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// fields maps a member's attributes as the attributes file says.
func fields(attributes []attribute) map[string]string {
	var file struct{ Fields map[string]any }
	if err := yaml.Unmarshal(landscape.AttributesFile, &file); err != nil {
		panic(err)
	}
	values := map[string]string{}
	for field, sources := range file.Fields {
		for _, a := range attributes {
			if values[field] == "" && slices.Contains(strings.Fields(strings.Trim(fmt.Sprint(sources), "[]")), a.AttributeId) {
				values[field] = a.Value
			}
		}
	}
	return values
}

// invite makes contact, transaction, batch, distribution and link, and writes the interaction.
func (c *closeloop) invite(outboundID string, member map[string]string) {
	directory := "/API/v3/directories/POOL_simulated"
	contact := c.qualtrics("POST", directory+"/mailinglists/CG_simulated/contacts", map[string]any{
		"firstName": member["contact.firstName"], "lastName": member["contact.lastName"], "email": member["contact.email"],
		"extRef": member["contact.externalId"], "language": member["contact.language"],
	})
	data := map[string]any{"requestId": outboundID, "loopId": "loop-" + outboundID}
	for field, value := range member {
		if name, found := strings.CutPrefix(field, "transaction.data."); found {
			data[name] = value
		}
	}
	transaction := c.qualtrics("POST", directory+"/transactions", map[string]any{
		"t": map[string]any{"contactId": contact["id"], "mailingListId": "CG_simulated", "data": data},
	})
	created := transaction["createdTransactions"].(map[string]any)["t"].(map[string]any)["id"]
	batch := c.qualtrics("POST", directory+"/transactionbatches", map[string]any{
		"transactionIds": []any{created}, "creationDate": "2026-07-24 09:30:00",
	})
	distribution := c.qualtrics("POST", "/API/v3/distributions", map[string]any{
		"action": "CreateTransactionBatchDistribution", "surveyId": member["survey.surveyId"], "linkType": "Individual",
		"transactionBatchId": batch["id"], "mailingListId": "CG_simulated", "description": outboundID,
	})
	links := c.qualtrics("GET", fmt.Sprintf("/API/v3/distributions/%s/links?surveyId=%s", distribution["id"], member["survey.surveyId"]), nil)
	c.odata("/sap/opu/odata/sap/API_MKT_INTERACTION_SRV/", "Interactions", map[string]any{
		"InteractionUUID": "00000000-0000-0000-0000-000000000000", "InteractionType": "SURVEY_LINK_CREATED",
		"InteractionTimeStampUTC": "2026-07-24T09:30:00Z", "InteractionSourceObjectType": "CUAN_CAMPAIGN_OUTBOUND",
		"InteractionSourceObject": outboundID, "InteractionSourceDataURL": links["elements"].([]any)[0].(map[string]any)["link"],
	})
}

// qualtrics makes a call and gives the result of its answer, or an empty one with the trouble noted.
func (c *closeloop) qualtrics(method, path string, body any) map[string]any {
	status, answer := c.call(http.DefaultClient, method, path, body, http.Header{"X-Api-Token": {"simulated-token"}})
	var envelope struct{ Result map[string]any }
	if err := json.Unmarshal(answer, &envelope); err != nil || status/100 != 2 {
		c.wrong("%s %s: status %d", method, path, status)
	}
	if status == http.StatusAccepted {
		return nil
	}
	return envelope.Result
}

// odata creates an entity in a session of its service.
func (c *closeloop) odata(root, set string, entity any) {
	header := http.Header{"Authorization": {"Basic c2ltdWxhdG9yOnNpbXVsYXRvcg=="}, "Accept": {"application/json"}}
	if c.tokens[root] == "" {
		fetch := header.Clone()
		fetch.Set("X-Csrf-Token", "fetch")
		request, _ := http.NewRequest(http.MethodGet, c.base+root, nil)
		request.Header = fetch
		response, err := c.sap.Do(request)
		if err != nil {
			c.wrong("no token: %v", err)
			return
		}
		_ = response.Body.Close()
		c.tokens[root] = response.Header.Get("X-Csrf-Token")
	}
	header.Set("X-Csrf-Token", c.tokens[root])
	if status, answer := c.call(c.sap, "POST", root+set, entity, header); status != http.StatusCreated {
		c.wrong("%s: status %d: %s", set, status, answer)
	}
}

func (c *closeloop) call(client *http.Client, method, path string, body any, header http.Header) (int, []byte) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	request, err := http.NewRequest(method, c.base+path, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	request.Header = header.Clone()
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		c.wrong("%s %s: %v", method, path, err)
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(response.Body)
	return response.StatusCode, answer
}

func (c *closeloop) notified(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var event struct{ SurveyID, ResponseID, ResponseEventContext string }
	if err := json.Unmarshal([]byte(r.PostFormValue("MSG")), &event); err != nil || r.PostFormValue("HMAC") == "" {
		c.wrong("an event that is not signed: %v", err)
	}
	if c.served[event.ResponseID] {
		return
	}
	var result map[string]any
	for reads := 0; result == nil && reads < 3; reads++ { // the first comes too early
		result = c.qualtrics("GET", "/API/v3/surveys/"+event.SurveyID+"/responses/"+event.ResponseID, nil)
	}
	values, _ := result["values"].(map[string]any)
	if event.ResponseEventContext != "" && values["requestId"] != event.ResponseEventContext {
		c.wrong("the answer to %q bears the request %v", event.ResponseEventContext, values["requestId"])
	}
	c.act(event.ResponseID, values)
}

func (c *closeloop) received(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var answer struct {
		ResponseId string
		Contact    struct{ ExternalId string }
		Values     map[string]any
	}
	if kind := r.Header.Get("Content-Type"); kind == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
			c.wrong("an answer that is no JSON: %v", err)
		}
		c.brought[answer.ResponseId] = kind
	} else {
		answer.ResponseId, answer.Contact.ExternalId = r.PostFormValue("responseId"), r.PostFormValue("contact.externalId")
		answer.Values = formValues(r.PostForm)
		c.brought[answer.ResponseId] = kind
	}
	if r.Header.Get("X-API-Key") != doorsKey || answer.Contact.ExternalId == "" || answer.Values["requestId"] == "" {
		c.wrong("an answer without key, contact or request")
	}
	c.act(answer.ResponseId, answer.Values)
}

func formValues(form url.Values) map[string]any {
	values := map[string]any{}
	for name := range form {
		if field, found := strings.CutPrefix(name, "values."); found {
			values[field] = form.Get(name)
		}
	}
	return values
}

// act applies the two rules, once for a response.
func (c *closeloop) act(responseID string, values map[string]any) {
	if c.served[responseID] {
		return
	}
	c.served[responseID] = true
	if values["QID1"] == "Delivery too late" && values["contact_me"] == "yes" {
		c.odata("/sap/c4c/odata/v1/c4codataapi/", "TasksCollection", map[string]any{
			"Subject": "Cart Abandonment - Check Delivery Time", "MainAccountPartyID": values["account_id"],
			"MainContactPartyID": values["contact_id"], "ProcessorPartyID": "8000000002",
			"TasksTextCollection": []any{map[string]any{
				"TypeCode": "10002", "Text": fmt.Sprintf("Wanted by %v: %v", values["desired_date"], values["product_name"]),
			}},
		})
	}
	if slices.Contains([]any{"4", "5"}, values["csat"]) {
		status, answer := c.call(http.DefaultClient, "POST", "/api/recognize", map[string]any{
			"recipients": []any{values["rep_email"]}, "note": values["why"], "tagNames": []any{"ref-" + responseID}, "amount": 0,
			"isPublic": true, "recognitionProgramName": "Qualtrics CSAT Recognition",
		}, http.Header{"Apikey": {"simulator"}})
		if status != http.StatusOK {
			c.wrong("recognition: status %d: %s", status, answer)
		}
	}
}
