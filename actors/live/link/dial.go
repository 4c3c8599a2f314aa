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
)

const (
	// The time between two attempts to connect grows from the one to the other.
	firstWait, longestWait = 20 * time.Millisecond, time.Second
	// attemptTime is how long one attempt may take, handshake included.
	attemptTime = 2 * time.Second
	// lasting is for how long a connection must have been tried and stood, so that the next is made at once when it breaks.
	// Who is let in and thrown out again waits like who is not let in: two processes with one identity would otherwise take
	// each other's place at every peer without a pause.
	lasting = attemptTime + longestWait
)

// run dials for as long as the peer is one. The library's own reconnecting is not used: every attempt is a connection of
// its own, closed when the attempt or the connection ends, so that nothing is left of one when the next is made.
func (p *peer) run() {
	wait := firstWait
	for p.ctx.Err() == nil {
		began := time.Now()
		stood, err := p.attempt()
		p.broken(stood, err)
		if stood && time.Since(began) > lasting {
			wait = firstWait
		}
		if !p.rest(wait) {
			return
		}
		wait = min(2*wait, longestWait)
	}
}

// rest waits between attempts, less if the peer shows that it is there; false when the peer has ended.
func (p *peer) rest(wait time.Duration) bool {
	// Spread, so that members started together do not dial in step.
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.kick:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// broken is told how an attempt, or the connection it made, came to an end.
func (p *peer) broken(stood bool, err error) {
	_, before := p.losses()
	for _, q := range p.queues {
		q.shut()
	}
	reason := err.Error()
	p.settle(reason, func() { p.outbound = false })
	if _, now := p.losses(); stood || now != before {
		// What was with gRPC when the connection broke is lost too, and nobody can tell how much it was.
		p.link.inbox.LinkDropped(p.id)
	}
	if stood || p.ctx.Err() != nil || !p.link.dials.First(p.id, reason) {
		return
	}
	var refused *refusal
	if errors.As(err, &refused) {
		p.link.log.Error().Str("peer", hex(p.id)).Str("address", p.address()).Str("reason", reason).Msg("peer connection refused")
		return
	}
	p.link.log.Warn().Str("peer", hex(p.id)).Str("address", p.address()).Str("reason", reason).Msg("peer cannot be reached; trying on")
}

// attempt dials, shakes hands on both lanes and sends until something breaks. stood says that the connection stood.
func (p *peer) attempt() (stood bool, err error) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	p.mu.Lock()
	member := p.member
	p.redial = cancel
	p.mu.Unlock()

	connection, err := p.dial(member)
	if err != nil {
		return false, err
	}
	defer connection.Close()
	for _, q := range p.queues {
		q.admit()
	}
	limit := time.AfterFunc(attemptTime, cancel)
	streams, err := p.open(ctx, connection, member)
	if !limit.Stop() && err != nil && p.ctx.Err() == nil {
		err = fmt.Errorf("no answer from %s within %v", member.GetAddress(), attemptTime)
	}
	if err != nil {
		return false, err
	}
	p.link.dials.Forget(p.id)
	p.settle("the peer has not dialed in yet", func() { p.outbound = true })
	return true, p.sendUntilBroken(ctx, cancel, streams)
}

func (p *peer) dial(member *messages.Member) (*grpc.ClientConn, error) {
	secret, err := p.credentials(member)
	if err != nil {
		return nil, err
	}
	options := p.link.options
	return grpc.NewClient("passthrough:///"+member.GetAddress(),
		grpc.WithTransportCredentials(secret),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: attemptTime}).DialContext(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// One connection is one attempt: a second one within it would come after the attempt has ended.
			Backoff:           backoff.Config{BaseDelay: time.Minute, Multiplier: 1, MaxDelay: time.Minute},
			MinConnectTimeout: attemptTime,
		}),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		grpc.WithReadBufferSize(4<<10), // nothing but window updates comes back
		grpc.WithWriteBufferSize(64<<10),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: options.Silence, Timeout: options.Silence, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallSendMsgSize(mailLimit(options.MaxLetterBytes))),
	)
}

// mailLimit is the size that a mail can have, and so what a receiver must take.
func mailLimit(letter int) int { return letter + mailBytes + 64<<10 }

func (p *peer) credentials(member *messages.Member) (credentials.TransportCredentials, error) {
	options := p.link.options
	scheme := schemeOf(member)
	if scheme == "" && options.ClientTLS != nil {
		scheme = "https"
	}
	switch {
	case scheme == "https" && options.ClientTLS == nil:
		return nil, refuse("the peer URL of member %x is https, and this member has no peer certificate: configure peer TLS here, or http there", p.id)
	case scheme == "https":
		return credentials.NewTLS(options.ClientTLS), nil
	case options.ClientTLS != nil && !options.AllowPlaintext:
		return nil, refuse("the peer URL of member %x is http, and this member has peer TLS: give all members https peer URLs", p.id)
	}
	return insecure.NewCredentials(), nil
}

// open opens both lanes and shakes hands on each.
func (p *peer) open(ctx context.Context, connection *grpc.ClientConn, member *messages.Member) ([lanes]grpc.ClientStream, error) {
	var streams [lanes]grpc.ClientStream
	for lane := range lanes {
		withHello := metadata.NewOutgoingContext(ctx, put(helloKey, p.link.self.Hello(p.id, lane.String())))
		stream, err := connection.NewStream(withHello, &serviceDesc.Streams[lane], method(lane))
		if err != nil {
			return streams, unreachable(err)
		}
		streams[lane] = stream
	}
	for _, stream := range streams {
		header, err := stream.Header()
		welcome := &messages.Welcome{}
		if err != nil || !get(header, welcomeKey, welcome) {
			if err == nil {
				err = stream.RecvMsg(&incoming{})
			}
			if err == nil || errors.Is(err, io.EOF) {
				return streams, refuse("%s answers, but is no peer of this kind: correct the peer address of member %x", member.GetAddress(), p.id)
			}
			return streams, unreachable(err)
		}
		if err := p.link.self.checkWelcome(welcome, member); err != nil {
			return streams, err
		}
	}
	return streams, nil
}

// sendUntilBroken writes both lanes, and listens on both for their end: a peer says nothing over a connection that it did
// not dial, so whatever is heard there is the news that it broke.
func (p *peer) sendUntilBroken(ctx context.Context, cancel context.CancelFunc, streams [lanes]grpc.ClientStream) error {
	broke := make(chan error, 2*lanes)
	var running sync.WaitGroup
	for lane, stream := range streams {
		running.Go(func() { broke <- p.write(ctx, p.queues[lane], stream) })
		running.Go(func() { broke <- closed(stream.RecvMsg(&incoming{})) })
	}
	err := <-broke
	for errors.Is(err, errOver) {
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
func (p *peer) write(ctx context.Context, q *queue, stream grpc.ClientStream) error {
	mail := &outgoing{}
	for {
		letters, err := q.take(ctx, mail.letters[:0], mailBytes)
		if err != nil {
			return err
		}
		mail.letters = letters
		size := mail.size()
		if err := stream.SendMsg(mail); err != nil {
			if errors.Is(err, io.EOF) {
				return errOver
			}
			return closed(err)
		}
		p.mailsSent.Add(1)
		p.lettersSent.Add(uint64(len(letters)))
		p.bytesSent.Add(uint64(size))
		clear(letters)
	}
}

// errOver is what a writer learns of a stream that ended. Why it ended is learned by who reads: a stream may have one
// reader only, a second one would wait for ever.
var errOver = errors.New("the stream is over")

// closed words the end of a stream that stood.
func closed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("the peer closed the connection")
	}
	return fromStatus(err)
}

// unreachable words the failure of an attempt, without the library's preamble.
func unreachable(err error) error {
	err = fromStatus(err)
	var refused *refusal
	if errors.As(err, &refused) {
		return err
	}
	return errors.New(plain(err.Error()))
}

// plain strips what gRPC puts before the cause of a failed connection, and says what the less telling causes come from.
func plain(text string) string {
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
