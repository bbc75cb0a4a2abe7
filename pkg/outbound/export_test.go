package outbound

import "context"

// TraceNothing does what a call does for its span.
func TraceNothing(c *Client, ctx context.Context) {
	_, span := c.startSpan(ctx, Call{Operation: "x"})
	span.admitted()
	span.end(nil, nil)
}
