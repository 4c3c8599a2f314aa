package history

// ByKey, PorcupineOperation, EffectIndex and EffectsOf are for tests that falsify histories.
var (
	ByKey              = (*History).byKey
	PorcupineOperation = (*History).porcupineOperation
)

// EffectIndex returns the index at which a write took effect; 0: it did not.
func EffectIndex(h *History, number uint64) uint64 { return h.effectIndexes[number] }

// EffectsOf returns the indexes of the effects on a key.
func EffectsOf(h *History, key uint32) (indexes []uint64) {
	for _, v := range h.versions[key] {
		indexes = append(indexes, v.index)
	}
	return indexes
}
