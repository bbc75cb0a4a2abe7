package qualtrics

import "time"

// Contact is a person in the directory, and the lists the person is in.
type Contact struct {
	ID             string                `json:"id"` // CID_
	CreatedAt      time.Time             `json:"createdAt"`
	ModifiedAt     time.Time             `json:"modifiedAt"`
	FirstName      string                `json:"firstName,omitempty"`
	LastName       string                `json:"lastName,omitempty"`
	Email          string                `json:"email,omitempty"`
	Phone          string                `json:"phone,omitempty"`
	ExtRef         string                `json:"extRef,omitempty"`
	Language       string                `json:"language,omitempty"`
	EmbeddedData   map[string]string     `json:"embeddedData,omitempty"`
	UnsubscribedAt time.Time             `json:"unsubscribedAt,omitzero"` // from the whole directory
	Memberships    map[string]Membership `json:"memberships,omitempty"`   // by list
	Invitations    []time.Time           `json:"invitations,omitempty"`   // that count towards contact frequency
}

// Membership is a contact's place in a mailing list.
type Membership struct {
	LookupID            string            `json:"lookupId"` // CGC_
	UnsubscribedAt      time.Time         `json:"unsubscribedAt,omitzero"`
	PrivateEmbeddedData map[string]string `json:"privateEmbeddedData,omitempty"`
}

// Transaction is one interaction with a contact.
type Transaction struct {
	ID        string            `json:"id"` // CTR_
	ContactID string            `json:"contactId"`
	ListID    string            `json:"mailingListId"`
	Date      time.Time         `json:"date"`
	Data      map[string]string `json:"data,omitempty"`
}

// Batch is a set of transactions that one distribution addresses.
type Batch struct {
	ID             string    `json:"id"` // BT_
	CreatedAt      time.Time `json:"createdAt"`
	TransactionIDs []string  `json:"transactionIds"`
}

// Distribution is one generation of links.
type Distribution struct {
	ID          string    `json:"id"` // EMD_
	SurveyID    string    `json:"surveyId"`
	ListID      string    `json:"mailingListId,omitempty"`
	BatchID     string    `json:"transactionBatchId,omitempty"`
	LookupID    string    `json:"contactId,omitempty"` // of a distribution to one person
	LinkType    string    `json:"linkType"`
	Description string    `json:"description,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	ExpiresAt   time.Time `json:"expiresAt"`
	Deleted     bool      `json:"deleted,omitempty"`
	Reads       int       `json:"reads,omitempty"` // of its links, from the first page on
}

// The states of a link.
const (
	Unopened = "unopened"
	Opened   = "opened"
	Answered = "answered"
	Consumed = "consumed" // used up by being opened, where the settings say so
)

// Link is a personal link.
type Link struct {
	ID             string    `json:"id"` // the Q_DL of the address
	URL            string    `json:"url"`
	DistributionID string    `json:"distributionId"`
	SurveyID       string    `json:"surveyId"`
	ContactID      string    `json:"contactId"`
	LookupID       string    `json:"contactLookupId"`
	ListID         string    `json:"mailingListId"`
	TransactionID  string    `json:"transactionId,omitempty"`
	LinkType       string    `json:"linkType"`
	ExpiresAt      time.Time `json:"expiresAt"`
	State          string    `json:"state"`
	OpenedAt       time.Time `json:"openedAt,omitzero"`
	ResponseID     string    `json:"responseId,omitempty"` // the latest
}

// Response is a completed answer.
type Response struct {
	ID              string            `json:"id"` // R_
	SurveyID        string            `json:"surveyId"`
	LinkID          string            `json:"linkId,omitempty"`
	DistributionID  string            `json:"distributionId,omitempty"`
	LookupID        string            `json:"contactLookupId,omitempty"`
	StartedAt       time.Time         `json:"startedAt"`
	RecordedAt      time.Time         `json:"recordedAt"`
	Status          int               `json:"status"`
	Words           map[string]string `json:"words,omitempty"`     // answers in words by question
	Embedded        map[string]string `json:"embedded,omitempty"`  // embedded data that the flow declares
	Recipient       map[string]string `json:"recipient,omitempty"` // by the name of piped text: Email, FirstName …
	Values          map[string]any    `json:"values"`
	Labels          map[string]any    `json:"labels"`
	DisplayedFields []string          `json:"displayedFields"`
	DisplayedValues map[string][]int  `json:"displayedValues"`
	Reads           int               `json:"reads"` // by the API
	Announced       bool              `json:"announced"`
}

// Subscription is an event subscription.
type Subscription struct {
	ID              string `json:"id"` // SUB_
	Topics          string `json:"topics"`
	URL             string `json:"publicationUrl"`
	SharedKey       string `json:"sharedKey,omitempty"` // left out of snapshots
	SuccessfulCalls int    `json:"successfulCalls"`
}

// The kinds and states of a delivery.
const (
	EventDelivery      = "event"
	ValidationDelivery = "validation"
	TaskDelivery       = "task"

	Pending   = "pending"
	Delivered = "delivered"
	GivenUp   = "given up"
	Lost      = "lost" // on purpose, by the settings
)

// Delivery is one call that Qualtrics makes: an event, the check of a new subscription's URL, or a workflow task.
type Delivery struct {
	ID             string            `json:"id"`
	Kind           string            `json:"kind"`
	Name           string            `json:"name"` // topic or name of the task
	SubscriptionID string            `json:"subscriptionId,omitempty"`
	ResponseID     string            `json:"responseId,omitempty"`
	Method         string            `json:"method"`
	URL            string            `json:"url,omitempty"`    // left out of snapshots of tasks, where it may hold a secret
	Header         map[string]string `json:"header,omitempty"` // left out of snapshots
	Body           string            `json:"body,omitempty"`   // left out of snapshots
	CreatedAt      time.Time         `json:"createdAt"`
	DueAt          time.Time         `json:"dueAt"`
	Attempts       int               `json:"attempts"`
	State          string            `json:"state"`
	LastStatus     int               `json:"lastStatus,omitempty"` // 0: no answer
	NoRetry        bool              `json:"noRetry,omitempty"`
}

// Calls counts the authenticated calls of one operation, such as "POST /distributions".
type Calls struct {
	Operation string `json:"operation"`
	Count     int    `json:"count"`
	// Refused are those of them that were over a limit.
	Refused int `json:"refused,omitempty"`
}

// Books is a snapshot of everything that the simulator knows, first made first.
type Books struct {
	Contacts      []Contact      `json:"contacts"`
	Transactions  []Transaction  `json:"transactions"`
	Batches       []Batch        `json:"batches"`
	Imports       []Import       `json:"imports"`
	Distributions []Distribution `json:"distributions"`
	Links         []Link         `json:"links"`
	Responses     []Response     `json:"responses"`
	Subscriptions []Subscription `json:"subscriptions"`
	Deliveries    []Delivery     `json:"deliveries"`
	Calls         []Calls        `json:"calls"`
	Erasures      []Erasure      `json:"erasures"`
	// Limits are how the groups of calls stand, while limits are enforced.
	Limits []Limit `json:"limits"`
}

// Books gives a snapshot, without secrets.
func (s *Simulator) Books() Books {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runImports()
	s.runErasures()
	b := Books{
		Contacts:      s.books.contacts.All(),
		Transactions:  s.books.transactions.All(),
		Batches:       s.books.batches.All(),
		Imports:       s.books.imports.All(),
		Distributions: s.books.distributions.All(),
		Links:         s.books.links.All(),
		Responses:     s.books.responses.All(),
		Subscriptions: s.books.subscriptions.All(),
		Deliveries:    s.books.deliveries.All(),
		Calls:         s.books.calls.All(),
		Erasures:      s.books.erasures.All(),
		Limits:        s.limiter.book(),
	}
	for i := range b.Subscriptions {
		b.Subscriptions[i].SharedKey = ""
	}
	for i := range b.Imports {
		b.Imports[i].Rows = nil
	}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		d.Header, d.Body = nil, ""
		if d.Kind == TaskDelivery {
			d.URL = ""
		}
	}
	return b
}

// Limits gives how the groups of calls stand, while limits are enforced.
func (s *Simulator) Limits() []Limit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limiter.book()
}

// ForgetCalls begins to count calls and refusals anew. What is used up of the limits stays used up.
func (s *Simulator) ForgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, calls := range s.books.calls.All() {
		must(s.books.calls.Delete(calls.Operation))
	}
	s.limiter.forget()
}

// Count gives how often an operation was called, by its pattern such as "GET /distributions/{e}/links".
func (b Books) Count(operation string) int {
	for _, calls := range b.Calls {
		if calls.Operation == operation {
			return calls.Count
		}
	}
	return 0
}
