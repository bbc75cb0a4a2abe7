package writer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// How answers are written.
const (
	responsesAsInteraction = "interaction"
	responsesAsSurvey      = "survey"
	responsesOff           = "off"
)

// Settings of sap-interaction-writer.
type Settings struct {
	service.Common
	BaseURL   string          `envconfig:"SAP_MARKETING_BASE_URL" required:"true" desc:"SAP Marketing Cloud: scheme and host"`
	Username  string          `envconfig:"SAP_MARKETING_USERNAME" required:"true" desc:"communication user"`
	Password  settings.Secret `envconfig:"SAP_MARKETING_PASSWORD" required:"true" desc:"its password"`
	Parallel  int             `envconfig:"SAP_MARKETING_PARALLEL" default:"4" desc:"parallel calls of the whole fleet"`
	PerMinute int             `envconfig:"SAP_MARKETING_PER_MINUTE" default:"0" desc:"calls a minute of the whole fleet; 0 sets no limit"`

	WriteMode    string        `envconfig:"SAP_MARKETING_WRITE_MODE" default:"auto" desc:"deep-insert (many a call), batch (many a call, each for itself), interactions (one a call), or auto: batch for what fits into one, deep-insert for more and for a single one, as far as the tenant has them"`
	PerCall      int           `envconfig:"SAP_MARKETING_PER_CALL" default:"200" desc:"most interactions of one deep insert"`
	Batch        bool          `envconfig:"SAP_MARKETING_BATCH" default:"true" desc:"false for a tenant without $batch: then look-ups are a call for each filter"`
	BatchLimit   int           `envconfig:"SAP_MARKETING_BATCH_LIMIT" default:"100" desc:"most operations of one $batch"`
	IDsPerFilter int           `envconfig:"SAP_MARKETING_IDS_PER_FILTER" default:"40" desc:"most ids that one look-up asks for; 1 for a tenant that refuses filters with or"`
	Wave         int           `envconfig:"SAP_MARKETING_WAVE" default:"1000" desc:"most events that are written together"`
	WaveQuiet    time.Duration `envconfig:"SAP_MARKETING_WAVE_QUIET" default:"250ms" desc:"a wave is written when nothing has come for so long"`
	WaveWait     time.Duration `envconfig:"SAP_MARKETING_WAVE_WAIT" default:"1s" desc:"and at the latest after this"`
	Arrays       string        `envconfig:"SAP_MARKETING_ARRAYS" default:"plain" desc:"how arrays are sent: plain, as in […], or results, as in {\"results\":[…]}; both are read"`
	Dates        string        `envconfig:"SAP_MARKETING_DATES" default:"iso" desc:"how dates are sent: iso, or ticks, as in /Date(1784885400000)/; both are read"`

	Settle time.Duration `envconfig:"SAP_MARKETING_SETTLE" default:"60s" desc:"how long after a lost answer a look-up that finds nothing is not believed: Marketing writes later than it answers"`

	WaitForDistribution bool          `envconfig:"SAP_MARKETING_WAIT_FOR_DISTRIBUTION" default:"true" desc:"a link of a campaign is written only when Marketing's own SURVEY_DISTRIBUTION interaction is there"`
	WaitFirst           time.Duration `envconfig:"SAP_MARKETING_WAIT_FIRST" default:"1s" desc:"first wait for it; each further one is twice as long"`
	WaitLongest         time.Duration `envconfig:"SAP_MARKETING_WAIT_LONGEST" default:"60s" desc:"longest wait between two looks"`
	WaitLimit           time.Duration `envconfig:"SAP_MARKETING_WAIT_LIMIT" default:"30m" desc:"when it is given up: a dead letter, an error in the log, and closeloop_marketing_distribution_missing_total"`

	CustomFields         map[string]string `envconfig:"SAP_MARKETING_CUSTOM_FIELDS" desc:"extension fields of link interactions, as in YY1_SurveyObjType_MIA:Q_SURVEY,YY1_SurveyObjId_MIA:{surveyId}; also {requestId} {outboundId} {campaignId} {contactId}"`
	ResponseCustomFields map[string]string `envconfig:"SAP_MARKETING_RESPONSE_CUSTOM_FIELDS" desc:"extension fields of answers, as in YY1_Survey_MIA:{surveyId},YY1_Score_MIA:{values.QID1}; also {responseId} {requestId} {contactId} {labels.…}"`

	Responses      string   `envconfig:"SAP_MARKETING_RESPONSES" default:"interaction" desc:"how answers are written: interaction, survey (CUAN_SURVEY_IMPORT_SRV), or off"`
	ContactOrigin  string   `envconfig:"SAP_MARKETING_CONTACT_ORIGIN" desc:"origin of the contact ids in answers; without it answers name no contact"`
	Contacts       bool     `envconfig:"SAP_MARKETING_CONTACTS" default:"false" desc:"whether the contact of an answer is made or refreshed first (API_MKT_CONTACT_SRV); needs SAP_MARKETING_CONTACT_ORIGIN"`
	ContactService string   `envconfig:"SAP_MARKETING_CONTACT_SERVICE" default:"/sap/opu/odata/sap/API_MKT_CONTACT_SRV" desc:"path of that service; ;v=0003 may follow it"`
	Medium         string   `envconfig:"SAP_MARKETING_MEDIUM" default:"WEB" desc:"communication medium of answers"`
	ResponseFields []string `envconfig:"SAP_MARKETING_RESPONSE_FIELDS" desc:"which values of an answer are written, separated by commas; default: all but Qualtrics' own and the recipient's"`
	ScoreField     string   `envconfig:"SAP_MARKETING_SCORE_FIELD" desc:"the value of an answer that becomes InteractionSentimentValue"`

	SurveyService    string `envconfig:"SAP_MARKETING_SURVEY_SERVICE" default:"/sap/opu/odata/sap/CUAN_SURVEY_IMPORT_SRV" desc:"path of the survey import"`
	SurveySet        string `envconfig:"SAP_MARKETING_SURVEY_SET" default:"SurveySet" desc:"what follows it: the set that surveys are posted to"`
	SurveyWrapped    bool   `envconfig:"SAP_MARKETING_SURVEY_WRAPPED" default:"false" desc:"send {\"SurveySet\":{…}}, as SAP's standard flow takes it"`
	SurveyProvider   string `envconfig:"SAP_MARKETING_SURVEY_PROVIDER" default:"Qualtrics" desc:"the survey platform's name in Marketing"`
	SurveysFile      string `envconfig:"SAP_MARKETING_SURVEYS_FILE" desc:"YAML file that describes the surveys and their questions; what it leaves out is told by the answers and the next three"`
	SurveyLanguage   string `envconfig:"SAP_MARKETING_SURVEY_LANGUAGE" default:"EN" desc:"language of surveys, as the tenant spells it"`
	SurveyArea       string `envconfig:"SAP_MARKETING_SURVEY_AREA" default:"GLOBAL" desc:"marketing area of surveys"`
	QuestionType     string `envconfig:"SAP_MARKETING_QUESTION_TYPE" default:"TE" desc:"type of questions, of the tenant's list"`
	LongAnswers      string `envconfig:"SAP_MARKETING_LONG_ANSWERS" default:"cut" desc:"what becomes of an answer of more than 1333 characters in a survey: cut, with a mark at its end, or refuse"`
	RepeatedResponse string `envconfig:"SAP_MARKETING_REPEATED_RESPONSE" default:"upsert" desc:"what the survey import does with a response that it has: upsert, refused, or stored-twice, with which a lost answer waits for a person"`

	surveys map[string]marketing.Definition
}

var extension = regexp.MustCompile(`^YY1_\w+$`)

// Validate reports what cannot work. It reads the file that describes the surveys.
func (s *Settings) Validate() error {
	var wrong []error
	oneOf := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			wrong = append(wrong, fmt.Errorf("%s is %q; it may be one of %s", name, value, strings.Join(allowed, ", ")))
		}
	}
	positive := func(name string, ok bool) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s must be above 0", name))
		}
	}
	fits := func(name, value, entity, field string) {
		if limit := marketing.Fields[entity][field]; utf8.RuneCountInString(value) > limit {
			wrong = append(wrong, fmt.Errorf("%s is longer than the %d characters of %s in SAP Marketing Cloud", name, limit, field))
		}
	}
	oneOf("SAP_MARKETING_WRITE_MODE", s.WriteMode, string(marketing.Auto), string(marketing.DeepInsert), string(marketing.Batch), string(marketing.Interactions))
	oneOf("SAP_MARKETING_ARRAYS", s.Arrays, "plain", "results")
	oneOf("SAP_MARKETING_DATES", s.Dates, "iso", "ticks")
	oneOf("SAP_MARKETING_RESPONSES", s.Responses, responsesAsInteraction, responsesAsSurvey, responsesOff)
	oneOf("SAP_MARKETING_LONG_ANSWERS", s.LongAnswers, "cut", "refuse")
	oneOf("SAP_MARKETING_REPEATED_RESPONSE", s.RepeatedResponse, string(marketing.RepeatUpdates), string(marketing.RepeatRefused), string(marketing.RepeatStores))
	positive("SAP_MARKETING_PARALLEL", s.Parallel > 0)
	positive("SAP_MARKETING_PER_CALL", s.PerCall > 0)
	positive("SAP_MARKETING_BATCH_LIMIT", s.BatchLimit > 0)
	positive("SAP_MARKETING_IDS_PER_FILTER", s.IDsPerFilter > 0)
	positive("SAP_MARKETING_WAVE", s.Wave > 0)
	positive("SAP_MARKETING_WAVE_QUIET", s.WaveQuiet > 0)
	positive("SAP_MARKETING_WAVE_WAIT", s.WaveWait > 0)
	positive("SAP_MARKETING_SETTLE", s.Settle > 0)
	positive("SAP_MARKETING_WAIT_FIRST", s.WaitFirst > 0)
	positive("SAP_MARKETING_WAIT_LONGEST", s.WaitLongest > 0)
	positive("SAP_MARKETING_WAIT_LIMIT", s.WaitLimit > 0)
	if s.PerMinute < 0 {
		wrong = append(wrong, errors.New("SAP_MARKETING_PER_MINUTE must not be below 0"))
	}
	fits("SAP_MARKETING_MEDIUM", s.Medium, "Interaction", "CommunicationMedium")
	fits("SAP_MARKETING_CONTACT_ORIGIN", s.ContactOrigin, "Interaction", "InteractionContactOrigin")
	fits("SAP_MARKETING_SURVEY_PROVIDER", s.SurveyProvider, "SurveyResponse", "Provider")
	fits("SAP_MARKETING_SURVEY_LANGUAGE", s.SurveyLanguage, "Survey", "Language")
	fits("SAP_MARKETING_SURVEY_AREA", s.SurveyArea, "Survey", "MarketingAreaId")
	fits("SAP_MARKETING_QUESTION_TYPE", s.QuestionType, "Question", "Type")
	if s.Contacts && s.ContactOrigin == "" {
		wrong = append(wrong, errors.New("SAP_MARKETING_CONTACTS needs SAP_MARKETING_CONTACT_ORIGIN"))
	}
	wrong = append(wrong, checkFields("SAP_MARKETING_CUSTOM_FIELDS", s.CustomFields, linkPlaceholders),
		checkFields("SAP_MARKETING_RESPONSE_CUSTOM_FIELDS", s.ResponseCustomFields, responsePlaceholders), s.readSurveys())
	return errors.Join(wrong...)
}

// checkFields refuses names that are no extension field: the others are ours to fill.
func checkFields(variable string, fields map[string]string, placeholders *regexp.Regexp) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !extension.MatchString(name) {
			return fmt.Errorf("%s: %s is no extension field: their names begin with YY1_", variable, name)
		}
		if rest := placeholders.ReplaceAllString(fields[name], ""); strings.ContainsAny(rest, "{}") {
			return fmt.Errorf("%s: %s holds a placeholder that is not known", variable, name)
		}
	}
	return nil
}

func (s *Settings) readSurveys() error {
	if s.SurveysFile == "" {
		return nil
	}
	text, err := os.ReadFile(s.SurveysFile)
	if err != nil {
		return fmt.Errorf("SAP_MARKETING_SURVEYS_FILE: %w", err)
	}
	var file struct {
		Surveys map[string]marketing.Definition `yaml:"surveys"`
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		return fmt.Errorf("SAP_MARKETING_SURVEYS_FILE: %w", err)
	}
	if err := marketing.CheckDefinitions(file.Surveys); err != nil {
		return fmt.Errorf("SAP_MARKETING_SURVEYS_FILE: %w", err)
	}
	s.surveys = file.Surveys
	return nil
}
