package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/services/console/web"
)

// What a field may hold to be shown without being asked for. All else is masked: somebody may have written anything into it.
var (
	// plain is an id or a code: no spaces, no e-mail, no address of a page.
	plain = regexp.MustCompile(`^[\pL\pN._:+=#~-]{0,128}$`)
	// code is a word of ours.
	code = regexp.MustCompile(`^[A-Z0-9_]{0,64}$`)
	// dated is a date, or a date with its time.
	dated = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{5,18}(Z|[+-][0-9:]{4,6})?)?$|^$`)
	// figure is a number.
	figure = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,6})?$|^$`)
	// title is a name that those who build campaigns give.
	title = regexp.MustCompile(`^[^@]{0,128}$`)
)

// shown are the fields that are shown, by their names, or by the last two where the name alone says too little. What is not in
// this table is masked.
var shown = map[string]*regexp.Regexp{
	// ids
	"accountId": plain, "campaignId": plain, "contactId": plain, "contactLookupId": plain, "contactPerson": plain, "distributionId": plain,
	"employeeId": plain, "erasureId": plain, "externalId": plain, "interactionId": plain, "mailingListId": plain, "objectId": plain,
	"outboundId": plain, "ownerId": plain, "processorId": plain, "programId": plain, "recipientId": plain, "recognitionId": plain,
	"requestId": plain, "responseId": plain, "serviceOrder": plain, "soldToParty": plain, "surveyId": plain, "taskId": plain,
	"transactionId": plain, "vendorRequestId": plain,
	// the envelope of an event, where the body holds it
	"id": plain, "loopid": plain, "specversion": plain, "type": plain, "datacontenttype": regexp.MustCompile(`^[a-z/+.-]{0,64}$`), "time": dated,
	// codes
	"kind": code, "language": plain, "marketingArea": plain, "priority": plain, "reason": code, "state": code, "vendor": plain,
	// times
	"changedAt": dated, "completedAt": dated, "decidedAt": dated, "dueAt": dated, "expiresAt": dated, "occurredAt": dated, "recordedAt": dated,
	// numbers
	"amount": figure,
	// names that are nobody's
	"campaign.name": title, "program": title,
}

// free are fields, besides transaction.data, that hold what a survey, a caller or a customer calls as they like: nothing in them is shown.
var free = []string{"values", "labels", "attributes"}

// maskBody gives a body with everything masked that may be about a person: names, addresses, links, answers and free texts, and
// every field that is not known. It is JSON whatever the body is, in the order of the body.
func maskBody(body []byte) json.RawMessage { return maskBut(body, nil) }

// maskMended masks a body that changes were made in. What they have moved or rewritten is masked whatever field it is in now: nobody
// shall read a name by giving it to a field that is shown.
func maskMended(body []byte, changes []Change) json.RawMessage {
	var moved []string
	for _, c := range changes {
		switch c.Op {
		case opRename:
			moved = append(moved, c.To)
		case opReplace:
			steps := slices.DeleteFunc(stepsOf(c.Field), func(step string) bool { return strings.HasPrefix(step, "[") })
			moved = append(moved, steps[len(steps)-1], c.Field)
		}
	}
	return maskBut(body, moved)
}

// depthMost is how deep a body may be to be shown masked field by field: no event of ours is nearly as deep.
const depthMost = 64

func maskBut(body []byte, moved []string) json.RawMessage {
	m := masker{decoder: json.NewDecoder(bytes.NewReader(body)), moved: moved}
	m.decoder.UseNumber()
	if err := m.value(nil); err != nil || !m.over() {
		text, _ := json.Marshal(dots(string(body))) // a text always can
		return text
	}
	return m.out.Bytes()
}

// masker copies a JSON value token by token.
type masker struct {
	decoder *json.Decoder
	// moved are names of fields of which nothing is shown.
	moved []string
	depth int
	out   bytes.Buffer
}

var errDeep = errors.New("the body is too deep")

// over tells that nothing follows the value.
func (m *masker) over() bool {
	_, err := m.decoder.Token()
	return err == io.EOF
}

// value copies the next one, which stands in fields of these names.
func (m *masker) value(path []string) error {
	token, err := m.decoder.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		return m.inner(t, path)
	case string:
		if !m.shows(path, t) {
			t = dots(t)
		}
		m.write(t)
	case json.Number:
		if m.shows(path, t.String()) {
			m.write(t)
		} else {
			m.write("••••")
		}
	case bool:
		m.write("••••")
	default:
		m.write(nil)
	}
	return nil
}

// inner copies an object or a list.
func (m *masker) inner(open json.Delim, path []string) error {
	if m.depth++; m.depth > depthMost {
		return errDeep
	}
	defer func() { m.depth-- }()
	m.out.WriteString(open.String())
	for first := true; m.decoder.More(); first = false {
		if !first {
			m.out.WriteByte(',')
		}
		at := path
		if open == '{' {
			name, err := m.decoder.Token()
			if err != nil {
				return err
			}
			m.write(contract.Shown(fmt.Sprint(name)))
			m.out.WriteByte(':')
			at = append(slices.Clone(path), fmt.Sprint(name))
		}
		if err := m.value(at); err != nil {
			return err
		}
	}
	end, err := m.decoder.Token()
	if err != nil {
		return err
	}
	fmt.Fprint(&m.out, end) // a delimiter is written as it is
	return nil
}

func (m *masker) write(v any) {
	text, _ := json.Marshal(v) // texts, numbers and null always can
	m.out.Write(text)
}

func (m *masker) shows(path []string, value string) bool {
	return isShown(path, value) && !slices.ContainsFunc(path, func(name string) bool { return slices.Contains(m.moved, name) })
}

// isShown tells that a value may be seen, by the names of the fields it stands in.
func isShown(path []string, value string) bool {
	if len(path) == 0 {
		return false
	}
	name, within := path[len(path)-1], path[:len(path)-1]
	for i, outer := range within {
		if slices.Contains(free, outer) || outer == "data" && i > 0 && within[i-1] == "transaction" {
			return false
		}
	}
	rule, ok := shown[name]
	if len(within) > 0 {
		if named, by := shown[within[len(within)-1]+"."+name]; by {
			rule, ok = named, true
		}
	}
	return ok && rule.MatchString(value)
}

// dots stand for a text; how long it is helps to see what is wrong with it.
func dots(text string) string {
	if text == "" {
		return ""
	}
	return "•••• (" + web.Plural(utf8.RuneCountInString(text), "character") + ")"
}

// flatMost is how many fields of one body are listed.
const flatMost = 500

// flatFields are the first fields of what [maskBody] gave, in order, by their paths; empty ones are left out.
func flatFields(masked json.RawMessage) []leaf {
	decoder := json.NewDecoder(bytes.NewReader(masked))
	decoder.UseNumber()
	var fields []leaf
	collect(decoder, "", &fields)
	return fields
}

// collect flattens the next value of what is known to be JSON.
func collect(decoder *json.Decoder, path string, into *[]leaf) {
	token, err := decoder.Token()
	if err != nil || len(*into) >= flatMost {
		return
	}
	switch token {
	case json.Delim('{'):
		for decoder.More() && len(*into) < flatMost {
			name, _ := decoder.Token()
			collect(decoder, strings.TrimPrefix(path+"."+fmt.Sprint(name), "."), into)
		}
		_, _ = decoder.Token()
	case json.Delim('['):
		for n := 0; decoder.More() && len(*into) < flatMost; n++ {
			collect(decoder, path+"["+strconv.Itoa(n)+"]", into)
		}
		_, _ = decoder.Token()
	case nil, "":
	default:
		*into = append(*into, leaf{path, fmt.Sprint(token)})
	}
}
