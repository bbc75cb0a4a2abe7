package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrOvertaken is returned by Record when somebody else recorded something under the subject meanwhile.
var ErrOvertaken = errors.New("somebody else was first")

// Record stores what a person did under a subject of OPERATIONS, and gives its sequence there. last is the sequence of
// what the decision was made on, 0 for nothing: when there is something later, nothing is stored and the error is
// [ErrOvertaken]. It is that as well when an earlier try was stored and its acknowledgement lost; the record's own id
// tells. Other errors are [ErrUnavailable]; then it may have been stored.
func (b *Bus) Record(ctx context.Context, subject, id string, record []byte, last uint64) (uint64, error) {
	m := recordMsg(subject, id, record)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	return b.record(ctx, m)
}

// Note is [Bus.Record] for what decides nothing: it is stored whatever there is.
func (b *Bus) Note(ctx context.Context, subject, id string, record []byte) (uint64, error) {
	return b.record(ctx, recordMsg(subject, id, record))
}

func recordMsg(subject, id string, record []byte) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = record
	m.Header.Set(nats.MsgIdHdr, id)
	return m
}

func (b *Bus) record(ctx context.Context, m *nats.Msg) (uint64, error) {
	ack, err := b.store(ctx, m)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && lostRace(api) {
		return 0, ErrOvertaken
	}
	if err != nil {
		return 0, fmt.Errorf("recording the operation: %w", err)
	}
	return ack.Sequence, nil
}

// lostRace knows both codes that the broker gives, on one node and on three.
func lostRace(api *jetstream.APIError) bool {
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
