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

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

const (
	// The time between two attempts to connect grows from the one to the other.
	minRetryDelay, maxRetryDelay = 20 * time.Millisecond, time.Second
	// connectTimeout is how long one attempt may take, handshake included.
	connectTimeout = 2 * time.Second
	// lasting is for how long a connection must have been tried and stood, so that the next is made at once when it breaks.
	// Who is let in and thrown out again waits like who is not let in: two processes with one identity would otherwise take
	// each other's place at every peer without a pause.
	stableAfter = connectTimeout + maxRetryDelay
)

// run dials for as long as the peer is one. The library's own reconnecting is not used: every attempt is a connection of
// its own, closed when the attempt or the connection ends, so that nothing is left of one when the next is made.
func (p *linkPeer) run() {
	wait := minRetryDelay
	for p.ctx.Err() == nil {
		began := time.Now()
		stood, err := p.connect()
		p.connectionEnded(stood, err)
		if stood && time.Since(began) > stableAfter {
			wait = minRetryDelay
		}
		if !p.waitBeforeRetry(wait) {
			return
		}
		wait = min(2*wait, maxRetryDelay)
	}
}

// rest waits between attempts, less if the peer shows that it is there; false when the peer has ended.
func (p *linkPeer) waitBeforeRetry(wait time.Duration) bool {
	// Spread, so that members started together do not dial in step.
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
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

// broken is told how an attempt, or the connection it made, came to an end.
func (p *linkPeer) connectionEnded(stood bool, err error) {
	_, before := p.queueStats()
	for _, q := range p.queues {
		q.stopAccepting()
	}
	reason := err.Error()
	p.updateState(reason, func() { p.outboundUp = false })
	if _, now := p.queueStats(); stood || now != before {
		// What was with gRPC when the connection broke is lost too, and nobody can tell how much it was.
		p.link.receiver.EnvelopesDropped(p.id)
	}
	if stood || p.ctx.Err() != nil || !p.link.dialFailures.Allow(p.id, reason) {
		return
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		p.link.log.Error().Str("peer", raft.FormatID(p.id)).Str("address", p.address()).Str("reason", reason).Msg("peer connection refused")
		return
	}
	p.link.log.Warn().Str("peer", raft.FormatID(p.id)).Str("address", p.address()).Str("reason", reason).Msg("peer cannot be reached; trying on")
}

// attempt dials, shakes hands on both lanes and sends until something breaks. stood says that the connection stood.
func (p *linkPeer) connect() (stood bool, err error) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	p.mu.Lock()
	member := p.member
	p.closeConnection = cancel
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
	p.updateState("the peer has not dialed in yet", func() { p.outboundUp = true })
	return true, p.sendUntilBroken(ctx, cancel, streams)
}

func (p *linkPeer) dial(member *messages.Member) (*grpc.ClientConn, error) {
	secret, err := p.transportCredentials(member)
	if err != nil {
		return nil, err
	}
	options := p.link.options
	return grpc.NewClient("passthrough:///"+member.GetAddress(),
		grpc.WithTransportCredentials(secret),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// One connection is one attempt: a second one within it would come after the attempt has ended.
			Backoff:           backoff.Config{BaseDelay: time.Minute, Multiplier: 1, MaxDelay: time.Minute},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithStaticStreamWindowSize(flowControlWindowBytes),
		grpc.WithStaticConnWindowSize(flowControlWindowBytes),
		grpc.WithReadBufferSize(4<<10), // nothing but window updates comes back
		grpc.WithWriteBufferSize(64<<10),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: options.keepaliveInterval, Timeout: options.keepaliveInterval, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(batchCodec{}), grpc.MaxCallSendMsgSize(maxBatchBytes(options.maxMessageBytes))),
	)
}

// maxBatchBytes is the size that a mail can have, and so what a receiver must take.
func maxBatchBytes(letter int) int { return letter + targetBatchBytes + 64<<10 }

func (p *linkPeer) transportCredentials(member *messages.Member) (credentials.TransportCredentials, error) {
	options := p.link.options
	scheme := schemeOf(member)
	if scheme == "" && options.ClientTLS != nil {
		scheme = "https"
	}
	switch {
	case scheme == "https" && options.ClientTLS == nil:
		return nil, refusef("the peer URL of member %x is https, and this member has no peer certificate: configure peer TLS here, or http there", p.id)
	case scheme == "https":
		return credentials.NewTLS(options.ClientTLS), nil
	case options.ClientTLS != nil && !options.AllowPlaintext:
		return nil, refusef("the peer URL of member %x is http, and this member has peer TLS: give all members https peer URLs", p.id)
	}
	return insecure.NewCredentials(), nil
}

// open opens both lanes and shakes hands on each.
func (p *linkPeer) openLanes(ctx context.Context, connection *grpc.ClientConn, member *messages.Member) ([laneCount]grpc.ClientStream, error) {
	var streams [laneCount]grpc.ClientStream
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
				return streams, refusef("%s answers, but is no peer of this kind: correct the peer address of member %x", member.GetAddress(), p.id)
			}
			return streams, dialError(err)
		}
		if err := p.link.self.checkWelcome(welcome, member); err != nil {
			return streams, err
		}
	}
	return streams, nil
}

// sendUntilBroken writes both lanes, and listens on both for their end: a peer says nothing over a connection that it did
// not dial, so whatever is heard there is the news that it broke.
func (p *linkPeer) sendUntilBroken(ctx context.Context, cancel context.CancelFunc, streams [laneCount]grpc.ClientStream) error {
	broke := make(chan error, 2*laneCount)
	var running sync.WaitGroup
	for lane, stream := range streams {
		running.Go(func() { broke <- p.writeLane(ctx, p.queues[lane], stream) })
		running.Go(func() { broke <- streamError(stream.RecvMsg(&incomingBatch{})) })
	}
	err := <-broke
	for errors.Is(err, errStreamEnded) {
		err = <-broke
	}
	cancel()
	running.Wait()
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return err
}

// write sends what gathers in a queue, many letters to a mail.
func (p *linkPeer) writeLane(ctx context.Context, q *sendQueue, stream grpc.ClientStream) error {
	mail := &outgoingBatch{}
	for {
		letters, err := q.dequeue(ctx, mail.messages[:0], targetBatchBytes)
		if err != nil {
			return err
		}
		mail.messages = letters
		size := mail.size()
		if err := stream.SendMsg(mail); err != nil {
			if errors.Is(err, io.EOF) {
				return errStreamEnded
			}
			return streamError(err)
		}
		p.batchesSent.Add(1)
		p.envelopesSent.Add(uint64(len(letters)))
		p.bytesSent.Add(uint64(size))
		clear(letters)
	}
}

// errStreamEnded is what a writer learns of a stream that ended. Why it ended is learned by who reads: a stream may have one
// reader only, a second one would wait for ever.
var errStreamEnded = errors.New("the stream is over")

// closed words the end of a stream that stood.
func streamError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("the peer closed the connection")
	}
	return fromStatus(err)
}

// unreachable words the failure of an attempt, without the library's preamble.
func dialError(err error) error {
	err = fromStatus(err)
	var refused *refusedError
	if errors.As(err, &refused) {
		return err
	}
	return errors.New(plainErrorText(err.Error()))
}

// plain strips what gRPC puts before the cause of a failed connection, and says what the less telling causes come from.
func plainErrorText(text string) string {
	for _, preamble := range []string{"connection error: desc = ", "transport: "} {
		if at := strings.LastIndex(text, preamble); at >= 0 {
			text = text[at+len(preamble):]
		}
	}
	text = strings.Trim(text, `"`)
	switch {
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return text + ": this member speaks TLS and the peer does not; give all members https peer URLs"
	case strings.Contains(text, "error reading server preface"), strings.Contains(text, "frame too large"):
		return text + ": the peer closed the connection before it said a word; does it want TLS, or is another program at its address?"
	}
	return text
}
