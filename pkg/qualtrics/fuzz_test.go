package qualtrics_test

import (
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
)

// call is one thing that is asked of Qualtrics.
type call struct {
	// write tells that it must not be done twice, knows that it is about Adelaide, whose name must not be repeated then.
	write, knows bool
	do           func(*testing.T, *qualtrics.Client) error
}

// calls are all that the services ask.
var calls = []call{
	{false, false, func(t *testing.T, c *qualtrics.Client) error { _, err := c.WhoAmI(t.Context()); return err }},
	{false, false, func(t *testing.T, c *qualtrics.Client) error { _, err := c.Directories(t.Context()); return err }},
	{true, true, func(t *testing.T, c *qualtrics.Client) error {
		ids, err := c.CreateContact(t.Context(), "CG_1", qualtrics.Contact{FirstName: "Adelaide", Email: "ada@example.com"})
		return sure(t, err, ids.ID)
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		_, _, err := c.FindContact(t.Context(), "CG_1", "", "ada@example.com")
		return err
	}},
	{true, true, func(t *testing.T, c *qualtrics.Client) error {
		id, err := c.CreateTransaction(t.Context(), qualtrics.Transaction{ContactID: "CID_1", Data: map[string]any{"name": "Adelaide", "n": 1}})
		return sure(t, err, id)
	}},
	{false, true, func(t *testing.T, c *qualtrics.Client) error {
		_, _, err := c.FindTransaction(t.Context(), "CID_1", "requestId", "Adelaide")
		return err
	}},
	{true, false, func(t *testing.T, c *qualtrics.Client) error {
		id, err := c.CreateBatch(t.Context(), []string{"CTR_1"}, time.Unix(0, 0))
		return sure(t, err, id)
	}},
	{true, true, func(t *testing.T, c *qualtrics.Client) error {
		i, err := c.StartImport(t.Context(), "CG_1", "BT_1", []string{"a"}, []qualtrics.ImportRow{{Contact: qualtrics.Contact{FirstName: "Adelaide", Email: "ada@example.com"}}})
		if slices.ContainsFunc(i.Unprocessed, func(n int) bool { return n != 0 }) {
			t.Errorf("rows %v of one", i.Unprocessed)
		}
		return sure(t, err, i.ID)
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		_, err := c.ImportStatus(t.Context(), "CG_1", "PGRS_1")
		return err
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error { return all(c.ImportReport(t.Context(), "PGRS_1")) }},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		n, err := c.BatchCount(t.Context(), "BT_1", 50, nil)
		if n < 0 {
			t.Errorf("%d transactions", n)
		}
		return err
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		for page, err := range c.Links(t.Context(), "EMD_1", "SV_1") {
			if err != nil {
				return err
			}
			for _, l := range page {
				if year := l.ExpiresAt.UTC().Year(); year < 1 || year > 9999 {
					t.Errorf("a link that expires at %s cannot be said in an event", l.ExpiresAt)
				}
			}
		}
		return nil
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		_, err := c.LinkPage(t.Context(), "EMD_1", "SV_1", "token")
		return err
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		return all(c.Distributions(t.Context(), "SV_1", time.Unix(0, 0)))
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error { return all(c.History(t.Context(), "EMD_1")) }},
	{false, false, func(t *testing.T, c *qualtrics.Client) error {
		r, err := c.Response(t.Context(), "SV_1", "R_1")
		if (err == nil) == (r == nil) || err == nil && (r.ID == "" || r.Status() < 0) {
			t.Errorf("got %+v, %v", r, err)
		}
		return err
	}},
	{false, false, func(t *testing.T, c *qualtrics.Client) error { _, err := c.Subscriptions(t.Context()); return err }},
}

func all[T any](pages iter.Seq2[[]T, error]) error {
	for _, err := range pages {
		if err != nil {
			return err
		}
	}
	return nil
}

// sure holds that whatever was made has an id, and that a lost one is not taken for what may be made once more.
func sure(t *testing.T, err error, id string) error {
	t.Helper()
	if (err == nil) != (id != "") {
		t.Errorf("id %q and %v", id, err)
	}
	return err
}

// FuzzAnswer holds that whatever Qualtrics answers to any of our calls is read as documented or becomes a fault of a known
// class without anything personal, that no token is repeated, and that lists end.
func FuzzAnswer(f *testing.F) {
	const list = `{"result":{"elements":[{"link":"https://x.qualtrics.com/jfe/form/SV_1?Q_DL=1","contactId":"CID_1","linkExpiration":"2026-10-24T00:00:00Z","unsubscribed":"0","transactionId":"CTR_1","data":{"requestId":"Adelaide"}}],"nextPage":`
	const token = `{"access_token":"secret-token","expires_in":3600}`
	seeds := []struct {
		status int
		body   string
	}{
		{200, `{"result":{"brandId":"b","userId":"UR_1"},"meta":{"notice":"Request proxied"}}`}, {200, list + `null}}`}, {200, list + `"https://co1.qualtrics.com/API/v3/x?skipToken=1"}}` + outboundtest.Next + list + `"http://evil.example"}}`},
		{200, `{"result":{"elements":[],"skipToken":"a"}}` + outboundtest.Next + `{"result":{"elements":[{"linkExpiration":99999999999999999}],"skipToken":"b"}}`},
		{200, `{"result":{"id":"CID_1","contactLookupId":"CGC_1"}}`}, {200, `{"result":{"createdTransactions":{"transaction":{"id":"CTR_1"}},"unprocessedTransactions":{}}}`},
		{200, `{"result":{"unprocessedTransactions":{"transaction":{"error":"E","errorMessage":"Adelaide ada@example.com"}}}}`}, {200, `{"result":{"id":"PGRS_1","contacts":{"unprocessed":["0",1]}}}`},
		{200, `{"result":{"responseId":"R_1","values":{"status":0,"finished":1,"QID1":"late"},"labels":{}}}`}, {200, `{"result":{"responseId":"R_1","values":{"status":1e300}}}`}, {202, `{}`},
		{400, `{"meta":{"error":{"errorCode":"BRE_0","errorMessage":"Adelaide ada@example.com https://x.example/y?token=abcdefgh"}}}`}, {401, `{}`}, {300, "seCret-token"}, {404, "<html>"},
		{200, `{"results":{"importReportEntries":[{"email":"a"}]},"skipToken":"a"}` + outboundtest.Next + `{"skipToken":"b"}` + outboundtest.Next + `{"skipToken":"a"}`},
	}
	for i := range calls {
		for _, s := range seeds {
			f.Add(byte(i), false, s.status, []byte(s.body))
		}
		f.Add(byte(i), true, 200, []byte(token+outboundtest.Next+seeds[1].body))
	}
	for _, grant := range []string{`{"access_token":"a\nb"}`, `{"access_token":"secret-token","expires_in":1e300}`, `{"access_token":"secret-token","expires_in":-1}`, `{"access_token":7}`, `{}`} {
		f.Add(byte(2), true, 200, []byte(grant+outboundtest.Next+seeds[4].body))
	}
	f.Fuzz(func(t *testing.T, which byte, oauth bool, status int, content []byte) {
		vendor := outboundtest.Of(t, status, "application/json", "", content)
		o := qualtrics.Options{Outbound: vendor.Client("/API/v3"), DirectoryID: "POOL_1"}
		if oauth {
			o.OAuth = &qualtrics.OAuth{ClientID: "client", ClientSecret: settings.SecretOf("secret-of-client")}
		} else {
			o.Token = settings.SecretOf("secret-token")
		}
		c, err := qualtrics.New(o)
		if err != nil {
			t.Fatal(err)
		}
		call := calls[int(which)%len(calls)]
		err = call.do(t, c)
		outboundtest.Sound(t, err, "ada@example.com")
		fetching := err != nil && strings.Contains(err.Error(), "fetch access token") // which tells nobody of her
		if call.knows && !fetching {
			outboundtest.Sound(t, err, "Adelaide")
		}
		vendor.Silent(err, "secret-token", "secret-of-client")
		if call.write && !oauth && (status < 300 || status > 999) && fault.Is(err, fault.Transient) {
			t.Errorf("a write that was done would be done again: %v", err)
		}
		// With a token that cannot be sent nothing was sent.
		if oauth && fault.Is(err, fault.Unknown) && strings.Contains(err.Error(), "invalid header") {
			t.Errorf("nothing was sent: %v", err)
		}
	})
}
