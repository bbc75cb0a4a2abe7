package linker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	token     = "invented-token"
	directory = "POOL_1"
	list      = "CG_1"
	survey    = "SV_1"

	createContact      = "POST /API/v3/directories/POOL_1/mailinglists/{list}/contacts"
	searchContacts     = "POST /API/v3/directories/POOL_1/contacts/search"
	readContact        = "GET /API/v3/directories/POOL_1/contacts/{contact}"
	createTransaction  = "POST /API/v3/directories/POOL_1/transactions"
	listTransactions   = "GET /API/v3/directories/POOL_1/contacts/{contact}/transactions"
	createBatch        = "POST /API/v3/directories/POOL_1/transactionbatches"
	createDistribution = "POST /API/v3/distributions"
	listDistributions  = "GET /API/v3/distributions"
	readLinks          = "GET /API/v3/distributions/{distribution}/links"
	whoAmI             = "GET /API/v3/whoami"
	directories        = "GET /API/v3/directories"
	readHistory        = "GET /API/v3/distributions/{distribution}/history"
	startImport        = "POST /API/v3/directories/POOL_1/mailinglists/{list}/transactioncontacts"
	importStatus       = "GET /API/v3/directories/POOL_1/mailinglists/{list}/transactioncontacts/{import}"
	importReport       = "GET /API/v3/directories/POOL_1/imports/api-import/jobs/{import}/report"
	listBatch          = "GET /API/v3/directories/POOL_1/transactionbatches/{batch}/transactions"
)

// brand makes contacts, transactions, batches, distributions and links as qualtrics.md has it. Its directory does not
// dedupe, so that whatever is sent twice is there twice.
type brand struct {
	*servicetest.Vendor

	mu            sync.Mutex
	contacts      []contact
	transactions  []transaction
	batches       [][]string
	distributions []distribution
	// late is how many reads of links find none yet.
	late int
	// change makes something else of the links; nil leaves them.
	change func([]link) []link
	// instead answers a call in the brand's place; nil, or an answer of nil, leaves it to the brand.
	instead func(pattern string, c servicetest.Call) *servicetest.Reply
	bulk
}

type contact struct {
	FirstName    string            `json:"firstName"`
	LastName     string            `json:"lastName"`
	Email        string            `json:"email"`
	Phone        string            `json:"phone"`
	ExtRef       string            `json:"extRef"`
	Language     string            `json:"language"`
	EmbeddedData map[string]string `json:"embeddedData"`
}

type transaction struct {
	ContactID     string         `json:"contactId"`
	MailingListID string         `json:"mailingListId"`
	Date          string         `json:"transactionDate"`
	Data          map[string]any `json:"data"`
}

type distribution struct {
	Action        string `json:"action"`
	SurveyID      string `json:"surveyId"`
	LinkType      string `json:"linkType"`
	BatchID       string `json:"transactionBatchId"`
	MailingListID string `json:"mailingListId"`
	Description   string `json:"description"`
	Expires       string `json:"expirationDate"`
}

// link is an element of the links (§3.7).
type link map[string]any

func newBrand(t *testing.T) *brand {
	v := &brand{Vendor: servicetest.NewVendor(t)}
	for pattern, h := range map[string]servicetest.Handler{
		createContact: v.createContact, searchContacts: v.searchContacts, readContact: v.readContact,
		createTransaction: v.createTransaction, listTransactions: v.listTransactions, createBatch: v.createBatch,
		createDistribution: v.createDistribution, listDistributions: v.listDistributions, readLinks: v.readLinks,
		readHistory: v.readHistory, whoAmI: v.whoAmI, directories: v.directories,
		startImport: v.startImport, importStatus: v.importStatus, importReport: v.importReport, listBatch: v.listBatch,
	} {
		v.Handle(pattern, func(c servicetest.Call) servicetest.Reply {
			if v.instead != nil {
				if r := v.instead(pattern, c); r != nil {
					return *r
				}
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if c.Header.Get("X-API-TOKEN") != token {
				return refused(http.StatusUnauthorized, "", "Token is not valid")
			}
			if c.Body != "" && c.Header.Get("Content-Type") != "application/json" {
				return refused(http.StatusUnsupportedMediaType, "", "Not JSON")
			}
			return h(c)
		})
	}
	return v
}

func result(v any) servicetest.Reply {
	return servicetest.Reply{Body: map[string]any{
		"result": v, "meta": map[string]any{"httpStatus": "200 - OK", "requestId": nil, "notice": nil},
	}}
}

func refused(status int, code, message string) servicetest.Reply {
	return servicetest.Reply{Status: status, Body: map[string]any{"meta": map[string]any{
		"httpStatus": fmt.Sprint(status), "error": map[string]any{"errorCode": code, "errorMessage": message},
	}}}
}

func contactID(n int) string { return fmt.Sprintf("CID_%d", n) }
func lookupID(n int) string  { return fmt.Sprintf("CGC_%d", n) }

// index of an id such as CID_3, -1 for one that does not exist.
func index(id, prefix string, n int) int {
	var i int
	if _, err := fmt.Sscanf(id, prefix+"_%d", &i); err != nil || i >= n {
		return -1
	}
	return i
}

func (v *brand) createContact(c servicetest.Call) servicetest.Reply {
	var sent contact
	if err := c.Decode(&sent); err != nil {
		return refused(400, "RP_9", err.Error())
	}
	if c.Value("list") != list {
		return refused(404, "PACC_6", "Mailing List not found")
	}
	n := v.same(importRow{FirstName: sent.FirstName, LastName: sent.LastName, Email: sent.Email, ExtRef: sent.ExtRef})
	if n < 0 {
		v.contacts = append(v.contacts, sent)
		n = len(v.contacts) - 1
	}
	v.contacts[n] = sent
	return result(map[string]any{"id": contactID(n), "contactLookupId": lookupID(n)})
}

func (v *brand) searchContacts(c servicetest.Call) servicetest.Reply {
	var sent struct {
		Filter struct {
			FilterType string `json:"filterType"`
			Comparison string `json:"comparison"`
			Value      string `json:"value"`
		} `json:"filter"`
	}
	if err := c.Decode(&sent); err != nil || sent.Filter.Comparison != "eq" || sent.Filter.Value == "" {
		return refused(400, "RP_9", "the filter is wrong")
	}
	found := []any{}
	for n, have := range v.contacts {
		value := map[string]string{"extRef": have.ExtRef, "email": have.Email}[sent.Filter.FilterType]
		if strings.EqualFold(value, sent.Filter.Value) {
			found = append(found, map[string]any{"id": contactID(n), "externalDataReference": have.ExtRef})
		}
	}
	return result(map[string]any{"elements": found})
}

func (v *brand) readContact(c servicetest.Call) servicetest.Reply {
	n := index(c.Value("contact"), "CID", len(v.contacts))
	if n < 0 {
		return refused(404, "", "Contact not found")
	}
	return result(map[string]any{"contactId": contactID(n), "mailingListMembership": map[string]any{
		list: map[string]any{"contactLookupId": lookupID(n), "unsubscribed": false},
	}})
}

var plainTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`)

func (v *brand) createTransaction(c servicetest.Call) servicetest.Reply {
	var sent map[string]transaction
	if err := c.Decode(&sent); err != nil {
		return refused(400, "RP_9", err.Error())
	}
	created, unprocessed := map[string]any{}, map[string]any{}
	for key, one := range sent {
		if n := index(one.ContactID, "CID", len(v.contacts)); n < 0 || v.gone[n] || one.MailingListID != list || one.Date != "" && !plainTime.MatchString(one.Date) {
			unprocessed[key] = map[string]any{"error": "TR_1", "errorMessage": "contact, list or date is wrong"}
			continue
		}
		for name, value := range one.Data {
			switch value.(type) {
			case string, float64, bool:
			default:
				return refused(400, "TR_2", name+" is no plain value")
			}
		}
		if why, refuse := one.Data["refuse"].(string); refuse {
			unprocessed[key] = map[string]any{"error": "TR_3", "errorMessage": strings.Replace(why, "this", "the", 1) + " is not wanted"}
			continue
		}
		v.transactions = append(v.transactions, one)
		created[key] = map[string]any{"id": fmt.Sprintf("CTR_%d", len(v.transactions)-1)}
	}
	return result(map[string]any{"createdTransactions": created, "unprocessedTransactions": unprocessed})
}

func (v *brand) listTransactions(c servicetest.Call) servicetest.Reply {
	if c.Query.Get("withData") != "true" {
		return refused(400, "", "without data there is nothing to find")
	}
	found := []any{}
	for n, have := range v.transactions {
		if have.ContactID == c.Value("contact") {
			data := map[string]any{}
			for name, value := range have.Data {
				data[name] = fmt.Sprint(value) // values come back as texts
			}
			found = append(found, map[string]any{"transactionId": fmt.Sprintf("CTR_%d", n), "data": data})
		}
	}
	return result(map[string]any{"elements": found, "nextPage": nil})
}

func (v *brand) createBatch(c servicetest.Call) servicetest.Reply {
	var sent struct {
		TransactionIDs []string `json:"transactionIds"`
		CreationDate   string   `json:"creationDate"`
	}
	if err := c.Decode(&sent); err != nil || !plainTime.MatchString(sent.CreationDate) {
		return refused(400, "RP_9", "the batch is wrong")
	}
	if v.noEmptyBatch && len(sent.TransactionIDs) == 0 {
		return refused(400, "TB_1", "transactionIds must not be empty")
	}
	for _, id := range sent.TransactionIDs {
		if index(id, "CTR", len(v.transactions)) < 0 {
			return refused(400, "", "Transaction not found")
		}
	}
	v.batches = append(v.batches, sent.TransactionIDs)
	return result(map[string]any{"id": fmt.Sprintf("BT_%d", len(v.batches)-1)})
}

func (v *brand) createDistribution(c servicetest.Call) servicetest.Reply {
	var sent distribution
	if err := c.Decode(&sent); err != nil {
		return refused(400, "RP_9", "Unexpected json key provided")
	}
	switch {
	case sent.SurveyID != survey:
		return refused(404, "GSI_2", "Survey not found.")
	case sent.Action != "CreateTransactionBatchDistribution" || sent.LinkType != "Individual" || sent.Description == "",
		index(sent.BatchID, "BT", len(v.batches)) < 0, sent.MailingListID != list, !plainTime.MatchString(sent.Expires):
		return refused(400, "RP_10", "Expected param not found")
	}
	v.distributions = append(v.distributions, sent)
	return result(map[string]any{"id": fmt.Sprintf("EMD_%d", len(v.distributions)-1)})
}

func (v *brand) listDistributions(c servicetest.Call) servicetest.Reply {
	found := []any{}
	for n, have := range v.distributions {
		if have.SurveyID == c.Query.Get("surveyId") {
			found = append(found, map[string]any{"id": fmt.Sprintf("EMD_%d", n), "description": have.Description, "requestType": "GeneratedInvite"})
		}
	}
	return result(map[string]any{"elements": found, "nextPage": nil})
}

func (v *brand) readLinks(c servicetest.Call) servicetest.Reply {
	n := index(c.Value("distribution"), "EMD", len(v.distributions))
	if n < 0 || c.Query.Get("surveyId") != survey {
		return refused(404, "GED_3", "Distribution not found.")
	}
	if v.late > 0 {
		v.late--
		return result(map[string]any{"elements": []any{}, "nextPage": nil})
	}
	v.settleImports()
	links := []link{}
	for _, id := range v.batches[index(v.distributions[n].BatchID, "BT", len(v.batches))] {
		of := v.transactions[index(id, "CTR", len(v.transactions))]
		who := index(of.ContactID, "CID", len(v.contacts))
		links = append(links, link{
			"contactId": lookupID(who), "transactionId": id, "link": url(n, index(id, "CTR", len(v.transactions))), "exceededContactFrequency": false,
			"linkExpiration": "2026-10-24T00:00:00Z", "status": "Email not sent", "externalDataReference": v.contacts[who].ExtRef,
			"email": v.contacts[who].Email, "firstName": v.contacts[who].FirstName, "unsubscribed": false,
		})
	}
	if v.change != nil {
		links = v.change(links)
	}
	return v.linkPage(c, links)
}

func url(distribution, transaction int) string {
	return fmt.Sprintf("https://simbrand.eu.qualtrics.com/jfe/form/SV_1?Q_DL=secret-%d_%d&Q_CHL=gl", distribution, transaction)
}

// made counts what matters: contacts, transactions, distributions.
func (v *brand) made() [3]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return [3]int{len(v.contacts), len(v.transactions), len(v.distributions)}
}

// body decodes the one body that was sent under a pattern.
func (v *brand) body(t *testing.T, pattern string) map[string]any {
	t.Helper()
	calls := v.Calls(pattern)
	if len(calls) != 1 {
		t.Fatalf("%d calls of %s, want 1", len(calls), pattern)
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(calls[0].Body), &sent); err != nil {
		t.Fatal(err)
	}
	return sent
}
