// Package odata is a client for the OData v2 services of SAP: SAP Marketing Cloud and S/4HANA (SAP Gateway), and SAP
// Sales Cloud Version 1 (C4C).
//
// [Client] keeps a session, cookies and CSRF token as one value, and repeats a write only after a refused token, which
// SAP raises before it does anything. [Client.Batch] puts many requests into one call. [Decode], [List] and [Array] read the envelopes of both families, [DateTime],
// [DateTimeOffset] and [Decimal] their values. The facts are those of odata-v2.md.
package odata
