package loops

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
)

// VendorStatus is how one vendor is, put together from what all services told of it.
type VendorStatus struct {
	Vendor string `json:"vendor"`
	// State is the worst that a service sees: [activity.Healthy], [activity.Throttled] or [activity.Out].
	State string `json:"state"`
	// Since when it is so for the first of them, zero while nobody has said anything of it.
	Since time.Time `json:"since,omitzero"`
	// Until is when it is asked again.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// By names the services that told that state.
	By []string `json:"by"`
	// Limits as the fleet had used them at QuotaAt.
	Limits  []activity.Limit `json:"limits"`
	QuotaAt time.Time        `json:"quotaAt,omitzero"`
	// Calls of the last hour, by operation, and how many more it would have been one by one.
	Calls []Calls `json:"calls"`
	Saved int     `json:"saved"`
	// Waiting is how many loops wait for it, the oldest since OldestWaiting.
	Waiting       int       `json:"waiting"`
	OldestWaiting time.Time `json:"oldestWaiting,omitzero"`
	// PerMinute is how many events it lately took a minute, and Left how long what waits will take at that pace, 0 where it
	// took none.
	PerMinute float64       `json:"perMinute"`
	Left      time.Duration `json:"left"`
}

// paceMinutes is over how many whole minutes the pace is measured.
const paceMinutes = 10

// severity orders the states of a vendor.
var severity = map[string]int{activity.Healthy: 1, activity.Throttled: 2, activity.Out: 3}

// Vendors tells how each vendor is, by name: those that a service asks, whether anything was told of them or not.
func (s *Store) Vendors(ctx context.Context) ([]VendorStatus, error) {
	byName := map[string]*VendorStatus{}
	of := func(vendor string) *VendorStatus {
		if byName[vendor] == nil {
			byName[vendor] = &VendorStatus{Vendor: vendor, State: activity.Healthy, By: []string{}, Limits: []activity.Limit{}, Calls: []Calls{}}
		}
		return byName[vendor]
	}
	for _, vendor := range vendors {
		of(vendor)
	}
	err := s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		if err := latest(ctx, db, activity.KindVendor, func(v activity.Vendor) { of(v.Vendor).hear(v) }); err != nil {
			return err
		}
		if err := latest(ctx, db, activity.KindQuota, func(q activity.Quota) { of(q.Vendor).measure(q) }); err != nil {
			return err
		}
		return load(ctx, db, of)
	})
	all := make([]VendorStatus, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all, err
}

// hear takes what one service told: the worst of all counts.
func (v *VendorStatus) hear(told activity.Vendor) {
	switch worse := severity[told.State] - severity[v.State]; {
	case len(v.By) > 0 && worse < 0:
	case len(v.By) > 0 && worse == 0:
		v.By = append(v.By, told.Service)
		if told.Since.Before(v.Since) {
			v.Since = told.Since
		}
		if told.Until.After(v.Until) {
			v.Until = told.Until
		}
	default:
		v.State, v.Since, v.Until, v.Reason, v.By = told.State, told.Since, told.Until, told.Reason, []string{told.Service}
	}
}

// outages gives the vendors that some service sees throttled or out.
func outages(ctx context.Context, db *sql.DB) (map[string]*VendorStatus, error) {
	all := map[string]*VendorStatus{}
	err := latest(ctx, db, activity.KindVendor, func(v activity.Vendor) {
		if all[v.Vendor] == nil {
			all[v.Vendor] = &VendorStatus{Vendor: v.Vendor}
		}
		all[v.Vendor].hear(v)
	})
	maps.DeleteFunc(all, func(_ string, v *VendorStatus) bool { return severity[v.State] <= severity[activity.Healthy] })
	return all, err
}

// measure takes the quota as it was told last.
func (v *VendorStatus) measure(told activity.Quota) {
	if told.At.After(v.QuotaAt) {
		v.QuotaAt, v.Limits = told.At, told.Limits
	}
}

// load adds the calls of the last hour, what waits, and the pace.
func load(ctx context.Context, db *sql.DB, of func(string) *VendorStatus) error {
	texts, err := allWords(ctx, db)
	if err != nil {
		return err
	}
	minute := time.Now().UnixNano() / int64(time.Minute)
	counting := &counting{ctx: ctx, db: db, texts: texts}
	calls, err := counting.calls("recent", "minute", minute-60, minute+1)
	if err != nil {
		return err
	}
	for _, c := range calls {
		v := of(c.Vendor)
		v.Calls, v.Saved = append(v.Calls, c), v.Saved+c.Saved
	}
	err = scan(ctx, db, "SELECT vendor, sum(done) FROM recent WHERE minute >= ? AND minute < ? GROUP BY vendor", []any{minute - paceMinutes, minute},
		func(rows *sql.Rows) error {
			var vendor int64
			var done float64
			err := rows.Scan(&vendor, &done)
			of(texts[vendor]).PerMinute = done / paceMinutes
			return err
		})
	if err != nil {
		return err
	}
	return scan(ctx, db, "SELECT vendor, count(*), min(since) FROM waiting GROUP BY vendor", nil, func(rows *sql.Rows) error {
		var vendor, since int64
		var count int
		if err := rows.Scan(&vendor, &count, &since); err != nil {
			return err
		}
		v := of(texts[vendor])
		v.Waiting, v.OldestWaiting = count, timeOf(since)
		if v.PerMinute > 0 {
			v.Left = time.Duration(float64(count) / v.PerMinute * float64(time.Minute))
		}
		return nil
	})
}
