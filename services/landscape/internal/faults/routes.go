package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Routes adds the desk's own routes to mux:
//
//	GET    /landscape/faults       the faults that are on, and how often each was met
//	POST   /landscape/faults       puts one [Fault] on: 201 with it, 400 with what is wrong
//	DELETE /landscape/faults       takes all off
//	DELETE /landscape/faults/{id}  takes one off: 204, 404 where there is none
func (d *Desk) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /landscape/faults", d.get)
	mux.HandleFunc("POST /landscape/faults", d.post)
	mux.HandleFunc("DELETE /landscape/faults", d.deleteAll)
	mux.HandleFunc("DELETE /landscape/faults/{id}", d.deleteOne)
}

func (d *Desk) get(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"faults": d.List(), "vendors": d.Vendors()})
}

func (d *Desk) post(w http.ResponseWriter, r *http.Request) {
	f, err := d.decode(w, r)
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	f.ID = d.Add(f)
	answer(w, http.StatusCreated, f)
}

func (d *Desk) decode(w http.ResponseWriter, r *http.Request) (Fault, error) {
	var f Fault
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	body.DisallowUnknownFields()
	if err := body.Decode(&f); err != nil {
		return f, fmt.Errorf("the body is not a fault: %w", err)
	}
	if f.ID != "" || f.Fired != 0 {
		return f, fmt.Errorf("id, fired: given by the desk, leave them out")
	}
	if vendors := d.Vendors(); f.Vendor != "" && !slices.Contains(vendors, f.Vendor) {
		return f, fmt.Errorf("vendor: %q is none of %s", f.Vendor, strings.Join(vendors, ", "))
	}
	return f, f.Check()
}

func (d *Desk) deleteAll(w http.ResponseWriter, _ *http.Request) {
	d.Clear()
	w.WriteHeader(http.StatusNoContent)
}

func (d *Desk) deleteOne(w http.ResponseWriter, r *http.Request) {
	if !d.Remove(r.PathValue("id")) {
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no fault with that id"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone; there is nobody else to tell
}
