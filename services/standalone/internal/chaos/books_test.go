package chaos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// perfect are books in which everything that a workload asks for is there once, as the vendors write them.
func perfect(t *testing.T, w *workload) landscape.Books {
	t.Helper()
	var contacts, transactions, links, interactions, tasks, recognitions []object
	for i, in := range w.inputs {
		if in.of != nil {
			in.key = fmt.Sprint("R_given", i)
		}
		in.accepted = true
		if in.kind == invitation {
			in.link = fmt.Sprint("https://survey.example/", i)
			contacts = append(contacts, object{"id": fmt.Sprint("CID_", i), "extRef": in.person})
			transactions = append(transactions, object{"id": fmt.Sprint("CTR_", i), "data": object{"requestId": in.key}})
			links = append(links, object{
				"url": in.link, "transactionId": fmt.Sprint("CTR_", i), "contactId": fmt.Sprint("CID_", i), "expiresAt": time.Now().Add(time.Hour),
			})
			interactions = append(interactions, object{"type": linkCreated, "sourceObject": cmp.Or(in.outboundID, in.key), "link": in.link})
		}
		if in.kind == answer {
			interactions = append(interactions, object{"type": surveyResponse, "sourceObject": in.key})
		}
		if in.kind == cart || in.outcome == complaint {
			tasks = append(tasks, object{"subject": "Check [" + in.key + "]"})
		}
		if in.outcome == praise {
			recognitions = append(recognitions, object{"tags": []string{"ref-" + in.key}})
		}
	}
	text, err := json.Marshal(object{
		"qualtrics": object{"contacts": contacts, "transactions": transactions, "links": links},
		"marketing": object{"interactions": interactions}, "salesCloud": object{"tasks": tasks}, "awardco": object{"recognitions": recognitions},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b landscape.Books
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheBooksAreReadForWhatIsLostTwiceOrForeign(t *testing.T) {
	for name, c := range map[string]struct {
		spoil                func(*landscape.Books)
		lost, twice, foreign int
	}{
		"all there":        {func(*landscape.Books) {}, 0, 0, 0},
		"a task missing":   {func(b *landscape.Books) { b.SalesCloud.Tasks = b.SalesCloud.Tasks[1:] }, 1, 0, 0},
		"no recognition":   {func(b *landscape.Books) { b.Awardco.Recognitions = nil }, -1, 0, 0},
		"a task twice":     {func(b *landscape.Books) { b.SalesCloud.Tasks = append(b.SalesCloud.Tasks, b.SalesCloud.Tasks[0]) }, 0, 1, 0},
		"a link of nobody": {func(b *landscape.Books) { b.Qualtrics.Links[0].ExpiresAt = time.Now().Add(-time.Hour) }, 0, 0, 1},
		"an unasked task":  {func(b *landscape.Books) { b.SalesCloud.Tasks[0].Subject = "Check [R_other]" }, 1, 0, 1},
		"a changed link":   {relink, 0, 0, 1},
		"links of others": {func(b *landscape.Books) {
			l := b.Qualtrics.Links
			l[0].ContactID, l[1].ContactID = l[1].ContactID, l[0].ContactID
		}, 0, 0, 2},
		"a second for both": {func(b *landscape.Books) { b.Qualtrics.Links = append(b.Qualtrics.Links, b.Qualtrics.Links[:2]...) }, 0, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := plan(1, 100, usual)
			b := perfect(t, w)
			c.spoil(&b)
			v := judge(w, b, nil)
			if c.lost == -1 {
				c.lost = strings.Count(fmt.Sprint(keys(w)), "awardco.recognition/")
			}
			if len(v.lost) != c.lost || len(v.twice) != c.twice || len(v.foreign) != c.foreign || v.expected != len(keys(w)) {
				t.Errorf("lost %q, twice %q, foreign %q of %d; want %d, %d, %d of %d", v.lost, v.twice, v.foreign, v.expected, c.lost, c.twice, c.foreign, len(keys(w)))
			}
		})
	}
}

func TestWhatTheBooksHeldBeforeDoesNotCount(t *testing.T) {
	before := perfect(t, plan(2, 100, usual))
	for i := range before.Qualtrics.Transactions { // ids are not given twice
		before.Qualtrics.Transactions[i].ID += "-before"
	}
	for i := range before.Qualtrics.Links {
		before.Qualtrics.Links[i].TransactionID += "-before"
		before.Qualtrics.Links[i].URL += "-before"
	}
	earlier, _ := inBooks(before)
	w := plan(1, 100, usual)
	b := perfect(t, w)
	b.Qualtrics.Transactions = append(b.Qualtrics.Transactions, before.Qualtrics.Transactions...)
	b.Qualtrics.Links = append(b.Qualtrics.Links, before.Qualtrics.Links...)
	b.Marketing.Interactions = append(b.Marketing.Interactions, before.Marketing.Interactions...)
	b.SalesCloud.Tasks = append(b.SalesCloud.Tasks, before.SalesCloud.Tasks...)
	b.Awardco.Recognitions = append(b.Awardco.Recognitions, before.Awardco.Recognitions...)
	if v := judge(w, b, earlier); len(v.lost)+len(v.twice)+len(v.foreign) > 0 {
		t.Errorf("lost %q, twice %q, foreign %q", v.lost, v.twice, v.foreign)
	}
	b.SalesCloud.Tasks = append(b.SalesCloud.Tasks, before.SalesCloud.Tasks[0])
	if v := judge(w, b, earlier); len(v.foreign) != 1 {
		t.Errorf("a task of before is there once more; foreign %q", v.foreign)
	}
}

// relink changes the link that the first interaction about one carries.
func relink(b *landscape.Books) {
	for i := range b.Marketing.Interactions {
		if one := &b.Marketing.Interactions[i]; one.Type == linkCreated {
			one.Link = "https://survey.example/other"
			return
		}
	}
}

func keys(w *workload) (all []string) {
	for _, in := range w.inputs {
		for _, e := range in.effects() {
			all = append(all, e.ledger.String())
		}
	}
	return all
}

func TestTheSameSeedPutsTheSameIn(t *testing.T) {
	one, again, other := plan(7, 200, usual), plan(7, 200, usual), plan(8, 200, usual)
	said := func(w *workload) string {
		var all []string
		kinds := map[string]int{}
		for _, in := range w.inputs {
			all = append(all, string(in.body()))
			kinds[fmt.Sprint(in.kind, in.outcome, in.door, in.of != nil, in.outboundID != "")]++
		}
		if len(kinds) < 10 {
			t.Errorf("only these kinds: %v", kinds)
		}
		return strings.Join(all, "\n")
	}
	if said(one) != said(again) || said(one) == said(other) {
		t.Error("the inputs do not follow from the seed")
	}
}
