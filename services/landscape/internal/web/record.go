package web

import (
	"net/http"
	"slices"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
)

func (p *Pages) showTask(w http.ResponseWriter, r *http.Request) {
	tasks, id := p.SalesCloud.Books().Tasks, r.PathValue("id")
	i := slices.IndexFunc(tasks, func(t salescloud.Task) bool { return t.ObjectID == id || t.ID == id })
	if i < 0 {
		p.notThere(w, "There is no such task")
		return
	}
	p.show(w, http.StatusOK, "task", task(tasks[i]))
}

func (p *Pages) showRecognition(w http.ResponseWriter, r *http.Request) {
	one := recognitions(p.Awardco.Books(), func(one awardco.Recognition) bool { return one.ID == r.PathValue("id") })
	if one.Total == 0 {
		p.notThere(w, "There is no such recognition")
		return
	}
	p.show(w, http.StatusOK, "recognition", one.Rows[0])
}

func (p *Pages) notThere(w http.ResponseWriter, what string) {
	p.show(w, http.StatusNotFound, "message", message{what, "Perhaps the landscape was started anew and forgot it."})
}
