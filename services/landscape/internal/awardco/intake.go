package awardco

import (
	"encoding/json"
	"net/http"
	"strings"
)

// IntakePath is where the intake is served; the token follows.
const IntakePath = "/external-recognition"

// intake serves the address for external recognitions (awardco.md §4, §5): whoever knows the token puts one into the
// approvals queue. The public API has no such door (awardco.md §3.8), so what it looks like is assumed. There is no way to
// ask it what it has taken.
func (s *Simulator) intake(w http.ResponseWriter, r *http.Request) {
	s.calls.Add("POST " + IntakePath)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	answer, err := s.postExternal(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.write(w, http.StatusOK, answer)
}

func (s *Simulator) postExternal(r *http.Request) (any, error) {
	in := s.settings.Intake
	if in.Token == "" || r.PathValue("token") != in.Token {
		return nil, refuse(http.StatusNotFound, "There is no form at this address")
	}
	if !s.withinRate() {
		return nil, refuse(http.StatusTooManyRequests, "Too many requests")
	}
	var body map[string]any
	if err := s.read(r, &body); err != nil {
		return nil, err
	}
	e := External{}
	var err error
	for name, into := range map[string]*string{in.Program: &e.Program, in.Recipient: &e.Recipient, in.Note: &e.Note} {
		if *into, err = textAt(body, name); err != nil {
			return nil, err
		}
	}
	if e.Tags, err = tagsAt(body, in.Tag); err != nil {
		return nil, err
	}
	if e.Note == "" {
		return nil, bad("Field %s is required", in.Note)
	}
	if len(body) > 0 && !s.settings.AcceptUnknownFields {
		return nil, bad("The body has an unknown field")
	}
	taken, err := s.SubmitExternal(e)
	if err != nil {
		return nil, bad("%s", strings.TrimPrefix(err.Error(), ErrRefused.Error()+": "))
	}
	a := answer{Success: true}
	if in.TellID {
		a.RecognitionID = taken.ID
	}
	return a, nil
}

// textAt takes a text out of a body.
func textAt(body map[string]any, name string) (string, error) {
	value, there := body[name]
	delete(body, name)
	text, ok := value.(string)
	if there && !ok {
		return "", bad("Field %s must be a text", name)
	}
	return text, nil
}

// tagsAt takes a tag, or a list of them.
func tagsAt(body map[string]any, name string) ([]string, error) {
	value, there := body[name]
	delete(body, name)
	if one, ok := value.(string); ok {
		return []string{one}, nil
	}
	if !there {
		return nil, nil
	}
	var tags []string
	content, err := json.Marshal(value)
	if err != nil || json.Unmarshal(content, &tags) != nil {
		return nil, bad("Field %s must be a text or a list of texts", name)
	}
	return tags, nil
}
