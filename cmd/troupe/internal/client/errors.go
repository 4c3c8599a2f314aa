package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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

// NoLeaderError is the error of a request that needs a leader, and that no member carried out
// because none knows one.
type NoLeaderError struct {
	// Asked are the endpoints whose members know no leader; they may be empty.
	Asked []Endpoint
	// Waiting are those of Asked whose members wait to rejoin, with what each of them reports.
	Waiting map[Endpoint]string
}

func (e *NoLeaderError) add(asked Endpoint) {
	if !slices.Contains(e.Asked, asked) {
		e.Asked = append(e.Asked, asked)
	}
}

// addStatus records what a member without a leader reports about itself.
func (e *NoLeaderError) addStatus(asked Endpoint, response *pb.StatusResponse) {
	e.add(asked)
	if text := waitsToRejoin(response); text != "" {
		if e.Waiting == nil {
			e.Waiting = map[Endpoint]string{}
		}
		e.Waiting[asked] = text
	}
}

// allWait reports whether every member that was asked waits to rejoin: none of them will know a
// leader before an operator has run a command at another member.
func (e *NoLeaderError) allWait() bool { return len(e.Asked) > 0 && len(e.Waiting) == len(e.Asked) }

func (e *NoLeaderError) Error() string {
	return e.known() + ", so the request was not carried out" + e.advice()
}

// known returns which members know no leader.
func (e *NoLeaderError) known() string {
	asked := make([]string, len(e.Asked))
	for i, endpoint := range e.Asked {
		asked[i] = endpoint.String()
	}
	if len(asked) == 0 {
		asked = []string{"any member that responds"}
	}
	return "no leader is known to " + strings.Join(asked, " and ")
}

// advice returns what to do, with the separator before it.
func (e *NoLeaderError) advice() (text string) {
	if !e.allWait() {
		text = "; a majority of the members must run and reach each other: 'troupe status' shows them; if they do, name other members in --endpoints"
	}
	for _, endpoint := range e.Asked {
		if waiting, ok := e.Waiting[endpoint]; ok {
			text += "; " + waiting
		}
	}
	return text
}

// UnknownOutcomeError is the error of a write that was sent and got no response: the connection
// broke, the timeout passed, or the member lost its leader meanwhile.
type UnknownOutcomeError struct {
	Endpoint Endpoint
	Err      error
}

func (e *UnknownOutcomeError) Error() string {
	reason := plainText(e.Err)
	if isNoLeader(e.Err) {
		reason = "its member has no leader any more"
	}
	return fmt.Sprintf("no response from %s (%s): the write may or may not have taken effect; read what it changes before you repeat it", e.Endpoint, reason)
}
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// TimeoutError is the error of a read to which no member responded in time.
type TimeoutError struct {
	Endpoint Endpoint
	Err      error // of the last attempt
}

func (e *TimeoutError) Error() string {
	text := plainText(e.Err)
	switch {
	case text == rpctypes.ErrorDesc(rpctypes.ErrGRPCTimeout):
		return fmt.Sprintf("%s got no answer from a majority of the members (%s); 'troupe status' shows which of them run", e.Endpoint, text)
	case status.Code(e.Err) == codes.DeadlineExceeded:
		return fmt.Sprintf("%s did not respond in time (%s); --timeout allows more time", e.Endpoint, text)
	}
	return fmt.Sprintf("%s did not respond (%s); check that the member runs, and --endpoints", e.Endpoint, text)
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

// noLeader is the text of etcd's error of a member without a leader, with code Unavailable.
const noLeader = "etcdserver: no leader"

// isNoLeader reports whether a member refused a request because it knows no leader: it did nothing.
func isNoLeader(err error) bool {
	return status.Code(err) == codes.Unavailable && plainText(err) == noLeader
}

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

// plainText returns the text of an error without gRPC's prefix, and without that of Troupe's own
// errors: the program's name is before them already.
func plainText(err error) string {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	return strings.TrimPrefix(text, ownPrefix)
}

// ownPrefix is the prefix of the texts that etcd does not have.
const ownPrefix = "troupe: "

func oneLine(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = plainText(err)
	}
	return strings.Join(texts, "; ")
}
