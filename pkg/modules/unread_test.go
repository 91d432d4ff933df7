package modules

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel"
)

func TestCheckRead(t *testing.T) {
	t.Parallel()
	target := kernel.Target{Exports: kernel.Exports{
		Symbols: []kernel.Symbol{{Name: "drm_open", Module: "drm"}, {Name: "net_open", Module: "net"}, {Name: "odd_open", Module: "odd"}, {Name: "printk", Module: "vmlinux"}},
		Unread:  []string{"net", "odd"},
	}}
	uses := func(names ...string) Module {
		var m Module
		for _, name := range names {
			m.ELF.Imports = append(m.ELF.Imports, ko.Import{Name: name})
		}
		return m
	}
	sibling := Module{ELF: ko.File{Exports: []ko.Export{{Name: "net_open"}}}}
	for name, c := range map[string]struct {
		mods []Module
		want []string
	}{
		"what was read":            {[]Module{uses("printk", "drm_open", "none")}, nil},
		"what was not":             {[]Module{uses("odd_open"), uses("printk", "net_open", "odd_open")}, []string{"net", "odd"}},
		"a sibling's of that name": {[]Module{uses("net_open"), sibling}, nil},
		"nothing":                  {nil, nil},
	} {
		var unread *UnreadError
		var got []string
		if err := CheckRead(c.mods, target); errors.As(err, &unread) {
			got = unread.Modules
		} else if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	target.Exports.Unread = nil
	if err := CheckRead([]Module{uses("odd_open")}, target); err != nil {
		t.Errorf("where all was read: %v", err)
	}
}
