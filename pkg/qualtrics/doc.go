// Package qualtrics is a client for the Qualtrics XM API v3, as far as closeloop needs it: contacts, transactions,
// batches, distributions, personal links, and responses. The facts are those of qualtrics.md.
//
// No write has an idempotency key, and a 504 may hide a completed one (qualtrics.md §1.3, rule 3). So each Create says
// what a repeat of it means, and has a Find beside it that the effect ledger probes with. Faults are those of
// [outbound.Client.Do], with the vendor's errorCode and errorMessage for words (§2.4), and never hold what identifies
// the contact.
package qualtrics
