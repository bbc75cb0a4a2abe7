package marketing

import (
	"context"
	"strings"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Mail is one mail of the trigger campaign. A second interaction for the same outbound id makes a second mail.
type Mail struct {
	// ID is the key of the interaction that caused the mail.
	ID         string `json:"id"`
	OutboundID string `json:"outboundId"`
	// To is empty where the outbound id belongs to no member of a campaign: a mail that reaches nobody.
	To      string    `json:"to"`
	Name    string    `json:"name"`
	Subject string    `json:"subject"`
	Link    string    `json:"link"`
	At      time.Time `json:"at"`
}

// mail is a Mail in the books; Told is set once OnMail has returned.
type mail struct {
	Mail
	Told bool `json:"told"`
}

func triggers(row odatasim.Row) bool {
	return row.Values[typeField] == linkCreated && row.Values[sourceTypeField] == campaignOutbound
}

// trigger is the trigger campaign: one mail for each SURVEY_LINK_CREATED with an outbound id, once.
func (s *Simulator) trigger(ctx context.Context, row odatasim.Row) error {
	if !triggers(row) {
		return nil
	}
	o, _ := s.outbounds.Get(row.Values[sourceField])
	m := mail{Mail: Mail{
		ID:         row.Values[keyField],
		OutboundID: row.Values[sourceField],
		To:         o.Member.Email,
		Name:       strings.TrimSpace(o.Member.FirstName + " " + o.Member.LastName),
		Subject:    s.settings.MailSubject,
		Link:       row.Values[linkField],
		At:         s.now(),
	}}
	if err := s.mails.Put(m.ID, m); err != nil {
		return err
	}
	return s.tell(ctx, m)
}

// tell hands a mail to OnMail. The mail is on its way whether or not the caller of the API waits.
func (s *Simulator) tell(ctx context.Context, m mail) error {
	if m.To != "" {
		s.settings.OnMail(context.WithoutCancel(ctx), m.Mail)
	}
	m.Told = true
	return s.mails.Put(m.ID, m)
}

// resumeMails makes up for what a restart came in between of: mails not written, mails not told.
func (s *Simulator) resumeMails(ctx context.Context) error {
	for _, i := range s.interactions.Find(func(i interaction) bool { return triggers(i.Row) }) {
		m, sent := s.mails.Get(i.Row.Values[keyField])
		var err error
		switch {
		case !sent:
			err = s.trigger(ctx, i.Row)
		case !m.Told:
			err = s.tell(ctx, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
