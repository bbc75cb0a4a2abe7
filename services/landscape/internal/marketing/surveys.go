package marketing

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// surveyRoot is the path of the survey import (sap-marketing-cloud.md §5).
const surveyRoot = "/sap/opu/odata/sap/CUAN_SURVEY_IMPORT_SRV"

// RepeatedResponse says what a response id that is there already does; assumed (sap-marketing-cloud.md §12).
type RepeatedResponse string

// What a repeated response id does.
const (
	RepeatUpdates RepeatedResponse = ""
	RepeatRefused RepeatedResponse = "refused"
	RepeatStores  RepeatedResponse = "stored-twice"
)

// notNull marks properties that must be sent, and be it as "" (sap-marketing-cloud.md §5).
func notNull(all ...odatasim.Property) []odatasim.Property {
	for i := range all {
		all[i].NotNull = true
	}
	return all
}

func keyed(p odatasim.Property) odatasim.Property {
	p.Key = true
	return p
}

// The entity types of sap-marketing-cloud.md §5.
var (
	surveyType = &odatasim.EntityType{Name: "Survey", Properties: append(notNull(
		keyed(text("SurveyId", 32)), keyed(typed("Version", odatasim.Int32)), keyed(text("Provider", 50)),
		text("MarketingAreaId", 40), text("Name", 255), typed("IsSurveyAnonymous", odatasim.Boolean), text("Language", 2)),
		text("AccountId", 20), text("Category", 100), text("NickName", 30), text("Url", 255),
		typed("ModifiedOn", odatasim.DateTime), typed("ValidFrom", odatasim.DateTime), typed("ValidTo", odatasim.DateTime),
		typed("CreatedOn", odatasim.DateTime), typed("IsMultipleRespAllowed", odatasim.Boolean),
	), Navigations: []odatasim.Navigation{
		{Name: "SurveyQuestionSet", Set: "QuestionSet"}, {Name: "SurveySurveyResponseSet", Set: "SurveyResponseSet"},
	}}
	questionType = &odatasim.EntityType{Name: "Question", Properties: append(notNull(
		keyed(text("QuestionId", 30)), keyed(typed("Version", odatasim.Int32)), keyed(text("Provider", 50)), keyed(text("SurveyId", 30)),
		typed("PageId", odatasim.Int32), typed("Position", odatasim.Int32), text("Text", 1333), text("Type", 10)),
		text("Language", 2), typed("IsMandatory", odatasim.Boolean), text("SubType", 2), text("TypeName", 30),
	), Navigations: []odatasim.Navigation{
		{Name: "QuestionAnswerSet", Set: "AnswerSet"}, {Name: "QuestionChoiceSet", Set: "ChoiceSet"},
	}}
	answerType = &odatasim.EntityType{Name: "Answer", Properties: notNull(
		keyed(text("RowId", 30)), text("Language", 2), typed("RowPosition", odatasim.Int32), typed("RowWeightage", odatasim.Int32), text("RowText", 255))}
	choiceType = &odatasim.EntityType{Name: "Choice", Properties: notNull(
		keyed(text("ChoiceId", 32)), typed("ChoicePosition", odatasim.Int32), text("ChoiceText", 255), typed("ChoiceWeightage", odatasim.Int32), text("Language", 2))}
	responseType = &odatasim.EntityType{Name: "SurveyResponse", Properties: notNull(
		keyed(typed("Version", odatasim.Int32)), keyed(text("Provider", 30)), keyed(text("ResponseId", 32)), keyed(text("SurveyId", 30)),
		text("OutboundKey", 50), typed("IsResponseAnonymous", odatasim.Boolean), text("IdOrigin", 20), text("Id", 255),
		typed("RespondedOn", odatasim.DateTime), text("ResponseUrl", 0),
	), Navigations: []odatasim.Navigation{{Name: "SurveyResponseSurveyResponseDetailSet", Set: "SurveyResponseDetailSet"}}}
	detailType = &odatasim.EntityType{Name: "SurveyResponseDetail", Properties: notNull(
		keyed(text("QuestionId", 32)), typed("Version", odatasim.Int32), text("ResponseIdCol", 32), text("ResponseIdRow", 32), text("ResponseText", 1333))}
)

// response is a stored survey response. Copies tells how often it was stored where repeats make another.
type response struct {
	Row    odatasim.Row `json:"row"`
	Copies int          `json:"copies"`
}

// SurveyResponse is a survey response in the books.
type SurveyResponse struct {
	ID          string `json:"id"`
	SurveyID    string `json:"surveyId"`
	OutboundKey string `json:"outboundKey"`
	ContactID   string `json:"contactId"`
	// Copies is how often it is stored; more than once only where repeats are stored.
	Copies int `json:"copies"`
	// Fields holds what was sent of it, Answers what was said to each question.
	Fields  map[string]string `json:"fields"`
	Answers map[string]string `json:"answers"`
}

func (s *Simulator) surveyService() *odatasim.Service {
	service := s.odata(surveyRoot, "CUAN_SURVEY_IMPORT_SRV")
	service.Sets = []*odatasim.Set{
		{Name: "SurveySet", Type: surveyType, Create: s.importSurvey},
		{Name: "QuestionSet", Type: questionType}, {Name: "AnswerSet", Type: answerType}, {Name: "ChoiceSet", Type: choiceType},
		{Name: "SurveyResponseSet", Type: responseType}, {Name: "SurveyResponseDetailSet", Type: detailType},
	}
	return service
}

// importSurvey takes a survey with its questions and responses: all of it or, for one bad record, nothing.
func (s *Simulator) importSurvey(ctx context.Context, survey odatasim.Row) (odatasim.Row, error) {
	responses := survey.Children["SurveySurveyResponseSet"]
	seen := map[string]bool{}
	for _, r := range responses {
		key := responseType.KeyOf(r)
		_, exists := s.responses.Get(key)
		switch {
		case r.Values["SurveyId"] != survey.Values["SurveyId"]:
			return survey, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Property SurveyId differs from that of the survey")
		case s.settings.RefuseEmptyOutboundKey && r.Values["OutboundKey"] == "":
			return survey, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Property OutboundKey is required")
		case s.settings.RepeatedResponse == RepeatRefused && (exists || seen[key]):
			return survey, odatasim.Refuse(http.StatusBadRequest, odatasim.CodeConflict, "Instance with the same key already exists")
		}
		seen[key] = true
	}
	return survey, odatasim.Commit(ctx, func() error {
		for _, r := range responses {
			_, err := s.responses.Update(responseType.KeyOf(r), func(old response, _ bool) (response, bool) {
				if old.Copies++; s.settings.RepeatedResponse == RepeatUpdates {
					old.Copies = 1
				}
				return response{r, old.Copies}, true
			})
			if err != nil {
				return err
			}
		}
		head := odatasim.Row{Values: survey.Values, Children: map[string][]odatasim.Row{"SurveyQuestionSet": survey.Children["SurveyQuestionSet"]}}
		return s.surveys.Put(surveyType.KeyOf(survey), head)
	})
}

func (r response) book() SurveyResponse {
	v := r.Row.Values
	b := SurveyResponse{
		ID: v["ResponseId"], SurveyID: v["SurveyId"], OutboundKey: v["OutboundKey"], ContactID: v["Id"], Copies: r.Copies,
		Fields: r.Row.Clone().Values, Answers: map[string]string{},
	}
	for _, d := range r.Row.Children["SurveyResponseSurveyResponseDetailSet"] {
		b.Answers[d.Values["QuestionId"]] = d.Values["ResponseText"]
	}
	return b
}

// contactRoot is the path of the contact service; a version may follow it (sap-marketing-cloud.md §4).
const contactRoot = "/sap/opu/odata/sap/API_MKT_CONTACT_SRV"

// changedField orders what is known of a contact: the older loses.
const changedField = "OriginDataLastChgUTCDateTime"

// contactType is ContactOriginData of sap-marketing-cloud.md §4.
var contactType = &odatasim.EntityType{Name: "ContactOriginData", Properties: append([]odatasim.Property{
	keyed(text("ContactOrigin", 20)), keyed(text("ContactID", 255)),
	{Name: changedField, Type: odatasim.DateTimeOffset, Required: true},
	text("ValidationStatus", 2), readOnly(text("ValidationStatusName", 20)), unsearchable(typed("IsEndOfPurposeBlocked", odatasim.Boolean)),
	typed("BirthDate", odatasim.DateTime), typed("IsConsumer", odatasim.Boolean), typed("IsContactPerson", odatasim.Boolean),
	decimal("Latitude", 20, 10), decimal("Longitude", 20, 10), typed("LastChangeDateTime", odatasim.DateTimeOffset),
	unsearchable(text("InteractionContactImageURL", 1000)), text("LastChangedByUser", 12), readOnly(typed("ContactUUID", odatasim.Guid)),
	typed("CreationDateTime", odatasim.DateTimeOffset), text("CreatedByUser", 12), readOnly(typed("CorporateAccountUUID", odatasim.Guid)),
	typed("IsMainContact", odatasim.Boolean), unsearchable(text("WebsiteURL", 1000)), unsearchable(text("CorporateAccountOrigin", 20)),
	unsearchable(text("CorporateAccountID", 255)), unsearchable(typed("IsObsolete", odatasim.Boolean)),
}, texts(map[string]int{
	"SpatialReferenceSystem": 10, "FullName": 80, "FirstName": 40, "LastName": 40, "Department": 4, "DepartmentName": 40, "Function": 4,
	"ContactFunctionName": 40, "MaritalStatus": 1, "MaritalStatusName": 20, "CityName": 40, "StreetName": 60, "AddressHouseNumber": 10,
	"Language": 2, "LanguageName": 16, "EmailAddress": 241, "PhoneNumber": 30, "MobileNumber": 30, "FaxNumber": 30,
	"HasMktgPermissionForDirectMail": 1, "Country": 3, "CountryName": 50, "AddressRegion": 3, "RegionName": 40, "GenderCode": 1,
	"GenderCodeName": 40, "ContactPostalCode": 10, "FormOfAddress": 4, "FormOfAddressName": 30, "Industry": 4, "IndustryName": 40,
	"CorporateAccountName": 40, "TrackingID": 255,
})...)}

func texts(lengths map[string]int) []odatasim.Property {
	var all []odatasim.Property
	for name, length := range lengths {
		all = append(all, text(name, length))
	}
	slices.SortFunc(all, func(a, b odatasim.Property) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Contact is a contact in the books.
type Contact struct {
	Origin string            `json:"origin"`
	ID     string            `json:"id"`
	Fields map[string]string `json:"fields"`
}

func (s *Simulator) contactService(version string) *odatasim.Service {
	service := s.odata(contactRoot+version, "API_MKT_CONTACT_SRV")
	service.Sets = []*odatasim.Set{{
		Name: "ContactOriginData", Type: contactType, RequiresFilter: true,
		List:   func(*odatasim.Filter) []odatasim.Row { return s.contacts.All() },
		Get:    func(key string) (odatasim.Row, bool) { return s.contacts.Get(key) },
		Upsert: s.upsertContact,
	}}
	return service
}

func (s *Simulator) upsertContact(ctx context.Context, row odatasim.Row) error {
	if s.settings.RefuseContact != "" && strings.Contains(row.Values["ContactID"], s.settings.RefuseContact) {
		return odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Contact is blocked: end of purpose")
	}
	return odatasim.Commit(ctx, func() error {
		_, err := s.contacts.Update(contactType.KeyOf(row), func(old odatasim.Row, found bool) (odatasim.Row, bool) {
			return row, !found || !changed(row).Before(changed(old))
		})
		return err
	})
}

func changed(row odatasim.Row) time.Time {
	at, _ := time.Parse(time.RFC3339, row.Values[changedField]) // required, and checked when it came
	return at
}

// book of what the imports brought.
func (s *Simulator) imported(b *Books) {
	for _, r := range s.responses.All() {
		b.Responses = append(b.Responses, r.book())
	}
	for _, c := range s.contacts.All() {
		b.Contacts = append(b.Contacts, Contact{c.Values["ContactOrigin"], c.Values["ContactID"], c.Clone().Values})
	}
	for _, survey := range s.surveys.All() {
		b.Surveys = append(b.Surveys, fmt.Sprintf("%s %s", survey.Values["SurveyId"], survey.Values["Name"]))
	}
}
