package troupe

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"
)

// kindMethod is a method of one kind of state machine, with its type as in a program.
type kindMethod struct {
	name string
	kind reflect.Type // func type without receiver
}

// methodsBeyond returns the methods of an interface that StateMachine does not have.
func methodsBeyond(kind reflect.Type) (methods []kindMethod) {
	base := reflect.TypeFor[StateMachine]()
	for i := range kind.NumMethod() {
		m := kind.Method(i)
		if _, ok := base.MethodByName(m.Name); !ok {
			methods = append(methods, kindMethod{m.Name, m.Type})
		}
	}
	return methods
}

// checkKind returns an error unless a state machine is exactly one of InMemory and OnDisk, and does
// not look like the other: an OnDisk whose Recover has another type would be taken for an InMemory
// one, and would apply everything again after each restart.
func checkKind(state StateMachine) error {
	if state == nil {
		return errors.New("the factory returned no state machine and no error")
	}
	if v := reflect.ValueOf(state); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("the factory returned a nil %T", state)
	}
	_, inMemory := state.(InMemory)
	_, onDisk := state.(OnDisk)
	memoryHas, memoryLacks := compareMethods(state, reflect.TypeFor[InMemory]())
	diskHas, diskLacks := compareMethods(state, reflect.TypeFor[OnDisk]())
	switch {
	case inMemory && onDisk:
		return fmt.Errorf("%T has the methods of both kinds of state machine: remove %s if it stores its state, or %s if it does not",
			state, strings.Join(memoryHas, " and "), strings.Join(diskHas, " and "))
	case onDisk:
		return nil
	case len(diskHas) > 0:
		return fmt.Errorf("%T looks like an OnDisk state machine and is none: %s; rename the method if the state is in memory only",
			state, strings.Join(diskLacks, ", "))
	case inMemory:
		return nil
	}
	return fmt.Errorf("%T is neither kind of state machine: for InMemory, %s; for OnDisk, %s",
		state, strings.Join(memoryLacks, ", "), strings.Join(diskLacks, ", "))
}

// compareMethods returns the names of the methods of a kind that the state machine has, whatever
// their type, and says which are missing or have another type.
func compareMethods(state StateMachine, kind reflect.Type) (has, lacks []string) {
	v := reflect.ValueOf(state)
	for _, want := range methodsBeyond(kind) {
		got := v.MethodByName(want.name)
		switch {
		case !got.IsValid():
			lacks = append(lacks, fmt.Sprintf("%s%s is missing", want.name, signature(want.kind)))
		case got.Type() != want.kind:
			has = append(has, want.name)
			lacks = append(lacks, fmt.Sprintf("%s%s must be %s%s", want.name, signature(got.Type()), want.name, signature(want.kind)))
		default:
			has = append(has, want.name)
		}
	}
	return has, lacks
}

// signature returns the type of a function without the word func, with the types of this package as
// an embedding program names them.
func signature(f reflect.Type) string {
	return strings.ReplaceAll(strings.TrimPrefix(f.String(), "func"), "statemachine.", "troupe.")
}

// machines has every state machine that a node of this process has opened and that is not garbage.
// Weak pointers compare by object, also after the object's memory is used again.
var machines struct {
	mu     sync.Mutex
	opened map[weak.Pointer[byte]]bool
}

// claimMachine returns an error if a node of this process has opened the same state machine before.
// An InMemory state machine that is opened again holds the state from before, and the whole log is
// applied onto it; one that two members share receives every command twice. Only pointers and maps
// can be recognised.
func claimMachine(state StateMachine) error {
	v := reflect.ValueOf(state)
	if !slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Map}, v.Kind()) {
		return nil
	}
	if v.Kind() == reflect.Pointer && v.Type().Elem().Size() == 0 {
		return nil // all pointers to types without size may be equal
	}
	object := (*byte)(v.UnsafePointer())
	key := weak.Make(object)
	machines.mu.Lock()
	defer machines.mu.Unlock()
	if machines.opened[key] {
		return fmt.Errorf("the factory returned a %T that was open before: make a new one in each call, because "+
			"the log is applied again after a restart of the node's actors", state)
	}
	if machines.opened == nil {
		machines.opened = map[weak.Pointer[byte]]bool{}
	}
	machines.opened[key] = true
	runtime.AddCleanup(object, forgetMachine, key)
	return nil
}

func forgetMachine(key weak.Pointer[byte]) {
	machines.mu.Lock()
	defer machines.mu.Unlock()
	delete(machines.opened, key)
}
