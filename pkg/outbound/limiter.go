package outbound

import (
	"context"
	"time"
)

// Limiter keeps all clients of a vendor, in the whole fleet, within its limits. [Client.Do] asks it before each call.
type Limiter interface {
	// Admit waits until a call of this operation may be sent. Release must be called when the call has ended. An error is
	// a [fault.Fault], and nothing was sent: Busy with After where the wait would be too long, Transient when ctx ended.
	Admit(ctx context.Context, operation string) (release func(), err error)
	// Refused tells that the vendor refused a call of this operation for its quota and wants to be left alone for after; 0
	// means that it did not say for how long.
	Refused(ctx context.Context, operation string, after time.Duration)
	// Away tells that the vendor cannot take calls of this operation for after, which says nothing about its quota.
	Away(ctx context.Context, operation string, after time.Duration)
}
