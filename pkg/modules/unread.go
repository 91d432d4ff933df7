package modules

import (
	"fmt"
	"slices"

	"github.com/k8sp/cuda/pkg/kernel"
)

// UnreadError is modules that use what modules of the kernel's own export, of whose
// exports the target has only the names: no gate can judge them until the rest was
// read, too (see [kernel.DetectOptions]).
type UnreadError struct {
	// Modules are those of the kernel's own, sorted by name.
	Modules []string
}

// Error names them.
func (e *UnreadError) Error() string {
	return fmt.Sprintf("of what the kernel's own modules export, and these use, only the names were read: %s", some(e.Modules))
}

// CheckRead returns an [*UnreadError] where the target does not know enough of what
// the modules use.
func CheckRead(mods []Module, target kernel.Target) error {
	if len(target.Exports.Unread) == 0 {
		return nil
	}
	used, offered := map[string]bool{}, map[string]bool{}
	for _, m := range mods {
		for _, e := range m.ELF.Exports {
			offered[e.Name] = true
		}
		for _, i := range m.ELF.Imports {
			used[i.Name] = true
		}
	}
	var list []string
	for _, s := range target.Exports.Symbols {
		if used[s.Name] && !offered[s.Name] && slices.Contains(target.Exports.Unread, s.Module) {
			list = append(list, s.Module)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return &UnreadError{sortedSet(list)}
}
