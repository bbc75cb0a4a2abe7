// Package subjects is the list of what closeloop's services say to each other: each subject with the message it
// carries and the business key that tells two events apart. It is the only home of subject names.
package subjects

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// The subjects. The type of a CloudEvent (ce-type) equals its subject.
const (
	SurveyLinkRequested    = "survey.link.requested"
	SurveyLinkCreated      = "survey.link.created"
	SurveyLinkSuppressed   = "survey.link.suppressed"
	SurveyResponseNotified = "survey.response.notified"
	SurveyResponseReceived = "survey.response.received"
	FeedbackDeliveryLate   = "feedback.delivery_late"
	RecognitionRequested   = "recognition.requested"
	InteractionWritten     = "interaction.written"
	TaskCreated            = "task.created"
	RecognitionSubmitted   = "recognition.submitted"
	RecognitionApproved    = "recognition.approved"
	RecognitionDeclined    = "recognition.declined"
	OrderCompleted         = "order.completed"
	ErasureRequested       = "survey.erasure.requested"
	ErasureCompleted       = "survey.erasure.completed"
)

// FeedbackPrefix begins every subject that a rule may publish a [eventsv1.FeedbackRaised] to: feedback.wrong_price.
const FeedbackPrefix = "feedback."

// chosen stands in [All] for every subject that rules choose; it is a pattern, and no event's subject.
const chosen = FeedbackPrefix + "*"

// Contract says what one subject carries.
type Contract struct {
	// Subject is the subject, or "feedback.*" for those that rules choose.
	Subject string
	// Doc is one sentence for readers of the AsyncAPI document.
	Doc string
	// New makes an empty message of the subject's type.
	New func() proto.Message
	// BusinessKey gives what is unique about a message: the same key is the same event, however often it is said.
	// The zero message gives "".
	BusinessKey func(proto.Message) string
}

// All lists the contracts in the order in which a loop meets them.
var All = []Contract{
	contract(SurveyLinkRequested, "A personal survey link is wanted.",
		func(m *eventsv1.SurveyLinkRequested) string { return m.GetRequestId() }),
	contract(SurveyLinkCreated, "A personal survey link exists.",
		func(m *eventsv1.SurveyLinkCreated) string { return m.GetRequestId() }),
	contract(SurveyLinkSuppressed, "The person must not be invited now.",
		func(m *eventsv1.SurveyLinkSuppressed) string { return m.GetRequestId() }),
	contract(SurveyResponseNotified, "A response exists; its answers are to be fetched.",
		func(m *eventsv1.SurveyResponseNotified) string { return m.GetResponseId() }),
	contract(SurveyResponseReceived, "A response with its answers.",
		func(m *eventsv1.SurveyResponseReceived) string { return m.GetResponseId() }),
	contract(FeedbackDeliveryLate, "A person is to look at a complaint about a late delivery.", feedbackKey),
	contract(chosen, "A person is to look at an answer; rules choose the subject.", feedbackKey),
	contract(RecognitionRequested, "An employee is to be recognised.",
		func(m *eventsv1.RecognitionRequested) string { return m.GetResponseId() }),
	contract(InteractionWritten, "SAP Marketing Cloud holds the interaction.",
		func(m *eventsv1.InteractionWritten) string {
			return m.GetKind() + "/" + cmp.Or(m.GetResponseId(), m.GetRequestId())
		}),
	contract(TaskCreated, "The task exists in SAP Sales Cloud.",
		func(m *eventsv1.TaskCreated) string { return m.GetResponseId() + "/" + m.GetObjectId() }),
	contract(RecognitionSubmitted, "Awardco took the recognition.",
		func(m *eventsv1.RecognitionSubmitted) string { return m.GetResponseId() }),
	contract(RecognitionApproved, "An approver in Awardco granted the recognition.",
		func(m *eventsv1.RecognitionApproved) string { return m.GetResponseId() + "/" + m.GetRecognitionId() }),
	contract(RecognitionDeclined, "An approver in Awardco denied the recognition.",
		func(m *eventsv1.RecognitionDeclined) string { return m.GetResponseId() + "/" + m.GetRecognitionId() }),
	contract(OrderCompleted, "S/4HANA reported a service order as completed.",
		func(m *eventsv1.OrderCompleted) string {
			return m.GetServiceOrder() + "/" + m.GetChangedAt().AsTime().UTC().Format("20060102T150405.000")
		}),
	contract(ErasureRequested, "A person is to be forgotten by the vendors.",
		func(m *eventsv1.ErasureRequested) string { return m.GetErasureId() }),
	contract(ErasureCompleted, "What became of that at one vendor.",
		func(m *eventsv1.ErasureCompleted) string {
			if m.GetErasureId() == "" {
				return ""
			}
			return m.GetErasureId() + "/" + m.GetVendor()
		}),
}

// Find gives the contract of a subject; feedback.<any name> is found as the contract that rules publish to.
func Find(subject string) (Contract, bool) {
	if i := slices.IndexFunc(All, func(c Contract) bool { return c.Subject == subject }); i >= 0 && subject != chosen {
		return All[i], true
	}
	name, isFeedback := strings.CutPrefix(subject, FeedbackPrefix)
	if !isFeedback || !isToken(name) {
		return Contract{}, false
	}
	c := All[slices.IndexFunc(All, func(c Contract) bool { return c.Subject == chosen })]
	c.Subject = subject
	return c, true
}

// isToken tells whether a name can stand in a subject, in ce-type and in Nats-Msg-Id alike: visible UTF-8 that is one token.
func isToken(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return strings.ContainsRune(".*>", r) || unicode.IsSpace(r) || !unicode.IsGraphic(r)
	})
}

func feedbackKey(m *eventsv1.FeedbackRaised) string { return m.GetResponseId() }

func contract[M proto.Message](subject, doc string, key func(M) string) Contract {
	return Contract{
		Subject: subject,
		Doc:     doc,
		New: func() proto.Message {
			var m M
			return m.ProtoReflect().New().Interface()
		},
		BusinessKey: func(m proto.Message) string {
			if typed, ok := m.(M); ok {
				return key(typed)
			}
			return ""
		},
	}
}
