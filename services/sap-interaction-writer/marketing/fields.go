package marketing

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/fault"
)

// The entities that we send, as the metadata names them.
const (
	interactionEntity    = "Interaction"
	contactEntity        = "ContactOriginData"
	surveyEntity         = "Survey"
	questionEntity       = "Question"
	answerEntity         = "Answer"
	surveyResponseEntity = "SurveyResponse"
	detailEntity         = "SurveyResponseDetail"
)

// Fields has every field that we send, by entity, with the characters that it holds; 0 where the metadata sets no limit
// or the field is no text. A test holds it against the published metadata.
//
// One length is of the contract and not of the metadata alone: where entities disagree about one value, the smaller
// counts (sap-marketing-cloud.md, rule 9). So the survey's id has 30 in each, its provider 30, a question's id 30.
var Fields = map[string]map[string]int{
	interactionEntity: {
		"InteractionUUID": 0, "InteractionType": 20, "InteractionTimeStampUTC": 0, "InteractionSourceObjectType": 30,
		"InteractionSourceObject": 50, "InteractionSourceObjectAddlID": 50, "InteractionSourceDataURL": 0,
		"CommunicationMedium": 20, "InteractionContactOrigin": 20, "InteractionContactId": 255,
		"InteractionContentSubject": 255, "InteractionContent": 0, "InteractionSentimentValue": 0,
	},
	contactEntity: {
		"ContactOrigin": 20, "ContactID": 255, "OriginDataLastChgUTCDateTime": 0, "IsConsumer": 0,
		"EmailAddress": 241, "FirstName": 40, "LastName": 40, "Language": 2,
	},
	surveyEntity: {
		"SurveyId": 30, "Version": 0, "Provider": 30, "Name": 255, "Language": 2, "MarketingAreaId": 40,
		"IsSurveyAnonymous": 0, "IsMultipleRespAllowed": 0, "Url": 255,
	},
	questionEntity: {
		"QuestionId": 30, "Version": 0, "Provider": 30, "SurveyId": 30, "Position": 0, "PageId": 0, "Type": 10, "SubType": 2,
		"IsMandatory": 0, "Language": 2, "Text": 1333,
	},
	answerEntity: {"RowId": 30, "RowText": 255, "RowPosition": 0, "RowWeightage": 0, "Language": 2},
	surveyResponseEntity: {
		"OutboundKey": 50, "Version": 0, "Provider": 30, "ResponseId": 32, "IsResponseAnonymous": 0, "SurveyId": 30,
		"IdOrigin": 20, "Id": 255, "RespondedOn": 0, "ResponseUrl": 0,
	},
	detailEntity: {"QuestionId": 30, "Version": 0, "ResponseIdCol": 32, "ResponseIdRow": 32, "ResponseText": 1333},
}

// isExtension tells a tenant's own field, the length of which is the tenant's too (§2.2).
func isExtension(name string) bool { return strings.HasPrefix(name, "YY1_") }

// check refuses what SAP would refuse or, worse, cut (§12): a [fault.Invalid] with the name of SAP's field. So an event
// that cannot be written costs no call, and none of those that go with it.
func check(entity string, body map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(body)) {
		value, isText := body[name].(string)
		if limit := Fields[entity][name]; isText && limit > 0 {
			if n := utf8.RuneCountInString(value); n > limit {
				return fault.At(name, "has %d characters, %s in SAP Marketing Cloud holds %d", n, name, limit)
			}
		}
	}
	return nil
}

// cutMark ends a text that was cut.
const cutMark = "…"

// cut shortens free text, which says the same to a person who reads it: headings, and answers, the whole of which
// Qualtrics keeps. Ids are never cut.
func cut(entity, field, text string) string {
	limit := Fields[entity][field]
	if limit == 0 || utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + cutMark
}
