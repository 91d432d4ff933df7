package kernel

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// notes are a kernel's, with a build ID of two bytes behind a note of Xen's.
func notes(id string) []byte {
	xen := "\x04\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00Xen\x00\xff\xff\xff\xff\x81\x00\x00\x00"
	return []byte(xen + "\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00" + id + "\x00\x00")
}

func TestDetectBuildID(t *testing.T) {
	host := openFiles(t, change(hostWithDevices(), map[string]string{notesFile: string(notes("\xab\xcd"))}))
	if got, want := mustDetect(t, host, DetectOptions{}).BuildID, (BuildID{"abcd", notesFile}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := mustDetect(t, openFiles(t, hostWithDevices()), DetectOptions{}).BuildID; got != (BuildID{}) {
		t.Errorf("of a host that says nothing: %+v", got)
	}
	for _, h := range members(t, bytes.NewReader(capture(t, host))) {
		if h.Name == notesFile && h.Size != 20 {
			t.Errorf("%d bytes of %s are captured, more or less than the build ID's note", h.Size, notesFile)
		}
	}
}

// TestImageOfAnotherBuild: an update may have replaced the image under the running
// kernel by one whose banner is the same, as reproducible builds have it.
func TestImageOfAnotherBuild(t *testing.T) {
	k := smallKernel()
	for id, from := range map[string]string{k.BuildID: "boot/vmlinuz-" + k.Release, "\x0f\x1e\x2d\x3d": kallsymsFile} {
		files := hostFiles(k)
		files["boot/vmlinuz-"+k.Release] = string(k.BzImage(t))
		files[kallsymsFile] = kallsymsText(k)
		files[notesFile] = string(imagetest.Notes(id))
		target := mustDetect(t, openFiles(t, files), DetectOptions{})
		if target.Exports.From != from || target.BuildID.Hex != fmt.Sprintf("%x", id) {
			t.Errorf("running %x: exports from %s, build ID %s", id, target.Exports.From, target.BuildID.Hex)
		}
	}
}

// facts are exports of which nothing is known in part.
var facts = []Symbol{
	{Name: "a", Module: vmlinux, License: LicenseAny, NamespaceKnown: true, CRC: 1, CRCKnown: true},
	{Name: "b", Module: vmlinux, License: LicenseGPL, Namespace: "N", NamespaceKnown: true},
	{Name: "c", Module: vmlinux},
	{Name: "d", Module: "drm", License: LicenseGPL, CRCKnown: true},
}

func TestFactsThereAndBack(t *testing.T) {
	var text bytes.Buffer
	if err := (Exports{Symbols: facts}).WriteFacts(&text); err != nil {
		t.Fatal(err)
	}
	const want = "a\tvmlinux\tany\t\t0x00000001\nb\tvmlinux\tgpl\tN\t?\nc\tvmlinux\t?\t?\t?\nd\tdrm\tgpl\t?\t0x00000000\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err := ParseFacts(&text)
	if diff := cmp.Diff(facts, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestParseFactsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a column less":   "a\tvmlinux\tany\t\n",
		"a column more":   "a\tvmlinux\tany\t\t0x1\t\n",
		"no name":         "\tvmlinux\tany\t\t0x1\n",
		"no such licence": "a\tvmlinux\tsome\t\t0x1\n",
		"no number":       "a\tvmlinux\tany\t\tx\n",
		"too large":       "a\tvmlinux\tany\t\t0x100000000\n",
		"an endless line": strings.Repeat("a", symversLineLimit+1),
	} {
		if got, err := ParseFacts(strings.NewReader(text)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestContradictions(t *testing.T) {
	with := func(change func(list []Symbol) []Symbol) []Symbol { return change(append([]Symbol{}, facts...)) }
	for _, c := range []struct {
		name     string
		other    []Symbol
		complete bool
		want     []string
	}{
		{"the same", facts, true, nil},
		{"one knows nothing but names", []Symbol{{Name: "a", Module: vmlinux}, {Name: "b", Module: vmlinux}, {Name: "c", Module: vmlinux}}, false, nil},
		{"one knows more", with(func(l []Symbol) []Symbol {
			l[2] = Symbol{Name: "c", Module: vmlinux, License: LicenseGPL, CRC: 7, CRCKnown: true}
			return l
		}), false, nil},
		{"a module that one does not see", facts[:3], false, nil},
		{"a module that is not installed", facts[:3], true, nil},
		{"one of a module's is gone", append(append([]Symbol{}, facts[:3]...), Symbol{Name: "e", Module: "drm"}), true,
			[]string{"d was exported, and is not", "e was not exported, and is"}},
		{"one of the kernel's is gone", facts[1:], false, []string{"a was exported, and is not"}},
		{"one more of the kernel's", append(append([]Symbol{}, facts...), Symbol{Name: "e", Module: vmlinux}), false, []string{"e was not exported, and is"}},
		{"one more of a module's", append(append([]Symbol{}, facts...), Symbol{Name: "e", Module: "drm"}), false,
			[]string{"e was not exported, and is"}}, // the list before is complete
		{"another licence", with(func(l []Symbol) []Symbol { l[0].License = LicenseGPL; return l }), false,
			[]string{"a was for every module, and is for GPL-compatible modules only"}},
		{"another checksum", with(func(l []Symbol) []Symbol { l[0].CRC = 2; return l }), false,
			[]string{"a had the checksum 0x00000001, and has 0x00000002"}},
		{"another namespace", with(func(l []Symbol) []Symbol { l[1].Namespace = ""; return l }), false,
			[]string{`b was in the namespace "N", and is in ""`}},
		{"another exporter", with(func(l []Symbol) []Symbol { l[3].Module = vmlinux; return l }), false,
			[]string{"d was exported by drm, and is by vmlinux"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Exports{Symbols: facts, Complete: true}.Contradictions(Exports{Symbols: c.other, Complete: c.complete})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got := (Exports{Symbols: facts[:3]}).Contradictions(Exports{Symbols: facts}); got != nil {
		t.Errorf("of a module that was not seen: %q", got)
	}
}
