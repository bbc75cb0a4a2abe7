package recognizer

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recipients"
)

// prepare makes of a request what is to be sent, or says what is missing: [fault.Invalid] for what the request must
// hold, [fault.Person] for what a person has to decide, and whatever finding the recipient says.
func (r *recognizer) prepare(ctx context.Context, m *eventsv1.RecognitionRequested) (awardco.Recognition, error) {
	s := r.settings
	rec := awardco.Recognition{
		Reference: m.GetResponseId(), InNote: s.reference() == referenceNote, Giver: s.Giver, Public: s.Public,
		Amount: int64(m.GetAmount()), Aliases: aliasesOf(m.GetRecipient()),
	}
	rec.ProgramID, rec.ProgramName = s.programOf(m)
	if rec.ProgramID == "" && rec.ProgramName == "" {
		return rec, fault.At("program", "is empty, and neither AWARDCO_PROGRAM nor AWARDCO_PROGRAM_ID is set")
	}
	var err error
	if rec.Note, err = s.note(m.GetNote(), rec); err != nil {
		return rec, err
	}
	rec.Title = s.title(m, rec)
	if rec.Budget, err = s.budget(rec.Amount); err != nil {
		return rec, err
	}
	rec.Recipient, err = r.recipients.Resolve(ctx, identityOf(m))
	return rec, err
}

func aliasesOf(to *eventsv1.Recipient) []string {
	return append(outbound.Names(to.GetName()), to.GetEmail(), to.GetUsername(), to.GetEmployeeId())
}

func identityOf(m *eventsv1.RecognitionRequested) recipients.Identity {
	to := m.GetRecipient()
	return recipients.Identity{EmployeeID: to.GetEmployeeId(), Email: to.GetEmail(), Username: to.GetUsername(), Name: to.GetName()}
}

// programOf gives id or name of the programme: of the request, else of the settings; the id goes first in both.
func (s *Settings) programOf(m *eventsv1.RecognitionRequested) (id, name string) {
	switch {
	case m.GetProgramId() != "":
		return m.GetProgramId(), ""
	case m.GetProgram() != "":
		return "", m.GetProgram()
	case s.ProgramID != "":
		return s.ProgramID, ""
	}
	return "", s.Program
}

// title is what the request says, which the contract of the event keeps short, or the setting filled in.
func (s *Settings) title(m *eventsv1.RecognitionRequested, rec awardco.Recognition) string {
	if m.GetTitle() != "" {
		return m.GetTitle()
	}
	filled := strings.NewReplacer(
		"{score}", strconv.FormatFloat(m.GetScore(), 'f', -1, 64), "{program}", cmp.Or(rec.ProgramName, s.Program),
	).Replace(s.Title)
	return cutAtWord(strings.TrimSpace(filled), titleMax)
}

// note keeps the limit, our reference included where it stands in the note.
func (s *Settings) note(text string, rec awardco.Recognition) (string, error) {
	if s.NoteMax == 0 {
		return text, nil
	}
	room := s.NoteMax
	if rec.InNote {
		room -= utf8.RuneCountInString(awardco.Mark(rec.Reference)) + 1
	}
	length := utf8.RuneCountInString(text)
	if length > room && s.NoteLong == noteRefuse {
		return "", fault.At("note", "has %d characters; AWARDCO_NOTE_MAX leaves room for %d", length, room)
	}
	return cutAtWord(text, room), nil
}

// cutAtWord cuts a text to at most limit characters, the last of which then is an ellipsis, after a whole word where
// one ends in the second half.
func cutAtWord(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	kept := []rune(text)[:limit] // one more than stays: a word may end right there
	end := limit - 1
	for n := limit - 1; n > limit/2; n-- {
		if unicode.IsSpace(kept[n]) {
			end = n
			break
		}
	}
	return strings.TrimRightFunc(string(kept[:end]), func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune(",;:-–", c) }) + "…"
}

// budget holds an amount against the limits, and gives the budget that pays it: one is only sent with an amount
// (awardco.md §3.1, §9 trap 5).
func (s *Settings) budget(amount int64) (string, error) {
	switch {
	case amount == 0:
		return "", nil
	case s.Mode == modeExternal:
		return "", atAmount("cannot go with AWARDCO_MODE=external: whoever approves adds the points")
	case s.MaxAmount == 0:
		return "", atAmount(fmt.Sprintf("is %d, and AWARDCO_MAX_AMOUNT allows none", amount))
	case amount > s.MaxAmount:
		return "", atAmount(fmt.Sprintf("is %d, above the %d of AWARDCO_MAX_AMOUNT", amount, s.MaxAmount))
	case s.Budget == "" && !s.CentralBudget:
		return "", atAmount(fmt.Sprintf("is %d, and nothing pays it: set AWARDCO_BUDGET, or AWARDCO_CENTRAL_BUDGET=true", amount))
	}
	return s.Budget, nil
}
