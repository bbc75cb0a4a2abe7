package awardco

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Intake is the other door: it posts an external recognition to an address that Awardco supplies, where it waits in the
// approvals queue (§4, §5). Address, body and answer are not documented, so all three are as the settings say.
type Intake struct {
	outbound *outbound.Client
	address  settings.Secret
	key      IntakeKey
	fields   map[string]string
	// secrets are the parts of the address that may be a key.
	secrets []string
}

// IntakeValues are what a field of the body may hold.
var IntakeValues = []string{"recipient", "note", "program", "title", "reference", "tag", "tags"}

// IntakeKey goes along in a header, where there is one.
type IntakeKey struct {
	Header string
	Value  settings.Secret
}

func (k IntakeKey) header() http.Header {
	header := http.Header{}
	if k.Value.IsSet() {
		header.Set(k.Header, k.Value.Reveal())
	}
	return header
}

// NewIntake makes an intake for an address. fields gives for each name in the body what it holds, one of
// [IntakeValues]; dots in a name lead into objects.
func NewIntake(calls *outbound.Client, address settings.Secret, key IntakeKey, fields map[string]string) (*Intake, error) {
	if _, err := IntakeHost(address.Reveal()); err != nil {
		return nil, err
	}
	for name, value := range fields {
		if !slices.Contains(IntakeValues, value) {
			return nil, fmt.Errorf("%s=%s: the value is none of %s", name, value, strings.Join(IntakeValues, ", "))
		}
	}
	return &Intake{calls, address, key, fields, secretsOf(address.Reveal())}, nil
}

// secretsOf gives the parts of an address behind its host that are too long for words that everybody uses.
func secretsOf(address string) []string {
	const long = 8
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	parts := strings.FieldsFunc(u.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) })
	return slices.DeleteFunc(parts, func(part string) bool { return len(part) < long })
}

// IntakeHost gives scheme and host of an intake's address. The error does not show the address: it may be a key.
func IntakeHost(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("must be an address with http or https and a host")
	}
	return u.Scheme + "://" + u.Host, nil
}

// Submit posts the recognition. Any success without success:false is one; the id is often not told.
func (i *Intake) Submit(ctx context.Context, r Recognition) (Submitted, error) {
	body, err := json.Marshal(i.body(r))
	if err != nil {
		return Submitted{}, err
	}
	answer, err := i.outbound.Do(ctx, outbound.Call{
		Operation: "external recognition", Method: http.MethodPost, URL: i.address.Reveal(), Header: i.key.header(), Write: true, JSON: true,
		Body: body, ContentType: "application/json", Personal: append(r.personal(), i.secrets...), Words: words,
	})
	if err != nil {
		return Submitted{}, err
	}
	var told result
	if json.Unmarshal(answer.Body, &told) != nil { // an empty or a plain answer is as good
		return Submitted{}, nil
	}
	return told.submitted(answer)
}

func (i *Intake) body(r Recognition) map[string]any {
	values := map[string]any{
		"recipient": r.Recipient, "note": r.text(), "program": programOf(r), "title": r.Title,
		"reference": r.Reference, "tag": Tag(r.Reference), "tags": []string{Tag(r.Reference)},
	}
	body := map[string]any{}
	for name, value := range i.fields {
		into, steps := body, strings.Split(name, ".")
		for _, step := range steps[:len(steps)-1] {
			next, ok := into[step].(map[string]any)
			if !ok {
				next = map[string]any{}
				into[step] = next
			}
			into = next
		}
		into[steps[len(steps)-1]] = values[value]
	}
	return body
}

func programOf(r Recognition) string {
	if r.ProgramID != "" {
		return r.ProgramID
	}
	return r.ProgramName
}
