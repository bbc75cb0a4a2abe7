// Package topology declares everything that closeloop keeps in JetStream: streams, durable consumers, buckets,
// and what each service may touch. It is data; `standalone` and the `topology` job apply it, and the broker's
// permissions and the AsyncAPI document are made from it. A service only binds to what is here, it never declares.
package topology

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/proto-events/subjects"
)

// Names of streams and buckets.
const (
	Events      = "EVENTS"
	Retries     = "RETRIES"
	Advisories  = "ADVISORIES"
	DeadLetters = "DEADLETTERS"
	Operations  = "OPERATIONS"
	Activity    = "ACTIVITY"
	Effects     = "EFFECTS"
	Limits      = "LIMITS"
)

// Names of the services, which are also the names of their durable consumers.
const (
	Ingress              = "ingress"
	QualtricsLinker      = "qualtrics-linker"
	SAPInteractionWriter = "sap-interaction-writer"
	FeedbackRouter       = "feedback-router"
	C4CTasker            = "c4c-tasker"
	AwardcoRecognizer    = "awardco-recognizer"
	Console              = "console"
)

// HoldSubject is where a service keeps an event until it is due again; token tells the events apart.
func HoldSubject(service, token string) string { return "retry.hold." + service + "." + token }

// DueSubject is where a held event comes back to its service, and no other.
func DueSubject(service string) string { return "retry.due." + service }

// DeadLetterSubject is where a service puts what it cannot handle.
func DeadLetterSubject(service string) string { return "deadletter." + service }

// OperationSubject is where it is recorded what a person did with one dead letter, named by its sequence: kind is
// deadletter for what was decided, sent for that a replay has been published, look for that its body was read. What is about no
// letter has 0: try, for that rules were tried over recorded answers.
func OperationSubject(kind string, letter uint64) string {
	return "operation." + kind + "." + strconv.FormatUint(letter, 10)
}

// ErasureSubject is where it is recorded how far one erasure is, and in the end its receipt.
func ErasureSubject(id string) string { return "operation.erasure." + id }

// SignOutSubject is where it is recorded that somebody ended a session.
func SignOutSubject(session string) string { return "operation.signout." + session }

// JobSubject is where it is recorded how far a decision about many dead letters is, and in the end what came of it.
func JobSubject(id string) string { return "operation.job." + id }

// ActivitySubject is where a service tells people about its work; kind is one of pkg/activity's.
func ActivitySubject(service, kind string) string { return "activity." + service + "." + kind }

// Service says what one service takes, publishes and keeps.
type Service struct {
	Name string
	// Takes are the subjects of EVENTS that its durable consumer filters; none means that it has no consumer.
	Takes []string
	// Publishes are its outputs on EVENTS, each by name, or feedback.* for those that rules choose.
	Publishes []string
	// EffectScopes are the first tokens of the ledger keys that it reads and writes.
	EffectScopes []string
	// Vendors are those that it calls within limits that hold for the whole fleet: the first tokens of keys in LIMITS.
	Vendors []string
	// Awaits are the subjects whose events answer a caller who waits at its door (Prefer: wait).
	Awaits []string
	// Oversees tells the service through which people act: it reads what the streams hold, brings dead letters back to
	// any service, records who did so, takes the broker's word on deliveries that ran out, and has people forgotten: it
	// deletes single messages, and puts tombstones into the ledger.
	Oversees bool
}

// Settings is what an installation may choose. The zero value is one node with the documented defaults.
type Settings struct {
	// Replicas of every stream and bucket: 1, 3 or 5. Default 1.
	Replicas int `envconfig:"TOPOLOGY_REPLICAS" default:"1" desc:"replicas of every stream: 1, 3 or 5"`
	// EventsMaxBytes bounds EVENTS; when it is full, doors answer 503 and nothing is dropped. Default 1 GiB.
	EventsMaxBytes int64 `envconfig:"TOPOLOGY_EVENTS_MAX_BYTES" default:"1073741824" desc:"size of EVENTS in bytes; when it is full, doors answer 503"`
	// EventsMaxAge must exceed the longest outage that is to be survived. Default 1 year.
	EventsMaxAge time.Duration `envconfig:"TOPOLOGY_EVENTS_MAX_AGE" default:"8760h" desc:"how long events are kept"`
	// DeadLettersMaxAge is how long dead letters wait for a person. Default 1 year.
	DeadLettersMaxAge time.Duration `envconfig:"TOPOLOGY_DEADLETTERS_MAX_AGE" default:"8760h" desc:"how long dead letters are kept"`
	// OperationsMaxAge is how long it is known who replayed, discarded or read a dead letter. Default 1 year.
	OperationsMaxAge time.Duration `envconfig:"TOPOLOGY_OPERATIONS_MAX_AGE" default:"8760h" desc:"how long it is kept what people did in the console"`
	// ActivityMaxAge is how long it is kept what services tell about their work. Default 30 days.
	ActivityMaxAge time.Duration `envconfig:"TOPOLOGY_ACTIVITY_MAX_AGE" default:"720h" desc:"how long it is kept what services tell about each attempt"`
	// ActivityMaxBytes bounds ACTIVITY; when it is full, the oldest goes. Default 256 MiB.
	ActivityMaxBytes int64 `envconfig:"TOPOLOGY_ACTIVITY_MAX_BYTES" default:"268435456" desc:"size of ACTIVITY in bytes; when it is full, the oldest goes"`
	// AckWait is how long a killed service's work waits before another takes it. Default 30 s.
	AckWait time.Duration `envconfig:"TOPOLOGY_ACK_WAIT" default:"30s" desc:"after how long a killed service's work is given to another"`
	// TaskSubjects are the subjects that become tasks beside feedback.delivery_late, which always does.
	TaskSubjects []string `envconfig:"C4C_SUBJECTS" default:"feedback.delivery_late" desc:"subjects that become tasks beside feedback.delivery_late, separated by commas"`
}

// Validate reports the first setting that cannot work.
func (s Settings) Validate() error {
	switch {
	case s.Replicas != 0 && !slices.Contains([]int{1, 3, 5}, s.Replicas):
		return settingError("TOPOLOGY_REPLICAS must be 1, 3 or 5")
	case min(s.AckWait, s.EventsMaxAge, s.DeadLettersMaxAge, s.OperationsMaxAge, s.ActivityMaxAge) < 0 || min(s.EventsMaxBytes, s.ActivityMaxBytes) < 0:
		return settingError("TOPOLOGY_ settings must not be negative")
	}
	for _, subject := range s.TaskSubjects {
		if _, ok := subjects.Find(subject); !ok || !strings.HasPrefix(subject, subjects.FeedbackPrefix) {
			return settingError("C4C_SUBJECTS: " + subject + " is no subject that carries feedback: feedback.wrong_price")
		}
	}
	return nil
}

type settingError string

func (e settingError) Error() string { return string(e) }

func (s Settings) withDefaults() Settings {
	if s.Replicas == 0 {
		s.Replicas = 1
	}
	if s.EventsMaxBytes == 0 {
		s.EventsMaxBytes = 1 << 30
	}
	if s.EventsMaxAge == 0 {
		s.EventsMaxAge = 365 * 24 * time.Hour
	}
	if s.DeadLettersMaxAge == 0 {
		s.DeadLettersMaxAge = 365 * 24 * time.Hour
	}
	if s.OperationsMaxAge == 0 {
		s.OperationsMaxAge = 365 * 24 * time.Hour
	}
	if s.ActivityMaxAge == 0 {
		s.ActivityMaxAge = month
	}
	if s.ActivityMaxBytes == 0 {
		s.ActivityMaxBytes = 256 << 20
	}
	if s.AckWait == 0 {
		s.AckWait = 30 * time.Second
	}
	if !slices.Contains(s.TaskSubjects, subjects.FeedbackDeliveryLate) { // what /c4c/task publishes always becomes a task
		s.TaskSubjects = append([]string{subjects.FeedbackDeliveryLate}, s.TaskSubjects...)
	}
	return s
}

// Topology is the declaration for one installation.
type Topology struct {
	Services  []Service
	Streams   []jetstream.StreamConfig
	Consumers []Consumer
	// Buckets are the ledger and the limits.
	Buckets []jetstream.KeyValueConfig
}

// Consumer is a durable and the stream that it belongs to.
type Consumer struct {
	Stream string
	Config jetstream.ConsumerConfig
}

// Of makes the declaration.
func Of(s Settings) Topology {
	s = s.withDefaults()
	t := Topology{
		Services: services(s),
		Streams:  streams(s),
		Buckets: []jetstream.KeyValueConfig{
			effects(s),
			bucket(s, Limits, "the fleet's place in each vendor's limits"),
		},
	}
	for _, service := range t.Services {
		if service.Oversees {
			t.Consumers = append(t.Consumers, Consumer{Advisories, durable(s, service.Name, advisory("MAX_DELIVERIES"))})
		}
		if len(service.Takes) == 0 {
			continue
		}
		t.Consumers = append(t.Consumers,
			Consumer{Events, durable(s, service.Name, service.Takes...)},
			Consumer{Retries, durable(s, service.Name, DueSubject(service.Name))})
	}
	return t
}

// bucket is on disk: neither what was done nor how long a vendor wants to be left alone may be forgotten in a restart.
func bucket(s Settings, name, description string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: name, Description: description, History: 1, Replicas: s.Replicas, Storage: jetstream.FileStorage,
	}
}

// effects keeps the revision before the last as well: when a record becomes a tombstone, what it said is still there to be
// overwritten. The broker removes what is one revision too many without that.
func effects(s Settings) jetstream.KeyValueConfig {
	b := bucket(s, Effects, "the effect ledger: what was done in vendors' systems")
	b.History = 2
	return b
}

// Service gives what is declared for one service.
func (t Topology) Service(name string) (Service, bool) {
	i := slices.IndexFunc(t.Services, func(s Service) bool { return s.Name == name })
	if i < 0 {
		return Service{}, false
	}
	return t.Services[i], true
}

func services(s Settings) []Service {
	return []Service{
		{
			Name: Ingress,
			Publishes: []string{
				subjects.SurveyLinkRequested, subjects.SurveyResponseNotified,
				subjects.SurveyResponseReceived, subjects.OrderCompleted,
			},
			EffectScopes: []string{"survey"},
		},
		{
			Name:  QualtricsLinker,
			Takes: []string{subjects.SurveyLinkRequested, subjects.ErasureRequested},
			Publishes: []string{
				subjects.SurveyLinkRequested, subjects.SurveyLinkCreated, subjects.SurveyLinkSuppressed, subjects.ErasureCompleted,
			},
			EffectScopes: []string{"qualtrics"},
			Vendors:      []string{"qualtrics"},
			Awaits:       []string{subjects.SurveyLinkCreated, subjects.SurveyLinkSuppressed},
		},
		{
			Name:         SAPInteractionWriter,
			Takes:        []string{subjects.SurveyLinkCreated, subjects.SurveyResponseReceived},
			Publishes:    []string{subjects.SurveyLinkCreated, subjects.SurveyResponseReceived, subjects.InteractionWritten},
			EffectScopes: []string{"sap"},
			Vendors:      []string{"sap-marketing"},
			Awaits:       []string{subjects.InteractionWritten},
		},
		{
			Name:         FeedbackRouter,
			Takes:        []string{subjects.SurveyResponseNotified, subjects.SurveyResponseReceived},
			Publishes:    []string{subjects.SurveyResponseNotified, subjects.SurveyResponseReceived, subjects.FeedbackPrefix + "*", subjects.RecognitionRequested},
			EffectScopes: []string{"survey", "feedback"},
			Vendors:      []string{"qualtrics"},
		},
		{
			Name:         C4CTasker,
			Takes:        s.TaskSubjects,
			Publishes:    []string{subjects.FeedbackDeliveryLate, subjects.TaskCreated},
			EffectScopes: []string{"c4c"},
			Vendors:      []string{"sap-sales-cloud"},
			Awaits:       []string{subjects.TaskCreated},
		},
		{
			Name:  AwardcoRecognizer,
			Takes: []string{subjects.RecognitionRequested},
			Publishes: []string{
				subjects.RecognitionRequested, subjects.RecognitionSubmitted, subjects.RecognitionApproved, subjects.RecognitionDeclined,
			},
			EffectScopes: []string{"awardco"},
			Vendors:      []string{"awardco"},
			Awaits:       []string{subjects.RecognitionSubmitted},
		},
		{Name: Console, Oversees: true, Publishes: []string{subjects.ErasureRequested}},
	}
}

const month = 30 * 24 * time.Hour

func streams(s Settings) []jetstream.StreamConfig {
	base := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: s.Replicas,
		Duplicates: 2 * time.Minute, MaxBytes: -1, MaxMsgs: -1,
	}
	events := base
	events.Name, events.Description = Events, "everything that happened"
	events.Subjects = []string{"survey.>", "feedback.>", "interaction.>", "task.>", "recognition.>", "order.>"}
	events.MaxAge, events.MaxBytes = s.EventsMaxAge, s.EventsMaxBytes
	events.Discard = jetstream.DiscardNew // full means refused and visible, not the oldest unread work lost
	events.AllowDirect = true

	retries := base
	retries.Name, retries.Description = Retries, "events that come back to their service later"
	retries.Subjects = []string{"retry.hold.*.*", "retry.due.*"}
	// No limit of size: a held event that is pushed out never comes back and nobody is told.
	retries.Discard, retries.MaxAge = jetstream.DiscardOld, month
	// Schedules exclude discard-new, which is why they do not live in EVENTS.
	retries.AllowMsgSchedules, retries.AllowMsgTTL = true, true
	retries.AllowDirect = true

	advisories := base
	advisories.Name, advisories.Description = Advisories, "the broker's word on deliveries that ran out and on pauses"
	advisories.Subjects = []string{advisory("MAX_DELIVERIES"), advisory("MSG_TERMINATED"), advisory("PAUSE")}
	advisories.MaxAge = month

	dead := base
	dead.Name, dead.Description = DeadLetters, "what waits for a person"
	dead.Subjects, dead.MaxAge, dead.AllowDirect = []string{"deadletter.>"}, s.DeadLettersMaxAge, true

	operations := base
	operations.Name, operations.Description = Operations, "what people did with dead letters"
	operations.Subjects, operations.MaxAge, operations.AllowDirect = []string{"operation.>"}, s.OperationsMaxAge, true

	activity := base
	activity.Name, activity.Description = Activity, "what services tell about their work, in passing"
	activity.Subjects, activity.AllowDirect = []string{"activity.>"}, true
	// Nobody depends on it: full means that the oldest goes.
	activity.Discard, activity.MaxAge, activity.MaxBytes = jetstream.DiscardOld, s.ActivityMaxAge, s.ActivityMaxBytes
	return []jetstream.StreamConfig{events, retries, advisories, dead, operations, activity}
}

// advisory is the subject of one kind of what the broker says about consumers, all of them.
func advisory(kind string) string { return "$JS.EVENT.ADVISORY.CONSUMER." + kind + ".>" }

func durable(s Settings, name string, filters ...string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, Name: name, FilterSubjects: filters,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.AckWait,
		// Without end: attempts are counted by pkg/bus, which takes an event out of circulation in view of a person. A
		// limit here would end one silently, say while RETRIES cannot be written.
		MaxDeliver:    -1,
		MaxAckPending: 50_000,
		Replicas:      s.Replicas,
	}
}
