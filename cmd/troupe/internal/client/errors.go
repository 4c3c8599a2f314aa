package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// UnreachableError is the error of a call when the connection to every endpoint failed.
type UnreachableError struct {
	// Tried holds an error for each endpoint, which names it.
	Tried []error
	// Cause is the context's error.
	Cause error
}

// Error gives the advice that fits what failed: a server that was reached and does not suit the
// request runs.
func (e *UnreachableError) Error() string {
	text := "no endpoint can be reached: " + oneLine(e.Tried)
	for _, err := range e.Tried {
		var unsuitable *UnsuitableError
		if !errors.As(err, &unsuitable) {
			return text + "; check that the cluster runs, and --endpoints"
		}
	}
	return text
}

func (e *UnreachableError) Unwrap() error { return e.Cause }

// UnsuitableError is the error of a connection to a server that runs and was reached: its
// certificate or this client's is refused, or it does not serve this client there. The text has the
// advice.
type UnsuitableError struct{ Err error }

func (e *UnsuitableError) Error() string { return e.Err.Error() }
func (e *UnsuitableError) Unwrap() error { return e.Err }

func unsuitable(text string, values ...any) error {
	return &UnsuitableError{fmt.Errorf(text, values...)}
}

// UnknownOutcomeError is the error of a write that was sent and got no response: the connection
// broke, the timeout passed, or the member lost its leader meanwhile.
type UnknownOutcomeError struct{ Err error }

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("no response (%s): the write may or may not have taken effect; read what it changes before you repeat it", plainText(e.Err))
}
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// TimeoutError is the error of a read to which no member responded in time.
type TimeoutError struct {
	Endpoint Endpoint
	Err      error // of the last attempt
}

func (e *TimeoutError) Error() string {
	if plainText(e.Err) == noLeader {
		return "the cluster has no leader: a majority of its members must be running; 'troupe status' shows them"
	}
	return fmt.Sprintf("%s did not respond in time (%s); --timeout allows more time", e.Endpoint, plainText(e.Err))
}
func (e *TimeoutError) Unwrap() error { return e.Err }

// RefusedError is the error with which a member responded to a request.
type RefusedError struct {
	Endpoint string
	Err      error
}

func (e *RefusedError) Error() string {
	text := plainText(e.Err)
	if status.Code(e.Err) == codes.Unimplemented && strings.HasPrefix(text, "unknown service ") {
		return fmt.Sprintf("%s does not serve the etcd API (%s): it may be a member's peer port; name a client URL in --endpoints", e.Endpoint, text)
	}
	return text
}
func (e *RefusedError) Unwrap() error { return e.Err }

// noLeader is the text of etcd's error of a member without a leader.
const noLeader = "etcdserver: no leader"

// isBroken reports whether the connection or the member failed, or the deadline passed, rather than
// the request.
func isBroken(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// isNotProposed reports whether a member answered that it has not proposed a write, in the way of
// etcd: it waited for a leader until its own request timeout, which ends before the client's. An
// error that arrives at the end of the client's time may be gRPC's, and does not say that.
func isNotProposed(ctx context.Context, err error) bool {
	return !endsWithin(ctx, retryPause) && status.Code(err) == codes.DeadlineExceeded &&
		plainText(err) == context.DeadlineExceeded.Error()
}

func endsWithin(ctx context.Context, d time.Duration) bool {
	deadline, has := ctx.Deadline()
	return has && time.Until(deadline) < d
}

// plainText returns the text of an error without gRPC's prefix.
func plainText(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

func oneLine(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = plainText(err)
	}
	return strings.Join(texts, "; ")
}
