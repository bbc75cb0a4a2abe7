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
// its outputs by name, to tell about its work, and its part of the ledger and of the limits; for the one that oversees the others, to read the
// streams, to replay, and to delete single messages about a person. No service may create, change, purge or delete a stream
// or a consumer.
func (s Service) Permissions() Permissions {
	p := Permissions{Publish: []string{ActivitySubject(s.Name, "*")}}
	if len(s.Takes) > 0 {
		for _, stream := range []string{Events, Retries} {
			p.Publish = append(p.Publish, s.consuming(stream)...)
			p.Publish = append(p.Publish, "$JS.API.CONSUMER.PAUSE."+stream+"."+s.Name)
		}
		// The stream's state says how much is held.
		p.Publish = append(p.Publish, HoldSubject(s.Name, "*"), DeadLetterSubject(s.Name), "$JS.API.STREAM.INFO."+Retries)
		p.Subscribe = append(p.Subscribe, DeadLetterSubject(s.Name))
	}
	if s.Oversees {
		p.Publish = append(p.Publish, s.consuming(Advisories)...)
		for _, stream := range []string{Events, Retries, DeadLetters, Operations, Activity} {
			p.Publish = append(p.Publish, "$JS.API.STREAM.INFO."+stream, "$JS.API.DIRECT.GET."+stream)
		}
		p.Publish = append(p.Publish, DueSubject("*"), DeadLetterSubject("*"), "operation.>")
		p.Publish = append(p.Publish, forgetting()...)
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

// forgetting is what it takes to have a person forgotten: to know what services have in hand, to find what is said about the
// person, to delete it message by message, and to leave tombstones in the ledger.
func forgetting() []string {
	const ledger = "KV_" + Effects
	subjects := []string{
		"$JS.API.CONSUMER.INFO." + Events + ".*", "$JS.API.CONSUMER.INFO." + Retries + ".*",
		"$JS.API.STREAM.INFO." + ledger, "$JS.API.DIRECT.GET." + ledger, "$JS.API.DIRECT.GET." + ledger + ".>", "$KV." + Effects + ".>",
	}
	for _, stream := range []string{Events, Retries, DeadLetters, Operations, Activity, ledger} {
		subjects = append(subjects, "$JS.API.STREAM.MSG.DELETE."+stream)
	}
	return subjects
}

// consuming is what it takes to bind to the service's durable on a stream, to pull and to acknowledge.
func (s Service) consuming(stream string) []string {
	return []string{
		"$JS.API.CONSUMER.INFO." + stream + "." + s.Name,
		"$JS.API.CONSUMER.MSG.NEXT." + stream + "." + s.Name,
		"$JS.ACK." + stream + "." + s.Name + ".>",
		// The second form has domain and account hash in front; servers may switch to it.
		"$JS.ACK.*.*." + stream + "." + s.Name + ".>",
	}
}
