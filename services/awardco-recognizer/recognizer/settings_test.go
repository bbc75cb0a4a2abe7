package recognizer_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
)

func TestSettingsThatCannotWorkAreNamed(t *testing.T) {
	base := servicetest.Env{"AWARDCO_BASE_URL": "https://host/api", "AWARDCO_API_KEY": "key"}
	for wrong, env := range map[string]servicetest.Env{
		"AWARDCO_BASE_URL is required":           {"AWARDCO_BASE_URL": ""},
		"AWARDCO_API_KEY is required":            {"AWARDCO_API_KEY": ""},
		"AWARDCO_BASE_URL must end in /api":      {"AWARDCO_BASE_URL": "https://host"},
		"AWARDCO_MODE is":                        {"AWARDCO_MODE": "both"},
		"AWARDCO_INTAKE_URL must be":             {"AWARDCO_MODE": "external"},
		"AWARDCO_INTAKE_FIELDS: who=name":        {"AWARDCO_MODE": "external", "AWARDCO_INTAKE_URL": "https://host/x", "AWARDCO_INTAKE_FIELDS": "who:name"},
		"AWARDCO_TRUST_FEED cannot be":           {"AWARDCO_MODE": "external", "AWARDCO_INTAKE_URL": "https://host/x", "AWARDCO_TRUST_FEED": "true"},
		"AWARDCO_TRUST_FEED needs":               {"AWARDCO_READBACK": "none", "AWARDCO_TRUST_FEED": "true"},
		"AWARDCO_DIRECTORY is":                   {"AWARDCO_DIRECTORY": "ldap"},
		"AWARDCO_DIRECTORY_FILE is required":     {"AWARDCO_DIRECTORY": "file"},
		"AWARDCO_USERS_REFRESH must be":          {"AWARDCO_DIRECTORY": "users", "AWARDCO_USERS_REFRESH": "0s"},
		"AWARDCO_TITLE is longer":                {"AWARDCO_TITLE": strings.Repeat("x", 51)},
		"AWARDCO_NOTE_MAX must be":               {"AWARDCO_NOTE_MAX": "20"},
		"AWARDCO_NOTE_TOO_LONG is":               {"AWARDCO_NOTE_TOO_LONG": "shorten"},
		"AWARDCO_REFERENCE is":                   {"AWARDCO_REFERENCE": "title"},
		"AWARDCO_READBACK is":                    {"AWARDCO_READBACK": "bulk"},
		"AWARDCO_MAX_AMOUNT must not":            {"AWARDCO_MAX_AMOUNT": "-1"},
		"AWARDCO_MAX_AMOUNT_PER_DAY must be":     {"AWARDCO_MAX_AMOUNT": "25"},
		"AWARDCO_WEBHOOK_SCHEME is":              {"AWARDCO_WEBHOOK_SCHEME": "basic"},
		"AWARDCO_WEBHOOK_EVENTS":                 {"AWARDCO_WEBHOOK_EVENTS": "recognition.created=granted"},
		"AWARDCO_PER_MINUTE and AWARDCO_PARALLE": {"AWARDCO_PER_MINUTE": "-1"},
	} {
		all := maps.Clone(base)
		maps.Copy(all, env)
		if err := servicetest.Load(all, &recognizer.Settings{}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%v: %v, want %q", env, err, wrong)
		}
	}
	external := servicetest.Env{"AWARDCO_MODE": "external", "AWARDCO_INTAKE_URL": "https://host/x", "AWARDCO_INTAKE_FIELDS": "to.id:recipient,why:note"}
	if err := servicetest.Load(external, &recognizer.Settings{}); err != nil {
		t.Errorf("the intake alone needs no API: %v", err)
	}
}
