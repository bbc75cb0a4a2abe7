package loops

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// world is what is known beside the notes of a loop. All of it but out only ever grows.
type world struct {
	now int64
	// takes are the services that take events of a type; those of a type that is not there are asked of filters.
	filters map[string][]string
	// handled is, by service, the sequence in EVENTS up to which it has settled all it takes; idle is the last time at which
	// nothing that was held for it waited to be handled.
	handled map[string]uint64
	idle    map[string]int64
	// out are the vendors that are throttled or out now. What is written to the file is worked out without them: they change at
	// once for all that waits.
	out map[string]*VendorStatus
	// known are the takers that were found out; nil does without.
	known map[string][]string
}

// takers gives the services that take an event.
func (w *world) takers(eventType string) []string {
	all, known := w.known[eventType]
	if known {
		return all
	}
	for service, filters := range w.filters {
		for _, f := range filters {
			if f == eventType || strings.HasSuffix(f, ".>") && strings.HasPrefix(eventType, f[:len(f)-1]) ||
				strings.HasSuffix(f, ".*") && strings.HasPrefix(eventType, f[:len(f)-1]) && !strings.Contains(eventType[len(f)-1:], ".") {
				all = append(all, service)
				break
			}
		}
	}
	slices.Sort(all)
	if w.known != nil {
		w.known[eventType] = all
	}
	return all
}

// declared are the takers of an installation whose consumers cannot be asked.
func declared() map[string][]string {
	filters := map[string][]string{}
	for _, s := range topology.Of(topology.Settings{}).Services {
		if len(s.Takes) > 0 {
			filters[s.Name] = s.Takes
		}
	}
	return filters
}

// mark is state and stages reached in one number, as it is indexed: the state's place in States, and a bit for each stage.
type mark int64

// stages are all, by their bit.
var stages = append(slices.Clone(Funnel), Suppressed)

const stateBits = 3

func markOf(s State, reached map[Stage]int64) mark {
	m := mark(slices.Index(States, s))
	for i, stage := range stages {
		if _, ok := reached[stage]; ok {
			m |= 1 << (stateBits + i)
		}
	}
	return m
}

func (m mark) state() State { return States[m&(1<<stateBits-1)] }

func (m mark) reached(s Stage) bool {
	i := slices.Index(stages, s)
	return i >= 0 && m&(1<<(stateBits+i)) != 0
}

// entry is what of a loop is indexed and counted; campaign, survey, rules and vendors are numbers of words.
type entry struct {
	start            int64
	mark             mark
	campaign, survey int64
	bucket           int   // of the time to close, 0 while it is not
	due              int64 // when to look again, as something ends by itself; 0 for never
	rules            []int64
	waits            []vendorWait
}

type vendorWait struct{ vendor, since int64 }

// standing is what notes come to.
type standing struct {
	start, last, closed int64
	state               State
	reached             map[Stage]int64
	campaign, survey    string
	rules               []string
	waits               []wait
	due                 int64
}

// wait is a Wait before it is told.
type wait struct {
	Wait
	since  int64
	vendor string
}

// lookAgain is how long after an event nobody has said anything about it, it is asked whether it is handled.
const lookAgain = int64(15 * time.Second)

// derive works out how a loop stands. It depends on the set of notes, not on the order in which they came.
//
// An event is in hand of each service that takes it until one of these says otherwise, the latest first:
//   - a dead letter: it waits for a person, until the letter is replayed, when it is in hand again, or discarded;
//   - an attempt: done, or tried again later;
//   - the event that is published when it is done (see answered), where no attempt is known, or it is later than the attempt;
//   - the service's consumer, which has settled all up to there, or has nothing left that was held: what nobody speaks of any
//     more is done.
func (w *world) derive(notes []note) *standing {
	s := &standing{reached: make(map[Stage]int64, 8), state: Completed}
	d := deriving{world: w, standing: s, notes: notes}
	d.frame()
	d.stages()
	d.letters()
	d.work()
	d.approvals()
	d.customer()
	d.close()
	d.settle()
	return s
}

// stands works out how a loop stands of which more may have come than is kept.
func (w *world) stands(r *record) *standing {
	s := w.derive(r.notes)
	s.last = max(s.last, r.last)
	return s
}

// deriving is one loop while it is worked out.
type deriving struct {
	*world
	*standing
	notes []note
	// discarded says that the latest decision was that nothing is to be done.
	discarded bool
	decided   uint64
	sentAt    map[string]int64 // when replays were published, by operation
	lettersOf map[hand][]letter
	handledAt map[string]int64 // when the router was done with answers, by event
	open      bool             // it is not, with one
}

// hand is an event in the hand of a service.
type hand struct{ service, event string }

// letter is a dead letter and what was decided about it.
type letter struct {
	*note
	decision *note // nil for none
}

func (d *deriving) frame() {
	for i := range d.notes {
		n := &d.notes[i]
		d.last = max(d.last, n.at)
		if n.source != fromEvents && n.source != fromLetters {
			continue
		}
		if begun := cmp.Or(n.begun, n.when, n.at); d.start == 0 || begun < d.start {
			d.start = begun
		}
		d.campaign, d.survey = cmp.Or(d.campaign, n.campaign), cmp.Or(d.survey, n.survey)
	}
}

func (d *deriving) reach(s Stage, at int64) {
	if known, ok := d.reached[s]; !ok || at < known {
		d.reached[s] = at
	}
}

func (d *deriving) stages() {
	for i := range d.notes {
		n := &d.notes[i]
		if n.source != fromEvents {
			continue
		}
		switch {
		case n.what == subjects.SurveyLinkRequested:
			d.reach(Invited, n.when)
		case n.what == subjects.SurveyLinkSuppressed:
			d.reach(Suppressed, n.when)
		case n.what == subjects.SurveyLinkCreated:
			d.reach(Linked, n.when)
		case n.what == subjects.InteractionWritten && n.kind == "SURVEY_LINK_CREATED":
			d.reach(Mailed, n.when)
		case n.what == subjects.SurveyResponseNotified, n.what == subjects.SurveyResponseReceived:
			d.reach(Answered, n.when)
		case asks(n.what):
			d.reach(Acted, n.when)
		}
	}
}

// asks tells the events that ask for something to be done about an answer.
func asks(eventType string) bool {
	return strings.HasPrefix(eventType, subjects.FeedbackPrefix) || eventType == subjects.RecognitionRequested
}

// letters finds what was decided about each letter: the latest that was not taken back, and not said of a letter of a stream
// that is no more.
func (d *deriving) letters() {
	some := false
	for i := range d.notes {
		some = some || d.notes[i].source == fromLetters
	}
	if !some {
		return
	}
	d.lettersOf, d.sentAt = map[hand][]letter{}, map[string]int64{}
	failed := map[string]bool{}
	for i := range d.notes {
		switch n := &d.notes[i]; {
		case n.source != fromOperations || n.outcome != sent:
		case n.failed != "":
			failed[n.operation] = true
		default:
			d.sentAt[n.operation] = n.at
		}
	}
	for i := range d.notes {
		l := letter{note: &d.notes[i]}
		if l.source != fromLetters {
			continue
		}
		for j := range d.notes {
			o := &d.notes[j]
			if o.source == fromOperations && o.outcome != sent && o.letter == l.seq && o.at >= l.at && !failed[o.operation] &&
				(l.decision == nil || o.seq > l.decision.seq) {
				l.decision = o
			}
		}
		if l.decision != nil && l.decision.seq > d.decided {
			d.decided, d.discarded = l.decision.seq, l.decision.outcome == discarded
		}
		h := hand{l.service, l.event}
		d.lettersOf[h] = append(d.lettersOf[h], l)
	}
}

// work finds what is in hand, for each event and each service that takes it.
func (d *deriving) work() {
	d.handledAt = map[string]int64{}
	seen := make(map[hand]bool, 8)
	for i := range d.notes {
		n := &d.notes[i]
		if n.source != fromEvents {
			continue
		}
		for _, service := range d.takers(n.what) {
			if h := (hand{service, n.event}); !seen[h] {
				seen[h] = true
				d.inHand(n, service)
			}
		}
	}
	for h, letters := range d.lettersOf { // of events that have left EVENTS
		if !seen[h] {
			d.inHand(letters[0].note, h.service)
		}
	}
}

// inHand finds out about one event in the hand of one service.
func (d *deriving) inHand(n *note, service string) {
	router := n.what == subjects.SurveyResponseReceived && service == topology.FeedbackRouter
	letters := d.lettersOf[hand{service, n.event}]
	if d.openLetters(letters) {
		d.open = d.open || router
		return
	}
	since, after, handled := n.at, int64(0), d.passed(n, service)
	if latest := decision(letters); latest != nil {
		since, after = latest.at, latest.at
		published := d.sentAt[latest.operation] // before, nothing of it is held
		handled = latest.outcome == discarded || published != 0 && published < d.idle[service]
	}
	begun := since // tries and pauses do not begin the wait anew
	attempt, answered := d.lastAttempt(n, service, after), d.answered(n, service)
	switch {
	case attempt != nil && answered > attempt.at, attempt == nil && answered > after:
		handled, since = true, answered
	case attempt != nil:
		since = attempt.at
		// The letter of a dead one says the rest; what was held, and is held no more, somebody has told of in vain. What was not
		// settled is not held: the broker has it.
		ended := attempt.outcome == activity.Done || attempt.outcome == activity.Erased || attempt.outcome == activity.DeadLetter
		silent := attempt.next != 0 && attempt.next < d.idle[service]
		handled = ended || silent && (attempt.outcome != activity.NotSettled || d.passed(n, service))
	}
	switch {
	case !handled:
		d.open = d.open || router
		d.outstanding(n, service, attempt, begun)
	case router:
		d.handledAt[n.event] = since
	}
}

// passed tells that the service's consumer has settled the event, all copies of it.
func (d *deriving) passed(n *note, service string) bool {
	handled := d.handled[service]
	for i := range d.notes {
		if m := &d.notes[i]; m.source == fromEvents && m.seq > handled && m.event == n.event {
			return false
		}
	}
	return true
}

// openLetters notes those that wait for a person.
func (d *deriving) openLetters(letters []letter) bool {
	open := false
	for _, l := range letters {
		if l.decision == nil {
			open = true
			d.wait(wait{Wait: Wait{For: ForPerson, Service: l.service, EventID: l.event, Class: l.class, Reason: l.reason, Letter: l.seq}, since: l.at})
		}
	}
	return open
}

// decision gives the latest about letters that are decided, all of them; nil where there are none, or one is open.
func decision(letters []letter) (latest *note) {
	for _, l := range letters {
		if l.decision == nil {
			return nil
		}
		if latest == nil || l.decision.seq > latest.seq {
			latest = l.decision
		}
	}
	return latest
}

// lastAttempt gives the latest attempt of a service at an event after a decision, 0 for none. The one that made the letter may be
// told of after what was decided about that, when the rest of its wave is settled.
func (d *deriving) lastAttempt(n *note, service string, after int64) *note {
	var latest *note
	for i := range d.notes {
		a := &d.notes[i]
		if a.source == fromActivity && a.service == service && a.event == n.event && a.at > after &&
			(after == 0 || a.outcome != activity.DeadLetter) && (latest == nil || a.seq > latest.seq) {
			latest = a
		}
	}
	return latest
}

// answered is when the event was published that says that another is done; 0 for never, and for those that nothing follows.
func (d *deriving) answered(n *note, service string) int64 {
	var follows func(*note) bool
	id := Response
	switch {
	case n.what == subjects.SurveyLinkRequested:
		id = Request
		follows = func(f *note) bool {
			return f.what == subjects.SurveyLinkCreated || f.what == subjects.SurveyLinkSuppressed
		}
	case n.what == subjects.SurveyLinkCreated:
		id = Request
		follows = func(f *note) bool { return f.what == subjects.InteractionWritten && f.kind == "SURVEY_LINK_CREATED" }
	case n.what == subjects.SurveyResponseNotified:
		follows = func(f *note) bool { return f.what == subjects.SurveyResponseReceived }
	case n.what == subjects.SurveyResponseReceived && service == topology.FeedbackRouter:
		follows = func(f *note) bool { return asks(f.what) }
	case n.what == subjects.SurveyResponseReceived:
		follows = func(f *note) bool { return f.what == subjects.InteractionWritten && f.kind == "SURVEY_RESPONSE" }
	case n.what == subjects.RecognitionRequested:
		follows = func(f *note) bool { return f.what == subjects.RecognitionSubmitted }
	case n.what == subjects.ErasureRequested:
		id = erasure
		follows = func(f *note) bool { return f.what == subjects.ErasureCompleted }
	case strings.HasPrefix(n.what, subjects.FeedbackPrefix):
		return d.tasked(n)
	default:
		return 0
	}
	value := n.id(id)
	for i := range d.notes {
		if f := &d.notes[i]; f.source == fromEvents && follows(f) && f.id(id) == value {
			return f.at
		}
	}
	return 0
}

// tasked is when the task of one event was made. A response may have several: the first task is that of the first which a
// service takes.
func (d *deriving) tasked(n *note) int64 {
	if len(d.takers(n.what)) == 0 {
		return 0
	}
	rank, value := 0, n.id(Response)
	seen := map[string]bool{}
	for i := range d.notes {
		f := &d.notes[i]
		if f.source == fromEvents && strings.HasPrefix(f.what, subjects.FeedbackPrefix) && f.id(Response) == value && !seen[f.event] {
			if seen[f.event] = true; f.event == n.event {
				break
			}
			if len(d.takers(f.what)) > 0 {
				rank++
			}
		}
	}
	clear(seen)
	for i := range d.notes {
		f := &d.notes[i]
		if f.source == fromEvents && f.what == subjects.TaskCreated && f.id(Response) == value && !seen[f.event] {
			if seen[f.event] = true; rank == 0 {
				return f.at
			}
			rank--
		}
	}
	return 0
}

// id gives the first id of a kind.
func (n *note) id(kind IDKind) string {
	for _, id := range n.ids {
		if id.Kind == kind {
			return id.Value
		}
	}
	return ""
}

// outstanding notes what waits, since its event was stored, or a person had it replayed.
func (d *deriving) outstanding(n *note, service string, attempt *note, since int64) {
	w := wait{Wait: Wait{For: ForService, Service: service, EventID: n.event}, since: since, vendor: vendorOf(service, n.what)}
	if attempt == nil {
		d.lookAt(since + lookAgain)
		d.waitInTurn(w)
		return
	}
	w.Class, w.Reason, w.Until = attempt.class, attempt.reason, timeOf(attempt.next)
	if attempt.next > 0 {
		d.lookAt(attempt.next + 4*lookAgain)
	}
	switch attempt.outcome {
	case activity.Retry, activity.Suspect:
		w.For = ForRetry
		if class := fault.Class(attempt.class); class == fault.NotYet {
			w.For = ForService
		}
	case activity.Paused:
		w.For, w.vendor = ForVendor, cmp.Or(attempt.vendor, w.vendor)
	}
	d.waitInTurn(w)
}

// waitInTurn notes what waits for a service, or for its vendor while that is out: then the service takes nothing.
func (d *deriving) waitInTurn(w wait) {
	if out := d.out[w.vendor]; out != nil && w.For == ForService {
		w.For, w.Until, w.Reason = ForVendor, out.Until, out.Reason
	}
	d.wait(w)
}

func (d *deriving) wait(w wait) {
	w.Since, w.Vendor = timeOf(w.since), w.vendor
	d.waits = append(d.waits, w)
}

// lookAt has the loop looked at again then, or later the longer it has been waiting.
func (d *deriving) lookAt(at int64) {
	if at <= d.now {
		at = d.now + max(lookAgain, (d.now-at)/4)
	}
	if d.due == 0 || at < d.due {
		d.due = at
	}
}

// linkMost is how long an answer is waited for where the link does not say when it expires; the linker's own always do.
const linkMost = int64(90 * 24 * time.Hour)

// customer finds out whether somebody still may answer.
func (d *deriving) customer() {
	if _, answered := d.reached[Answered]; answered {
		return
	}
	for i := range d.notes {
		n := &d.notes[i]
		if n.source != fromEvents || n.what != subjects.SurveyLinkCreated || d.neverMailed(n) {
			continue
		}
		ends := cmp.Or(n.expires, cmp.Or(n.when, n.at)+linkMost)
		if ends <= d.now {
			continue
		}
		d.lookAt(ends)
		d.wait(wait{Wait: Wait{For: ForCustomer, EventID: n.event, Until: timeOf(n.expires)}, since: n.at})
		return
	}
}

// neverMailed tells that a person decided that a link's mail does not go out.
func (d *deriving) neverMailed(link *note) bool {
	latest := decision(d.lettersOf[hand{topology.SAPInteractionWriter, link.event}])
	return latest != nil && latest.outcome == discarded && d.answered(link, topology.SAPInteractionWriter) == 0
}

// approvalMost is how long a decision in Awardco is waited for: it is told by a webhook that may be lost, or was never set up.
const approvalMost = int64(90 * 24 * time.Hour)

// pendingApproval is the state of recognition.submitted that a person in Awardco is to approve.
const pendingApproval = "PENDING_APPROVAL"

// approvals finds the recognitions of which nobody has told yet what a person in Awardco decided.
func (d *deriving) approvals() {
	for i := range d.notes {
		n := &d.notes[i]
		ends := n.at + approvalMost
		if !n.pending() || d.approved(n) != 0 || ends <= d.now || slices.ContainsFunc(d.waits, func(w wait) bool { return w.For == ForApproval && w.EventID == n.event }) {
			continue
		}
		d.lookAt(ends)
		d.wait(wait{Wait: Wait{For: ForApproval, Service: topology.AwardcoRecognizer, EventID: n.event, Reason: "Awardco's webhook has not told yet what was decided"},
			since: n.at, vendor: vendors[topology.AwardcoRecognizer]})
	}
}

// pending tells a recognition that a person in Awardco is to approve.
func (n *note) pending() bool {
	return n.source == fromEvents && n.what == subjects.RecognitionSubmitted && n.kind == pendingApproval
}

// approved is when it was told what was decided about the recognition of a response, either way; 0 for not yet.
func (d *deriving) approved(n *note) int64 {
	value := n.id(Response)
	for i := range d.notes {
		f := &d.notes[i]
		if f.source == fromEvents && (f.what == subjects.RecognitionApproved || f.what == subjects.RecognitionDeclined) && f.id(Response) == value {
			return f.at
		}
	}
	return 0
}

// closedAt is when what an event asked for was done, and approved where it must be; 0 for not yet.
func (d *deriving) closedAt(n *note) int64 {
	at := d.answered(n, "")
	if at == 0 || n.what != subjects.RecognitionRequested {
		return at
	}
	value := n.id(Response)
	if slices.ContainsFunc(d.notes, func(s note) bool { return s.pending() && s.id(Response) == value }) {
		return d.approved(n)
	}
	return at
}

// close finds out about the stages that are reached when all of something is done, and the rules that fired.
func (d *deriving) close() {
	d.fired()
	asked, closed := false, int64(0)
	for i := range d.notes {
		n := &d.notes[i]
		if n.source != fromEvents || !asks(n.what) {
			continue
		}
		asked = true
		at := d.closedAt(n)
		if at == 0 {
			return
		}
		closed = max(closed, d.happened(at))
	}
	if !asked && len(d.handledAt) > 0 && !d.open { // no rule fired
		closed = slices.Min(slices.Collect(maps.Values(d.handledAt)))
		d.reach(Acted, closed)
	}
	if closed != 0 && !d.open {
		d.closed = closed
		d.reach(Closed, closed)
	}
}

// happened gives the time at which the event happened that was stored then.
func (d *deriving) happened(at int64) int64 {
	for i := range d.notes {
		if n := &d.notes[i]; n.source == fromEvents && n.at == at {
			return cmp.Or(n.when, at)
		}
	}
	return at
}

// fired names the rules: as the router told, or where that is not known any more, by the subjects they published to.
func (d *deriving) fired() {
	told := false
	var bySubject []string
	for i := range d.notes {
		switch n := &d.notes[i]; {
		case n.source == fromActivity && n.ruled:
			told = true
			d.rules = append(d.rules, n.rules...)
		case n.source == fromEvents && asks(n.what):
			bySubject = append(bySubject, n.what)
		}
	}
	if !told {
		d.rules = bySubject
	}
	slices.Sort(d.rules)
	d.rules = slices.Compact(d.rules)
}

// urgency orders what is waited for: what keeps the loop from going on first.
var urgency = map[string]int{ForPerson: 0, ForVendor: 1, ForRetry: 2, ForService: 3, ForApproval: 4, ForCustomer: 5}

func (d *deriving) settle() {
	slices.SortFunc(d.waits, func(a, b wait) int {
		return cmp.Or(cmp.Compare(urgency[a.For], urgency[b.For]), cmp.Compare(a.since, b.since), cmp.Compare(a.Service, b.Service), cmp.Compare(a.EventID, b.EventID))
	})
	switch {
	case len(d.waits) == 0 && d.discarded:
		d.state = Discarded
	case len(d.waits) == 0:
		d.state = Completed
	case d.waits[0].For == ForPerson:
		d.state = Failed
	case d.waits[0].For == ForVendor, d.waits[0].For == ForRetry:
		d.state = Retry
	default:
		d.state = Processing
	}
}

// summary is the standing as people see it.
func (s *standing) summary(loop string, notes []note) Summary {
	sum := Summary{
		ID: loop, State: s.state, Stage: s.stage(), Start: timeOf(s.start), Last: timeOf(s.last), Closed: timeOf(s.closed),
		Campaign: s.campaign, Survey: s.survey,
	}
	for i := range notes {
		sum.Order = cmp.Or(sum.Order, notes[i].id(Order))
		sum.Contact = cmp.Or(sum.Contact, notes[i].id(Contact))
	}
	if len(s.waits) > 0 {
		sum.Waits, sum.Since = s.waits[0].words(), s.waits[0].Since
	}
	return sum
}

// stage is the last that was reached, in the order of the funnel.
func (s *standing) stage() Stage {
	for _, stage := range slices.Backward(Funnel) {
		if _, ok := s.reached[stage]; ok && (stage != Invited || s.reached[Suppressed] == 0) {
			return stage
		}
	}
	if s.reached[Suppressed] != 0 {
		return Suppressed
	}
	return ""
}

func (w *wait) words() string {
	switch w.For {
	case ForPerson:
		return "a person, about a dead letter of " + w.Service
	case ForVendor:
		return cmp.Or(w.vendor, "a vendor")
	case ForRetry:
		return "the next try of " + w.Service
	case ForApproval:
		return "the approval in Awardco"
	case ForCustomer:
		return "the customer's answer"
	}
	return w.Service
}

// buckets are the upper ends of the times to close that are told apart, in seconds.
var buckets = func() []time.Duration {
	var all []time.Duration
	for _, scale := range []struct {
		unit time.Duration
		of   []float64
	}{
		{time.Second, []float64{1, 2, 5, 10, 20, 30}},
		{time.Minute, []float64{1, 2, 3, 5, 7, 10, 15, 20, 30, 45}},
		{time.Hour, []float64{1, 1.5, 2, 3, 4, 6, 8, 12, 18}},
		{24 * time.Hour, []float64{1, 1.5, 2, 3, 4, 5, 6, 7, 10, 14, 21, 30, 45, 60, 90, 180, 365}},
	} {
		for _, n := range scale.of {
			all = append(all, time.Duration(n*float64(scale.unit)))
		}
	}
	return all
}()

// bucketOf gives the number of a time to close, from 1.
func bucketOf(took time.Duration) int {
	i, _ := slices.BinarySearch(buckets, took)
	return i + 1
}
