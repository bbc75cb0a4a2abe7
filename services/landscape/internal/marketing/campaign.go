package marketing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// maxPackage is the most members of one Open Channel call (sap-marketing-cloud.md §1.4).
const maxPackage = 1000

// ErrNotStarted is returned when the Open Channel endpoint did not answer the ping with 2xx: nothing was sent.
var ErrNotStarted = errors.New("campaign not started: the endpoint refused the ping")

// ErrInvalidCampaign is returned for a campaign that Marketing Cloud could not have: nothing was sent.
var ErrInvalidCampaign = errors.New("invalid campaign")

// Campaign is an Open Channel campaign ready to run.
type Campaign struct {
	// ID is the campaign's id, at most 10 characters.
	ID   string
	Name string
	// MarketingArea may be empty: then the payload has none (sap-marketing-cloud.md §1.3).
	MarketingArea string
	// Members may be empty: then one empty package is sent.
	Members []Member
	// PackageSize is the number of members of one call, at most 1,000. Default: 1,000.
	PackageSize int
	// URL is the Open Channel endpoint, Header what each call to it carries, such as Authorization. Both are kept in
	// the books until the run has ended, so that Resume can go on.
	URL    string
	Header http.Header
}

// Member is one member of the target group.
type Member struct {
	// OutboundID is unique among all members of all campaigns, at most 50 characters.
	OutboundID string `json:"outboundId"`
	// ContactKey is the contact's Guid as 32 upper-case hex digits. Default: derived from ContactID.
	ContactKey string `json:"contactKey"`
	ContactID  string `json:"contactId"`
	FirstName  string `json:"firstName"`
	LastName   string `json:"lastName"`
	Email      string `json:"email"`
	Phone      string `json:"phone"`
	Language   string `json:"language"`
	Country    string `json:"country"`
	// SurveyID, if there is one, travels as ZOC_Q_SURVEY.
	SurveyID string `json:"surveyId"`
	// Attributes are further attributes, by attribute id.
	Attributes map[string]string `json:"attributes"`
}

// interactionKey is the key of the member's outbound interaction, known before the interaction exists.
func (m Member) interactionKey() uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("outbound/"+m.OutboundID))
}

// outbound is what Marketing Cloud knows of an outbound id.
type outbound struct {
	Member     Member `json:"member"`
	CampaignID string `json:"campaignId"`
	Area       string `json:"area"`
}

// RunState is how far a campaign run has come.
type RunState string

// The states of a run.
const (
	Running    RunState = "running"
	NotStarted RunState = "not started" // the ping was refused
	Finished   RunState = "finished"    // every package was sent or given up
)

// PackageState is how far a package has come.
type PackageState string

// The states of a package. Sending is the state of one whose answer has not come yet.
const (
	Waiting PackageState = "waiting"
	Sending PackageState = "sending"
	Sent    PackageState = "sent"
	Failed  PackageState = "failed"
)

// run is a campaign run in the books; its members and packages are in tables of their own.
type run struct {
	ID            string      `json:"id"`
	CampaignID    string      `json:"campaignId"`
	Name          string      `json:"name"`
	MarketingArea string      `json:"marketingArea"`
	URL           string      `json:"url"`
	Header        http.Header `json:"header"`
	PackageSize   int         `json:"packageSize"`
	Members       int         `json:"members"`
	State         RunState    `json:"state"`
	StartedAt     time.Time   `json:"startedAt"`
}

type pack struct {
	Run      string       `json:"run"`
	Number   int          `json:"number"`
	State    PackageState `json:"state"`
	Attempts int          `json:"attempts"`
	Status   int          `json:"status"` // of the last answer; 0: none came
}

func (p pack) key() string { return fmt.Sprintf("%s/%06d", p.Run, p.Number) }

// RunCampaign runs a campaign to its end: it pings the endpoint and posts the members in packages. A package counts as
// sent when it is answered 2xx (sap-marketing-cloud.md §1.2); one that is not is given up after the repeats of the
// settings, and the run goes on. Errors: [ErrInvalidCampaign], [ErrNotStarted], the context's. A run that the context
// or the end of the process interrupts is taken up by Resume.
func (s *Simulator) RunCampaign(ctx context.Context, c Campaign) (CampaignRun, error) {
	if c.PackageSize == 0 {
		c.PackageSize = maxPackage
	}
	if err := c.check(); err != nil {
		return CampaignRun{}, err
	}
	r, err := s.record(c)
	if err != nil {
		return CampaignRun{}, err
	}
	err = s.carryOn(ctx, r, c.Members, true)
	return s.campaignRun(r.ID), err
}

// Resume takes up what the last end of the process interrupted: campaign runs, and mails not yet handed over. A
// package whose answer was being waited for is sent again. It returns when all of it is done.
func (s *Simulator) Resume(ctx context.Context) error {
	if err := s.resumeMails(ctx); err != nil {
		return err
	}
	var failures []error
	for _, r := range s.runs.Find(func(r run) bool { return r.State == Running }) {
		members, _ := s.members.Get(r.ID)
		if err := s.carryOn(ctx, r, members, false); err != nil {
			failures = append(failures, fmt.Errorf("campaign run %s: %w", r.ID, err))
		}
	}
	return errors.Join(failures...)
}

func (c Campaign) check() error {
	target, err := url.Parse(c.URL)
	switch {
	case c.ID == "" || len(c.ID) > 10:
		return fmt.Errorf("%w: its id has 1 to 10 characters", ErrInvalidCampaign)
	case c.PackageSize < 1 || c.PackageSize > maxPackage:
		return fmt.Errorf("%w: a package has 1 to %d members", ErrInvalidCampaign, maxPackage)
	case err != nil || target.Host == "":
		return fmt.Errorf("%w: the endpoint's address is not absolute", ErrInvalidCampaign)
	}
	seen := map[string]bool{}
	for i, m := range c.Members {
		switch {
		case m.OutboundID == "" || len(m.OutboundID) > 50 || seen[m.OutboundID]:
			return fmt.Errorf("%w: member %d needs an outbound id of its own of 1 to 50 characters", ErrInvalidCampaign, i+1)
		case m.ContactID == "":
			return fmt.Errorf("%w: member %d has no contact id", ErrInvalidCampaign, i+1)
		}
		seen[m.OutboundID] = true
	}
	return nil
}

// record writes the run, its members and its packages, the run last: without it nothing of the rest counts.
func (s *Simulator) record(c Campaign) (run, error) {
	r := run{
		ID: fmt.Sprintf("RUN%05d", s.nextRun()), CampaignID: c.ID, Name: c.Name, MarketingArea: c.MarketingArea,
		URL: c.URL, Header: c.Header, PackageSize: c.PackageSize, Members: len(c.Members), State: Running, StartedAt: s.now(),
	}
	if err := s.members.Put(r.ID, c.Members); err != nil {
		return r, err
	}
	for _, m := range c.Members {
		if err := s.outbounds.Put(m.OutboundID, outbound{m, c.ID, c.MarketingArea}); err != nil {
			return r, err
		}
	}
	for n := range max(1, (len(c.Members)+c.PackageSize-1)/c.PackageSize) {
		p := pack{Run: r.ID, Number: n + 1, State: Waiting}
		if err := s.packages.Put(p.key(), p); err != nil {
			return r, err
		}
	}
	return r, s.runs.Put(r.ID, r)
}

// carryOn brings a run to its end from wherever it stands.
func (s *Simulator) carryOn(ctx context.Context, r run, members []Member, first bool) error {
	header, err := s.ping(ctx, r)
	if err != nil {
		if first && ctx.Err() == nil {
			return errors.Join(err, s.end(r, NotStarted))
		}
		return err
	}
	for _, p := range s.packages.Find(func(p pack) bool { return p.Run == r.ID && (p.State == Waiting || p.State == Sending) }) {
		from := (p.Number - 1) * r.PackageSize
		part := members[from:min(from+r.PackageSize, len(members))]
		if err := s.send(ctx, r, p, header, part); err != nil {
			return err
		}
	}
	return s.end(r, Finished)
}

// end closes a run and forgets the credentials of its endpoint.
func (s *Simulator) end(r run, state RunState) error {
	r.State, r.Header = state, nil
	s.log.Info("campaign run ended", "run", r.ID, "state", string(state), "members", r.Members)
	return errors.Join(s.runs.Put(r.ID, r), s.members.Delete(r.ID))
}

// ping is the GET before the first package (sap-marketing-cloud.md §1.2). It gives the header of the packages: a token
// and cookies that the endpoint gave go back to it.
func (s *Simulator) ping(ctx context.Context, r run) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, err
	}
	header := r.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	request.Header = header.Clone()
	request.Header.Set("X-Csrf-Token", "fetch")
	response, err := s.settings.Client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: no answer: %w", ErrNotStarted, err)
	}
	drain(response)
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%w: status %d", ErrNotStarted, response.StatusCode)
	}
	if token := response.Header.Get("X-Csrf-Token"); token != "" {
		header.Set("X-Csrf-Token", token)
	}
	for _, c := range response.Cookies() {
		header.Add("Cookie", c.Name+"="+c.Value)
	}
	header.Set("Content-Type", "application/json")
	return header, nil
}

// send posts one package until it is sent or given up. It fails only if the run is interrupted or the books are.
func (s *Simulator) send(ctx context.Context, r run, p pack, header http.Header, members []Member) error {
	body, err := s.payload(r, members)
	if err != nil {
		return err
	}
	for repeats := 0; ; repeats++ {
		p.State, p.Attempts, p.Status = Sending, p.Attempts+1, 0
		if err := s.packages.Put(p.key(), p); err != nil {
			return err
		}
		p.Status = s.post(ctx, r.URL, header, body)
		switch {
		case p.Status/100 == 2:
			return s.sent(ctx, r, p, header, body, members)
		case ctx.Err() != nil:
			return ctx.Err()
		case repeats >= s.settings.PackageRepeats:
			p.State = Failed
			s.log.Warn("campaign package given up", "run", r.ID, "package", p.Number, "status", p.Status)
			return s.packages.Put(p.key(), p)
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
}

func (s *Simulator) pause(ctx context.Context) error {
	timer := time.NewTimer(s.settings.RepeatPause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// sent books a package that was answered 2xx: Marketing Cloud writes its outbound interactions now.
func (s *Simulator) sent(ctx context.Context, r run, p pack, header http.Header, body []byte, members []Member) error {
	if !s.settings.NoOutboundInteractions {
		for _, m := range members {
			if err := s.writeDistribution(r, m); err != nil {
				return err
			}
		}
	}
	p.State = Sent
	if err := s.packages.Put(p.key(), p); err != nil {
		return err
	}
	if s.settings.Payload.Twice {
		s.post(ctx, r.URL, header, body)
	}
	return nil
}

// post gives the status of the answer, or 0 if none came.
func (s *Simulator) post(ctx context.Context, address string, header http.Header, body []byte) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header = header.Clone()
	response, err := s.settings.Client.Do(request)
	if err != nil {
		return 0
	}
	drain(response)
	return response.StatusCode
}

// drain reads a little of the body, which nobody looks at, so that the connection can be used again.
func drain(response *http.Response) {
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	_ = response.Body.Close()
}

// writeDistribution writes the member's outbound interaction, once; it becomes visible later.
func (s *Simulator) writeDistribution(r run, m Member) error {
	key := m.interactionKey().String()
	if _, exists := s.interactions.Get(key); exists {
		return nil
	}
	now := s.now()
	row := odatasim.Row{Values: map[string]string{
		keyField:                   key,
		typeField:                  distributed,
		"InteractionTimeStampUTC":  odatasim.FormatDate(now),
		sourceTypeField:            campaignOutbound,
		sourceField:                m.OutboundID,
		"CampaignID":               r.CampaignID,
		"MarketingArea":            r.MarketingArea,
		"InteractionContactId":     m.ContactID,
		"InteractionContactOrigin": s.settings.ContactOrigin,
	}}
	s.stamp(row)
	return s.keep(interaction{Row: row, Created: now, Visible: now.Add(s.settings.VisibleAfter)})
}

// The Open Channel payload (sap-marketing-cloud.md §1.3).
type (
	wireCampaign struct {
		CampaignID    string       `json:"CampaignId"`
		Name          string       `json:"Name"`
		MarketingArea string       `json:"MarketingAreaId,omitempty"`
		Members       []wireMember `json:"CampaignTargetGroupMembers"`
	}
	wireMember struct {
		OutboundID string          `json:"OutboundId"`
		Attributes []wireAttribute `json:"TargetGroupMemberAttributeData"`
	}
	wireAttribute struct {
		ID    string `json:"AttributeId"`
		Value any    `json:"Value"`
	}
)

func (s *Simulator) payload(r run, members []Member) ([]byte, error) {
	c := wireCampaign{CampaignID: r.CampaignID, Name: r.Name, MarketingArea: r.MarketingArea, Members: []wireMember{}}
	for _, m := range members {
		c.Members = append(c.Members, wireMember{m.OutboundID, s.attributes(m)})
	}
	if s.settings.Payload.NoRoot {
		return json.Marshal(c)
	}
	return json.Marshal(map[string]any{s.settings.Payload.Root: c})
}

func (s *Simulator) attributes(m Member) []wireAttribute {
	var list []wireAttribute
	add := func(id, value string) { list = append(list, wireAttribute{id, s.attributeValue(value)}) }
	contactKey := m.ContactKey
	if contactKey == "" {
		contactKey = fmt.Sprintf("%X", sha256.Sum256([]byte(m.ContactID)))[:32]
	}
	add("CONTACT_KEY", contactKey)
	add("CONTACT_ID", m.ContactID)
	add("NAME_FIRST", m.FirstName)
	add("NAME_LAST", m.LastName)
	add("SMTP_ADDR", m.Email)
	add("PHONE", m.Phone)
	add("LANGUAGE", m.Language)
	add("COUNTRY", m.Country)
	add("OUTBOUND_INTERACTION", strings.ToUpper(strings.ReplaceAll(m.interactionKey().String(), "-", "")))
	if m.SurveyID != "" {
		add("ZOC_Q_SURVEY", m.SurveyID)
	}
	for _, id := range slices.Sorted(maps.Keys(m.Attributes)) {
		add(id, m.Attributes[id])
	}
	return list
}

// plainNumber is a number that JSON writes as it stands here: nothing is lost by sending it as one.
var plainNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,14})$`)

func (s *Simulator) attributeValue(text string) any {
	switch {
	case !s.settings.Payload.TypedValues:
		return text
	case text == "":
		return nil
	case text == "true" || text == "false":
		return text == "true"
	case plainNumber.MatchString(text):
		return json.Number(text)
	}
	return text
}
