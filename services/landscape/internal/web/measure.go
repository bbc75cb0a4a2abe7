package web

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/traffic"
)

// counted is what the vendors were called for, for measurements.
type counted struct {
	traffic.Counts
	QualtricsLimits []qualtrics.Limit `json:"qualtricsLimits"`
}

func (p *Pages) showCalls(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(counted{p.Traffic.Counts(), p.Qualtrics.Limits()}, "", "  ")
	p.answerJSON(w, body, err)
}

func (p *Pages) forgetCalls(w http.ResponseWriter, _ *http.Request) {
	p.Traffic.Reset()
	p.Qualtrics.ForgetCalls()
	w.WriteHeader(http.StatusNoContent)
}

func (p *Pages) showSwitches(w http.ResponseWriter, _ *http.Request) {
	body, err := p.Qualtrics.Switches().JSON()
	p.answerJSON(w, body, err)
}

func (p *Pages) changeSwitches(w http.ResponseWriter, r *http.Request) {
	change, err := io.ReadAll(r.Body)
	if err == nil {
		err = p.Qualtrics.Change(change)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.showSwitches(w, r)
}

func (p *Pages) resetSwitches(w http.ResponseWriter, _ *http.Request) {
	if err := p.Qualtrics.Set(p.Switches); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError) // New has checked them
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *Pages) revokeTokens(w http.ResponseWriter, _ *http.Request) {
	p.Qualtrics.RevokeAccessTokens()
	w.WriteHeader(http.StatusNoContent)
}
