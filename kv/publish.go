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

// The pause between attempts to publish doubles from the first to the second.
const (
	minPublishBackoff = 50 * time.Millisecond
	maxPublishBackoff = 2 * time.Second
)

// Publish writes this member's name and client URLs into the store for MemberList, unless they are
// there already. It retries until it succeeds, the context ends or the node has stopped.
func (s *Server) Publish(ctx context.Context) error {
	c := &s.config
	command := mvcc.EncodeMemberAttributes(c.MemberID, c.Name, c.AdvertiseClientURLs)
	for pause := minPublishBackoff; ; pause = min(2*pause, maxPublishBackoff) {
		err := s.publishOnce(ctx, command)
		if err == nil || errors.Is(err, troupe.ErrStopped) {
			return err
		}
		// Each reason once: without it, nothing would say why a member is not ready.
		if s.publishLog.Allow(0, err.Error()) {
			c.Logger.Warn().Err(err).Str("advice", publishAdvice(c.Consensus.Status())).
				Msg("not ready yet: this member's client URLs could not be written")
		}
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
	// Before this member is up to date its store may have the attributes of an earlier run.
	point, err := s.config.Consensus.Read(ctx, troupe.ReadIndex)
	if err != nil {
		return err
	}
	store, v, err := s.config.Store.ViewAt(ctx, point.Index)
	if err != nil {
		return err
	}
	v.Release()
	for _, a := range store.MemberAttributes() {
		if a.ID == s.config.MemberID && a.Name == s.config.Name && slices.Equal(a.ClientURLs, s.config.AdvertiseClientURLs) {
			return nil
		}
	}
	_, err = s.config.Consensus.Propose(ctx, command)
	if full := s.config.diskFullInstead(err); full != nil {
		return full
	}
	return err
}

// publishAdvice returns what an operator has to do for a member that cannot publish.
func publishAdvice(node troupe.Status) string {
	if node.Rejoining {
		return rejoinAdvice(node.ID)
	}
	return "none needed if a majority of the members is about to start"
}
