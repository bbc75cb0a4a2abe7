package qualtrics

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of question.
const (
	// Choice is one of [Question.Choices]. Its value is the choice's place, from 1, as an integer; its label the text.
	Choice = "choice"
	// Number is a whole number from [Question.Low] to [Question.High]. Its value is that integer.
	Number = "number"
	// Text is free text. Its value is a string under the id with _TEXT appended.
	Text = "text"
	// Date is a text entry that takes YYYY-MM-DD only. Its value is that of [Text].
	Date = "date"
)

// Survey is a survey as its author built it (qualtrics.md §3.13).
type Survey struct {
	// ID begins with SV_.
	ID string
	// Name is the title that people read above the questions.
	Name string
	// Active says whether the survey takes answers and may be distributed.
	Active bool
	// Anonymize keeps the recipient's fields out of the responses.
	Anonymize bool
	// Flow declares the embedded data of the survey. Data of a contact, a transaction or the link's query string that
	// is not declared here vanishes from the response (qualtrics.md §8.9).
	Flow []Field
	// Questions stand on one page, in this order.
	Questions []Question
}

// Field is one embedded-data field declared in the survey flow.
type Field struct {
	// Name is what the data of contact and transaction, and the response, call it.
	Name string
	// Set, where not empty, is the value that the flow sets, with piped text such as ${e://Field/requestId}.
	Set string
}

// Question is one question of a survey.
type Question struct {
	// ID begins with QID.
	ID string
	// Kind is choice, number, text or date.
	Kind string
	// Text is what is asked.
	Text string
	// Choices are the texts to choose from; only of kind choice.
	Choices []string
	// Low and High bound a number.
	Low, High int
	// LowText and HighText say in words what the bounds of a number mean.
	LowText, HighText string
	// Required refuses a page without an answer.
	Required bool
	// Field, where not empty, is an embedded-data field that the end of the survey flow sets to the answer in words:
	// the choice's text, the number's digits, the text. Survey authors do this to give answers stable names, and to
	// have texts instead of the codes that the API gives for choices. A field that bears the name of the question
	// itself takes the place of the code in the flat values of the response; labels keeps the text in any case.
	Field string
}

var (
	pipedText  = regexp.MustCompile(`\$\{([a-z]+)://([^}]*)\}`)
	questionID = regexp.MustCompile(`^QID[0-9]+$`)
)

// check tells what is wrong with a survey.
func (v Survey) check() error {
	if !strings.HasPrefix(v.ID, "SV_") {
		return fmt.Errorf("survey %q: an id begins with SV_", v.ID)
	}
	seen := map[string]bool{}
	for _, q := range v.Questions {
		if err := q.check(); err != nil {
			return fmt.Errorf("survey %s: %w", v.ID, err)
		}
		if seen[q.ID] {
			return fmt.Errorf("survey %s: %s is there twice", v.ID, q.ID)
		}
		if q.Field != "" && !v.declares(q.Field) {
			return fmt.Errorf("survey %s: the flow does not declare field %q of %s", v.ID, q.Field, q.ID)
		}
		seen[q.ID] = true
	}
	return nil
}

// declares tells whether the flow declares an embedded-data field.
func (v Survey) declares(name string) bool {
	return slices.ContainsFunc(v.Flow, func(f Field) bool { return f.Name == name })
}

func (q Question) check() error {
	switch {
	case !questionID.MatchString(q.ID):
		return fmt.Errorf("question %q: an id is QID and a number", q.ID)
	case q.Kind == Choice && len(q.Choices) < 2:
		return fmt.Errorf("%s: a choice needs two choices at least", q.ID)
	case q.Kind == Number && q.Low >= q.High:
		return fmt.Errorf("%s: low must be below high", q.ID)
	case !slices.Contains([]string{Choice, Number, Text, Date}, q.Kind):
		return fmt.Errorf("%s: there is no kind %q", q.ID, q.Kind)
	}
	return nil
}

// key is the name of the answer in a response's values.
func (q Question) key() string {
	if q.Kind == Text || q.Kind == Date {
		return q.ID + "_TEXT"
	}
	return q.ID
}

// codes are the values that a choice or number was shown with.
func (q Question) codes() []int {
	low, high := q.Low, q.High
	if q.Kind == Choice {
		low, high = 1, len(q.Choices)
	}
	var codes []int
	for code := low; code <= high && (q.Kind == Choice || q.Kind == Number); code++ {
		codes = append(codes, code)
	}
	return codes
}

// option is one radio button: what the form sends, and what people read.
type option struct{ Value, Label string }

// options are the radio buttons of a choice or number, for the page.
func (q Question) options() []option {
	var options []option
	for _, code := range q.codes() {
		value := strconv.Itoa(code)
		label := value
		if q.Kind == Choice {
			label = q.Choices[code-1]
		}
		options = append(options, option{value, label})
	}
	return options
}

// answer is what a person gave to one question; the zero value is no answer.
type answer struct {
	value any    // as the API gives it
	words string // as a person reads it
}

// read takes the answer that a form field holds, or tells the person who answers what is wrong with it.
func (q Question) read(given string) (a answer, wrong string) {
	given = strings.TrimSpace(given)
	if given == "" {
		if q.Required {
			return a, "Please answer this question."
		}
		return a, ""
	}
	switch q.Kind {
	case Text:
		return answer{given, given}, ""
	case Date:
		if _, err := time.Parse(time.DateOnly, given); err != nil {
			return a, "Please give a date as YYYY-MM-DD."
		}
		return answer{given, given}, ""
	}
	for i, o := range q.options() {
		if o.Value == given {
			return answer{q.codes()[i], o.Label}, ""
		}
	}
	return a, "Please choose one of the answers shown."
}

// pipe fills in piped text; what look does not know becomes empty. Nothing is escaped (qualtrics.md §3.11).
func pipe(text string, look func(kind, path string) string) string {
	return pipedText.ReplaceAllStringFunc(text, func(piped string) string {
		parts := pipedText.FindStringSubmatch(piped)
		return look(parts[1], parts[2])
	})
}
