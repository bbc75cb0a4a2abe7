package odata_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
)

type interaction struct {
	InteractionUUID string
	InteractionType string `json:",omitempty"`
}

func TestNewNamesTheWrongOption(t *testing.T) {
	out, err := outbound.New(outbound.Options{Vendor: "sap", BaseURL: "https://h.example"})
	if err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]odata.Options{
		"outbound":     {ServiceRoot: root},
		"service root": {Outbound: out, ServiceRoot: "https://h.example/sap"},
		"idle":         {Outbound: out, ServiceRoot: root, SessionIdle: -1},
	} {
		if _, err := odata.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestCreateSendsJSONAndDecodesBothFamilies(t *testing.T) {
	for name, answer := range map[string]string{
		"Gateway": `{"d":{"__metadata":{"type":"API_MKT_INTERACTION_SRV.Interaction"},"InteractionUUID":"0a1b2c3d-0000-4000-8000-000000000001"}}`,
		"C4C":     `{"d":{"results":{"__metadata":{"type":"c4codata.Tasks"},"InteractionUUID":"0a1b2c3d-0000-4000-8000-000000000001"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{answer: func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if got := r.Header.Get("Content-Type") + " " + r.Header.Get("Accept") + " " + r.RequestURI + " " + string(body); got !=
					`application/json application/json `+root+`/Interactions {"InteractionUUID":"","InteractionType":"X"}` {
					t.Errorf("sent %s", got)
				}
				w.WriteHeader(http.StatusCreated)
				io.WriteString(w, answer)
			}}
			var got interaction
			err := newClient(t, g).Create(t.Context(), "create", "Interactions", interaction{InteractionType: "X"}, &got)
			if err != nil || got.InteractionUUID != "0a1b2c3d-0000-4000-8000-000000000001" {
				t.Errorf("got %+v, error %v", got, err)
			}
		})
	}
}

func TestCreateAcceptsAnEmptyAnswer(t *testing.T) {
	g := &gateway{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }}
	got := interaction{InteractionType: "as it was"}
	if err := newClient(t, g).Create(t.Context(), "create", "Interactions", interaction{}, &got); err != nil || got.InteractionType != "as it was" {
		t.Errorf("got %+v, error %v", got, err)
	}
}

func TestCreateFaults(t *testing.T) {
	const refusal = `{"error":{"code":"ZZ/001","message":{"lang":"en","value":"Ada is not known"},` +
		`"innererror":{"errordetails":[{"code":"ZZ/001","message":"Ada is not known"},{"message":"Field Subject"}]}}}`
	for name, test := range map[string]struct {
		status int
		body   string
		class  fault.Class
		words  string
	}{
		"refused":              {400, refusal, fault.Refused, "create: 400 Bad Request: ZZ/001: [personal] is not known; Field Subject"},
		"server fault":         {500, refusal, fault.Unknown, "create: 500 Internal Server Error: ZZ/001: [personal] is not known; Field Subject"},
		"out of order":         {503, "", fault.Unknown, "create: 503 Service Unavailable"},
		"precondition":         {412, "", fault.Refused, "create: 412 Precondition Failed"},
		"quota":                {429, "", fault.Throttled, "create: 429 Too Many Requests"},
		"lock as 409":          {409, `{"error":{"message":"Record locked by user John Smith"}}`, fault.Transient, "create: the record is locked by another user"},
		"lock as 400 in text":  {400, `Object is LOCKED BY SMITH`, fault.Transient, "create: the record is locked by another user"},
		"user locked":          {401, `User locked by administrator`, fault.Unauthorized, "create: 401 Unauthorized: User locked by [user]"},
		"not an entity":        {201, `{"d":{"results":[]}}`, fault.Unknown, "create: the answer is not as documented: one entity is expected, the answer has 0"},
		"answer without sense": {201, `Ada`, fault.Unknown, "create: the answer is not as documented: invalid character 'A' looking for beginning of value"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}}
			var into interaction
			err := newClient(t, g).Create(t.Context(), "create", "Interactions", interaction{}, &into, "Ada")
			f := wantClass(t, err, test.class)
			if f.Reason != test.words || f.Vendor != "sap" || outbound.StatusOf(err) != test.status {
				t.Errorf("vendor %s, status %d, reason\n%q, want\n%q", f.Vendor, outbound.StatusOf(err), f.Reason, test.words)
			}
			g.want(t, 1, 0, 1)
		})
	}
}

func TestLostAnswerToACreateIsUnknownAndNotRepeated(t *testing.T) {
	g := &gateway{answer: func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}}
	wantClass(t, create(t.Context(), newClient(t, g)), fault.Unknown)
	g.want(t, 1, 0, 1)
}

func TestBodyThatCannotBeWrittenIsInvalid(t *testing.T) {
	g := &gateway{}
	err := newClient(t, g).Create(t.Context(), "create", "Interactions", map[string]any{"d": odata.Decimal("12,5")}, nil)
	wantClass(t, err, fault.Invalid)
	g.want(t, 0, 0, 0)
}

func TestGetEncodesItsQuery(t *testing.T) {
	g := &gateway{answer: func(w http.ResponseWriter, r *http.Request) {
		if want := root + "/Interactions?$filter=InteractionSourceObject%20eq%20%27O%27%27B%201%27&$top=1"; r.RequestURI != want {
			t.Errorf("asked\n%s, want\n%s", r.RequestURI, want)
		}
		io.WriteString(w, `{"d":{"__count":"1001","results":[{"InteractionUUID":"a"}]}}`)
	}}
	var list odata.List[interaction]
	err := newClient(t, g).Get(t.Context(), "find", "Interactions",
		url.Values{"$filter": {"InteractionSourceObject eq " + odata.Quote("O'B 1")}, "$top": {"1"}}, &list)
	if err != nil || list.Count != 1001 || list.Items[0].InteractionUUID != "a" {
		t.Errorf("list = %+v, error %v", list, err)
	}
}

func TestGetOfAMissingEntityIsRefusedWith404(t *testing.T) {
	g := &gateway{answer: http.NotFound}
	err := newClient(t, g).Get(t.Context(), "read", "Interactions(guid'0')", nil, &interaction{})
	if wantClass(t, err, fault.Refused); outbound.StatusOf(err) != 404 {
		t.Errorf("status = %d", outbound.StatusOf(err))
	}
}

// paging serves pages 1 to n of two entities each; link makes the next link.
func paging(n int, link func(page int) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		page := 1
		fmt.Sscan(r.URL.Query().Get("$skiptoken"), &page)
		next := ""
		if page < n {
			next = fmt.Sprintf(`,"__next":%q`, link(page+1))
		}
		fmt.Fprintf(w, `{"d":{"results":[{"InteractionUUID":"%d.1"},{"InteractionUUID":"%d.2"}]%s}}`, page, page, next)
	}
}

func TestPagesFollowsNextLinks(t *testing.T) {
	const query = "Interactions?$filter=A%20eq%20%27b%27&$skiptoken="
	for name, link := range map[string]func(int) string{
		"absolute":                   func(p int) string { return fmt.Sprintf("HOST%s/%s%d", root, query, p) },
		"relative":                   func(p int) string { return fmt.Sprintf("%s%d", query, p) },
		"inner host":                 func(p int) string { return fmt.Sprintf("http://inner.invalid:8000%s/%s%d", root, query, p) },
		"with spaces left as spaces": func(p int) string { return fmt.Sprintf("Interactions?$filter=A eq 'b'&$skiptoken=%d", p) },
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			g := &gateway{answer: func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.Query().Get("$filter"))
				paging(3, func(p int) string { return strings.Replace(link(p), "HOST", "http://"+r.Host, 1) })(w, r)
			}}
			var got []string
			for item, err := range odata.Pages[interaction](t.Context(), newClient(t, g), "list", "Interactions", url.Values{"$filter": {"A eq 'b'"}}, 3) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, item.InteractionUUID)
			}
			if want := []string{"1.1", "1.2", "2.1", "2.2", "3.1", "3.2"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if want := []string{"A eq 'b'", "A eq 'b'", "A eq 'b'"}; !slices.Equal(asked, want) {
				t.Errorf("filters asked: %q", asked)
			}
		})
	}
}

func TestPagesEnds(t *testing.T) {
	requests := 0
	g := &gateway{}
	g.answer = func(w http.ResponseWriter, r *http.Request) {
		requests++
		paging(9, func(p int) string { return fmt.Sprintf("Interactions?$skiptoken=%d", p) })(w, r)
	}
	c := newClient(t, g)
	for _, err := range odata.Pages[interaction](t.Context(), c, "list", "Interactions", nil, 9) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if requests != 1 {
		t.Errorf("%d requests for the first entity", requests)
	}

	var last error
	n := 0
	for _, err := range odata.Pages[interaction](t.Context(), c, "list", "Interactions", nil, 2) {
		last = err
		n++
	}
	if wantClass(t, last, fault.Person); n != 5 {
		t.Errorf("%d results, want 4 entities and the fault", n)
	}

	g.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	for _, err := range odata.Pages[interaction](t.Context(), c, "list", "Interactions", nil, 2) {
		wantClass(t, err, fault.Down)
	}
}

func TestEnvelopes(t *testing.T) {
	one := []interaction{{InteractionUUID: "a"}}
	two := []interaction{{InteractionUUID: "a"}, {InteractionUUID: "b"}}
	for body, want := range map[string][]interaction{
		`{"d":{"InteractionUUID":"a"}}`:                                       one,
		`{"d":{"results":{"InteractionUUID":"a"}}}`:                           one,
		`{"d":{"results":[{"InteractionUUID":"a"},{"InteractionUUID":"b"}]}}`: two,
		`{"d":[{"InteractionUUID":"a"},{"InteractionUUID":"b"}]}`:             two,
		`{"d":{"results":[]}}`:                                                {},
		`{"d":{"results":null}}`:                                              nil,
	} {
		list := odata.List[interaction]{Items: two, Next: "old"}
		if err := odata.Decode([]byte(body), &list); err != nil || !slices.Equal(list.Items, want) || list.Count != -1 || list.Next != "" {
			t.Errorf("%s: %+v, error %v", body, list, err)
		}
		var array odata.Array[interaction]
		if err := odata.Decode([]byte(body), &array); err != nil || !slices.Equal(array, want) {
			t.Errorf("%s: %+v, error %v", body, array, err)
		}
		var entity interaction
		if err := odata.Decode([]byte(body), &entity); (err == nil) != (len(want) == 1) || err == nil && entity != want[0] {
			t.Errorf("%s as an entity: %+v, error %v", body, entity, err)
		}
	}
	for _, body := range []string{`{}`, `{"d":null}`, `{"value":[]}`, `[]`, `{`, `{"d":{"results":[1]}}`, `{"d":{"results":[],"__count":"x"}}`, `{"d":{"results":[],"__count":"1.5"}}`} {
		if err := odata.Decode([]byte(body), &odata.List[interaction]{}); err == nil {
			t.Errorf("%s was decoded", body)
		}
	}
}

func TestDeepInsertEchoesItsChildren(t *testing.T) {
	var got struct{ Interactions odata.Array[interaction] }
	err := odata.Decode([]byte(`{"d":{"Interactions":{"results":[{"InteractionUUID":"a"}]}}}`), &got)
	if err != nil || len(got.Interactions) != 1 || got.Interactions[0].InteractionUUID != "a" {
		t.Errorf("got %+v, error %v", got, err)
	}
}

func TestListReadsTheContractsSample(t *testing.T) {
	const sample = `{"d":{"__count":"1001","results":[{"__metadata":{"uri":"https://my300000-api.s4hana.ondemand.com/x","type":"API_MKT_INTERACTION_SRV.Interaction"},"InteractionUUID":"0a1b2c3d-0000-4000-8000-000000000001"}],
      "__next":"https://my300000-api.s4hana.ondemand.com/sap/opu/odata/sap/API_MKT_INTERACTION_SRV/Interactions?$skiptoken=1000"}}`
	var list odata.List[interaction]
	if err := odata.Decode([]byte(sample), &list); err != nil {
		t.Fatal(err)
	}
	if list.Count != 1001 || len(list.Items) != 1 || !strings.HasSuffix(list.Next, "$skiptoken=1000") {
		t.Errorf("list = %+v", list)
	}
}

func TestArrayReadsEachForm(t *testing.T) {
	for body, want := range map[string]int{
		`[{"InteractionUUID":"a"}]`:                           1,
		`{"results":[{"InteractionUUID":"a"},{}]}`:            2,
		`{"InteractionUUID":"a"}`:                             1,
		`{"__deferred":{"uri":"https://h.example/Children"}}`: 0,
		`null`: 0,
		`[]`:   0,
	} {
		var parent struct{ Children odata.Array[interaction] }
		if err := json.Unmarshal([]byte(`{"Children":`+body+`}`), &parent); err != nil || len(parent.Children) != want {
			t.Errorf("%s: %+v, error %v", body, parent, err)
		}
	}
	written, err := json.Marshal(odata.Array[interaction]{{InteractionUUID: "a"}})
	if err != nil || string(written) != `[{"InteractionUUID":"a"}]` {
		t.Errorf("written as %s, error %v", written, err)
	}
}

func TestErrorWords(t *testing.T) {
	for body, want := range map[string][2]string{
		`{"error":{"code":"ZZ/001","message":{"lang":"en","value":"Property X"},"innererror":{"errordetails":[{"code":"ZZ/001","message":"Property X"}]}}}`: {"ZZ/001", "Property X"},
		`{"error":{"code":"C","message":{"value":"An exception was raised"},"innererror":{"errordetails":{"results":[{"message":"Key exists"}]}}}}`:         {"C", "An exception was raised; Key exists"},
		`{"error":{"code":"C","message":"plain"}}`:                                {"C", "plain"},
		`{"error":{"code":7,"message":{"value":"text"}}}`:                         {"", "text"},
		`{"error":{"innererror":{"errordetails":[{"message":"only a detail"}]}}}`: {"", "only a detail"},
		`<?xml version="1.0" encoding="utf-8"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"><code>X/1</code><message xml:lang="en">Bad</message></error>`: {"X/1", "Bad"},
		`CSRF token validation failed`: {"", ""},
		`{`:                            {"", ""},
		``:                             {"", ""},
	} {
		code, message := odata.ErrorWords(outbound.Answer{Body: []byte(body)})
		if code != want[0] || message != want[1] {
			t.Errorf("%s\ngives %q, %q; want %q", body, code, message, want)
		}
	}
}

func TestPlainTextErrorIsInTheFault(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such set", http.StatusMethodNotAllowed)
	}))
	t.Cleanup(s.Close)
	out, err := outbound.New(outbound.Options{Vendor: "sap", BaseURL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	c, err := odata.New(odata.Options{Outbound: out, ServiceRoot: root + ";v=0003/", NoCSRF: true})
	if err != nil {
		t.Fatal(err)
	}
	if f := wantClass(t, create(t.Context(), c), fault.Refused); f.Reason != "create interaction: 405 Method Not Allowed: no such set" {
		t.Errorf("reason = %q", f.Reason)
	}
}
