package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

const (
	// The pause between two attempts to connect grows from minRetryDelay to maxRetryDelay.
	minRetryDelay, maxRetryDelay = 20 * time.Millisecond, time.Second
	// connectTimeout bounds one attempt, including the handshake.
	connectTimeout = 2 * time.Second
	// stableAfter is how long an attempt and its connection must last to reset the pause.
	stableAfter = connectTimeout + maxRetryDelay
)

// run dials the peer until it is stopped. Each attempt makes a gRPC connection of its own and
// closes it at its end. gRPC's own reconnection is not used.
func (p *linkPeer) run() {
	retry := lanes.Retry{Min: minRetryDelay, Max: maxRetryDelay, Stable: stableAfter}
	for p.ctx.Err() == nil {
		began := time.Now()
		connected, err := p.connect()
		p.connectionEnded(connected, err)
		if !p.waitBeforeRetry(retry.Pause(connected, time.Since(began))) {
			return
		}
	}
}

// waitBeforeRetry waits until the pause has passed or requestDial is called; it returns false if
// the peer was stopped.
func (p *linkPeer) waitBeforeRetry(pause time.Duration) bool {
	// Random, so that members that start together do not dial in step.
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.dialNow:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// connectionEnded handles the end of an attempt, and of the connection if it connected.
func (p *linkPeer) connectionEnded(connected bool, err error) {
	_, droppedBefore := p.queueStats()
	for _, q := range p.queues {
		q.stopAccepting()
	}
	reason := err.Error()
	p.updateState(reason, (*connections).DialEnded)
	if _, dropped := p.queueStats(); connected || dropped != droppedBefore {
		// Messages that gRPC had not sent are lost too. Their number is unknown.
		p.link.receiver.EnvelopesDropped(p.id)
	}
	level, text := zerolog.WarnLevel, "peer cannot be reached, retrying"
	var refused *refusedError
	if errors.As(err, &refused) {
		level, text = refused.level(), "peer connection refused"
		if refused.storage.GetFrom() == p.id {
			p.link.receiver.StorageRefused(refused.storage)
		}
	}
	if connected || p.ctx.Err() != nil || !p.link.dialFailures.Allow(p.id, reason) {
		return
	}
	p.event(level).Str("address", p.address()).Str("reason", reason).Msg(text)
}

// connect makes one attempt: it dials, does the handshake on both lanes, and then sends until the
// connection breaks. connected is false if the attempt failed.
func (p *linkPeer) connect() (connected bool, err error) {
	ctx, closeConnection := context.WithCancelCause(p.ctx)
	cancel := func() { closeConnection(nil) }
	defer cancel()
	p.mu.Lock()
	member := p.member
	p.closeConnection = closeConnection
	p.mu.Unlock()

	connection, err := p.dial(member)
	if err != nil {
		return false, err
	}
	defer connection.Close()
	for _, q := range p.queues {
		q.startAccepting()
	}
	limit := time.AfterFunc(connectTimeout, cancel)
	streams, err := p.openLanes(ctx, connection, member)
	if !limit.Stop() && err != nil && p.ctx.Err() == nil {
		err = fmt.Errorf("no answer from %s within %v", member.GetAddress(), connectTimeout)
	}
	if err != nil {
		return false, err
	}
	p.link.dialFailures.Reset(p.id)
	p.updateState("the peer has not connected yet", (*connections).Dialed)
	p.closeUnlessAdmitted() // the configuration may name another data directory since the handshake
	probing := make(chan struct{})
	go func() {
		defer close(probing)
		p.probe(ctx, connection)
	}()
	err = p.sendUntilBroken(ctx, cancel, streams)
	<-probing
	return true, err
}

func (p *linkPeer) dial(member *messages.Member) (*grpc.ClientConn, error) {
	secret, err := p.transportCredentials(member)
	if err != nil {
		return nil, err
	}
	options := p.link.options
	keepaliveParameters := keepalive.ClientParameters{
		Time: options.keepaliveInterval, Timeout: options.keepaliveInterval, PermitWithoutStream: true,
	}
	return grpc.NewClient("passthrough:///"+member.GetAddress(),
		grpc.WithTransportCredentials(secret),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Longer than an attempt, so that gRPC does not connect a second time within it.
			Backoff:           backoff.Config{BaseDelay: time.Minute, Multiplier: 1, MaxDelay: time.Minute},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithStaticStreamWindowSize(flowControlWindowBytes),
		grpc.WithStaticConnWindowSize(flowControlWindowBytes),
		grpc.WithReadBufferSize(4<<10), // only window updates are received
		grpc.WithWriteBufferSize(64<<10),
		grpc.WithKeepaliveParams(keepaliveParameters),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(batchCodec{}),
			grpc.MaxCallSendMsgSize(maxBatchBytes(options.maxMessageBytes))),
	)
}

// maxBatchBytes returns the largest encoded size of a batch.
func maxBatchBytes(maxMessageBytes int) int { return maxMessageBytes + targetBatchBytes + 64<<10 }

func (p *linkPeer) transportCredentials(member *messages.Member) (credentials.TransportCredentials, error) {
	options := p.link.options
	scheme := schemeOf(member)
	if scheme == "" && options.ClientTLS != nil {
		scheme = "https"
	}
	switch {
	case scheme == "https" && options.ClientTLS == nil:
		return nil, refusef("the peer URL of member %#x is https, and this member has no peer certificate: "+
			"configure peer TLS here, or http there", p.id)
	case scheme == "https":
		return credentials.NewTLS(options.ClientTLS), nil
	case options.ClientTLS != nil && !options.AllowPlaintext:
		return nil, refusef("the peer URL of member %#x is http, and this member has peer TLS: "+
			"give all members https peer URLs", p.id)
	}
	return insecure.NewCredentials(), nil
}

// openLanes opens both streams and does their handshakes.
func (p *linkPeer) openLanes(
	ctx context.Context, connection *grpc.ClientConn, member *messages.Member,
) (streams [laneCount]grpc.ClientStream, err error) {
	for lane := range laneCount {
		withHello := metadata.NewOutgoingContext(ctx, encodeMetadata(helloKey, p.link.self.Hello(p.id, lane.String())))
		stream, err := connection.NewStream(withHello, &serviceDesc.Streams[lane], methodName(lane))
		if err != nil {
			return streams, dialError(err)
		}
		streams[lane] = stream
	}
	for _, stream := range streams {
		header, err := stream.Header()
		welcome := &messages.Welcome{}
		if err != nil || !decodeMetadata(header, welcomeKey, welcome) {
			if err == nil {
				err = stream.RecvMsg(&incomingBatch{})
			}
			if err == nil || errors.Is(err, io.EOF) {
				return streams, refusef("%s is not the peer port of a Troupe member: correct the peer address of member %#x",
					member.GetAddress(), p.id)
			}
			return streams, dialError(err)
		}
		if err := p.link.self.checkWelcome(welcome, member); err != nil {
			return streams, err
		}
		if err := p.admit(StorageOf(welcome)); err != nil {
			return streams, err
		}
		p.setOutboundStorage(StorageOf(welcome))
	}
	return streams, nil
}

// sendUntilBroken writes both lanes until one of the streams ends. It reads them to find out why
// they end: a peer sends no messages over a connection that it did not dial.
func (p *linkPeer) sendUntilBroken(ctx context.Context, cancel context.CancelFunc, streams [laneCount]grpc.ClientStream) error {
	ended := make(chan error, 2*laneCount)
	var running sync.WaitGroup
	for lane, stream := range streams {
		running.Go(func() { ended <- p.writeLane(ctx, p.queues[lane], stream) })
		running.Go(func() { ended <- streamError(stream.RecvMsg(&incomingBatch{})) })
	}
	err := <-ended
	for errors.Is(err, errStreamEnded) {
		err = <-ended
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // closed by this node, for a reason that the stream does not know
	}
	cancel()
	running.Wait()
	return err
}

// writeLane sends the messages of a queue in batches.
func (p *linkPeer) writeLane(ctx context.Context, q *sendQueue, stream grpc.ClientStream) error {
	batch := &outgoingBatch{}
	for {
		queued, err := q.dequeue(ctx, batch.messages[:0], targetBatchBytes)
		if err != nil {
			return err
		}
		batch.messages = queued
		size := batch.size()
		if err := stream.SendMsg(batch); err != nil {
			if errors.Is(err, io.EOF) {
				return errStreamEnded
			}
			return streamError(err)
		}
		p.batchesSent.Add(1)
		p.envelopesSent.Add(uint64(len(queued)))
		p.bytesSent.Add(uint64(size))
		clear(queued)
	}
}

// errStreamEnded is the error of a writer. The reason is known only to the reader of the stream,
// and a stream can have one reader only.
var errStreamEnded = errors.New("the stream has ended")

// errClosedByPeer is the error of a stream that ended with the peer's process, or that the peer
// canceled.
var errClosedByPeer = errors.New("the peer closed the connection")

// streamError returns why an open stream ended. A peer that stops or is killed gives several errors
// of gRPC, which depend on what arrives first and say nothing more.
func streamError(err error) error {
	text := status.Convert(err).Message()
	switch {
	case err == nil, errors.Is(err, io.EOF), status.Code(err) == codes.Canceled,
		strings.Contains(text, "EOF"), strings.Contains(text, "connection reset by peer"),
		strings.Contains(text, "transport is closing"), strings.Contains(text, "broken pipe"):
		return errClosedByPeer
	}
	return fromStatus(err)
}

// dialError returns why an attempt failed.
func dialError(err error) error {
	err = fromStatus(err)
	var refused *refusedError
	if errors.As(err, &refused) {
		return err
	}
	return errors.New(plainErrorText(err.Error()))
}

// plainErrorText removes what gRPC puts before the cause of a failed connection, and explains two
// causes.
func plainErrorText(text string) string {
	for _, preamble := range []string{"connection error: desc = ", "transport: ", "Error while dialing: "} {
		if at := strings.LastIndex(text, preamble); at >= 0 {
			text = text[at+len(preamble):]
		}
	}
	text = strings.Trim(text, `"`)
	switch {
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return text + ": this member uses TLS and the peer does not; give all members https peer URLs"
	case strings.Contains(text, "error reading server preface"), strings.Contains(text, "frame too large"):
		return text + ": the peer closed the connection at once; it may require TLS, or another program is at its address"
	}
	return text
}
