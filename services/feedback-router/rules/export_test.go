package rules

import (
	"context"

	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// EvaluateIn is Evaluate with a time limit of the test's choice.
func (s *Set) EvaluateIn(ctx context.Context, r *eventsv1.SurveyResponseReceived) []Outcome {
	return s.evaluate(ctx, r)
}
