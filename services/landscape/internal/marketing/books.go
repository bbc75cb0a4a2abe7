package marketing

import "time"

// Books is what the tenant holds at one moment.
type Books struct {
	Interactions []Interaction `json:"interactions"`
	Mails        []Mail        `json:"mails"`
	// WithoutAddressee is how many of the mails reached nobody.
	WithoutAddressee int           `json:"withoutAddressee"`
	Campaigns        []CampaignRun `json:"campaigns"`
	// Responses and Contacts are what the imports brought, Surveys the id and name of each survey.
	Responses []SurveyResponse `json:"responses,omitempty"`
	Contacts  []Contact        `json:"contacts,omitempty"`
	Surveys   []string         `json:"surveys,omitempty"`
	// Calls counts the calls of the API by operation: "token", "POST Interactions", "$batch POST Interactions" …
	Calls map[string]int `json:"calls"`
	// Sessions is how many sessions were opened since the simulator started.
	Sessions int `json:"sessions"`
}

// Interaction is one interaction, also one that is not visible to the API yet.
type Interaction struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"`
	SourceType   string    `json:"sourceType"`
	SourceObject string    `json:"sourceObject"`
	CampaignID   string    `json:"campaignId"`
	ContactID    string    `json:"contactId"`
	Link         string    `json:"link"`
	CreatedAt    time.Time `json:"createdAt"`
	VisibleAt    time.Time `json:"visibleAt"`
	// Fields holds every property that has a value, by its name in the API; dates are RFC 3339.
	Fields map[string]string `json:"fields"`
}

// CampaignRun is one run of a campaign.
type CampaignRun struct {
	ID         string    `json:"id"`
	CampaignID string    `json:"campaignId"`
	Name       string    `json:"name"`
	State      RunState  `json:"state"`
	Members    int       `json:"members"`
	StartedAt  time.Time `json:"startedAt"`
	Packages   []Package `json:"packages"`
}

// Package is one call of a run with its members.
type Package struct {
	Number   int          `json:"number"`
	State    PackageState `json:"state"`
	Attempts int          `json:"attempts"`
	// Status is that of the last answer; 0 if none came.
	Status int `json:"status"`
}

// Books gives a copy of everything, oldest first.
func (s *Simulator) Books() Books {
	b := Books{Calls: s.calls.ByOperation(), Sessions: s.sessions.Opened()}
	for _, i := range s.interactions.All() {
		b.Interactions = append(b.Interactions, i.book())
	}
	for _, m := range s.mails.All() {
		b.Mails = append(b.Mails, m.Mail)
		if m.To == "" {
			b.WithoutAddressee++
		}
	}
	s.imported(&b)
	for _, r := range s.runs.All() {
		b.Campaigns = append(b.Campaigns, s.campaignRun(r.ID))
	}
	return b
}

func (i interaction) book() Interaction {
	v := i.Row.Values
	return Interaction{
		ID: v[keyField], Type: v[typeField], SourceType: v[sourceTypeField], SourceObject: v[sourceField],
		CampaignID: v["CampaignID"], ContactID: v["InteractionContactId"], Link: v[linkField],
		CreatedAt: i.Created, VisibleAt: i.Visible, Fields: i.Row.Clone().Values,
	}
}

func (s *Simulator) campaignRun(id string) CampaignRun {
	r, _ := s.runs.Get(id)
	c := CampaignRun{ID: r.ID, CampaignID: r.CampaignID, Name: r.Name, State: r.State, Members: r.Members, StartedAt: r.StartedAt}
	for _, p := range s.packages.Find(func(p pack) bool { return p.Run == id }) {
		c.Packages = append(c.Packages, Package{p.Number, p.State, p.Attempts, p.Status})
	}
	return c
}
