package demo

import (
	"fmt"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

var (
	products  = []string{"Trail bike", "City e-bike", "Cargo bike", "Gravel bike"}
	countries = map[string]string{"EN": "GB", "DE": "DE", "FR": "FR"}
)

// aboutService tells who is asked about a service visit; the others left a cart behind.
func aboutService(index int) bool { return index%2 == 0 }

// answersBy is how the answer of a customer travels besides the event: every third one is also sent by a workflow's web
// service task, by turns as JSON and as a form.
func answersBy(index int) string {
	switch {
	case index%3 != 2:
		return ""
	case index/6%2 == 0:
		return asJSON
	}
	return asForm
}

// member is the customer of that index, from 0, in a campaign. The outbound id is the same whenever it is asked for.
func member(campaign, index int) marketing.Member {
	p := people.PersonAt(Seed, index)
	m := marketing.Member{
		OutboundID: fmt.Sprintf("OB-%04d-%06d", campaign, index+1), ContactID: p.ExternalID, FirstName: p.FirstName, LastName: p.LastName,
		Email: p.Email, Language: p.Language, Country: countries[p.Language],
	}
	// The key of order or cart is another one in every campaign.
	object := fmt.Sprintf("8%04d%05d", campaign, index+1)
	if aboutService(index) {
		m.SurveyID, m.Attributes = qualtrics.ServiceSurvey, visit(index, object)
	} else {
		m.SurveyID, m.Attributes = qualtrics.CartSurvey, cart(index, object)
	}
	m.Attributes["DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_ID"] = object + "_" + p.ExternalID
	m.Attributes["DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_ADD_ID"] = object
	if by := answersBy(index); by != "" {
		m.Attributes["ZOC_ANSWERS_BY"] = by
	}
	return m
}

// visit are the attributes of a service order that was completed.
func visit(index int, order string) map[string]string {
	r := reps[index/2%len(reps)]
	return map[string]string{
		"DA-_SAP_CF_IA_CONTACT-IA_TYPE":            "SERVICE_ORDER",
		"DA-_SAP_CF_IA_CONTACT-SOURCE_SYSTEM_TYPE": "S4",
		"DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_TYPE": "S4_SERVICE_ORDER",
		"ZOC_SERVICE_ORDER":                        order,
		"ZOC_REP_EMPLOYEE_ID":                      r.id,
		"ZOC_REP_EMAIL":                            r.email(),
		"ZOC_REP_NAME":                             r.name(),
	}
}

// cart are the attributes of a cart that was left behind.
func cart(index int, cart string) map[string]string {
	return map[string]string{
		"DA-_SAP_CF_IA_CONTACT-IA_TYPE":            "SHOP_CART_ABANDONED",
		"DA-_SAP_CF_IA_CONTACT-SOURCE_SYSTEM_TYPE": "COMMERCE",
		"DA-_SAP_CF_IA_CONTACT-SOURCE_OBJECT_TYPE": "CART",
		"ZOC_CART_ID":      cart,
		"ZOC_PRODUCT_NAME": products[index/2%len(products)],
		"ZOC_ACCOUNT_ID":   accountID(index),
		"ZOC_CONTACT_ID":   contactID(index),
	}
}
