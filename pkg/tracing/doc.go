// Package tracing makes the spans of what happens, one trace for each loop, and sends them by OTLP.
//
// The id of a loop's trace follows from the id of the loop ([TraceID]): whoever knows the loop goes on with its trace, also
// where the way led through a vendor for days and nothing of the trace came back. A context from elsewhere, as that of a
// caller outside, is kept as a link.
//
// A span holds names, counts, classes and the ids of loop and event; never an address with its path or query, a body, or
// what a vendor said but for the redacted text of a fault. Where no collector is set there is no [Tracer], and nothing is
// made: a nil Tracer may be used as any other, and whoever would gather attributes for it asks first.
package tracing
