package awardco

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/outbound"
)

// User is an employee as GET /users lists one. Its fields are hedged (§3.6): what is not told is empty, and who is not
// said to be archived is active.
type User struct {
	EmployeeID, Email, Username, FirstName, LastName string
	Active                                           bool
}

const (
	usersPage = 200
	// usersPages bounds the list at 200,000 people: a vendor that gives the same page for ever must not be read for ever.
	usersPages = 1000
)

// Users reads the whole user list, page by page (GET /users, §3.6). A page with nobody new is the last.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var all []User
	seen := map[string]bool{}
	for page := 1; page <= usersPages; page++ {
		answer, err := c.call(ctx, outbound.Call{
			Operation: "list users", Method: http.MethodGet, Path: "/users",
			Query: url.Values{"page": {strconv.Itoa(page)}, "limit": {strconv.Itoa(usersPage)}},
		})
		if err != nil {
			return nil, err
		}
		var content any
		if err := answer.Decode(&content); err != nil {
			return nil, err
		}
		items, isList := entries(content)
		if !isList {
			return nil, answer.Malformed("there is no list in it")
		}
		before := len(all)
		for _, item := range items {
			if u := userOf(item); u.EmployeeID != "" && !seen[u.EmployeeID] {
				seen[u.EmployeeID] = true
				all = append(all, u)
			}
		}
		if len(all) == before {
			break
		}
	}
	return all, nil
}

// userOf reads a user under any spelling of the hedged names: employeeId, employee_id, EmployeeID.
func userOf(item any) User {
	fields := map[string]any{}
	if named, ok := item.(map[string]any); ok {
		for name, value := range named {
			fields[strings.ToLower(strings.ReplaceAll(name, "_", ""))] = value
		}
	}
	text := func(names ...string) string {
		for _, name := range names {
			if v := idText(fields[name]); v != "" {
				return v
			}
		}
		return ""
	}
	return User{
		EmployeeID: text("employeeid"), Email: text("email", "emailaddress"), Username: text("username", "login"),
		FirstName: text("firstname"), LastName: text("lastname"), Active: active(fields),
	}
}

func active(fields map[string]any) bool {
	is := func(name string) (yes, told bool) {
		switch strings.ToLower(idText(fields[name])) {
		case "true", "yes", "1":
			return true, true
		case "false", "no", "0":
			return false, true
		}
		return false, false
	}
	for _, name := range []string{"archived", "isarchived", "deactivated"} {
		if yes, told := is(name); told {
			return !yes
		}
	}
	for _, name := range []string{"active", "isactive", "enabled"} {
		if yes, told := is(name); told {
			return yes
		}
	}
	switch strings.ToLower(idText(fields["status"])) {
	case "archived", "inactive", "deactivated", "terminated":
		return false
	}
	return true
}
