package awardco

import (
	"errors"
	"fmt"
)

// ErrNotPending is returned for a decision about a recognition that is not in the approvals queue.
var ErrNotPending = errors.New("no pending recognition has this id")

// ErrRefused is returned for an external recognition or an approval that Awardco would not take.
var ErrRefused = errors.New("refused")

// External is what somebody outside says about an employee, through the form or the Qualtrics link of an external
// programme (awardco.md §4, §5).
type External struct {
	Program   string // name or id of an external programme
	Recipient string // employee id, e-mail or username
	Note      string
	Tags      []string
}

// SubmitExternal puts an external recognition into the approvals queue. The public API has no door for this
// (awardco.md §3.8). Errors: [ErrRefused].
func (s *Simulator) SubmitExternal(e External) (Recognition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.programs.Find(func(p Program) bool { return (p.Name == e.Program || p.ID == e.Program) && p.External })
	if len(found) != 1 {
		return Recognition{}, fmt.Errorf("%w: no external programme of this name", ErrRefused)
	}
	recipients, err := s.findRecipients([]string{e.Recipient})
	if err != nil {
		return Recognition{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	r := Recognition{Recipients: recipients, Note: e.Note, Tags: e.Tags, Program: e.Program, Public: true}
	err = s.enter(&r, found[0])
	return r, err
}

// Approval is an approver's decision to grant.
type Approval struct {
	Points int    // added for each recipient; 0 adds none
	Budget string // pays the points; not needed in a programme with a central budget
	Note   string // replaces the note; empty leaves it
}

// Approve grants a pending recognition with what the approver adds (awardco.md §4). Errors: [ErrNotPending],
// [ErrRefused] for points that the budget cannot pay.
func (s *Simulator) Approve(id string, a Approval) (Recognition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.recognitions.Get(id)
	if !ok || r.State != Pending {
		return r, ErrNotPending
	}
	programs := s.programs.Find(func(p Program) bool { return p.Name == r.Program })
	central := len(programs) == 1 && programs[0].CentralBudget
	r.Amount += a.Points
	if a.Budget != "" {
		r.Budget = a.Budget
	}
	if a.Note != "" {
		r.Note = a.Note
	}
	if r.Amount > 0 && !central {
		if err := s.affordable(r.Budget, r.Amount*len(r.Recipients)); err != nil {
			return r, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if err := s.grant(&r, central); err != nil {
		return r, err
	}
	return r, s.announce(s.settings.EventNames.Approved, r)
}

// Deny refuses a pending recognition and keeps the reason. Errors: [ErrNotPending].
func (s *Simulator) Deny(id, reason string) (Recognition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.recognitions.Get(id)
	if !ok || r.State != Pending {
		return r, ErrNotPending
	}
	r.State, r.Reason, r.DecidedAt = Denied, reason, s.now()
	if err := s.recognitions.Put(id, r); err != nil {
		return r, err
	}
	return r, s.announce(s.settings.EventNames.Denied, r)
}
