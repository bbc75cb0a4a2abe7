package version2

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

// Search says what a tenant does with a $filter on tasks.
type Search string

// What becomes of a $filter: its language is not documented, so each is possible.
const (
	// SearchFilter understands description with eq, sw, ew and ct.
	SearchFilter Search = ""
	// SearchIgnored gives every task, whatever is asked for.
	SearchIgnored Search = "ignored"
	// SearchRefused answers 400.
	SearchRefused Search = "refused"
)

// Settings are the switches of the simulator: what the contract leaves open (sap-sales-cloud.md §4 and §10), and what a
// tenant customises. The zero value is the contract's default for each.
type Settings struct {
	// Username and Password are the technical user's. Default: "simulator" for each.
	Username string `yaml:"-"`
	Password string `yaml:"-"`
	// Quota is how many calls and event deliveries a day are answered; one more is 429. Default: that of one licensed
	// user, 151,500; a test tenant has 30,000. Negative: none.
	Quota int `yaml:"quota"`
	// Priorities and Statuses are the values that are taken. Default: IMMEDIATE, URGENT, NORMAL, LOW; OPEN, INPROCESS,
	// COMPLETED, CANCELED.
	Priorities []string `yaml:"priorities"`
	Statuses   []string `yaml:"statuses"`
	// ContactField is the name of a task's reference to its contact. Default: a task has none.
	ContactField string `yaml:"contactField"`
	// RefuseNotes refuses notes in the call that creates the task. Default: allowed.
	RefuseNotes bool `yaml:"refuseNotes"`
	// Search is what becomes of a $filter.
	Search Search `yaml:"search"`
	// PlainToken answers a login with the token at the top. Default: under value, as every answer.
	PlainToken bool `yaml:"plainToken"`
	// AcceptUnknownParties accepts references to nobody. Default: 400.
	AcceptUnknownParties bool `yaml:"acceptUnknownParties"`
	// Webhook is where changes of tasks are told, as CloudEvents. Default: nowhere.
	Webhook string `yaml:"webhook"`

	// Now is the clock. Default: time.Now.
	Now func() time.Time `yaml:"-"`
}

// With gives the settings with what a YAML or JSON object changes: {quota: 30000, refuseNotes: true}. It fails on names and values that
// are wrong.
func (s Settings) With(text []byte) (Settings, error) {
	if len(bytes.TrimSpace(text)) == 0 { // which the decoder takes for a wish to clear everything
		return s, nil
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&s); err != nil {
		return s, err
	}
	return s, s.check()
}

func (s Settings) check() error {
	if !slices.Contains([]Search{SearchFilter, SearchIgnored, SearchRefused}, s.Search) {
		return fmt.Errorf("search: %q is neither ignored nor refused", s.Search)
	}
	return nil
}

func (s Settings) withDefaults() Settings {
	if s.Username == "" {
		s.Username = "simulator"
	}
	if s.Password == "" {
		s.Password = "simulator"
	}
	if s.Quota == 0 {
		s.Quota = 150_000 + 1_500
	}
	if s.Priorities == nil {
		s.Priorities = []string{"IMMEDIATE", "URGENT", "NORMAL", "LOW"}
	}
	if s.Statuses == nil {
		s.Statuses = []string{"OPEN", "INPROCESS", "COMPLETED", "CANCELED"}
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	s.Priorities, s.Statuses = slices.Clone(s.Priorities), slices.Clone(s.Statuses)
	return s
}
