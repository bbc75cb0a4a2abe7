package people

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// Person is a simulated customer: who it is, and how it behaves when it is asked something.
type Person struct {
	ExternalID string `json:"externalId"` // P-1001 and on; empty for a stranger
	FirstName  string `json:"firstName,omitempty"`
	LastName   string `json:"lastName,omitempty"`
	Email      string `json:"email"`
	Language   string `json:"language,omitempty"`

	// Answers says whether the person answers surveys at all.
	Answers bool `json:"answers"`
	// Patience says how long after a mail it does, as a part of the time between the least and the most: 0 to 1.
	Patience float64 `json:"patience"`
	// Score is the mark that the person gives, 1 to 5, Why the reason.
	Score int    `json:"score"`
	Why   string `json:"why"`
	// Reason is what keeps the person from ordering; ContactMe whether it wants to be contacted about it.
	Reason    string `json:"reason"`
	ContactMe bool   `json:"contactMe"`
	// Remark is what the person adds where there is room for it; often nothing.
	Remark string `json:"remark"`
	// WantsWithin is how many days from now the person wants a delivery.
	WantsWithin int `json:"wantsWithin"`
}

var (
	firstNames = []string{"Ada", "Ben", "Chiara", "David", "Elif", "Farid", "Grace", "Hana", "Ivo", "Jana", "Kofi", "Lena",
		"Marek", "Noor", "Oskar", "Priya", "Quentin", "Rosa", "Selma", "Tomas"}
	lastNames = []string{"Adler", "Brandt", "Costa", "Dubois", "Eriksen", "Fontana", "Gruber", "Holm", "Ivanova", "Jansen",
		"Keller", "Lindgren", "Moreau", "Novak", "Okafor", "Petrov", "Rossi", "Santos", "Tanaka", "Weber"}
	languages = []string{"EN", "DE", "FR", "EN"}
	reasons   = []string{"Delivery too late", "Price too high", "Just browsing"}
	remarks   = []string{"", "", "Please call after five.", "I compared three shops; yours was the clearest.",
		"The size I need is often sold out."}
	whys = map[int][]string{
		1: {"Nobody came, and nobody called.", "The machine still does not work."},
		2: {"I waited for half a day.", "It took three visits."},
		3: {"It works again, but I had to explain everything twice.", "Fine, but not cheap."},
		4: {"On time and friendly.", "Solved at the first visit."},
		5: {"Quick, friendly, and left the place cleaner than before.", "Explained every step; could not be better."},
	}
)

// PersonAt gives the person of that number, from 0. The same seed and number are the same person.
func PersonAt(seed uint64, index int) Person {
	random := rand.New(rand.NewPCG(seed, uint64(index)))
	firstName, lastName := pick(random, firstNames), pick(random, lastNames)
	p := PersonOf(seed, strings.ToLower(fmt.Sprintf("%s.%s.%d@example.com", firstName, lastName, 1001+index)))
	p.ExternalID = fmt.Sprintf("P-%d", 1001+index)
	p.FirstName, p.LastName, p.Language = firstName, lastName, pick(random, languages)
	return p
}

// PersonOf gives the behaviour of whoever has that e-mail address, which no case or space around it changes. It is the
// behaviour that [PersonAt] gives to the person of that address.
func PersonOf(seed uint64, email string) Person {
	email = strings.ToLower(strings.TrimSpace(email))
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(email)) // never fails
	random := rand.New(rand.NewPCG(seed, hash.Sum64()))
	p := Person{
		Email: email, Answers: random.Float64() < 0.8, Patience: random.Float64(),
		Score: pick(random, []int{1, 2, 3, 4, 4, 5, 5, 5}), Reason: pick(random, reasons), ContactMe: random.Float64() < 0.7,
		Remark: pick(random, remarks), WantsWithin: 2 + random.IntN(20),
	}
	p.Why = pick(random, whys[p.Score])
	return p
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// answer is what the person gives to a question, as the value that the form sends; empty for nothing. asked are all
// questions of the page.
func (p Person) answer(q question, asked []question) string {
	switch {
	case len(q.options) > 0:
		return p.choose(q)
	case q.kind == "date":
		return time.Now().AddDate(0, 0, p.WantsWithin).Format(time.DateOnly)
	case asksForScore(asked):
		return p.Why
	case p.Remark == "" && q.required:
		return "Nothing to add."
	}
	return p.Remark
}

// choose picks an option as a person does: by what it says.
func (p Person) choose(q question) string {
	for _, wanted := range []string{fmt.Sprint(p.Score), p.Reason, p.solved(q), p.contact(q)} {
		for _, o := range q.options {
			if wanted != "" && strings.EqualFold(o.label, wanted) {
				return o.value
			}
		}
	}
	return q.options[p.WantsWithin%len(q.options)].value
}

// solved answers whether the visit helped, where "partly" is possible.
func (p Person) solved(q question) string {
	switch {
	case !q.offers("partly"):
		return ""
	case p.Score >= 4:
		return "yes"
	case p.Score == 3:
		return "partly"
	}
	return "no"
}

func (p Person) contact(q question) string {
	switch {
	case !q.offers("yes"):
		return ""
	case p.ContactMe:
		return "yes"
	}
	return "no"
}

func asksForScore(asked []question) bool {
	for _, q := range asked {
		if q.offers("1") && q.offers("5") {
			return true
		}
	}
	return false
}
