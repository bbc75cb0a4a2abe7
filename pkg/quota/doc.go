// Package quota keeps a whole fleet within a vendor's limits: so many calls a minute, for each operation and for all
// together, and so many at once.
//
// What the fleet knows of a vendor is one record in a key-value bucket, changed by compare-and-set, in the broker's time. A
// [Limiter] gathers the calls that wait in its process and gives turns to as many as it can with one write. Turns are
// evenly spread (the generic cell rate algorithm), at 97 % of the limit, and are given a quarter of a second ahead at most.
//
// When the vendor refuses a call for its quota, the limit is closed to the fleet for as long as the vendor asks, and is
// then taken to be what the vendor let pass. Calls that other limits hold for go on.
package quota
