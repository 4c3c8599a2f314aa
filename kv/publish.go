package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// Pauses between attempts to publish.
const (
	minPublishBackoff = 50 * time.Millisecond
	maxPublishBackoff = 2 * time.Second
)

// Publish writes this member's name and the URLs by which clients reach it into the store, where MemberList finds them,
// unless they stand there already. It tries until it succeeds, the context ends or the node has stopped.
func (s *Server) Publish(ctx context.Context) error {
	c := &s.config
	command := mvcc.EncodeMemberAttributes(c.MemberID, c.Name, c.AdvertiseClientURLs)
	for pause := minPublishBackoff; ; pause = min(2*pause, maxPublishBackoff) {
		err := s.publishOnce(ctx, command)
		if err == nil || errors.Is(err, troupe.ErrStopped) {
			return err
		}
		c.Logger.Debug().Err(err).Msg("could not publish this member's client URLs yet")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("publishing this member's client URLs: %w (last attempt: %w)", ctx.Err(), err)
		}
	}
}

func (s *Server) publishOnce(ctx context.Context, command []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	// What stands there is only known once this member is up to date: an older self may have published something else.
	if _, err := s.config.Consensus.Read(ctx, troupe.ReadIndex); err != nil {
		return err
	}
	store, err := s.config.Store.get(ctx)
	if err != nil {
		return err
	}
	for _, a := range store.MemberAttributes() {
		if a.ID == s.config.MemberID && a.Name == s.config.Name && slices.Equal(a.ClientURLs, s.config.AdvertiseClientURLs) {
			return nil
		}
	}
	_, err = s.config.Consensus.Propose(ctx, command)
	return err
}
