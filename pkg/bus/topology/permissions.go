package topology

import "slices"

// Permissions is what the broker lets one service's user do, as subjects.
type Permissions struct {
	Publish   []string
	Subscribe []string
}

// InboxPrefix is the service's own inbox: nobody else may read its replies.
func InboxPrefix(service string) string { return "_INBOX_" + service }

// Permissions gives exactly what the service needs: to bind, pull, acknowledge, pause, hold, dead-letter and publish
// its outputs by name, and its part of the ledger and of the limits. No service may create, change or delete anything in JetStream.
func (s Service) Permissions() Permissions {
	var p Permissions
	if len(s.Takes) > 0 {
		for _, stream := range []string{Events, Retries} {
			p.Publish = append(p.Publish,
				"$JS.API.CONSUMER.INFO."+stream+"."+s.Name,
				"$JS.API.CONSUMER.MSG.NEXT."+stream+"."+s.Name,
				"$JS.API.CONSUMER.PAUSE."+stream+"."+s.Name,
				"$JS.ACK."+stream+"."+s.Name+".>",
				// The second form has domain and account hash in front; servers may switch to it.
				"$JS.ACK.*.*."+stream+"."+s.Name+".>",
			)
		}
		p.Publish = append(p.Publish, HoldSubject(s.Name, "*"), DeadLetterSubject(s.Name))
		p.Subscribe = append(p.Subscribe, DeadLetterSubject(s.Name))
	}
	p.Publish = append(p.Publish, s.Publishes...)
	if len(s.EffectScopes) > 0 {
		p.Publish = append(p.Publish, "$JS.API.STREAM.INFO.KV_"+Effects)
	}
	for _, scope := range s.EffectScopes {
		keys := "$KV." + Effects + "." + scope + ".>"
		p.Publish = append(p.Publish, keys, "$JS.API.DIRECT.GET.KV_"+Effects+"."+keys)
	}
	if len(s.Vendors) > 0 {
		p.Publish = append(p.Publish, "$JS.API.STREAM.INFO.KV_"+Limits)
	}
	for _, vendor := range s.Vendors {
		keys := "$KV." + Limits + "." + vendor + ".>"
		p.Publish = append(p.Publish, keys, "$JS.API.DIRECT.GET.KV_"+Limits+"."+keys)
	}
	p.Subscribe = append(p.Subscribe, InboxPrefix(s.Name)+".>")
	p.Subscribe = append(p.Subscribe, s.Awaits...)
	slices.Sort(p.Publish)
	slices.Sort(p.Subscribe)
	return p
}
