package httpdoor_test

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

func TestDecodeReadsJSON(t *testing.T) {
	for name, tt := range map[string]struct {
		contentType, body string
		fields            httpdoor.FieldMap
	}{
		"plain":                    {jsonType, `{"responseId":"R_1","recipient":{"email":"ada@example.com"},"score":4.5}`, nil},
		"charset":                  {"Application/JSON; charset=UTF-8", `{"response_id":"R_1","recipient":{"email":"ada@example.com"},"score":"4.5"}`, nil},
		"map without use":          {jsonType, `{"responseId":"R_1","recipient":{"email":"ada@example.com"},"score":4.5}`, httpdoor.FieldMap{"rep": "recipient.email"}},
		"mapped":                   {jsonType, `{"rid":"R_1","rep":"ada@example.com","score":4.5}`, httpdoor.FieldMap{"rep": "recipient.email", "rid": "responseId"}},
		"mapped from below":        {jsonType, `{"survey":{"rid":"R_1","data":{"rep":"ada@example.com"}},"score":4.5}`, httpdoor.FieldMap{"survey.data.rep": "recipient.email", "survey.rid": "responseId"}},
		"mapped name with dots":    {jsonType, `{"survey.rid":"R_1","recipient":{"email":"ada@example.com"},"score":4.5}`, httpdoor.FieldMap{"survey.rid": "responseId"}},
		"mapped to an object":      {jsonType, `{"responseId":"R_1","who":{"email":"ada@example.com"},"score":4.5}`, httpdoor.FieldMap{"who": "recipient"}},
		"mapped beside the others": {jsonType, `{"responseId":"R_1","recipient":{"name":""},"rep":"ada@example.com","score":4.5}`, httpdoor.FieldMap{"rep": "recipient.email"}},
		"mapped names exchanged":   {jsonType, `{"responseId":4.5,"score":"R_1","recipient":{"email":"ada@example.com"}}`, httpdoor.FieldMap{"responseId": "score", "score": "responseId"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, answer := decode[*eventsv1.RecognitionRequested](t, tt.contentType, tt.body, tt.fields)
			want := &eventsv1.RecognitionRequested{ResponseId: "R_1", Recipient: &eventsv1.Recipient{Email: "ada@example.com"}, Score: 4.5}
			if answer.Code != 204 || !proto.Equal(got, want) {
				t.Errorf("%d %s, read %v", answer.Code, answer.Body, got)
			}
		})
	}
}

func TestDecodeReadsForms(t *testing.T) {
	form := url.Values{
		"responseId": {"R_1"}, "recipient.email": {"ada@example.com"}, "recipient.name": {""}, "score": {" 4.5 "},
		"amount": {""}, "note": {" 5 & more\r\nthan that "},
	}
	want := &eventsv1.RecognitionRequested{
		ResponseId: "R_1", Recipient: &eventsv1.Recipient{Email: "ada@example.com"}, Score: 4.5, Note: " 5 & more\r\nthan that ",
	}
	for contentType, body := range map[string]string{formType: form.Encode(), formType + "; charset=utf-8": "\r\n" + form.Encode()} {
		got, answer := decode[*eventsv1.RecognitionRequested](t, contentType, body, nil)
		if answer.Code != 204 || !proto.Equal(got, want) {
			t.Errorf("%d %s, read %v", answer.Code, answer.Body, got)
		}
	}
	contentType, body := multipartOf(t, form, "")
	got, answer := decode[*eventsv1.RecognitionRequested](t, contentType, body, nil)
	if answer.Code != 204 || !proto.Equal(got, want) {
		t.Errorf("multipart: %d %s, read %v", answer.Code, answer.Body, got)
	}
}

func TestDecodeReadsEveryKindOfFieldFromForms(t *testing.T) {
	form := url.Values{
		"responseId": {"R_1"}, "recordedAt": {"2026-07-24T09:30:00Z"}, "values.QID1": {"Delivery too late"}, "values.csat": {"5"},
		"values.QID2.a": {""}, "labels.QID1": {"x"}, "contact.email": {"ada@example.com"},
	}
	got, answer := decode[*eventsv1.SurveyResponseReceived](t, formType, form.Encode(), nil)
	want := &eventsv1.SurveyResponseReceived{}
	if err := protojson.Unmarshal([]byte(`{"responseId":"R_1","recordedAt":"2026-07-24T09:30:00Z","contact":{"email":"ada@example.com"},
		"values":{"QID1":"Delivery too late","csat":"5","QID2.a":""},"labels":{"QID1":"x"}}`), want); err != nil {
		t.Fatal(err)
	}
	if answer.Code != 204 || !proto.Equal(got, want) {
		t.Errorf("%d %s, read %v", answer.Code, answer.Body, got)
	}

	// No event has lists, booleans and whole numbers yet; descriptors do.
	form = url.Values{
		"dependency": {"a", "b"}, "publicDependency": {"1", " 2"}, "options.javaMultipleFiles": {"ON"},
		"options.deprecated": {"no"}, "options.ccEnableArenas": {""}, "edition": {"EDITION_2023"},
	}
	file, answer := decode[*descriptorpb.FileDescriptorProto](t, formType, form.Encode(), nil)
	if o := file.GetOptions(); answer.Code != 204 || !slices.Equal(file.GetDependency(), []string{"a", "b"}) || !slices.Equal(file.GetPublicDependency(), []int32{1, 2}) ||
		!o.GetJavaMultipleFiles() || o.Deprecated == nil || o.GetDeprecated() || o.CcEnableArenas != nil || file.GetEdition() != descriptorpb.Edition_EDITION_2023 {
		t.Errorf("%d %s, read %v", answer.Code, answer.Body, file)
	}
}

func TestDecodeMapsTheNamesOfForms(t *testing.T) {
	fields := httpdoor.FieldMap{"complaint_text": "text", "Q_Subject": "subject", "ResponseID": "responseId"}
	body := "complaint_text=late&Q_Subject=Delivery&ResponseID=R_1&accountId=A1"
	got, answer := decode[*eventsv1.FeedbackRaised](t, formType, body, fields)
	want := &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "Delivery", Text: "late", AccountId: "A1"}
	if answer.Code != 204 || !proto.Equal(got, want) {
		t.Errorf("%d %s, read %v", answer.Code, answer.Body, got)
	}
}

func TestDecodeNamesEveryFieldThatIsWrongAndNeverItsValue(t *testing.T) {
	const secret = "ada-lovelace"
	const known = "is not a known field; known here: responseId, recipient, score, note, program, amount, title, programId"
	const knownRecipient = "is not a known field; known here: employeeId, email, name, username"
	fields := httpdoor.FieldMap{"rep": "recipient.email", "points": "score", "why": "note"}
	multi, file := multipartOf(t, url.Values{"responseId": {"R_1"}}, secret)
	tests := []struct {
		name, contentType, body string
		fields                  httpdoor.FieldMap
		status                  int
		detail                  string
		errors                  []string
	}{
		{name: "empty", contentType: jsonType, status: 400, detail: "the body is empty"},
		{name: "empty form", contentType: formType, body: " ", status: 400, detail: "the body is empty"},
		{name: "empty, of no kind", status: 400, detail: "the body is empty"},
		{name: "of no kind", body: `{"responseId":"R_1"}`, status: 415},
		{name: "of another kind", contentType: "application/xml", body: "<a/>", status: 415},
		{name: "of a broken kind", contentType: "application/;", body: "{}", status: 415},
		{name: "JSON sent as a form", contentType: formType, body: ` {"` + secret + `":1}`, status: 415, detail: "the body looks like JSON: send it with Content-Type: application/json"},
		{name: "no JSON", contentType: jsonType, body: `{"responseId":` + secret, status: 400, detail: "the body is not JSON from line 1, column 15"},
		{name: "no form", contentType: formType, body: "note=%zz" + secret, status: 400, detail: "the body is no form: an escape or a separator in it is wrong"},
		{name: "no multipart form", contentType: "multipart/form-data", body: secret, status: 400},
		{name: "cut multipart form", contentType: "multipart/form-data; boundary=x", body: "--x\r\n" + secret, status: 400},
		{name: "no JSON, with a map", contentType: jsonType, body: `[` + secret, fields: fields, status: 400, detail: "the body is not JSON from line 1, column 2"},
		{name: "no object, with a map", contentType: jsonType, body: `["` + secret + `"]`, fields: fields, status: 400, detail: "the body must be a JSON object"},

		{name: "unknown field", contentType: jsonType, body: `{"requestID":"` + secret + `"}`, status: 400, errors: []string{"requestID " + known}},
		{name: "unknown field below", contentType: jsonType, body: `{"recipient":{"mail":"` + secret + `"}}`, status: 400, errors: []string{"recipient.mail " + knownRecipient}},
		{name: "unknown fields in a form", contentType: formType, body: "mail=" + secret + "&recipient.mail=x&score=4", status: 400,
			errors: []string{"mail " + known, "recipient.mail " + knownRecipient}},
		{name: "a name that cannot be shown", contentType: formType, body: "ada@" + secret + "=x", status: 400, errors: []string{"(name not shown) " + known}},
		{name: "twice", contentType: jsonType, body: `{"note":"a","note":"` + secret + `"}`, status: 400, errors: []string{"note is there twice"}},
		{name: "twice, with a map", contentType: jsonType, body: `{"recipient":{"email":"a","email":"` + secret + `"}}`, fields: fields, status: 400, errors: []string{"recipient.email is there twice"}},
		{name: "twice in a form", contentType: formType, body: "note=a&note=" + secret, status: 400, errors: []string{"note was sent more than once"}},
		{name: "twice under two names", contentType: formType, body: "why=a&note=" + secret, fields: fields, status: 400, errors: []string{"why is there twice, under different names"}},
		{name: "twice under two names in JSON", contentType: jsonType, body: `{"why":"a","note":"` + secret + `"}`, fields: fields, status: 400, errors: []string{"why is there twice, under different names"}},
		{name: "mapped into what is no object", contentType: jsonType, body: `{"rep":"a","recipient":"` + secret + `"}`, fields: fields, status: 400,
			errors: []string{"rep belongs into recipient, which is no object here"}},
		{name: "mapped by a map that is wrong", contentType: formType, body: "x=" + secret, fields: httpdoor.FieldMap{"x": "y"}, status: 400, errors: []string{"y " + known}},
		{name: "no number", contentType: formType, body: "responseId=R_1&score=" + secret, status: 400, errors: []string{"score must be a number"}},
		{name: "no number, mapped", contentType: formType, body: "points=" + secret, fields: fields, status: 400, errors: []string{"score must be a number (sent as points)"}},
		{name: "no number, mapped in JSON", contentType: jsonType, body: `{"points":"` + secret + `"}`, fields: fields, status: 400, errors: []string{"score must be a number (sent as points)"}},
		{name: "an object in a form", contentType: formType, body: "recipient=" + secret, status: 400,
			errors: []string{"recipient cannot be sent in a form as a whole: name a field in it, as in recipient.employeeId"}},
		{name: "no UTF-8", contentType: formType, body: "note=%ff" + secret, status: 400, errors: []string{"note is not UTF-8"}},
		{name: "a file", contentType: multi, body: file, status: 400, errors: []string{"upload is a file; only text is taken"}},
		{name: "rules", contentType: jsonType, body: `{"recipient":{"email":"` + secret + `"},"amount":1.5}`, status: 400,
			errors: []string{"responseId must be at least 1 characters", "recipient.email must be empty or an e-mail address", "amount must be a whole number"}},
		{name: "rules, mapped", contentType: jsonType, body: `{"responseId":"R_1","rep":"` + secret + `"}`, fields: fields, status: 400,
			errors: []string{"recipient.email must be empty or an e-mail address (sent as rep)"}},
		{name: "rules in a form", contentType: formType, body: "rep=" + secret, fields: fields, status: 400,
			errors: []string{"responseId must be at least 1 characters", "recipient.email must be empty or an e-mail address (sent as rep)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, answer := decode[*eventsv1.RecognitionRequested](t, tt.contentType, tt.body, tt.fields)
			p := answer.problem(t)
			var errors []string
			for _, f := range p.Errors {
				errors = append(errors, f.Field+" "+f.Message)
			}
			if p.Status != tt.status || p.Detail == "" || (tt.detail != "" && p.Detail != tt.detail) || !slices.Equal(errors, tt.errors) {
				t.Errorf("%+v\nerrors %q\nwant   %q", p, errors, tt.errors)
			}
			if strings.Contains(answer.Body.String(), secret) {
				t.Errorf("the value is repeated: %s", answer.Body)
			}
		})
	}
}

func TestDecodeNamesWhatAFormCannotHold(t *testing.T) {
	for body, want := range map[string]string{
		"values=x":       "values cannot be sent in a form as a whole: name a field in it, as in values.NAME",
		"recordedAt=now": "recordedAt must be a time as in 2026-07-24T09:30:00Z",
	} {
		_, answer := decode[*eventsv1.SurveyResponseReceived](t, formType, body, nil)
		if p := answer.problem(t); len(p.Errors) != 1 || p.Errors[0].Field+" "+p.Errors[0].Message != want {
			t.Errorf("%s: %+v", body, p)
		}
	}
	for body, want := range map[string]string{
		"publicDependency=1&publicDependency=x": "publicDependency[1] must be a whole number",
		"options.deprecated=perhaps":            "options.deprecated must be true or false",
		"messageType=x":                         "messageType cannot be sent in a form as a whole: name a field in it, as in messageType.name",
	} {
		_, answer := decode[*descriptorpb.FileDescriptorProto](t, formType, body, nil)
		if p := answer.problem(t); len(p.Errors) != 1 || p.Errors[0].Field+" "+p.Errors[0].Message != want {
			t.Errorf("%s: %+v", body, p)
		}
	}
}

func TestDecodeManyReadsOneOrAList(t *testing.T) {
	for name, tt := range map[string]struct {
		contentType, body string
		want              []string
	}{
		"one":    {jsonType, `{"responseId":"R_1","subject":"s"}`, []string{"R_1"}},
		"list":   {jsonType, ` [{"responseId":"R_1","subject":"s"},{"rid":"R_2","subject":"s"}]`, []string{"R_1", "R_2"}},
		"a form": {formType, "rid=R_1&subject=s", []string{"R_1"}},
	} {
		got, answer := decodeMany(t, tt.contentType, tt.body)
		if answer.Code != 204 || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %d %s, read %q", name, answer.Code, answer.Body, got)
		}
	}
}

func TestDecodeManyNamesFieldsByTheirPlace(t *testing.T) {
	const fine = `{"responseId":"R_1","subject":"s"}`
	for name, tt := range map[string]struct {
		contentType, body string
		status            int
		detail            string
		errors            []string
	}{
		"rules and unknown fields": {jsonType, `[{"responseId":"R_1"},` + fine + `,{"rID":"R_1"}]`, 400, "the body breaks its contract", []string{
			"[0].subject must be at least 1 characters",
			"[2].rID is not a known field; known here: responseId, subject, text, accountId, contactId, processorId, ownerId, priority, dueAt"}},
		"no object":     {jsonType, `[` + fine + `,7]`, 400, "the body breaks its contract", []string{"[1] must be a JSON object"}},
		"one":           {jsonType, `{"responseId":"R_1"}`, 400, "the body breaks its contract", []string{"subject must be at least 1 characters"}},
		"a form":        {formType, "rid=R_1", 400, "the body breaks its contract", []string{"subject must be at least 1 characters"}},
		"empty":         {jsonType, ``, 400, "the body is empty", nil},
		"no JSON":       {jsonType, `[`, 400, "the body is not JSON from line 1, column 1", nil},
		"empty list":    {jsonType, `[]`, 400, "the list must hold 1 to 3 objects; it holds 0", nil},
		"too many":      {jsonType, `[{},{},{},{}]`, 400, "the list must hold 1 to 3 objects; it holds 4", nil},
		"of other kind": {"text/plain", `[]`, 415, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, answer := decodeMany(t, tt.contentType, tt.body)
			p := answer.problem(t)
			var errors []string
			for _, f := range p.Errors {
				errors = append(errors, f.Field+" "+f.Message)
			}
			if p.Status != tt.status || (tt.detail != "" && p.Detail != tt.detail) || !slices.Equal(errors, tt.errors) || got != nil {
				t.Errorf("%+v, read %q", p, got)
			}
		})
	}
}

// decode sends a body to a door whose route decodes it.
func decode[M proto.Message](t *testing.T, contentType, body string, fields httpdoor.FieldMap) (M, answer) {
	t.Helper()
	var none M
	into := none.ProtoReflect().New().Interface().(M)
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodPost, "/", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		return nil, httpdoor.Decode(r, into, fields)
	})
	return into, call(t, d, http.MethodPost, "/", strings.NewReader(body), "Content-Type", contentType)
}

// decodeMany sends a body to a door whose route takes up to three, and gives the ids that were read.
func decodeMany(t *testing.T, contentType, body string) (ids []string, got answer) {
	t.Helper()
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodPost, "/", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		messages, err := httpdoor.DecodeMany[*eventsv1.FeedbackRaised](r, httpdoor.FieldMap{"rid": "responseId"}, 3)
		if err != nil {
			return nil, fmt.Errorf("wrapped: %w", err)
		}
		for _, m := range messages {
			ids = append(ids, m.GetResponseId())
			if err := contract.Validate(m); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	got = call(t, d, http.MethodPost, "/", strings.NewReader(body), "Content-Type", contentType)
	return ids, got
}

// multipartOf writes a form with a file, where there is content for one.
func multipartOf(t *testing.T, form url.Values, file string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, values := range form {
		for _, value := range values {
			if err := w.WriteField(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if file != "" {
		part, err := w.CreateFormFile("upload", "file.txt")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(file)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}
