package web

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/services/landscape/internal/faults"
)

// number reads a whole number from 0 up; a field left empty is 0.
func number(r *http.Request, field string) (int, error) {
	text := strings.TrimSpace(r.PostFormValue(field))
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s must be a whole number from 0 up", field)
	}
	return n, nil
}

// faultForm is what somebody typed into the form for a fault, to be shown again when it is refused.
type faultForm struct {
	Vendor, Method, Path, Kind, Status, RetryAfter, DelayMS, Rate, Times string
}

func (p *Pages) addFault(w http.ResponseWriter, r *http.Request) {
	typed := faultForm{
		Vendor: r.PostFormValue("vendor"), Method: r.PostFormValue("method"), Path: r.PostFormValue("path"),
		Kind: r.PostFormValue("kind"), Status: r.PostFormValue("status"), RetryAfter: r.PostFormValue("retryAfter"),
		DelayMS: r.PostFormValue("delayMs"), Rate: r.PostFormValue("rate"), Times: r.PostFormValue("times"),
	}
	fault, err := p.readFault(r, typed)
	if err != nil {
		p.showOverview(w, http.StatusUnprocessableEntity, problem{partFaults, err.Error()}, typed)
		return
	}
	p.Faults.Add(fault)
	done(w, r, partFaults)
}

func (p *Pages) readFault(r *http.Request, typed faultForm) (f faults.Fault, err error) {
	f = faults.Fault{Vendor: typed.Vendor, Method: typed.Method, Path: typed.Path, Kind: typed.Kind}
	for field, into := range map[string]*int{"delayMs": &f.DelayMS, "times": &f.Times, "status": &f.Status, "retryAfter": &f.RetryAfter} {
		if *into, err = number(r, field); err != nil {
			return f, err
		}
	}
	if typed.Rate != "" {
		if f.Rate, err = strconv.ParseFloat(typed.Rate, 64); err != nil {
			return f, fmt.Errorf("rate must be a number from 0 to 1, as in 0.5")
		}
	}
	if f.Vendor != "" && !slices.Contains(p.Faults.Vendors(), f.Vendor) {
		return f, fmt.Errorf("vendor: there is none of this name")
	}
	return f, f.Check()
}

func (p *Pages) removeFault(w http.ResponseWriter, r *http.Request) {
	p.Faults.Remove(r.PathValue("id")) // one that is gone already is what was wanted
	done(w, r, partFaults)
}
