package qualtrics

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Settings is the brand that the simulator plays, and which of the things that no document tells it assumes.
type Settings struct {
	// BaseURL is scheme, host and possibly a path in front of /jfe/form, as people reach it. Links begin with it.
	BaseURL string
	// APIURL is the same in front of /API/v3, as clients reach it. nextPage begins with it. Default: BaseURL.
	APIURL string
	// Brand is the brand id, the prefix of every event topic.
	Brand string
	// Datacenter is what whoami tells.
	Datacenter string
	// Token is the API token; empty accepts none.
	Token string
	// ClientID and ClientSecret are the OAuth client; empty accepts none.
	ClientID, ClientSecret string
	// DirectoryID begins with POOL_.
	DirectoryID, DirectoryName string
	// Dedupe are the identity rules of the directory, tried in order; none means that no contact is ever matched.
	Dedupe []IdentityRule
	// MailingLists are the lists of the directory.
	MailingLists []MailingList
	// Surveys are the brand's surveys.
	Surveys []Survey
	// Webhooks are event subscriptions made in the user interface; New adds those that are not there yet.
	Webhooks []Webhook
	// Tasks are the Web Service tasks of the workflows that start with a completed response.
	Tasks []WebServiceTask
	// Client sends events and tasks; nil means one of its own.
	Client *http.Client
	// Clock tells the time that goes into the books and decides on expiry and limits; nil means time.Now.
	Clock func() time.Time
	// Assumed are the switches. The zero value of each is what qualtrics.md §9 assumes.
	Assumed Switches
}

// IdentityRule is a set of criteria that all must agree for two contacts to be one (qualtrics.md §3.2 "Rules and
// sizes"): email, firstName, lastName, externalDataReference, phone. A record that lacks one of them skips the rule.
type IdentityRule []string

// MailingList is a list of the directory. Its id begins with CG_.
type MailingList struct{ ID, Name string }

// Webhook is an event subscription: one topic, which may end in *, the URL, and the key that signs (empty: unsigned).
type Webhook struct{ Topics, URL, SharedKey string }

// WebServiceTask is the task "Web Service" of a workflow (qualtrics.md §3.11). Texts may hold piped text, which is
// filled in without any escaping: ${e://Field/name} (embedded data; also ResponseID and SurveyID), ${q://QID1/…} (an
// answer in words), ${m://Email}, ${m://FirstName}, ${m://LastName}, ${m://ExternalDataReference} (the recipient).
type WebServiceTask struct {
	// Name tells tasks apart in the books.
	Name string
	// Survey limits the task to one survey; empty means every survey.
	Survey string
	// If starts the task only for responses whose values, in words, are these.
	If map[string]string
	// Method is the HTTP method; empty means POST.
	Method string
	URL    string
	Header map[string]string
	// JSON is the body as a template. Form is the body as URL-encoded fields. A task has one of the two.
	JSON string
	Form map[string]string
	// NoRetry turns "System retries each task failure for up to 24 hours" off.
	NoRetry bool
}

// Defaults is a brand that is ready to be used, for the demonstration: the token "simulated-token", one directory that
// knows contacts by ExternalDataReference, one list, the surveys of [DemoSurveys], and the first read of each response
// coming too early. BaseURL is left to be set.
func Defaults() Settings {
	return Settings{
		Brand:         "simbrand",
		Datacenter:    "eu",
		Token:         "simulated-token",
		ClientID:      "simulated-client",
		ClientSecret:  "simulated-secret",
		DirectoryID:   "POOL_simulated",
		DirectoryName: "Customers",
		Dedupe:        []IdentityRule{{"externalDataReference"}},
		MailingLists:  []MailingList{{ID: "CG_simulated", Name: "Customers of the campaign"}},
		Surveys:       DemoSurveys(),
		Assumed:       Switches{NotReadyReads: 1, ImportDuration: 200 * time.Millisecond},
	}
}

var criteria = []string{"email", "firstName", "lastName", "externalDataReference", "phone"}

// check tells what is wrong with the settings, and fills in the defaults of what may be left empty.
func (s *Settings) check() error {
	base, err := url.Parse(s.BaseURL)
	if err != nil || base.Scheme == "" || base.Host == "" {
		return fmt.Errorf("base URL: needs scheme and host, got %q", s.BaseURL)
	}
	s.BaseURL = strings.TrimRight(s.BaseURL, "/")
	s.APIURL = strings.TrimRight(cmp.Or(s.APIURL, s.BaseURL), "/")
	if s.Token == "" && s.ClientID == "" {
		return fmt.Errorf("token: set an API token or an OAuth client, or nobody can call")
	}
	if s.Brand == "" || !strings.HasPrefix(s.DirectoryID, "POOL_") {
		return fmt.Errorf("brand must be set and the directory id begin with POOL_")
	}
	if s.Client == nil {
		s.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if s.Clock == nil {
		s.Clock = time.Now
	}
	return s.checkParts()
}

func (s *Settings) checkParts() error {
	if len(s.Dedupe) > 3 {
		return fmt.Errorf("dedupe: at most 3 rules")
	}
	for _, rule := range s.Dedupe {
		if len(rule) == 0 {
			return fmt.Errorf("dedupe: a rule needs a criterion")
		}
		for _, criterion := range rule {
			if !slices.Contains(criteria, criterion) {
				return fmt.Errorf("dedupe: %q is none of %s", criterion, strings.Join(criteria, ", "))
			}
		}
	}
	for _, list := range s.MailingLists {
		if !strings.HasPrefix(list.ID, "CG_") {
			return fmt.Errorf("mailing list %q: an id begins with CG_", list.ID)
		}
	}
	for _, survey := range s.Surveys {
		if err := survey.check(); err != nil {
			return err
		}
	}
	for _, task := range s.Tasks {
		if (task.JSON == "") == (len(task.Form) == 0) {
			return fmt.Errorf("task %q: a task has a JSON template or form fields", task.Name)
		}
		if !strings.HasPrefix(task.URL, "http://") && !strings.HasPrefix(task.URL, "https://") {
			return fmt.Errorf("task %q: the URL must begin with http:// or https://", task.Name)
		}
	}
	return s.Assumed.check()
}

func (s *Settings) survey(id string) (Survey, bool) {
	i := slices.IndexFunc(s.Surveys, func(v Survey) bool { return v.ID == id })
	if i < 0 {
		return Survey{}, false
	}
	return s.Surveys[i], true
}

func (s *Settings) list(id string) (MailingList, bool) {
	i := slices.IndexFunc(s.MailingLists, func(l MailingList) bool { return l.ID == id })
	if i < 0 {
		return MailingList{}, false
	}
	return s.MailingLists[i], true
}
