// Package salescloud2 makes tasks in SAP Sales Cloud Version 2 (REST), as in sap-sales-cloud.md §4.
package salescloud2

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// Root is the path of the API (sap-sales-cloud.md §4).
const Root = "/sap/c4c/api/v1"

// Vendor is the name in faults and metrics.
const Vendor = "sap-sales-cloud"

const tasks = Root + "/task-service/tasks"

// Options are what a tenant decides. What the contract does not document has no default here.
type Options struct {
	// Username and Password are those of the technical user. Required.
	Username string
	Password settings.Secret
	// Token logs in once and sends a bearer token in place of the password.
	Token bool
	// Priorities maps the priorities of events to those of Version 2; Priority is that of tasks that name none.
	Priorities map[string]string
	Priority   string
	// Status of a new task: OPEN.
	Status string
	// Category is the taskCategory; it is left out when empty.
	Category string
	// ContactField is the name of the reference to the contact, which is not documented; when empty, tasks name none.
	ContactField string
	// SeparateTexts leaves the note out of the create call: see [Client.AddText].
	SeparateTexts bool
	// NotesPath is where notes of a task are added and read, below [Root], with {id}.
	NotesPath string
	// FindQuery is the query that finds tasks by their description, with {marker}; its language is not documented. When
	// empty nothing can be found, and a lost answer waits for a person.
	FindQuery string
	// BaseURL is scheme and host, for addresses.
	BaseURL string
}

// Client makes and finds tasks.
type Client struct {
	out     *outbound.Client
	options Options
	login   *login
}

var _ sales.Cloud = (*Client)(nil)

// New makes a client; it sends nothing.
func New(out *outbound.Client, o Options) *Client {
	return &Client{out: out, options: o, login: &login{out: out, username: o.Username, password: o.Password, token: o.Token}}
}

// Reach reads one task.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.read(ctx, "reach", tasks, url.Values{"$top": {"1"}})
	return err
}

// Settings has nothing to read: code lists of Version 2 are not documented.
func (c *Client) Settings(context.Context) ([]string, error) { return nil, nil }

// Check has nothing to read either.
func (c *Client) Check(context.Context, sales.Task) error { return nil }

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// IsUUID tells whether Version 2 can refer to id.
func IsUUID(id string) bool { return uuid.MatchString(id) }

// Vet refuses ids that are no UUIDs: Version 2 takes nothing else, and how to look one up by the number that people see
// is not documented.
func (c *Client) Vet(t sales.Task) error {
	for _, p := range t.Parties() {
		if !IsUUID(p.ID) {
			return fault.At(p.Field, "is no UUID; SAP Sales Cloud Version 2 refers to the %s by UUID, not by the number that people see", p.Kind)
		}
	}
	if t.Priority != "" && c.options.Priorities[t.Priority] == "" {
		return fault.At("priority", "is %q, but C4C_V2_PRIORITIES has %s", t.Priority, strings.Join(slices.Sorted(maps.Keys(c.options.Priorities)), ", "))
	}
	return nil
}

// Create makes the task: POST /task-service/tasks, with its text as a note unless notes go separately. Not safe to
// repeat blindly; a lost answer is settled by [Client.Find].
func (c *Client) Create(ctx context.Context, t sales.Task) (sales.Created, error) {
	answer, err := c.write(ctx, "create task", tasks, c.body(t), t)
	if err != nil {
		// No look-up of parties is documented, so a refusal that names field and id has to be enough.
		if blamed, sure := sales.Blame(err, t, partyFields(c.options.ContactField)); blamed != nil {
			blamed.Missing = sure
			return sales.Created{}, blamed.Refused(Vendor)
		}
		return sales.Created{}, err
	}
	var created struct {
		Value task `json:"value"`
	}
	if err := answer.Decode(&created); err != nil {
		return sales.Created{}, err
	}
	if created.Value.ID == "" {
		return sales.Created{}, answer.Malformed("there is no id under value")
	}
	return created.Value.created(), nil
}

type task struct {
	ID          string `json:"id"`
	DisplayID   string `json:"displayId"`
	Description string `json:"description"`
}

func (t task) created() sales.Created { return sales.Created{ObjectID: t.ID, ID: t.DisplayID} }

// partyFields are the names of the references, in which a refusal may speak of a party.
func partyFields(contact string) map[sales.Kind]string {
	return map[sales.Kind]string{sales.Account: "account", sales.Contact: contact, sales.Processor: "organizer", sales.Owner: "owner"}
}

type reference struct {
	ID string `json:"id"`
}

type note struct {
	ID      string `json:"id,omitempty"`
	Content string `json:"content"`
}

// body is the published example of a task (sap-sales-cloud.md §4).
func (c *Client) body(t sales.Task) map[string]any {
	body := map[string]any{
		"description": sales.Marked(t.Subject, t.Reference, 0),
		"status":      c.options.Status,
		"priority":    c.options.Priority,
	}
	if t.Priority != "" {
		body["priority"] = c.options.Priorities[t.Priority]
	}
	names := partyFields(c.options.ContactField)
	for _, p := range t.Parties() {
		if name := names[p.Kind]; name != "" {
			body[name] = reference{p.ID}
		}
	}
	if c.options.Category != "" {
		body["taskCategory"] = c.options.Category
	}
	if !t.Due.IsZero() {
		body["dueDateTime"] = t.Due.UTC().Format("2006-01-02T15:04:05Z") // milliseconds are refused
	}
	if t.Text != "" && !c.options.SeparateTexts {
		body["notes"] = []note{{Content: t.Text}}
	}
	return body
}

// CanFind tells whether the settings have a query.
func (c *Client) CanFind() bool { return c.options.FindQuery != "" }

// Find looks for the task whose description holds the marker. An answer with any other task shows that the query does
// not do what it should; then nothing can be concluded, and a person must look.
func (c *Client) Find(ctx context.Context, t sales.Task) (sales.Created, bool, error) {
	marker := sales.Marker(t.Reference)
	query, err := url.ParseQuery(strings.ReplaceAll(c.options.FindQuery, "{marker}", url.QueryEscape(strings.ReplaceAll(marker, "'", "''"))))
	if err != nil {
		return sales.Created{}, false, fault.New(fault.Person, "C4C_V2_FIND is no query")
	}
	answer, err := c.read(ctx, "find task", tasks, query)
	if err != nil {
		return sales.Created{}, false, err
	}
	var found struct {
		Value []task `json:"value"`
	}
	if err := answer.Decode(&found); err != nil {
		return sales.Created{}, false, err
	}
	for _, one := range found.Value {
		if !strings.Contains(one.Description, marker) {
			return sales.Created{}, false, answer.Fault(fault.Person, "the tenant does not search by C4C_V2_FIND, so whether the task was made cannot be told: look for %s there", marker)
		}
	}
	if len(found.Value) == 0 {
		return sales.Created{}, false, nil
	}
	return found.Value[0].created(), true, nil
}

// AddText adds the note to a task that exists. PATCH would refuse it: "Subnodes must not be present".
func (c *Client) AddText(ctx context.Context, to sales.Created, t sales.Task) (sales.Text, error) {
	answer, err := c.write(ctx, "add text", c.notes(to), note{Content: t.Text}, t)
	if err != nil {
		return sales.Text{}, err
	}
	var created struct {
		Value note `json:"value"`
	}
	_ = json.Unmarshal(answer.Body, &created) // the answer is not documented, and its id not needed
	return sales.Text{ID: created.Value.ID}, nil
}

// FindText reads the notes of the task.
func (c *Client) FindText(ctx context.Context, to sales.Created, t sales.Task) (sales.Text, bool, error) {
	answer, err := c.read(ctx, "find text", c.notes(to), nil)
	if err != nil {
		return sales.Text{}, false, err
	}
	var found struct {
		Value []note `json:"value"`
	}
	if err := answer.Decode(&found); err != nil {
		return sales.Text{}, false, err
	}
	for _, n := range found.Value {
		if sales.SameText(n.Content, t.Text) {
			return sales.Text{ID: n.ID}, true, nil
		}
	}
	return sales.Text{}, false, nil
}

func (c *Client) notes(of sales.Created) string {
	return Root + strings.ReplaceAll(c.options.NotesPath, "{id}", url.PathEscape(of.ObjectID))
}

// Address is the task in the API.
func (c *Client) Address(created sales.Created) string {
	return strings.TrimSuffix(c.options.BaseURL, "/") + tasks + "/" + created.ObjectID
}

func (c *Client) write(ctx context.Context, operation, path string, body any, t sales.Task) (*outbound.Answer, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err) // texts and references only: cannot fail
	}
	answer, err := c.login.do(ctx, outbound.Call{
		Operation: operation, Method: http.MethodPost, Path: path, Body: encoded, ContentType: "application/json",
		Write: true, JSON: true, Words: words, Personal: t.Personal(),
	})
	return answer, sales.Locked(err)
}

func (c *Client) read(ctx context.Context, operation, path string, query url.Values) (*outbound.Answer, error) {
	return c.login.do(ctx, outbound.Call{Operation: operation, Path: path, Query: query, JSON: true, Words: words})
}

// words reads the errors of Version 2, whose form is not documented: an object error or errors in a list, or neither.
func words(a outbound.Answer) (code, message string) {
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Details []struct {
				Message string `json:"message"`
			} `json:"details"`
		} `json:"error"`
	}
	_ = json.Unmarshal(a.Body, &body) // another form is shown as it is
	texts := []string{body.Error.Message}
	for _, d := range body.Error.Details {
		texts = append(texts, d.Message)
	}
	return body.Error.Code, strings.Trim(strings.Join(texts, "; "), "; ")
}
