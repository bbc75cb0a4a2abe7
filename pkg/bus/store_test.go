package bus

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// What passes by itself is published again; what the broker would say again is not.
func TestOnlyTheBrokersNoIsARefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"no leader":                            {&jetstream.APIError{Code: 503, ErrorCode: 10008}, false},
		"an earlier try is on its way":         {&jetstream.APIError{Code: 409, ErrorCode: inProcess}, false},
		"the stream is full":                   {&jetstream.APIError{Code: 503, ErrorCode: storeFailed}, true},
		"another was first":                    {&jetstream.APIError{Code: 400, ErrorCode: 10164}, true},
		"nobody answers":                       {jetstream.ErrNoStreamResponse, false},
		"the connection is dead":               {context.DeadlineExceeded, false},
		"the broker's no, as the client wraps": {fmt.Errorf("nats: %w", &jetstream.APIError{Code: 400}), true},
	} {
		t.Run(name, func(t *testing.T) {
			no, got := refused(tt.err)
			if got != tt.want || got && !errors.Is(no, ErrUnavailable) {
				t.Errorf("%v, %v", got, no)
			}
		})
	}
}
