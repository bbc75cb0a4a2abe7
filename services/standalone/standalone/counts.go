package standalone

import (
	"fmt"
	"strings"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// tally is how many there are of something, and how many of them were made twice.
type tally struct{ count, twice int }

// counts is what a campaign has led to.
type counts struct {
	links, interactions, mails, answers, tasks, recognitions tally
}

type row struct {
	what, where string
	tally
}

func (c counts) rows() []row {
	return []row{
		{"links", "Qualtrics", c.links},
		{"interactions", "SAP Marketing Cloud", c.interactions},
		{"mails", "SAP Marketing Cloud", c.mails},
		{"answers", "SAP Marketing Cloud", c.answers},
		{"tasks", "SAP Sales Cloud", c.tasks},
		{"recognitions", "Awardco", c.recognitions},
	}
}

// reached tells whether everything that is expected is there.
func (c counts) reached(want counts) bool {
	for i, row := range c.rows() {
		if row.count < want.rows()[i].count {
			return false
		}
	}
	return true
}

// wrong says what is missing, too much, or there twice; nil when nothing is.
func (c counts) wrong(want counts) error {
	var faults []string
	for i, row := range c.rows() {
		if wanted := want.rows()[i].count; row.count < wanted {
			faults = append(faults, fmt.Sprintf("%d of %d %s", row.count, wanted, row.what))
		}
		if row.twice > 0 {
			faults = append(faults, fmt.Sprintf("%d %s twice", row.twice, row.what))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("not as expected: %s", strings.Join(faults, ", "))
}

// Check holds the vendors' books against what a campaign must lead to. The error says what is
// missing, or there twice.
func Check(b landscape.Books, want landscape.Expectation) error {
	return count(b).wrong(expectation(want))
}

// expectation is what the traits of the simulated people lead to.
func expectation(e landscape.Expectation) counts {
	return counts{
		links: tally{count: e.Links}, interactions: tally{count: e.Interactions}, mails: tally{count: e.Mails},
		answers: tally{count: e.Answers}, tasks: tally{count: e.Tasks}, recognitions: tally{count: e.Recognitions},
	}
}

// count reads the vendors' own books: what counts is what was done there, not what we think we did.
func count(b landscape.Books) counts {
	var c counts
	c.links = tallyOf(b.Qualtrics.Transactions, func(i int) string { return b.Qualtrics.Transactions[i].Data["requestId"] })
	c.links.count = min(c.links.count, len(b.Qualtrics.Links))
	c.interactions = tallyOf(b.Marketing.Interactions, func(i int) string {
		return only(b.Marketing.Interactions[i].Type == "SURVEY_LINK_CREATED", b.Marketing.Interactions[i].SourceObject)
	})
	c.mails = tallyOf(b.Marketing.Mails, func(i int) string { return b.Marketing.Mails[i].OutboundID })
	c.answers = tallyOf(b.Marketing.Interactions, func(i int) string {
		return only(b.Marketing.Interactions[i].Type == "SURVEY_RESPONSE", b.Marketing.Interactions[i].SourceObject)
	})
	c.tasks = tallyOf(b.SalesCloud.Tasks, func(i int) string {
		_, reference, _ := strings.Cut(b.SalesCloud.Tasks[i].Subject, "[")
		return reference
	})
	c.recognitions = tallyOf(b.Awardco.Recognitions, func(i int) string {
		return strings.Join(b.Awardco.Recognitions[i].Tags, ",")
	})
	return c
}

func only(yes bool, key string) string {
	if !yes {
		return ""
	}
	return key
}

// tallyOf counts the different keys, and what there is more than one of each. An empty key does not count.
func tallyOf[T any](all []T, key func(int) string) tally {
	seen := map[string]bool{}
	var t tally
	for i := range all {
		k := key(i)
		switch {
		case k == "":
		case seen[k]:
			t.twice++
		default:
			seen[k] = true
			t.count++
		}
	}
	return t
}
