package edmx_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/odata/edmx"
	"github.com/closeloop/closeloop/pkg/odata/edmx/edmxtest"
)

func TestPublishedMetadataIsRead(t *testing.T) {
	for _, test := range []struct {
		service, entity string
		want            edmx.Property
		key             []string
	}{
		{edmxtest.Interactions, "Interaction", edmx.Property{Name: "InteractionSourceObject", Type: "Edm.String", MaxLength: 50, Nullable: true}, []string{"InteractionUUID"}},
		{edmxtest.Interactions, "Interaction", edmx.Property{Name: "InteractionSourceDataURL", Type: "Edm.String", Nullable: true}, []string{"InteractionUUID"}},
		{edmxtest.Contacts, "ContactOriginData", edmx.Property{Name: "OriginDataLastChgUTCDateTime", Type: "Edm.DateTimeOffset"}, []string{"ContactOrigin", "ContactID"}},
		{edmxtest.Surveys, "SurveyResponse", edmx.Property{Name: "OutboundKey", Type: "Edm.String", MaxLength: 50}, []string{"ResponseId", "SurveyId", "Version", "Provider"}},
		{edmxtest.SalesTasks, "Tasks", edmx.Property{Name: "Subject", Type: "Edm.String", MaxLength: 765, Nullable: true}, []string{"ObjectID"}},
	} {
		entity, ok := edmxtest.Load(t, test.service)[test.entity]
		if !ok {
			t.Errorf("%s has no entity %s", test.service, test.entity)
			continue
		}
		slices.Sort(entity.Key)
		slices.Sort(test.key)
		if got := entity.Properties[test.want.Name]; got != test.want || !slices.Equal(entity.Key, test.key) {
			t.Errorf("%s: %+v with key %v, want %+v and %v", test.service, got, entity.Key, test.want, test.key)
		}
	}
	if survey := edmxtest.Load(t, edmxtest.Surveys)["Survey"]; !slices.Contains(survey.Navigations, "SurveySurveyResponseSet") {
		t.Errorf("navigations of a survey: %v", survey.Navigations)
	}
}

func TestWhatIsNoMetadataIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "EOF",
		"<html></html>":               "no edmx",
		`<edmx:Edmx xmlns:edmx="x"/>`: "no entity",
		`<Edmx><DataServices><Schema><EntityType Name="A"><Property Name="B" MaxLength="long"/></EntityType></Schema></DataServices></Edmx>`: "A.B",
	} {
		if _, err := edmx.Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}
