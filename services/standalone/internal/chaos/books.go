package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// verdict is what the vendors' books say about a workload.
type verdict struct {
	// expected is how many effects there are to be; lost of them are not there, twice are there more than once.
	expected    int
	lost, twice []string
	// foreign are links that belong to somebody else than whom they were given to, and effects that nobody asked for.
	foreign []string
}

// judge holds the vendors' books against what the accepted inputs must have led to. What was in them earlier does not
// count.
func judge(w *workload, b landscape.Books, earlier map[string]int) verdict {
	var v verdict
	there, owner := inBooks(b)
	for key, n := range earlier {
		if there[key] -= n; there[key] == 0 {
			delete(there, key)
		}
	}
	wanted := map[string]bool{}
	for _, in := range w.inputs {
		if in.accepted && in.of != nil && in.key == "" {
			v.expected++
			v.lost = append(v.lost, "answer to "+in.of.key)
		}
		for _, e := range in.effects() {
			key := e.ledger.String()
			wanted[key] = true
			if !in.accepted {
				continue
			}
			v.expected++
			switch n := there[key]; {
			case n == 0:
				v.lost = append(v.lost, key)
			case n > 1:
				v.twice = append(v.twice, fmt.Sprintf("%s (%d)", key, n))
			}
		}
		if in.link != "" && owner[in.link] != (whose{in.key, in.person}) {
			v.foreign = append(v.foreign, fmt.Sprintf("%s got the link of %s", in.key, cmp.Or(owner[in.link].request, "nobody")))
		}
	}
	for key := range there {
		if !wanted[key] {
			v.foreign = append(v.foreign, key+" is there and was not asked for")
		}
	}
	links := map[string]string{}
	for _, in := range w.inputs {
		if in.kind == invitation {
			links[cmp.Or(in.outboundID, in.key)] = in.link
		}
	}
	for _, i := range b.Marketing.Interactions {
		if i.Type == linkCreated && earlier[effect.Interaction(i.Type, i.SourceObject).String()] == 0 && i.Link != links[i.SourceObject] {
			v.foreign = append(v.foreign, "the interaction of "+i.SourceObject+" carries another link than its event")
		}
	}
	slices.Sort(v.lost)
	slices.Sort(v.twice)
	slices.Sort(v.foreign)
	return v
}

// whose is whom a link belongs to in Qualtrics.
type whose struct{ request, person string }

// inBooks counts the effects that the vendors hold, by the keys of their records in the ledger, and tells whose each
// link that works is.
func inBooks(b landscape.Books) (there map[string]int, owner map[string]whose) {
	there, owner = map[string]int{}, map[string]whose{}
	requests, people, deleted := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, t := range b.Qualtrics.Transactions {
		requests[t.ID] = t.Data["requestId"]
	}
	for _, c := range b.Qualtrics.Contacts {
		people[c.ID] = c.ExtRef
	}
	for _, d := range b.Qualtrics.Distributions {
		deleted[d.ID] = d.Deleted
	}
	for _, l := range b.Qualtrics.Links {
		request := requests[l.TransactionID]
		there[effect.Link(request).String()]++
		if !deleted[l.DistributionID] && time.Now().Before(l.ExpiresAt) {
			owner[l.URL] = whose{request, people[l.ContactID]}
		}
	}
	for _, i := range b.Marketing.Interactions {
		if i.Type == linkCreated || i.Type == surveyResponse {
			there[effect.Interaction(i.Type, i.SourceObject).String()]++
		}
	}
	for _, t := range b.SalesCloud.Tasks {
		there[effect.Task(reference(t.Subject), "").String()]++
	}
	for _, r := range b.Awardco.Recognitions {
		there[effect.Recognition(strings.TrimPrefix(strings.Join(r.Tags, ","), "ref-")).String()]++
	}
	return there, owner
}

// reference is what stands in brackets at the end of a task's subject.
func reference(subject string) string {
	_, r, _ := strings.Cut(subject, "[")
	return strings.TrimSuffix(r, "]")
}
