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

// Watch calls receive with every event that the request asks for, in order and exactly once, until
// the context ends. When a member ends or loses its leader, the watch continues at the next
// endpoint, after the last revision that was received. Watch calls lost with the reason when the
// connection breaks and with what it does then: from response to response once for each endpoint,
// and once more when no endpoint serves the watch. It changes request.
//
// Watch returns the context's error, a *RefusedError, or the error of receive.
func (c *Cluster) Watch(ctx context.Context, request *pb.WatchCreateRequest, receive func(*pb.WatchResponse) error, lost func(error)) error {
	w := &watch{request: request, receive: receive}
	losses := newWatchLosses(lost, len(c.endpoints))
	for {
		conn, err := c.connectForever(ctx, losses.unreachable)
		if err != nil {
			return err
		}
		err = w.run(ctx, conn)
		var refused *RefusedError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused), errors.Is(err, errReceive):
			return err
		}
		if w.responded {
			w.responded, losses = false, newWatchLosses(lost, len(c.endpoints))
		}
		losses.add(ctx, conn, err)
		c.drop(conn)
		if !sleep(ctx, retryPause) {
			return ctx.Err()
		}
	}
}

// connectForever tries to connect until the context ends, so that a watch continues after an outage
// of the whole cluster.
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

// errReceive marks an error of watch.receive, which ends the watch.
var errReceive = errors.New("processing events")

// watch is a watch over successive connections.
type watch struct {
	request *pb.WatchCreateRequest // StartRevision is that of the next connection
	receive func(*pb.WatchResponse) error
	// responded is true if a response other than a cancellation came over the last connection.
	responded bool
}

// run watches over one connection until that breaks.
func (w *watch) run(ctx context.Context, conn *connection) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// With hasleader a member that loses its leader ends the stream. Without it the stream of a
	// partitioned member would stay open and silent.
	ctx = metadata.AppendToOutgoingContext(ctx, "hasleader", "true")
	stream, err := pb.NewWatchClient(grpc.ClientConnInterface(conn)).Watch(ctx)
	if err != nil {
		return err
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: w.request}}
	// Send returns io.EOF for any failure of the stream; Recv returns the cause.
	if err := stream.Send(create); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return streamError(conn, err)
		}
		if response.Canceled {
			return w.cancelError(conn, response)
		}
		w.responded = true
		if err := w.handle(response); err != nil {
			return fmt.Errorf("%w: %w", errReceive, err)
		}
	}
}

// handle passes a response to receive and sets the start revision of the next connection.
func (w *watch) handle(response *pb.WatchResponse) error {
	if response.Created && w.request.StartRevision == 0 {
		// The watch begins here: the next connection must not miss the events between the two.
		w.request.StartRevision = response.Header.GetRevision() + 1
	}
	if len(response.Events) > 0 || response.Created {
		if err := w.receive(response); err != nil {
			return err
		}
	}
	if n := len(response.Events); n > 0 {
		// The last revision is complete, because the request does not permit fragments.
		w.request.StartRevision = max(w.request.StartRevision, response.Events[n-1].GetKv().GetModRevision()+1)
	} else if !response.Created {
		// A progress notification: all events up to its revision were sent.
		w.request.StartRevision = max(w.request.StartRevision, response.Header.GetRevision()+1)
	}
	return nil
}

// cancelError returns the error for a canceled watch: a *RefusedError, which ends the watch, or
// codes.Unavailable if another member can serve it.
func (w *watch) cancelError(conn *connection, response *pb.WatchResponse) error {
	switch {
	case response.CompactRevision > 0:
		return &RefusedError{conn.endpoint.String(), fmt.Errorf("revision %d is compacted; begin at revision %d or above (--rev=%d)",
			w.request.StartRevision, response.CompactRevision, response.CompactRevision)}
	case response.CancelReason == noLeader || response.CancelReason == "":
		return status.Error(codes.Unavailable, noLeader)
	}
	return &RefusedError{conn.endpoint.String(), errors.New(response.CancelReason)}
}

// streamError returns a *RefusedError for an error that every endpoint would return.
func streamError(conn *connection, err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition:
		return &RefusedError{conn.endpoint.String(), err}
	}
	return err
}
