package sim

// What became of the commands that a script had written.

// tookEffectAt is the index at which a command took effect; 0 if it did not.
func (s *Scene) tookEffectAt(command uint64) uint64 { return s.ghost.commands[command] }
