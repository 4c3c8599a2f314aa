package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Watch tells every event that the request asks for, in order, none twice and none left out, until the context ends. A
// member that dies or loses its leader does not end it: it goes on at the next endpoint with the first revision that was
// not seen whole.
//
// lost is told each time the connection breaks, with why.
func (c *Cluster) Watch(ctx context.Context, request *pb.WatchCreateRequest, tell func(*pb.WatchResponse) error, lost func(error)) error {
	w := &watch{request: request, tell: tell}
	for {
		conn, err := c.connectForever(ctx, lost)
		if err != nil {
			return err
		}
		err = w.run(ctx, conn)
		var refused *RefusedError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused), errors.Is(err, errTold):
			return err
		}
		lost(fmt.Errorf("%s: %s", conn.endpoint, plainText(err)))
		c.drop(conn)
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// connectForever keeps trying until the context ends: a watch outlives an outage of the whole cluster.
func (c *Cluster) connectForever(ctx context.Context, lost func(error)) (*connection, error) {
	for first := true; ; first = false {
		round, cancel := context.WithTimeout(ctx, connectTimeout)
		conn, err := c.connect(round)
		cancel()
		if err == nil || ctx.Err() != nil {
			return conn, errors.Join(err, ctx.Err())
		}
		if first {
			lost(err)
		}
	}
}

// errTold marks an error that tell returned: the watch ends with it.
var errTold = errors.New("telling events")

// watch is a watch over all the connections that it lives through.
type watch struct {
	request *pb.WatchCreateRequest
	tell    func(*pb.WatchResponse) error
}

// run watches over one connection until it breaks.
func (w *watch) run(ctx context.Context, conn *connection) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// With hasleader a member that lost its leader ends the stream; else it would stay silent, cut off, for ever.
	ctx = metadata.AppendToOutgoingContext(ctx, "hasleader", "true")
	stream, err := pb.NewWatchClient(grpc.ClientConnInterface(conn)).Watch(ctx)
	if err != nil {
		return err
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: w.request}}
	// An error of Send is io.EOF; Recv has the real one.
	if err := stream.Send(create); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return streamError(conn, err)
		}
		if answer.Canceled {
			return w.canceled(conn, answer)
		}
		if err := w.handle(answer); err != nil {
			return fmt.Errorf("%w: %w", errTold, err)
		}
	}
}

// take tells an answer, and remembers where to go on.
func (w *watch) handle(answer *pb.WatchResponse) error {
	if answer.Created && w.request.StartRevision == 0 {
		// "From now on" is a promise: what happens between this connection and the next must not be missed.
		w.request.StartRevision = answer.Header.GetRevision() + 1
	}
	if len(answer.Events) > 0 || answer.Created {
		if err := w.tell(answer); err != nil {
			return err
		}
	}
	if n := len(answer.Events); n > 0 {
		// A response holds revisions as a whole: fragments were not asked for.
		w.request.StartRevision = max(w.request.StartRevision, answer.Events[n-1].GetKv().GetModRevision()+1)
	} else if !answer.Created {
		// A progress notification: all up to its revision was sent.
		w.request.StartRevision = max(w.request.StartRevision, answer.Header.GetRevision()+1)
	}
	return nil
}

// canceled tells a refusal, which ends the watch, from a member that only cannot serve it now.
func (w *watch) canceled(conn *connection, answer *pb.WatchResponse) error {
	switch {
	case answer.CompactRevision > 0:
		return &RefusedError{conn.endpoint.String(), fmt.Errorf("revision %d is compacted; the oldest to be had is %d (--rev=%d)",
			w.request.StartRevision, answer.CompactRevision, answer.CompactRevision)}
	case answer.CancelReason == "etcdserver: no leader" || answer.CancelReason == "":
		return status.Error(codes.Unavailable, "the member has no leader")
	}
	return &RefusedError{conn.endpoint.String(), errors.New(answer.CancelReason)}
}

// streamError makes an error that another endpoint would give as well a RefusedError.
func streamError(conn *connection, err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition:
		return &RefusedError{conn.endpoint.String(), err}
	}
	return err
}
