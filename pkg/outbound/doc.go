// Package outbound carries HTTP calls to vendors.
//
// A [Client] keeps to a vendor's limits, gives each call a time limit, turns whatever goes wrong into a
// [fault.Fault] whose class the bus can act upon, keeps personal data out of its text, and counts.
//
// It never repeats a call that the vendor may have seen: the bus repeats, and the effect ledger probes first. It
// follows no redirect and keeps no cookie. The one repetition below it is that of Go's transport, which sends a
// request anew when an idle connection turned out to be closed: a write only if not one byte of it went out.
package outbound
