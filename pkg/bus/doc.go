// Package bus is how services talk through JetStream: publishing that is durable before it returns, durable consumers
// whose handlers only return errors, retries that block nobody, pauses for a whole fleet while a vendor is out, and
// dead letters.
//
// A service binds to what pkg/bus/topology declares and handles events:
//
//	b, err := bus.Connect(ctx, bus.Options{Service: topology.C4CTasker, Connection: settings.NATS})
//	c, err := b.Consume(ctx, bus.Consumer{Parallel: 6, Handle: func(ctx context.Context, e event.Event) error { … }})
//	defer c.Drain(ctx)
//
// One function, settle, decides what happens to a message, by the class of the handler's error (see pkg/fault):
//
//	nil                               acknowledged
//	Invalid, Refused, Person          dead letter at once, with the reason
//	Transient, NotYet, Unknown        held in RETRIES with growing delay; after the last attempt a dead letter
//	Busy                              held for a moment, no attempt counted
//	Throttled, Down, Unauthorized     the consumer pauses for the whole fleet; held until then, no attempt counted
//	Forbidden                         the same, attempts counted: it may be this one record alone
package bus
