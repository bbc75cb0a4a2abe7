package salescloud

import (
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Books is what the tenant holds at one moment.
type Books struct {
	Tasks     []Task     `json:"tasks"`
	Accounts  []Account  `json:"accounts"`
	Contacts  []Contact  `json:"contacts"`
	Employees []Employee `json:"employees"`
	// Calls counts the calls of the API by operation: "token", "POST TasksCollection", "$batch POST TasksCollection" …
	Calls map[string]int `json:"calls"`
	// Sessions is how many sessions were opened since the simulator started.
	Sessions int `json:"sessions"`
	// PeakParallel is the most calls that came at the same time since the simulator started.
	PeakParallel int `json:"peakParallel"`
}

// Task is one task with its texts.
type Task struct {
	ObjectID    string    `json:"objectId"`
	ID          string    `json:"id"`
	Subject     string    `json:"subject"`
	Status      string    `json:"status"`
	Priority    string    `json:"priority"`
	AccountID   string    `json:"accountId"`
	ContactID   string    `json:"contactId"`
	ProcessorID string    `json:"processorId"`
	OwnerID     string    `json:"ownerId"`
	DueAt       time.Time `json:"dueAt"` // zero: none
	Texts       []string  `json:"texts"`
	CreatedAt   time.Time `json:"createdAt"`
	// Fields holds every property that has a value, by its name in the API; dates are RFC 3339.
	Fields map[string]string `json:"fields"`
}

// Books gives a copy of everything, oldest first.
func (s *Simulator) Books() Books {
	s.mu.Lock()
	peak := s.peak
	s.mu.Unlock()
	b := Books{
		Accounts:     values(s.accounts.All()),
		Contacts:     values(s.contacts.All()),
		Employees:    values(s.employees.All()),
		Calls:        s.calls.ByOperation(),
		Sessions:     s.sessions.Opened(),
		PeakParallel: peak,
	}
	for _, row := range s.tasks.All() {
		b.Tasks = append(b.Tasks, book(row))
	}
	return b
}

func book(row odatasim.Row) Task {
	v := row.Values
	t := Task{
		ObjectID: v["ObjectID"], ID: v["ID"], Subject: v["Subject"], Status: v["Status"], Priority: v["PriorityCode"],
		AccountID: v["MainAccountPartyID"], ContactID: v["MainContactPartyID"],
		ProcessorID: v["ProcessorPartyID"], OwnerID: v["MainEmployeeResponsiblePartyID"],
		DueAt: date(v["DueDateTime"]), CreatedAt: date(v["ReportedDateTime"]), Fields: row.Clone().Values,
	}
	for _, text := range row.Children[textNavigation] {
		t.Texts = append(t.Texts, text.Values["Text"])
	}
	return t
}

// date reads a date of a row; what is not there is the zero time.
func date(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text)
	return t
}
