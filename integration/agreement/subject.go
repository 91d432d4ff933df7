package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/variants"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
)

// Subject is a kernel to be asked, and modules that were built for it.
type Subject struct {
	// Name names the kernel and how it is booted.
	Name string
	// Host has the kernel's image and its own modules.
	Host lab.Host
	// Append are words for the command line.
	Append string
	// Modules are the files of [variants.Bases], or of some of them: then variants of the
	// others are left out.
	Modules map[string]string
	// Key is the file of a private key, and its certificate, that the kernel
	// holds; empty where none is to be had.
	Key string
	// Sign says that the kernel wants signatures: every variant that is not
	// about them is signed by Key.
	Sign bool
	// Loader is the source of a kernel before 5.4, by which the gate knows what its loader
	// takes; empty of later ones.
	Loader string
	// First are the kernel's own modules that nvidia.ko needs, in load order.
	First []string
	// About is the word for the variants that are asked about; empty for all.
	About string
}

// recorded are the files by which a host that runs the kernel is known, beside
// those in its root.
var recorded = []string{
	"proc/version", "proc/cmdline", "proc/keys", "proc/modules", "proc/config.gz", "proc/sys/kernel/osrelease",
	"sys/kernel/security/lockdown", "sys/module/module/parameters/sig_enforce",
}

// ask makes the variants, boots the kernel with them, and asks the gate.
func (s Subject) ask(ctx context.Context, l *lab.Lab) (Section, error) {
	dir, err := os.MkdirTemp("", "k8sp-cuda-agreement-")
	if err != nil {
		return Section{}, err
	}
	defer os.RemoveAll(dir)
	section, err := s.askIn(ctx, l, dir)
	if err != nil {
		return section, fmt.Errorf("%s: %w", s.Name, err)
	}
	return section, nil
}

func (s Subject) askIn(ctx context.Context, l *lab.Lab, dir string) (Section, error) {
	target, err := s.detect(ctx, s.Host.Dir, s.Host.Image())
	if err != nil {
		return Section{}, err
	}
	keys, err := s.keys(ctx, dir, target)
	if err != nil {
		return Section{}, err
	}
	list, err := variants.Of(variants.Kernel{Target: target, Held: keys.held, HeldOther: keys.heldOther, Stranger: keys.stranger, Sign: s.Sign})
	if err != nil {
		return Section{}, err
	}
	list = slices.DeleteFunc(list, func(v variants.Variant) bool { return !strings.HasPrefix(v.Done, s.About) || !s.has(v) })
	all, err := s.make(filepath.Join(dir, "variants"), list, target)
	if err != nil {
		return Section{}, err
	}
	outcome, err := s.boot(ctx, l, all)
	if err != nil {
		return Section{}, err
	}
	root := filepath.Join(dir, "root")
	if err := record(root, s.Host.Dir, outcome.Results[0].Read); err != nil {
		return Section{}, err
	}
	if target, err = s.detect(ctx, root, ""); err != nil {
		return Section{}, err
	}
	expect := modules.Expect{Firmware: []string{}}
	if s.Loader != "" {
		if expect.Loader, err = loader.Read(s.Loader); err != nil {
			return Section{}, err
		}
	}
	section := Section{Kernel: s.Name}
	for i, v := range list {
		row := Row{Variant: v.Done, Policy: v.Policy}
		if row.Kernel, err = kernelVerdict(outcome.Results[i+1], all[i]); err != nil {
			return section, fmt.Errorf("%s: %w", v.Done, err)
		}
		if row.Gate, err = gateVerdict(all[i], target, expect, keys.certificates()); err != nil {
			return section, fmt.Errorf("%s: %w", v.Done, err)
		}
		section.Rows = append(section.Rows, row)
	}
	return section, nil
}

// has says whether there is all that a variant is made from.
func (s Subject) has(v variants.Variant) bool {
	return !slices.ContainsFunc(v.Parts, func(p variants.Part) bool { return p.Base != variants.Stub && s.Modules[p.Base] == "" })
}

func (s Subject) detect(ctx context.Context, dir, image string) (kernel.Target, error) {
	root, err := kernel.OpenRoot(dir)
	if err != nil {
		return kernel.Target{}, err
	}
	return kernel.Detect(ctx, root, kernel.DetectOptions{Image: image})
}

// made is a variant as files, in the order in which they are loaded.
type made struct {
	// before are the kernel's own modules that the others need.
	before []string
	// parts are the siblings and the variant, each in a folder that is named
	// after its content: many variants have the same sibling.
	parts []string
}

// variant is the last of the files.
func (m made) variant() string { return m.parts[len(m.parts)-1] }

// inside is where the virtual machine has a part.
func inside(part string) string {
	return "/variants/" + filepath.Base(filepath.Dir(part)) + "/" + filepath.Base(part)
}

// inTree are the kernel's own modules that export what a module imports. Its
// depends: does not have them where it was built for an image alone.
func inTree(m modules.Module, target kernel.Target) []string {
	imported := map[string]bool{}
	for _, i := range m.ELF.Imports {
		imported[i.Name] = true
	}
	var names []string
	for _, e := range target.Exports.Symbols {
		if imported[e.Name] && e.Module != "vmlinux" && !slices.Contains(names, e.Module) {
			names = append(names, e.Module)
		}
	}
	return names
}

// make writes the variants' files.
func (s Subject) make(dir string, list []variants.Variant, target kernel.Target) ([]made, error) {
	bases := map[string][]byte{}
	needs := map[string][]string{}
	for name, path := range s.Modules {
		m, err := modules.Read(path)
		if err != nil {
			return nil, err
		}
		if bases[name], err = os.ReadFile(path); err != nil {
			return nil, err
		}
		if needs[name], err = s.Host.InTree(inTree(m, target)...); err != nil {
			return nil, err
		}
	}
	var err error
	if bases[variants.Stub], err = variants.NewStub(bases[variants.NVIDIA]); err != nil {
		return nil, err
	}
	all := make([]made, len(list))
	for i, v := range list {
		if all[i].before, err = s.Host.InTree(v.Before...); err != nil {
			return nil, err
		}
		for _, part := range v.Parts {
			content, err := part.Make(bases[part.Base])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.Done, err)
			}
			path := filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256(content)), part.File())
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
				return nil, err
			}
			for _, file := range needs[part.Base] {
				if !slices.Contains(all[i].before, file) {
					all[i].before = append(all[i].before, file)
				}
			}
			all[i].parts = append(all[i].parts, path)
		}
	}
	return all, nil
}

// boot loads every variant, after what goes before it, and takes all out again.
func (s Subject) boot(ctx context.Context, l *lab.Lab, list []made) (lab.Outcome, error) {
	steps := plan.Plan{{}}
	for _, name := range recorded {
		steps[0].Read = append(steps[0].Read, "/"+name)
	}
	machine := lab.Machine{Kernel: s.Host.Image(), Arch: s.Host.Arch, Append: s.Append}
	for _, m := range list {
		first := slices.DeleteFunc(slices.Clone(s.First), func(file string) bool { return slices.Contains(m.before, file) })
		step := plan.Step{Unload: true, Load: machine.Install(append(first, m.before...))}
		for _, part := range m.parts {
			machine.Files[inside(part)] = part
			step.Load = append(step.Load, plan.Module{File: inside(part)})
		}
		steps = append(steps, step)
	}
	return l.Boot(ctx, machine, steps)
}

// record makes a host's root of what is in its files and what its kernel said.
func record(root, files string, said map[string][]byte) error {
	err := filepath.WalkDir(files, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(files, path)
		if err != nil {
			return err
		}
		to := filepath.Join(root, name)
		switch {
		case name == "proc" || name == "sys":
			return fs.SkipDir // what another boot of it said
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		case entry.Type().IsRegular():
			return lab.CopyFile(path, to)
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			return errors.Join(err, os.Symlink(target, to))
		}
		return nil
	})
	for name, content := range said {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			return err
		}
	}
	return err
}

// kernelVerdict reads the answer to a variant, before which the kernel must have
// taken the others.
func kernelVerdict(r plan.Result, m made) (KernelVerdict, error) {
	if r.Crashed {
		return KernelVerdict{Crashed: true, Words: r.Errors}, nil
	}
	if len(r.Errors) > 0 {
		return KernelVerdict{}, fmt.Errorf("in the virtual machine: %q", r.Errors)
	}
	last := r.Load[len(r.Load)-1]
	if last.File != inside(m.variant()) {
		return KernelVerdict{}, fmt.Errorf("the kernel refused what goes before it: %+v", last)
	}
	return answered(last), nil
}

// gateVerdict asks the gate about a variant and its siblings, which it must let
// pass.
func gateVerdict(m made, target kernel.Target, expect modules.Expect, certificates []*x509.Certificate) (GateVerdict, error) {
	mods, err := modules.ReadAll(m.parts)
	if err != nil {
		return GateVerdict{}, err
	}
	for _, certificate := range certificates {
		if mods, err = modules.Authenticate(mods, certificate); err != nil {
			return GateVerdict{}, err
		}
	}
	checks := modules.Gate(mods, target, expect)
	last := len(mods) - 1
	for _, sibling := range mods[:last] {
		if v := verdictOf(checks, sibling.Name); v.Refuses() || len(v.Unsure) > 0 {
			return GateVerdict{}, fmt.Errorf("the gate %s the sibling %s", v, sibling.File)
		}
	}
	return verdictOf(checks, mods[last].Name), nil
}

// keys are those that sign variants for one kernel.
type keys struct{ held, heldOther, stranger *signature.Signer }

func (k keys) certificates() []*x509.Certificate {
	list := []*x509.Certificate{k.stranger.Certificate()}
	if k.held != nil {
		list = append(list, k.held.Certificate())
	}
	return list
}

func (s Subject) keys(ctx context.Context, dir string, target kernel.Target) (k keys, err error) {
	file := filepath.Join(dir, "stranger.pem")
	if err := newKey(file); err != nil {
		return k, err
	}
	if k.stranger, err = signature.Load(ctx, signature.Options{Key: file, Certificate: file}, target); err != nil || s.Key == "" {
		return k, err
	}
	held := signature.Options{Key: s.Key, Certificate: s.Key}
	if k.held, err = signature.Load(ctx, held, target); err != nil {
		return k, err
	}
	target.Signing.Hash = "sha512"
	if k.held.Hash() == target.Signing.Hash {
		target.Signing.Hash = "sha256"
	}
	k.heldOther, err = signature.Load(ctx, held, target)
	return k, err
}

// newKey makes a key that no kernel holds, with its certificate in the same
// file.
func newKey(file string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	id := sha1.Sum(key.N.Bytes())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a stranger to every kernel"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(24 * time.Hour), SubjectKeyId: id[:],
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	content := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
	return os.WriteFile(file, content, 0o600)
}
