package odata_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
)

const (
	found   = `{"d":{"results":[{"InteractionUUID":"u1"}],"__next":"Interactions?$skiptoken=1"}}`
	created = `{"d":{"InteractionUUID":"u2"}}`
	exists  = `{"error":{"code":"ZZ/001","message":{"lang":"en","value":"Instance of Ada already exists"}}}`
)

// operation is a part of an answer as odata-v2.md §8 shows it.
func operation(status, body string) string {
	return fmt.Sprintf("Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 %s\r\nContent-Type: application/json\r\n"+
		"DataServiceVersion: 2.0\r\nContent-Length: %d\r\n\r\n%s\r\n", status, len(body), body)
}

func changeset(parts ...string) string {
	return "Content-Type: multipart/mixed; boundary=R2f\r\n\r\n--R2f\r\n" + strings.Join(parts, "--R2f\r\n") + "--R2f--\r\n\r\n"
}

func batchAnswer(parts ...string) string {
	return "--R1f\r\n" + strings.Join(parts, "--R1f\r\n") + "--R1f--\r\n"
}

func answering(status int, contentType, body string) *gateway {
	return &gateway{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}}
}

const mixed = "multipart/mixed; boundary=R1f"

func read(into any) odata.Step {
	return odata.Step{{Path: "Interactions", Query: url.Values{"$filter": {"A eq 'ü b'"}}, Into: into}}
}

func post(into any) odata.Step {
	return odata.Step{{Method: http.MethodPost, Path: "Interactions", Body: interaction{InteractionType: "ü"}, Into: into}}
}

func TestABatchIsWrittenAsTheGrammarHasIt(t *testing.T) {
	var body, contentType, accept, token string
	g := answering(http.StatusAccepted, mixed, batchAnswer(operation("200 OK", found), changeset(operation("201 Created", created))))
	answer := g.answer
	g.answer = func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		body, contentType, accept, token = string(content), r.Header.Get("Content-Type"), r.Header.Get("Accept"), r.Header.Get("X-Csrf-Token")
		answer(w, r)
	}
	var list odata.List[interaction]
	var one interaction
	errs, err := newClient(t, g).Batch(t.Context(), "batch", []odata.Step{read(&list), post(&one)})
	if err != nil || errs[0] != nil || errs[1] != nil || list.Items[0].InteractionUUID != "u1" || list.Next == "" || one.InteractionUUID != "u2" {
		t.Errorf("errors %v, %v; list %+v, entity %+v", errs, err, list, one)
	}
	_, boundary, _ := strings.Cut(contentType, "boundary=")
	inner := body[strings.Index(body, "changeset_"):]
	inner, _, _ = strings.Cut(inner, "\r\n")
	want := "--" + boundary + "\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
		"GET Interactions?$filter=A%20eq%20%27%C3%BC%20b%27 HTTP/1.1\r\nAccept: application/json\r\n\r\n\r\n" +
		"--" + boundary + "\r\nContent-Type: multipart/mixed; boundary=" + inner + "\r\n\r\n" +
		"--" + inner + "\r\nContent-ID: 1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
		"POST Interactions HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n" +
		`{"InteractionUUID":"","InteractionType":"ü"}` + "\r\n--" + inner + "--\r\n\r\n--" + boundary + "--\r\n"
	if body != want || accept != "multipart/mixed" || token != "token1" {
		t.Errorf("accept %s, token %s, sent\n%q, want\n%q", accept, token, body, want)
	}
	g.want(t, 1, 0, 1)
}

func TestEachStepHasItsOwnOutcome(t *testing.T) {
	g := answering(http.StatusAccepted, mixed, batchAnswer(
		operation("400 Bad Request", exists),         // one part for the whole changeset
		changeset(operation("201 Created", created)), //
		operation("404 Not Found", ""),               // a read
		operation("503 Service Unavailable", ""),     // a read
		operation("500 Internal Server Error", ""),   // a write
		operation("409 Conflict", `{"error":{"message":"Record locked by user John Smith"}}`),
		operation("200 OK", found),
	))
	var one interaction
	var list odata.Array[interaction]
	errs, err := newClient(t, g).Batch(t.Context(), "batch",
		[]odata.Step{{post(nil)[0], post(nil)[0]}, post(&one), read(nil), read(nil), post(nil), post(nil), read(&list)}, "Ada")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []fault.Class{fault.Refused, "", fault.Refused, fault.Down, fault.Unknown, fault.Transient, ""} {
		if want == "" && errs[i] != nil || want != "" && !fault.Is(errs[i], want) {
			t.Errorf("step %d: %v, want %q", i, errs[i], want)
		}
	}
	if got := errs[0].Error(); got != "sap: batch: 400 Bad Request: ZZ/001: Instance of [personal] already exists" {
		t.Errorf("words %q", got)
	}
	if one.InteractionUUID != "u2" || len(list) != 1 {
		t.Errorf("entity %+v, list %v", one, list)
	}
}

func TestAnOddAnswerToABatchWithAWriteIsUnknown(t *testing.T) {
	whole := batchAnswer(changeset(operation("201 Created", created)), changeset(operation("201 Created", created)))
	for name, test := range map[string]struct{ contentType, body string }{
		"cut off":                {mixed, whole[:len(whole)-20]},
		"cut off in a part":      {mixed, whole[:len(whole)/3]},
		"empty":                  {mixed, ""},
		"too few parts":          {mixed, batchAnswer(changeset(operation("201 Created", created)))},
		"no boundary":            {"multipart/mixed", whole},
		"the request's boundary": {"multipart/mixed; boundary=batch_1", whole},
		"JSON":                   {"application/json", `{"d":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			steps := []odata.Step{post(nil), post(nil)}
			_, err := newClient(t, answering(http.StatusAccepted, test.contentType, test.body)).Batch(t.Context(), "batch", steps)
			wantClass(t, err, fault.Unknown)
			_, err = newClient(t, answering(http.StatusAccepted, test.contentType, test.body)).Batch(t.Context(), "batch", []odata.Step{read(nil), read(nil)})
			wantClass(t, err, fault.Transient)
		})
	}
	for name, part := range map[string]string{
		"no status line":           "Content-Type: application/http\r\n\r\nnonsense\r\n",
		"no answer in a changeset": "Content-Type: multipart/mixed; boundary=R2f\r\n\r\n--R2f--\r\n",
		"a changeset cut off":      "Content-Type: multipart/mixed; boundary=R2f\r\n\r\n--R2f\r\n" + operation("201 Created", created),
		"one answer for two":       operation("201 Created", created),
		"no JSON":                  changeset(operation("201 Created", "{"), operation("201 Created", created)),
		"of another kind":          "Content-Type: text/plain\r\n\r\nHTTP/1.1 201 Created\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var one interaction
			step := odata.Step{post(&one)[0], post(nil)[0]}
			errs, err := newClient(t, answering(http.StatusAccepted, mixed, batchAnswer(part))).Batch(t.Context(), "batch", []odata.Step{step})
			if err != nil || !fault.Is(errs[0], fault.Unknown) {
				t.Errorf("errors %v, %v", errs, err)
			}
		})
	}
}

func TestWhatIsWrongWithTheWholeBatch(t *testing.T) {
	for name, test := range map[string]struct {
		status      int
		contentType string
		body        string
		class       fault.Class
	}{
		"limit":      {400, "application/json", exists, fault.Refused},
		"no batch":   {404, "application/json", exists, fault.Refused},
		"throttled":  {429, "application/json", "", fault.Throttled},
		"log-on":     {200, "text/html", "<html>", fault.Unknown},
		"in between": {503, "text/plain", "", fault.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			errs, err := newClient(t, answering(test.status, test.contentType, test.body)).Batch(t.Context(), "batch", []odata.Step{post(nil)})
			wantClass(t, err, test.class)
			if errs != nil {
				t.Errorf("errors of steps: %v", errs)
			}
		})
	}
}

func TestABatchRenewsItsTokenOnceAndKnowsItsLimit(t *testing.T) {
	g := answering(http.StatusAccepted, mixed, batchAnswer(operation("200 OK", found)))
	c := newClient(t, g, func(o *odata.Options) { o.BatchLimit = 1 })
	for range 2 {
		if errs, err := c.Batch(t.Context(), "batch", []odata.Step{read(nil)}); err != nil || errs[0] != nil {
			t.Fatal(errs, err)
		}
		g.expire()
	}
	g.want(t, 2, 1, 2)
	_, err := c.Batch(t.Context(), "batch", []odata.Step{read(nil), read(nil)})
	wantClass(t, err, fault.Person)
	if g.want(t, 2, 1, 2); c.BatchLimit() != 1 {
		t.Errorf("limit %d", c.BatchLimit())
	}
}

func TestFollowReadsWhatABatchLeftOver(t *testing.T) {
	g := &gateway{answer: func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("$skiptoken") != "1" {
			t.Errorf("asked %s", r.RequestURI)
		}
		io.WriteString(w, `{"d":{"results":[{"InteractionUUID":"u9"}]}}`)
	}}
	c := newClient(t, g)
	var all []string
	for _, link := range []string{"", "Interactions?$skiptoken=1"} {
		for i, err := range odata.Follow[interaction](t.Context(), c, "find", link, 5) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, i.InteractionUUID)
		}
	}
	if len(all) != 1 || all[0] != "u9" {
		t.Errorf("read %v", all)
	}
}

func TestPutWritesToAKey(t *testing.T) {
	var sent string
	g := &gateway{onlyAuth: true}
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			g.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		sent = r.RequestURI + " " + r.Header.Get("X-Csrf-Token") + " " + string(body)
		w.WriteHeader(http.StatusNoContent)
	}))
	err := c.Put(t.Context(), "write contact", "Contacts(ID='1')", map[string]string{"A": "b"})
	if want := root + `/Contacts(ID='1') token1 {"A":"b"}`; err != nil || sent != want {
		t.Errorf("sent %s, error %v, want %s", sent, err, want)
	}
}
