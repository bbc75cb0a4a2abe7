package effect

import "strconv"

// The effects of closeloop and what each is unique by: the only home of their names. The first part of a name, up to
// the dot, is what the broker's permissions are bound to (pkg/bus/topology).

// Link is the personal survey link of one request.
func Link(requestID string) Key { return Key{"qualtrics.link", requestID} }

// Interaction is one interaction of a kind (SURVEY_LINK_CREATED, SURVEY_RESPONSE) in SAP Marketing Cloud, by request or
// response.
func Interaction(kind, id string) Key { return Key{"sap.interaction", kind + "/" + id} }

// Received is the publishing of one response's answers. ingress and feedback-router share it: whoever brings a
// response first, one survey.response.received comes of it.
func Received(responseID string) Key { return Key{"survey.response", responseID} }

// Notified is the publishing of one notification that a response was completed. What Qualtrics signs holds neither time
// nor nonce, so that this alone tells a delivery from its replay (qualtrics.md §3.10).
func Notified(responseID string) Key { return Key{"survey.notified", responseID} }

// Rule is what one rule publishes for one response.
func Rule(responseID, rule string) Key { return Key{"feedback.rule", responseID + "/" + rule} }

// Task is the task of one response in SAP Sales Cloud. matter tells apart what needs a task of its own; it is empty for
// late deliveries.
func Task(responseID, matter string) Key {
	if matter != "" {
		responseID += "/" + matter
	}
	return Key{"c4c.task", responseID}
}

// Recognition is the recognition of one response in Awardco.
func Recognition(responseID string) Key { return Key{"awardco.recognition", responseID} }

// RecognitionIndex leads from Awardco's id of a recognition back to the response that it was made for.
func RecognitionIndex(recognitionID string) Key { return Key{"awardco.index", recognitionID} }

// RecognitionsConfirmed are recognitions of a kind of the last hour or so, which Awardco has confirmed.
func RecognitionsConfirmed(kind string) Key { return Key{"awardco.confirmed", kind} }

// RecognitionHeard is what Awardco itself has told about the recognition of a response, by webhook.
func RecognitionHeard(responseID string) Key { return Key{"awardco.heard", responseID} }

// RecognitionBudget counts the amounts of all recognitions of one day: 2026-11-22.
func RecognitionBudget(day string) Key { return Key{"awardco.budget", day} }

// RecognitionDecision is the publishing of one decision (approved, declined) about a recognition, by Awardco's id of it.
func RecognitionDecision(recognitionID, decision string) Key {
	return Key{"awardco.decision", recognitionID + "/" + decision}
}

// Wave is the joint making of many links, by an id of its own.
func Wave(id string) Key { return Key{"qualtrics.wave", id} }

// WavePage is one page of the links of a wave, from 1 on.
func WavePage(id string, page int) Key {
	return Key{"qualtrics.wave", id + "/page/" + strconv.Itoa(page)}
}

// Contact is what is known of a person's contact in a Qualtrics list; who is a digest of what the directory recognises
// them by. It is remembered, no effect.
func Contact(listID, who string) Key { return Key{"qualtrics.contact", listID + "/" + who} }

// Swept is the notification of one response that the sweep found and Qualtrics never told of.
func Swept(responseID string) Key { return Key{"survey.swept", responseID} }

// SweepTurn keeps whose turn it is to sweep.
func SweepTurn() Key { return Key{"feedback.sweep", "turn"} }

// SweptSurveys keeps the surveys of which answers came.
func SweptSurveys() Key { return Key{"feedback.sweep", "surveys"} }

// Sweep keeps how one distribution stood when the sweep looked at it.
func Sweep(distributionID string) Key { return Key{"feedback.sweep", distributionID} }

// Told is what Awardco has decided about a recognition, by its id of it, before anybody here knew that id.
func Told(recognitionID string) Key { return Key{"awardco.told", recognitionID} }

// Erasure is the forgetting of a person by Qualtrics, by the erasure's id.
func Erasure(id string) Key { return Key{"qualtrics.erasure", id} }

// Forgetting keeps whom an erasure is about, for the services that pass it on, as long as it is being done.
func Forgetting(id string) Key { return Key{"qualtrics.forgetting", id} }
