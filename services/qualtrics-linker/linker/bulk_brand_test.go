package linker_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

// bulk is the brand's import of contacts with transactions (qualtrics.md §3.5).
type bulk struct {
	imports []*job
	// slow is how many times the status of an import says that it is not done.
	slow int
	// dedupe takes two contacts for one that agree in all of it: email, extRef, firstName, lastName. Empty: none are.
	dedupe []string
	// noTransactions leaves the transaction's id out of links, as in 2019.
	noTransactions bool
	// deaf accepts imports and makes nothing of them, as for a list that does not exist.
	deaf bool
	// gone are contacts that were deleted.
	gone map[int]bool
	// leftOut is the reference of somebody whose link the pages never show.
	leftOut string
	// noImports has no imports at all.
	noImports bool
	// noEmptyBatch refuses a batch without transactions.
	noEmptyBatch bool
	// noHistory leaves links out of the history.
	noHistory bool
	// rejectData refuses an import that holds a row whose data says so.
	rejectData bool
	// rejectWhole refuses an import that holds a row with this e-mail, with the status rejectStatus, or 400.
	rejectWhole  string
	rejectStatus int
}

type importRow struct {
	FirstName       string            `json:"firstName"`
	LastName        string            `json:"lastName"`
	Email           string            `json:"email"`
	ExtRef          string            `json:"extRef"`
	Language        string            `json:"language"`
	EmbeddedData    map[string]string `json:"embeddedData"`
	TransactionData map[string]any    `json:"transactionData"`
}

type job struct {
	rows   []importRow
	batch  int
	asked  int
	done   bool
	report []map[string]any
	made   int
}

func (v *brand) startImport(c servicetest.Call) servicetest.Reply {
	if v.noImports {
		return refused(501, "", "Not implemented")
	}
	var sent struct {
		Meta struct {
			BatchID string   `json:"batchId"`
			Fields  []string `json:"fields"`
		} `json:"transactionMeta"`
		Contacts []importRow `json:"contacts"`
	}
	if len(c.Body) > 5<<20 || c.Decode(&sent) != nil || len(sent.Contacts) > 10_000 || len(sent.Meta.Fields) == 0 {
		return refused(400, "IMP_1", "the import is wrong")
	}
	batch := index(sent.Meta.BatchID, "BT", len(v.batches))
	j := &job{batch: batch}
	unprocessed := []any{}
	for n, row := range sent.Contacts {
		if v.rejectData && row.TransactionData["refuse"] != nil || v.rejectWhole != "" && row.Email == v.rejectWhole {
			return refused(cmp.Or(v.rejectStatus, 400), "IMP_2", "a row is wrong: "+row.Email)
		}
		if !v.processed(row, sent.Meta.Fields) {
			unprocessed = append(unprocessed, any(strconv.Itoa(n))) // texts in the vendor's own schema
			continue
		}
		j.rows = append(j.rows, row)
	}
	if v.deaf || batch < 0 || c.Value("list") != list { // no error for Qualtrics
		j.rows = nil
	}
	v.imports = append(v.imports, j)
	return servicetest.Reply{Status: 202, Body: map[string]any{
		"result": map[string]any{"id": fmt.Sprintf("IMPORT_%d", len(v.imports)-1), "contacts": map[string]any{"unprocessed": unprocessed}},
		"meta":   map[string]any{"httpStatus": "202 - Accepted"},
	}}
}

func (v *brand) processed(row importRow, fields []string) bool {
	for name, value := range row.TransactionData {
		if value == nil || value == "this row" || !slices.Contains(fields, name) {
			return false
		}
	}
	for name := range row.EmbeddedData {
		if slices.Contains(fields, name) {
			return false
		}
	}
	return true
}

// carryOut makes contacts, transactions and their membership in the batch.
func (v *brand) carryOut(j *job) {
	if j.done {
		return
	}
	j.done = true
	for _, row := range j.rows {
		who := v.same(row)
		made := contact{FirstName: row.FirstName, LastName: row.LastName, Email: row.Email, ExtRef: row.ExtRef, Language: row.Language, EmbeddedData: row.EmbeddedData}
		if who < 0 {
			v.contacts = append(v.contacts, made)
			who = len(v.contacts) - 1
		} else {
			v.contacts[who] = made // whoever comes later overwrites, the reference too
		}
		v.transactions = append(v.transactions, transaction{ContactID: contactID(who), MailingListID: list, Data: row.TransactionData})
		id := fmt.Sprintf("CTR_%d", len(v.transactions)-1)
		v.batches[j.batch] = append(v.batches[j.batch], id)
		j.made++
		j.report = append(j.report, map[string]any{
			"sourceIndexId": strconv.Itoa(len(j.report)), "email": row.Email, "phone": "", "contactId": contactID(who), "transactionId": id,
			"contactListContactId": lookupID(who), "importStatus": "invented", "transactionStatus": "invented",
		})
	}
}

func (v *brand) same(row importRow) int {
	if len(v.dedupe) == 0 {
		return -1
	}
	key := func(c contact) string {
		values := map[string]string{"email": c.Email, "extRef": c.ExtRef, "firstName": c.FirstName, "lastName": c.LastName}
		var parts []string
		for _, field := range v.dedupe {
			if values[field] == "" {
				return "" // a record that lacks a field of the rule skips it
			}
			parts = append(parts, strings.ToLower(strings.TrimSpace(values[field])))
		}
		return strings.Join(parts, "\x00")
	}
	wanted := key(contact{FirstName: row.FirstName, LastName: row.LastName, Email: row.Email, ExtRef: row.ExtRef})
	if wanted == "" {
		return -1
	}
	return slices.IndexFunc(v.contacts, func(c contact) bool { return key(c) == wanted })
}

func (v *brand) settleImports() {
	for _, j := range v.imports {
		v.carryOut(j)
	}
}

func (v *brand) job(c servicetest.Call) *job {
	n := index(c.Value("import"), "IMPORT", len(v.imports))
	if n < 0 {
		return nil
	}
	return v.imports[n]
}

func (v *brand) importStatus(c servicetest.Call) servicetest.Reply {
	j := v.job(c)
	if j == nil {
		return refused(404, "", "Job not found")
	}
	if j.asked++; j.asked > v.slow {
		v.carryOut(j)
	}
	percent := 50
	if j.done {
		percent = 100
	}
	return result(map[string]any{
		"percentComplete": percent, "status": "invented",
		"contacts":     map[string]any{"count": map[string]any{"added": j.made, "updated": 0, "failed": 0}},
		"transactions": map[string]any{"count": map[string]any{"created": j.made}},
	})
}

func (v *brand) importReport(c servicetest.Call) servicetest.Reply {
	j := v.job(c)
	if j == nil {
		return refused(404, "", "Job not found")
	}
	from, _ := strconv.Atoi(c.Query.Get("skipToken"))
	to := min(from+100, len(j.report))
	body := map[string]any{"results": map[string]any{"importReportEntries": j.report[from:to]}}
	if to < len(j.report) {
		body["skipToken"] = strconv.Itoa(to)
	}
	return servicetest.Reply{Body: body}
}

func (v *brand) listBatch(c servicetest.Call) servicetest.Reply {
	n := index(c.Value("batch"), "BT", len(v.batches))
	if n < 0 {
		return refused(404, "", "Batch not found")
	}
	v.settleImports()
	from, _ := strconv.Atoi(c.Query.Get("skipToken"))
	to := min(from+100, len(v.batches[n]))
	found := []any{}
	for _, id := range v.batches[n][from:to] {
		found = append(found, map[string]any{"transactionId": id})
	}
	body := map[string]any{"elements": found}
	if to < len(v.batches[n]) {
		body["skipToken"] = strconv.Itoa(to)
	}
	return result(body)
}

// linkPage gives one page of a hundred links.
func (v *brand) linkPage(c servicetest.Call, links []link) servicetest.Reply {
	links = slices.DeleteFunc(links, func(l link) bool { return v.leftOut != "" && l["externalDataReference"] == v.leftOut })
	if v.noTransactions {
		for _, l := range links {
			delete(l, "transactionId")
		}
	}
	from, _ := strconv.Atoi(c.Query.Get("skipToken"))
	to := min(from+100, len(links))
	body := map[string]any{"elements": links[from:to]} // nextPage may be absent
	if to < len(links) {
		body["nextPage"] = v.URL + "/API/v3/distributions/" + c.Value("distribution") + "/links?surveyId=" + survey + "&skipToken=" + strconv.Itoa(to)
	}
	return result(body)
}

// requestOf gives whose transaction a link is for.
func (v *brand) requestOf(link string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var distribution, transaction int
	if _, err := fmt.Sscanf(link, "https://simbrand.eu.qualtrics.com/jfe/form/SV_1?Q_DL=secret-%d_%d&Q_CHL=gl", &distribution, &transaction); err != nil || transaction >= len(v.transactions) {
		return "nobody: " + link
	}
	return fmt.Sprint(v.transactions[transaction].Data["requestId"])
}

// calls counts what was called.
func (v *brand) calls() map[string]int {
	count := map[string]int{}
	for _, pattern := range worked(v.Patterns()) {
		count[pattern]++
	}
	return count
}

func (v *brand) whoAmI(servicetest.Call) servicetest.Reply {
	return result(map[string]any{"brandId": "simbrand", "userId": "UR_1", "datacenter": "eu"})
}

func (v *brand) directories(servicetest.Call) servicetest.Reply {
	criteria := map[string]bool{}
	for _, field := range v.dedupe {
		criteria[map[string]string{"extRef": "externalDataReference"}[field]+map[string]string{"email": "email", "firstName": "firstName", "lastName": "lastName"}[field]] = true
	}
	return result(map[string]any{"elements": []any{map[string]any{"directoryId": directory, "isDefault": true, "deduplicationCriteria": criteria}}})
}

// worked leaves out what is asked at the start.
func worked(patterns []string) []string {
	return slices.DeleteFunc(slices.Clone(patterns), func(p string) bool { return p == whoAmI || p == directories })
}

func (v *brand) readHistory(c servicetest.Call) servicetest.Reply {
	n := index(c.Value("distribution"), "EMD", len(v.distributions))
	if n < 0 {
		return refused(404, "GED_3", "Distribution not found.")
	}
	rows := []any{}
	for _, id := range v.batches[index(v.distributions[n].BatchID, "BT", len(v.batches))] {
		transaction := index(id, "CTR", len(v.transactions))
		who := v.transactions[transaction].ContactID
		shown := any(url(n, transaction))
		if v.noHistory {
			shown = nil
		}
		rows = append(rows, map[string]any{
			"contactId": who, "contactLookupId": strings.Replace(who, "CID", "CGC", 1), "status": "Success", "surveyLink": shown, "responseId": nil,
		})
	}
	return result(map[string]any{"elements": rows, "nextPage": nil})
}
