package chaos

import (
	"cmp"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// expected is one effect that an input must have: once in a vendor's books, and an event that tells of it.
type expected struct {
	// what people call it, and the flow in which it is timed.
	what string
	// ledger is the key of its record, and also of the effect in the vendor's books as books.go reads them.
	ledger effect.Key
	// subject and event tell which event follows from it.
	subject, event string
}

const (
	linkCreated    = "SURVEY_LINK_CREATED"
	surveyResponse = "SURVEY_RESPONSE"
)

// effects are what must come of an input. A real answer has none before its key is known. An answer whose recognition is
// refused is an answer all the same, and the unlucky are done when their vendor fails no more.
func (in *input) effects() []expected {
	if in.key == "" || in.poison == invalid {
		return nil
	}
	task := expected{"task", effect.Task(in.key, ""), subjects.TaskCreated, in.key}
	switch {
	case in.poison == refused && in.kind != answer:
		return nil
	case in.kind == invitation:
		return []expected{
			{"link", effect.Link(in.key), subjects.SurveyLinkCreated, in.key},
			{"link's interaction", effect.Interaction(linkCreated, cmp.Or(in.outboundID, in.key)), subjects.InteractionWritten, linkCreated + "/" + in.key},
		}
	case in.kind == cart:
		return []expected{task}
	}
	all := []expected{{"answer's interaction", effect.Interaction(surveyResponse, in.key), subjects.InteractionWritten, surveyResponse + "/" + in.key}}
	switch in.outcome {
	case complaint:
		all = append(all, task)
	case praise:
		if in.poison == refused {
			break
		}
		all = append(all, expected{"recognition", effect.Recognition(in.key), subjects.RecognitionSubmitted, in.key})
	}
	return all
}
