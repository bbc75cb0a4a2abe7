package awardco

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// User is somebody who can give and receive recognition.
type User struct {
	EmployeeID   string    `json:"employeeId"`
	Username     string    `json:"username"`
	FirstName    string    `json:"firstName"`
	LastName     string    `json:"lastName"`
	Email        string    `json:"email"`
	Archived     bool      `json:"archived"`
	Balance      int       `json:"balance"`
	CurrencyCode string    `json:"currencyCode"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
}

// Program is a recognition programme.
type Program struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// CentralBudget programmes need no budgetName for an amount; others use access budgets and do (awardco.md §3.1).
	CentralBudget bool `json:"centralBudget"`
	// TitleQuestion allows the field title (awardco.md §3.1).
	TitleQuestion bool `json:"titleQuestion"`
	// External programmes put what comes in into the approvals queue (awardco.md §4).
	External bool `json:"external"`
}

// Budget is an access budget.
type Budget struct {
	Name    string `json:"name"`
	Balance int    `json:"balance"` // whole units of the company's base currency
}

// found sets up what the settings say.
func (s *Simulator) found() error {
	var errs []error
	for _, u := range s.settings.Users {
		errs = append(errs, s.AddUser(u))
	}
	for _, p := range s.settings.Programs {
		errs = append(errs, s.AddProgram(p))
	}
	for _, b := range s.settings.Budgets {
		errs = append(errs, s.AddBudget(b))
	}
	return errors.Join(errs...)
}

// AddUser adds the user, or changes the one of that employee id, whose balance and creation date stay.
func (s *Simulator) AddUser(u User) error {
	_, err := s.users.Update(u.EmployeeID, func(old User, found bool) (User, bool) {
		u.CreatedAt, u.UpdatedAt = s.now(), s.now()
		if found {
			u.CreatedAt, u.Balance = old.CreatedAt, old.Balance
		}
		return u, true
	})
	return err
}

// AddProgram adds or replaces the programme of that id.
func (s *Simulator) AddProgram(p Program) error { return s.programs.Put(p.ID, p) }

// AddBudget adds the budget. One that exists keeps its balance.
func (s *Simulator) AddBudget(b Budget) error {
	_, err := s.budgets.Update(b.Name, func(_ Budget, found bool) (Budget, bool) { return b, !found })
	return err
}

// findUser finds a user by employee id, e-mail or username; never by name (awardco.md §6).
func (s *Simulator) findUser(identity string) (User, bool) {
	if u, ok := s.users.Get(identity); ok {
		return u, true
	}
	found := s.users.Find(func(u User) bool {
		return identity != "" && (strings.EqualFold(u.Email, identity) || u.Username == identity)
	})
	if len(found) != 1 {
		return User{}, false
	}
	return found[0], true
}

// userFields are the fields of awardco.md §3.6, and username and archived, which it does not name.
func (s *Simulator) userFields(u User) map[string]any {
	fields := map[string]any{
		"employeeId": u.EmployeeID, "firstName": u.FirstName, "lastName": u.LastName, "email": u.Email, "balance": u.Balance,
		"currencyCode": u.CurrencyCode, "updated_at": u.UpdatedAt, "created_at": u.CreatedAt,
	}
	if !s.settings.HideUsernames {
		fields["username"] = u.Username
	}
	if s.settings.ListArchived {
		fields["archived"] = u.Archived
	}
	if s.settings.SnakeCaseUsers {
		for camel, snake := range map[string]string{
			"employeeId": "employee_id", "firstName": "first_name", "lastName": "last_name", "currencyCode": "currency_code",
		} {
			fields[snake] = fields[camel]
			delete(fields, camel)
		}
	}
	return fields
}

// getUsers answers GET /users: page, limit and updatedSince (awardco.md §3.6; parameter names and envelope assumed).
// Archived users are left out, unless switched.
func (s *Simulator) getUsers(r *http.Request) (any, error) {
	page, limit, err := paging(r)
	if err != nil {
		return nil, err
	}
	var since time.Time
	if text := r.URL.Query().Get("updatedSince"); text != "" {
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, refuse(http.StatusBadRequest, "Parameter updatedSince must be an ISO 8601 time")
		}
	}
	found := s.users.Find(func(u User) bool { return (!u.Archived || s.settings.ListArchived) && !u.UpdatedAt.Before(since) })
	list := []map[string]any{}
	for _, u := range slicePage(found, page, limit) {
		list = append(list, s.userFields(u))
	}
	return map[string]any{"success": true, "page": page, "limit": limit, "total": len(found), "users": list}, nil
}
