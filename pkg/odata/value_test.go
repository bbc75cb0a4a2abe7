package odata_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
)

func TestQuoteDoublesQuotes(t *testing.T) {
	if got := odata.Quote("O'Neil*"); got != "'O''Neil*'" {
		t.Errorf("got %s", got)
	}
}

func TestQuoteExactRefusesTheWildcard(t *testing.T) {
	if got, err := odata.QuoteExact("O'Neil"); got != "'O''Neil'" || err != nil {
		t.Errorf("got %s, error %v", got, err)
	}
	if _, err := odata.QuoteExact("a*"); !errors.Is(err, odata.ErrWildcard) || !fault.Is(err, fault.Invalid) {
		t.Errorf("error = %v", err)
	}
}

func TestDatesAreReadInEachForm(t *testing.T) {
	noon := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		`"/Date(1784885400000+0000)/"`:   "2026-07-24T09:30:00Z",
		`"/Date(1784885400000)/"`:        "2026-07-24T09:30:00Z",
		`"/Date(1784885400000+0120)/"`:   "2026-07-24T11:30:00+02:00",
		`"/Date(1784885400000-330)/"`:    "2026-07-24T04:00:00-05:30",
		`"/Date(-1000)/"`:                "1969-12-31T23:59:59Z",
		`"\/Date(1784885400123)\/"`:      "2026-07-24T09:30:00.123Z",
		`"2026-07-24T09:30:00Z"`:         "2026-07-24T09:30:00Z",
		`"2026-07-24T09:30:00.5+02:00"`:  "2026-07-24T09:30:00.5+02:00",
		`"2026-07-24T09:30:00"`:          "2026-07-24T09:30:00Z",
		`"2026-07-24T09:30:00.0000000Z"`: "2026-07-24T09:30:00Z",
		`null`:                           "0001-01-01T00:00:00Z",
		`""`:                             "0001-01-01T00:00:00Z",
	} {
		var offset odata.DateTimeOffset
		var local odata.DateTime
		if err := errors.Join(json.Unmarshal([]byte(text), &offset), json.Unmarshal([]byte(text), &local)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := offset.Format(time.RFC3339Nano); got != want || !local.Equal(offset.Time) {
			t.Errorf("%s is %s and %s, want %s", text, got, local, want)
		}
	}
	for _, text := range []string{`"yesterday"`, `5`, `"/Date(99999999999999999999)/"`, `"/Date(1+99999999999999999999)/"`, `"/Date()/"`} {
		if err := json.Unmarshal([]byte(text), &odata.DateTimeOffset{}); err == nil {
			t.Errorf("%s was read", text)
		}
	}

	berlin := noon.Add(123456789).In(time.FixedZone("", 7200))
	if got := (odata.DateTimeOffset{Time: berlin}).Literal(); got != "datetimeoffset'2026-07-24T09:30:00.123Z'" {
		t.Errorf("literal %s", got)
	}
	if got := (odata.DateTime{Time: noon}).Literal(); got != "datetime'2026-07-24T09:30:00'" {
		t.Errorf("literal %s", got)
	}
}

func TestValuesAreWritten(t *testing.T) {
	at := time.Date(2026, 7, 24, 11, 30, 0, 123456789, time.FixedZone("", 7200))
	got, err := json.Marshal([]any{
		odata.DateTimeOffset{Time: at}, odata.DateTime{Time: at}, odata.DateTimeOffset{}, odata.DateTime{},
		odata.Decimal("12.50"), odata.Decimal("-3"), odata.Decimal(""),
	})
	if want := `["2026-07-24T09:30:00.123Z","2026-07-24T09:30:00.123",null,null,"12.50","-3",null]`; string(got) != want || err != nil {
		t.Errorf("got  %s, error %v\nwant %s", got, err, want)
	}
	omitted, err := json.Marshal(struct {
		At odata.DateTimeOffset `json:",omitzero"`
	}{})
	if string(omitted) != "{}" || err != nil {
		t.Errorf("a zero time with omitzero is %s, error %v", omitted, err)
	}
	for _, bad := range []odata.Decimal{"12,50", "abc", `1"`} {
		if _, err := json.Marshal(bad); err == nil {
			t.Errorf("%q was written", bad)
		}
	}
}

func TestDecimalReadsStringAndNumber(t *testing.T) {
	for text, want := range map[string]odata.Decimal{`"12.50"`: "12.50", `12.50`: "12.50", `"-9007199254740993"`: "-9007199254740993", `null`: "", `""`: ""} {
		got := odata.Decimal("old")
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %q, error %v", text, got, err)
		}
	}
	for _, text := range []string{`"a"`, `true`, `{}`} {
		var got odata.Decimal
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}
