package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/conftest"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// compiled are modules as they came out of the installer, stripped and signed.
type compiled struct {
	prepared
	built cuda.Built
	// loader is what the loader of a kernel before 5.4 takes; nil where its source is not
	// at hand.
	loader *loader.Loader
	// replaced is how many relocations were given another type for it.
	replaced int
}

// compiling has NVIDIA's installer compile the modules.
func (p project) compiling() step[prepared, compiled] {
	return step[prepared, compiled]{
		stage: stage.Build,
		plan: func(ctx context.Context) ([]string, error) {
			if p.cross() {
				return []string{fmt.Sprintf("kbuild with %s in %s, whose nvidia-installer does not run here, %s modules%s%s",
					p.compiler.Command, p.pkg.Name(), p.preference.Type, p.without(), p.signs())}, nil
			}
			does := fmt.Sprintf("nvidia-installer --kernel-module-only of %s, %s modules%s%s", p.pkg.Name(), p.preference.Type, p.without(), p.signs())
			return []string{does}, p.installable(ctx)
		},
		do: func(ctx context.Context, in prepared) (compiled, error) {
			compile := func(ctx context.Context, _ sourced) (compiled, error) {
				return p.compile(ctx, in, p.known(ctx, in.tree))
			}
			return completing(ctx, p, in.sourced, p.buildTool(), compile, p.compileAnew)
		},
	}
}

// cross says whether modules are compiled for another architecture than this machine's.
func (p project) cross() bool { return kernel.ArchOf(runtime.GOARCH) != p.target.Arch }

// buildTool is what compiles them, by the name of its log.
func (p project) buildTool() string {
	if p.cross() {
		return kbuildTool
	}
	return installerTool
}

// compileAnew prepares a tree of the whole source, and compiles with the driver as
// it was: the installer compiles in its folder, and would take what it made there
// for good.
func (p project) compileAnew(ctx context.Context, whole sourced) (compiled, error) {
	in, err := p.prepare(ctx, whole)
	if err != nil {
		return compiled{}, err
	}
	if err := beneath.RemoveAll(in.driver.Dir); err != nil {
		return compiled{}, stage.Wrap(stage.Build, err, "the driver cannot be unpacked anew", "let the share's owner, as whom builder works there, write to it")
	}
	if in.driver, err = p.unpackTo(ctx, stage.Build, in.pkg, in.driver.Dir); err != nil {
		return compiled{}, err
	}
	// What is known may be so of a tree that lacked a file.
	return p.compile(ctx, in, nil)
}

// without says of a plan which modules it leaves out.
func (p project) without() string {
	if len(p.exclude) == 0 {
		return ""
	}
	return " without " + strings.Join(p.exclude, ", ")
}

// signs says of a plan what becomes of its modules.
func (p project) signs() string {
	if p.signer == nil {
		return ""
	}
	return ", signed with key " + p.signer.KeyID()
}

func (p project) compile(ctx context.Context, in prepared, known conftest.Set) (compiled, error) {
	if err := p.needSpace(ctx, stage.Build, share.Space{}, p.libraries.space(in.toLayOut)); err != nil {
		return compiled{}, err
	}
	pair, err := p.pair(p.setting, in.driver.Version, in.moduleType)
	if err != nil {
		return compiled{}, err
	}
	p.sayJobs(ctx)
	answers := conftest.Answers{Known: known}
	built, err := cuda.Build(ctx, in.driver, cuda.BuildOptions{
		Runner: p.Runner, Scratch: p.scratch, LogFile: p.logFile(p.buildTool()),
		Release: p.target.Release.Full, SourceDir: in.tree.Source, OutputDir: in.tree.Output, Linked: p.target.Tree.Folders(), Reads: p.target.Tree.Loader.Folders(),
		Compiler: in.tree.Compiler, CrossCompile: in.tree.CrossCompile(), Arch: prepare.KbuildArch(p.target.Arch), ModuleType: in.moduleType, Exclude: p.exclude,
		// Where only the exports of loaded modules are known, drm's may not
		// be among them.
		AllowUndefined: !p.target.Exports.Complete, Debug: p.Debug,
		Jobs: p.jobs(), Timeout: p.BuildTimeout, StateDir: p.StateDir,
		Pair: pair, Newer: nearest(p.setting, pair), Patched: len(p.patches) > 0,
		Answers: &answers,
	})
	p.keep(ctx, in.tree, answers)
	if err != nil {
		return compiled{}, p.share.Explain(stage.Build, err)
	}
	if undefined := built.Undefined; len(undefined) > 0 {
		zerolog.Ctx(ctx).Warn().Int("symbols", len(undefined)).Strs("first", undefined[:min(5, len(undefined))]).
			Msg("symbols that no loaded module exports; taken to be those of in-tree modules that are not loaded yet, such as drm")
	}
	if !p.Debug {
		if err := p.strip(ctx, in.tree, built.Files); err != nil {
			return compiled{}, err
		}
	}
	out := compiled{prepared: in, built: built}
	if err := p.relocate(ctx, &out); err != nil {
		return compiled{}, err
	}
	return out, p.sign(ctx, built.Files)
}

// replaceable is the type of relocation that a loader may not know, and the one that
// means the same in a kernel.
var replaceable = struct{ from, to elf.R_X86_64 }{elf.R_X86_64_PLT32, elf.R_X86_64_PC32}

// relocate makes the modules for the kernel's loader, which may be older than the
// assembler's habit to write R_X86_64_PLT32 for a call.
func (p project) relocate(ctx context.Context, c *compiled) error {
	if p.target.Arch != kernel.X86_64 || p.target.Release.AtLeast(5, 4) {
		return nil
	}
	var err error
	if c.loader, err = loader.Read(c.tree.Source); err != nil {
		return stage.Wrap(stage.Build, err, "the source of the kernel's loader cannot be read", "look at the cause, and run again")
	}
	// Where nothing tells, the older type does in every kernel.
	if c.loader != nil && c.loader.Knows(replaceable.from.String()) {
		return nil
	}
	for _, path := range c.built.Files {
		n, err := replaceRelocations(path)
		if errors.As(err, new(*ko.FormatError)) {
			continue // the check stage tells a file that is no module
		}
		if err != nil {
			return p.share.Explain(stage.Build, stage.Wrap(stage.Build, err, "the modules cannot be written for this kernel's loader", "look at the cause, and run again"))
		}
		c.replaced += n
	}
	zerolog.Ctx(ctx).Info().Stringer("from", replaceable.from).Stringer("to", replaceable.to).Int("relocations", c.replaced).
		Msg("relocations replaced for the loader of this kernel, which is older than the assembler")
	return nil
}

func replaceRelocations(path string) (n int, err error) {
	f, err := beneath.OpenRW(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return ko.ReplaceRelocations(f, info.Size(), uint32(replaceable.from), uint32(replaceable.to))
}

// relocated says what was replaced, for the manifest.
func (c compiled) relocated() string {
	if c.replaced == 0 {
		return ""
	}
	return fmt.Sprintf("%d %v as %v", c.replaced, replaceable.from, replaceable.to)
}

// strip takes the debugging information out of modules whose ready-made core
// objects brought it along: what is compiled here has none.
func (p project) strip(ctx context.Context, tree prepare.Tree, files []string) error {
	for _, path := range files {
		m, err := readModule(path)
		if err != nil || len(m.Debug) == 0 {
			continue // the check stage tells a file that is no module
		}
		if err := p.stripFile(ctx, tree.CrossCompile()+"strip", path); err != nil {
			return stage.Wrap(stage.Build, err, "the debugging information cannot be taken out of the modules", "keep it with --debug-info")
		}
		zerolog.Ctx(ctx).Debug().Str("module", path).Msg("debugging information taken out")
	}
	return nil
}

func readModule(path string) (ko.File, error) {
	f, err := beneath.Open(path)
	if err != nil {
		return ko.File{}, err
	}
	defer f.Close()
	return ko.Read(f)
}

// stripFile puts what strip leaves into the place of a module. strip itself is the
// image's, but what it reads is not.
func (p project) stripFile(ctx context.Context, strip, path string) error {
	dir, err := beneath.MkdirTemp(p.scratch, "strip-")
	if err != nil {
		return err
	}
	defer beneath.RemoveAll(dir)
	left := filepath.Join(dir, filepath.Base(path))
	var output bytes.Buffer
	err = p.Runner.Run(ctx, command.Command{
		Args: []string{strip, "--strip-debug", "-o", left, path}, Env: []string{"LC_ALL=C", "TMPDIR=" + dir},
		Reads: []string{path}, Writes: []string{dir}, Output: &output,
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(output.String()))
	}
	if err := beneath.Remove(path); err != nil {
		return err
	}
	return command.CopyLeft(left, path)
}

// sign signs what was built, if the user gave a key.
func (p project) sign(ctx context.Context, files []string) error {
	if p.signer == nil {
		return nil
	}
	for _, path := range files {
		if err := p.signer.SignFile(path); err != nil {
			return p.share.Explain(stage.Build, stage.Wrap(stage.Build, err, "the modules cannot be signed", "look at the cause, and run again"))
		}
	}
	zerolog.Ctx(ctx).Info().Int("modules", len(files)).Str("key", p.signer.KeyID()).Str("hash", p.signer.Hash()).
		Str("kernel", p.trust()).Msg("modules signed")
	return nil
}

// trust says what the kernel's keyrings tell of the signer's key.
func (p project) trust() string {
	s := p.target.Signing
	switch {
	case s.KeysFrom == "":
		return "its keys are not to be seen"
	case slices.Contains(s.Keys, p.signer.KeyID()):
		return "holds this key"
	}
	return "does not hold this key"
}

// certificate is the signer's; nil where there is none.
func (p project) certificate() *x509.Certificate {
	if p.signer == nil {
		return nil
	}
	return p.signer.Certificate()
}

// certificateDigest is sha256:HEX of it; empty where there is none.
func (p project) certificateDigest() string {
	if p.signer == nil {
		return ""
	}
	sum := sha256.Sum256(p.signer.Certificate().Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// signedBy is the key and the hash that the modules are signed with; empty
// where they are not.
func (p project) signedBy() string {
	if p.signer == nil {
		return ""
	}
	return p.signer.Hash() + ":" + p.signer.KeyID()
}
