package awardco

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// State is how far a recognition has come.
type State string

// The states of a recognition. What comes in through the API is granted at once, except in an external programme.
const (
	Granted State = "granted" // at once, or approved
	Pending State = "pending"
	Denied  State = "denied"
)

// Recognition is one recognition in the books.
type Recognition struct {
	ID         string    `json:"id"`
	Recipients []string  `json:"recipients"` // employee ids
	Giver      string    `json:"giver"`      // employee id; empty: the company's bot, or somebody outside
	Note       string    `json:"note"`
	Title      string    `json:"title"`
	Tags       []string  `json:"tags"`
	Amount     int       `json:"amount"` // for each recipient
	Public     bool      `json:"public"`
	Program    string    `json:"program"` // its name; empty: none
	Budget     string    `json:"budget"`
	State      State     `json:"state"`
	Reason     string    `json:"reason"` // why it was denied
	CreatedAt  time.Time `json:"createdAt"`
	DecidedAt  time.Time `json:"decidedAt"` // zero while pending
}

// request is the body of POST /recognize (awardco.md §3.1).
type request struct {
	Recipients  []string        `json:"recipients"`
	Note        string          `json:"note"`
	TagNames    []string        `json:"tagNames"`
	Giver       string          `json:"giver"`
	Amount      json.RawMessage `json:"amount"`
	IsPublic    bool            `json:"isPublic"`
	ProgramID   *string         `json:"recognitionProgramId"`
	ProgramName *string         `json:"recognitionProgramName"`
	BudgetName  string          `json:"budgetName"`
	Title       string          `json:"title"`
}

// answer is what a recognition was answered, kept for a repeated idempotency key where that is switched on.
type answer struct {
	Success       bool   `json:"success"`
	RecognitionID string `json:"recognitionId,omitempty"`
}

func (s *Simulator) postRecognize(r *http.Request) (any, error) { return s.handleRecognize(r, true) }

func (s *Simulator) postRecognizeNoProgram(r *http.Request) (any, error) {
	return s.handleRecognize(r, false)
}

func (s *Simulator) handleRecognize(r *http.Request, withProgram bool) (any, error) {
	var q request
	if err := s.read(r, &q); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.idempotencyKey(r)
	if before, ok := s.answers.Get(key); ok {
		return before, nil
	}
	recognition, program, err := s.check(q, withProgram)
	if err != nil {
		return nil, err
	}
	if err := s.enter(&recognition, program); err != nil {
		return nil, err
	}
	a := answer{Success: true, RecognitionID: recognition.ID}
	if s.settings.NoRecognitionID {
		a.RecognitionID = ""
	}
	if key != "" {
		err = s.answers.Put(key, a)
	}
	return a, err
}

func (s *Simulator) idempotencyKey(r *http.Request) string {
	if s.settings.IdempotencyHeader == "" {
		return ""
	}
	return r.Header.Get(s.settings.IdempotencyHeader)
}

// check holds a request against every rule of awardco.md §3.1 and §8 row 1.
func (s *Simulator) check(q request, withProgram bool) (Recognition, Program, error) {
	r := Recognition{Note: q.Note, Title: q.Title, Tags: q.TagNames, Public: q.IsPublic, Budget: q.BudgetName}
	program, err := s.findProgram(q, withProgram)
	if err != nil {
		return r, program, err
	}
	r.Program = program.Name
	if r.Recipients, err = s.findRecipients(q.Recipients); err != nil {
		return r, program, err
	}
	if r.Giver, err = s.findGiver(q.Giver); err != nil {
		return r, program, err
	}
	if err := s.checkTexts(q, program, withProgram); err != nil {
		return r, program, err
	}
	r.Amount, err = s.checkAmount(q, program, len(r.Recipients))
	return r, program, err
}

func (s *Simulator) findProgram(q request, withProgram bool) (Program, error) {
	switch {
	case !withProgram && (q.ProgramID != nil || q.ProgramName != nil):
		return Program{}, bad("Recognition without a program takes no program")
	case !withProgram:
		return Program{}, nil
	case (q.ProgramID == nil) == (q.ProgramName == nil):
		return Program{}, bad("Exactly one of recognitionProgramId and recognitionProgramName is required")
	}
	found := s.programs.Find(func(p Program) bool {
		return q.ProgramID != nil && p.ID == *q.ProgramID || q.ProgramName != nil && p.Name == *q.ProgramName
	})
	if len(found) != 1 {
		return Program{}, bad("Recognition program not found")
	}
	return found[0], nil
}

// findRecipients gives the recipients' employee ids. One unknown among several refuses all, unless switched.
func (s *Simulator) findRecipients(identities []string) ([]string, error) {
	if len(identities) == 0 {
		return nil, bad("At least one recipient is required")
	}
	var found []string
	for _, identity := range identities {
		u, ok := s.findUser(identity)
		switch {
		case ok && !u.Archived:
			found = append(found, u.EmployeeID)
		case s.settings.PartialSuccess && len(identities) > 1:
			continue
		case ok:
			return nil, bad("Recipient is archived")
		default:
			return nil, bad("Recipient not found")
		}
	}
	if len(found) == 0 {
		return nil, bad("Recipient not found")
	}
	return found, nil
}

func (s *Simulator) findGiver(identity string) (string, error) {
	if identity == "" {
		return "", nil
	}
	u, ok := s.findUser(identity)
	if !ok || u.Archived {
		return "", bad("Giver not found")
	}
	return u.EmployeeID, nil
}

func (s *Simulator) checkTexts(q request, program Program, withProgram bool) error {
	switch {
	case s.settings.NoteMax > 0 && utf8.RuneCountInString(q.Note) > s.settings.NoteMax:
		return bad("Field note is longer than %d characters", s.settings.NoteMax)
	case utf8.RuneCountInString(q.Title) > 50:
		return bad("Field title is longer than 50 characters")
	case q.Title != "" && withProgram && !program.TitleQuestion:
		return bad("Field title is not possible: the title question of the program is off")
	}
	for _, tag := range q.TagNames {
		if s.settings.RefuseUnknownTags && !slices.Contains(s.settings.Tags, tag) {
			return bad("Tag not found")
		}
	}
	return nil
}

// checkAmount gives the amount for each recipient and checks that it can be paid (awardco.md §3.1).
func (s *Simulator) checkAmount(q request, program Program, recipients int) (int, error) {
	if len(q.Amount) == 0 {
		return 0, nil
	}
	amount, err := strconv.Atoi(string(q.Amount))
	if err != nil || amount < 0 {
		return 0, bad("Field amount must be a whole number from 0")
	}
	if amount == 0 || program.CentralBudget {
		return amount, nil
	}
	if q.BudgetName == "" {
		return 0, bad("Field budgetName is required for an amount")
	}
	return amount, s.affordable(q.BudgetName, amount*recipients)
}

func (s *Simulator) affordable(name string, amount int) error {
	budget, ok := s.budgets.Get(name)
	switch {
	case !ok:
		return bad("Budget not found")
	case budget.Balance < amount:
		return bad("The budget is exhausted")
	}
	return nil
}

// enter keeps a recognition: granted with its points, or pending in the queue of an external programme.
func (s *Simulator) enter(r *Recognition, program Program) error {
	r.ID, r.CreatedAt, r.State = fmt.Sprintf("REC-%d", 1000+s.nextID()), s.now(), Pending
	if !program.External {
		if err := s.grant(r, program.CentralBudget); err != nil {
			return err
		}
		return s.announce(s.settings.EventNames.Created, *r)
	}
	if err := s.recognitions.Put(r.ID, *r); err != nil || !s.settings.CreatedWhilePending {
		return err
	}
	return s.announce(s.settings.EventNames.Created, *r)
}

// grant books the recognition as granted and moves its points from the budget to the recipients.
func (s *Simulator) grant(r *Recognition, central bool) error {
	r.State, r.DecidedAt = Granted, s.now()
	if err := s.recognitions.Put(r.ID, *r); err != nil || r.Amount == 0 {
		return err
	}
	for _, id := range r.Recipients {
		_, err := s.users.Update(id, func(u User, found bool) (User, bool) {
			u.Balance += r.Amount
			u.UpdatedAt = r.DecidedAt
			return u, found
		})
		if err != nil {
			return err
		}
	}
	if central {
		return nil
	}
	_, err := s.budgets.Update(r.Budget, func(b Budget, found bool) (Budget, bool) {
		b.Balance -= r.Amount * len(r.Recipients)
		return b, found
	})
	return err
}
