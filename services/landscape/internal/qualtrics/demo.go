package qualtrics

// The ids of the two demonstration surveys.
const (
	ServiceSurvey = "SV_service"
	CartSurvey    = "SV_cart"
)

// DemoSurveys are the two surveys of the demonstration: one after a service visit, whose good marks become recognition
// of the representative, and one after an abandoned cart, whose complaint about delivery becomes a sales task.
//
// Both name their answers with embedded data (see [Question.Field]): csat and why, contact_me and desired_date. The
// cart survey sets a field QID1 to the text of the first answer, so that a rule can compare values.QID1 with words;
// labels.QID1 holds the same text as Qualtrics itself gives it. Both put the field requestId into ResponseEventContext,
// which the webhook carries (qualtrics.md §3.10).
func DemoSurveys() []Survey {
	correlation := []Field{
		{Name: "requestId"}, {Name: "loopId"}, {Name: "sourceObject"}, {Name: "sourceSystem"}, {Name: "campaignId"},
		{Name: "ResponseEventContext", Set: "${e://Field/requestId}"},
	}
	return []Survey{serviceSurvey(correlation), cartSurvey(correlation)}
}

func serviceSurvey(correlation []Field) Survey {
	return Survey{
		ID: ServiceSurvey, Name: "How was your service visit?", Active: true,
		Flow: append([]Field{
			{Name: "csat"}, {Name: "why"}, {Name: "solved"},
			{Name: "rep_email"}, {Name: "rep_name"}, {Name: "rep_employee_id"}, {Name: "serviceOrder"}, {Name: "Country"},
		}, correlation...),
		Questions: []Question{
			{ID: "QID1", Kind: Number, Low: 1, High: 5, LowText: "very dissatisfied", HighText: "very satisfied",
				Text: "How satisfied are you with the visit of our service representative?", Required: true, Field: "csat"},
			{ID: "QID2", Kind: Choice, Choices: []string{"yes", "partly", "no"},
				Text: "Was your issue solved?", Required: true, Field: "solved"},
			{ID: "QID3", Kind: Text, Text: "What is the main reason for your rating?", Field: "why"},
		},
	}
}

func cartSurvey(correlation []Field) Survey {
	return Survey{
		ID: CartSurvey, Name: "You left something in your cart", Active: true,
		Flow: append([]Field{
			{Name: "QID1"}, {Name: "contact_me"}, {Name: "desired_date"},
			{Name: "product_name"}, {Name: "account_id"}, {Name: "contact_id"}, {Name: "cart_id"}, {Name: "Country"},
		}, correlation...),
		Questions: []Question{
			{ID: "QID1", Kind: Choice, Choices: []string{"Delivery too late", "Price too high", "Just browsing"},
				Text: "What kept you from completing your order?", Required: true, Field: "QID1"},
			{ID: "QID2", Kind: Choice, Choices: []string{"yes", "no"},
				Text: "May we contact you about it?", Required: true, Field: "contact_me"},
			{ID: "QID3", Kind: Date, Text: "By when would you need the delivery?", Field: "desired_date"},
			{ID: "QID4", Kind: Text, Text: "Is there anything else we should know?"},
		},
	}
}
