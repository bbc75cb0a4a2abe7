package qualtrics_test

import (
	"slices"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
)

func TestDistributionsOfASurveyAreListedFromADate(t *testing.T) {
	const query = "pageSize=100&sendStartDate=2026-01-01T08%3A30%3A00Z&surveyId=SV_1aa0000000000001&useNewPaginationScheme=true"
	c, _ := serve(t, map[string]string{
		"GET /distributions?" + query: result(`{"elements":[
			{"id":"EMD_1","sendDate":"2026-01-15T09:31:00Z","surveyLink":{"surveyId":"` + survey + `"},"stats":{"sent":0,"finished":3}},
			{"id":"EMD_2"}],"nextPage":"BASE/API/v3/distributions?` + query + `&skipToken=2"}`),
		"GET /distributions?" + query + "&skipToken=2": result(`{"elements":[{"id":"EMD_3","sendDate":null,"stats":{"finished":0}}],"nextPage":null}`),
	})
	var all []qualtrics.Sending
	since := time.Date(2026, 1, 1, 9, 30, 0, 0, time.FixedZone("", 3600))
	for page, err := range c.Distributions(t.Context(), survey, since) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
	}
	want := []qualtrics.Sending{
		{ID: "EMD_1", SentAt: time.Date(2026, 1, 15, 9, 31, 0, 0, time.UTC), Finished: 3}, {ID: "EMD_2", Finished: -1}, {ID: "EMD_3", Finished: 0},
	}
	if !slices.Equal(all, want) {
		t.Errorf("%+v, want %+v", all, want)
	}
}

func TestHistoryIsReadToTheEndThroughShortPages(t *testing.T) {
	c, a := serve(t, map[string]string{
		"GET /distributions/EMD_1/history": result(`{"elements":[
			{"contactId":"CID_1","contactLookupId":"CGC_1","distributionId":"EMD_1","status":"SurveyFinished","surveyLink":"https://simbrand.eu.qualtrics.com/x","contactFrequencyRuleId":null,
			 "responseId":"R_1","responseStartedAt":"2026-01-15T09:28:11Z","responseCompletedAt":"2026-01-15T09:29:58Z","sentAt":null,"openedAt":null,"surveySessionId":"FS_1"},
			{"contactId":"CID_2","contactLookupId":"CGC_2","status":"SurveyFinished","responseId":"Anonymous","contactFrequencyRuleId":"RULE_DELETED"}],
			"nextPage":"BASE/API/v3/distributions/EMD_1/history?skipToken=2"}`),
		"GET /distributions/EMD_1/history?skipToken=2": result(`{"elements":[],"nextPage":"BASE/API/v3/distributions/EMD_1/history?skipToken=3"}`),
		"GET /distributions/EMD_1/history?skipToken=3": result(`{"elements":[{"contactId":"CID_3","status":"SurveyPartiallyFinished","responseId":null,"surveyLink":null}],"nextPage":null}`),
	})
	var all []qualtrics.Outcome
	for page, err := range c.History(t.Context(), "EMD_1") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
	}
	want := []qualtrics.Outcome{
		{"CID_1", "CGC_1", "SurveyFinished", "https://simbrand.eu.qualtrics.com/x", "R_1", time.Date(2026, 1, 15, 9, 29, 58, 0, time.UTC)},
		{"CID_2", "CGC_2", "SurveyFinished", "", "", time.Time{}},
		{"CID_3", "", "SurveyPartiallyFinished", "", "", time.Time{}},
	}
	if !slices.Equal(all, want) || len(a.asked) != 3 {
		t.Errorf("%+v after %v, want %+v", all, a.asked, want)
	}
	if !all[0].Finished() || all[2].Finished() {
		t.Error("only SurveyFinished is finished")
	}
}

func TestHistoryOfATestDistributionIsRefused(t *testing.T) {
	c, _ := serve(t, map[string]string{
		"GET /distributions/EMD_1/history": `400 {"meta":{"httpStatus":"400 - Bad Request","error":{"errorCode":"CP_TD_GER_NP","errorMessage":"Not permitted."}}}`,
	})
	for _, err := range c.History(t.Context(), "EMD_1") {
		wantClass(t, err, fault.Refused)
	}
}
