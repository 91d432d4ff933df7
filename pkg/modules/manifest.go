package modules

import (
	"bytes"
	"cmp"
	_ "embed" // the schema
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/loader"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// ManifestFile is the manifest's name beside the modules.
const ManifestFile = "manifest.json"

// TypesFile is the name of the file beside it that has what the modules were compiled
// with.
const TypesFile = "types.btf.gz"

// FirmwareDir is the folder beside the modules that has their firmware, laid
// out as /lib/firmware is.
const FirmwareDir = "firmware"

// SchemaVersion is the manifest's format. It changes when a reader of the old
// one would be wrong about the new one.
const SchemaVersion = 2

// maxManifest is far above what five modules, or fifty, need.
const maxManifest = 16 << 20

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema (2020-12) of the manifest.
func Schema() []byte { return bytes.Clone(schema) }

// Manifest says exactly what the published modules are and what they were made
// from. The same inputs give the same bytes: there is no time and no host name
// in it. schema.json describes its JSON to users.
type Manifest struct {
	Schema int `json:"schema"`
	// Inputs are what a build was asked to make and what with, beside the
	// target, by name. One of the same inputs, for the same kernel, would make
	// the same; what is not named is "".
	Inputs  map[string]string `json:"inputs"`
	Target  TargetInfo        `json:"target"`
	Source  SourceInfo        `json:"source"`
	Driver  DriverInfo        `json:"driver"`
	Build   BuildInfo         `json:"build"`
	Modules []Entry           `json:"modules"` // in load order
	// InTree are the kernel's own modules that these need, with what those need, sorted
	// by name; none where the kernel's modules.dep was not to be seen.
	InTree []kernel.InTreeModule `json:"in_tree,omitempty"`
	// Indexes are the files by which modprobe finds its way among the modules.
	Indexes []File `json:"indexes"`
	// Exports is the file with what was known of the kernel's exports, as
	// [kernel.Exports.WriteFacts] writes it.
	Exports File `json:"exports"`
	// Types is the file with what the modules were compiled with, as
	// [types.Record.Write] writes it: the kernel's types, and the declarations of the
	// symbols that they import. Nil where that could not be found out, and of older
	// builders' results.
	Types *File `json:"types,omitempty"`
	// Firmware are the driver package's files for the kernel to load on to a
	// GPU, in a folder that serves as its firmware_class.path:
	// firmware/MAKER/VERSION/NAME.
	Firmware []File  `json:"firmware,omitempty"`
	Checks   []Check `json:"checks"`
	// Overridden names the checks that failed and that --allow let pass.
	Overridden []string `json:"overridden"`
}

// TargetInfo is the kernel that the modules are for.
type TargetInfo struct {
	Release      string      `json:"release"` // uname -r
	Arch         kernel.Arch `json:"arch"`
	Distribution string      `json:"distribution"` // "flatcar 4459.2.1"; empty where unknown
	BuildID      string      `json:"build_id"`     // the linker's identifier of the kernel's build, in hexadecimal; empty where unknown
	Compiler     string      `json:"compiler"`     // "gcc 13.3.1"; empty where unknown
	Config       Part        `json:"config"`
	Symbols      Part        `json:"symbols"`
	// InTree is where the exports of the kernel's own modules were read;
	// empty where none are known. Complete says that all of them are.
	InTree   string `json:"in_tree"`
	Complete bool   `json:"complete"`
}

// Part is a part of a target: what it was, and the file of the host root it
// was read from.
type Part struct {
	Digest string `json:"digest"` // sha256:HEX
	From   string `json:"from"`   // "proc/config.gz"
}

// SourceInfo is the kernel source that the modules were built against.
type SourceInfo struct {
	Rung       string `json:"rung"`       // of the ladder of sources: "tag"
	Repository string `json:"repository"` // "coreos/linux"
	Ref        string `json:"ref"`        // "v4.19.25-coreos"
	Commit     string `json:"commit"`
	// Patches are what it was changed by, in the order in which they were applied; none
	// where it is as its repository has it.
	Patches []PatchInfo `json:"patches,omitempty"`
}

// With says which source and config it was, for people: "refs/tags/v6.12.102 of
// gregkh/linux, proc/config.gz".
func (s SourceInfo) With(config string) string {
	text := cmp.Or(s.Ref, s.Rung)
	if s.Repository != "" {
		text += " of " + s.Repository
	}
	if config != "" {
		text += ", " + config
	}
	return text
}

// DriverInfo is the driver package that the modules were built from.
type DriverInfo struct {
	Version    string `json:"version"`
	ModuleType string `json:"module_type"` // "proprietary" or "open"
	Digest     string `json:"digest"`      // the package's, sha256:HEX
	// Chosen says why it is of this version, where a line of drivers or the like was
	// asked for; empty where the version was.
	Chosen string `json:"chosen,omitempty"`
	// Patches are what its sources were changed by, in the order in which they were
	// applied; none where they are the package's.
	Patches []PatchInfo `json:"patches,omitempty"`
}

// PatchInfo is a patch of the driver's or the kernel's sources.
type PatchInfo struct {
	Name   string `json:"file"`
	SHA256 string `json:"sha256"` // the file's, in hexadecimal
}

// BuildInfo is how they were built.
type BuildInfo struct {
	Builder        string   `json:"builder"`  // builder's version
	Compiler       string   `json:"compiler"` // "gcc-13"
	InstallerFlags []string `json:"installer_flags"`
	// WithoutInstaller says why the driver's installer did not run, and what was done in
	// its place; empty where it did.
	WithoutInstaller string `json:"without_installer,omitempty"`
	// SignedBy is the hash and the identifier of the key that the modules
	// are signed with, "sha256:HEX"; empty where they are not.
	SignedBy string `json:"signed_by"`
	// Relocations says which type of relocation was given which other, and how many
	// of them, for a loader that does not know the one: "1460 R_X86_64_PLT32 as
	// R_X86_64_PC32"; empty where the modules are as the linker left them.
	Relocations string `json:"relocations,omitempty"`
	// Loader is what the loader of a kernel before 5.4 takes, by its source; nil where that
	// was not at hand, and of later kernels.
	Loader *loader.Loader `json:"loader,omitempty"`
}

// File is a published file beside the manifest.
type File struct {
	Name   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// published is the file as it is left beside the manifest.
func (f File) published() publish.File {
	return publish.File{Name: f.Name, Size: f.Size, SHA256: f.SHA256}
}

// Entry is a published module.
type Entry struct {
	Name     string `json:"name"` // as lsmod has it
	File     string `json:"file"` // beside the manifest
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	Vermagic string `json:"vermagic"`
	// Siblings and InTree are the modules that must be loaded before it: of
	// this manifest, and of the kernel's own.
	Siblings []string `json:"siblings"`
	InTree   []string `json:"in_tree"`
	// Assumed are the symbols that it uses and that none of the kernel's
	// exporters to be seen has.
	Assumed []Assumption `json:"assumed"`
	// Firmware are the files it may ask the kernel for.
	Firmware   []string    `json:"firmware"`
	Parameters []Parameter `json:"parameters"`
}

// Assumption is a symbol that a module of the kernel's own, which was not to be
// seen, is taken to export.
type Assumption struct {
	Symbol string `json:"symbol"`
	// Module is its likely exporter by the symbol's name; empty where the
	// name says nothing.
	Module string `json:"module"`
}

// Entries describes modules for the manifest of a target, in load order.
func Entries(mods []Module, target kernel.Target) ([]Entry, error) {
	order, err := LoadOrder(mods)
	if err != nil {
		return nil, err
	}
	needs, err := siblings(mods)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(order))
	g := newGate(mods, target, Expect{})
	for _, m := range order {
		assumed := g.assumed(m)
		entries = append(entries, Entry{
			Name: m.Name, File: m.File, Size: m.Size, SHA256: m.SHA256, Vermagic: m.Vermagic,
			Siblings: list(needs[m.Name]), InTree: inTree(m, needs, assumed), Assumed: list(assumed),
			Firmware: list(sortedSet(append([]string{}, m.Firmware...))), Parameters: list(m.Parameters),
		})
	}
	return entries, nil
}

// InTreeOf are the kernel's own modules that those of a manifest need, with what those need.
func InTreeOf(entries []Entry, target kernel.Target) []kernel.InTreeModule {
	var names []string
	for _, e := range entries {
		names = append(names, e.InTree...)
	}
	return target.InTree.Of(names)
}

// file is the entry's file.
func (e Entry) file() File { return File{e.File, e.Size, e.SHA256} }

// inTree is what a module depends on beside its siblings: as modpost found,
// and as is assumed of what modpost could not find.
func inTree(m Module, siblings map[string][]string, assumed []Assumption) []string {
	others := []string{}
	for _, a := range assumed {
		if a.Module != "" {
			others = append(others, a.Module)
		}
	}
	for _, name := range m.Depends {
		if _, ok := siblings[name]; !ok {
			others = append(others, name)
		}
	}
	return sortedSet(others)
}

// list is s, so that an empty one is [] and not null in JSON.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// DescribeTarget is the part of a target that a manifest records.
func DescribeTarget(t kernel.Target) TargetInfo {
	return TargetInfo{
		Release: t.Release.Full, Arch: t.Arch,
		Distribution: words(t.Distribution.ID, t.Distribution.VersionID),
		BuildID:      t.BuildID.Hex,
		Compiler:     words(t.Compiler.Name, t.Compiler.Version),
		Config:       Part{Digest: t.Config.Digest, From: t.Config.From},
		Symbols:      Part{Digest: t.Exports.Digest, From: t.Exports.From},
		InTree:       t.Exports.InTree,
		Complete:     t.Exports.Complete,
	}
}

func words(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

// Encode is the manifest as it is written: JSON for people and programs, the
// same bytes for the same manifest.
func (m Manifest) Encode() ([]byte, error) {
	m.Schema = SchemaVersion
	if m.Inputs == nil {
		m.Inputs = map[string]string{}
	}
	m.Build.InstallerFlags = list(m.Build.InstallerFlags)
	m.Modules, m.Indexes, m.Checks, m.Overridden = list(m.Modules), list(m.Indexes), list(m.Checks), list(m.Overridden)
	return publish.EncodeIndex(m)
}

// fileName is what a module's file may be called, firmwareName a firmware file, and
// inTreeName a module of the kernel's own: a manifest must not be able to point out of
// its folder, or theirs.
var (
	fileName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)
	firmwareName = regexp.MustCompile(`^` + FirmwareDir + `(/[A-Za-z0-9_][A-Za-z0-9_.+-]*){1,8}$`)
	inTreeName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+,-]*(/[A-Za-z0-9_][A-Za-z0-9_.+,-]*){0,15}$`)
)

// ParseManifest reads a manifest that [Manifest.Encode] wrote.
func ParseManifest(r io.Reader) (Manifest, error) {
	var m Manifest
	if err := publish.DecodeIndex(r, maxManifest, SchemaVersion, &m); err != nil {
		return Manifest{}, err
	}
	// Anything with a schema would pass for a manifest otherwise.
	if len(m.Modules) == 0 {
		return Manifest{}, errors.New("a manifest that lists no modules")
	}
	if err := m.checkNames(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// maxModules is far above what a driver has, and what it needs of the kernel's own.
const maxModules = 512

// checkNames refuses names of files that are not of the manifest's folder, and more modules
// than there can be: a manifest may be anybody's.
func (m Manifest) checkNames() error {
	if len(m.Modules) > maxModules || len(m.InTree) > maxModules {
		return fmt.Errorf("the manifest lists %d modules, and %d of the kernel's own", len(m.Modules), len(m.InTree))
	}
	all := m.files()
	for i, f := range all {
		allowed := fileName
		if i >= len(all)-len(m.Firmware) {
			allowed = firmwareName
		}
		if !allowed.MatchString(f.Name) {
			return fmt.Errorf("the manifest names a file %q, which is not one of its folder", f.Name)
		}
	}
	for _, m := range m.InTree {
		if !inTreeName.MatchString(m.File) {
			return fmt.Errorf("the manifest names a module %q of the kernel's own, which cannot be one", m.File)
		}
	}
	return nil
}

// files are all that is published beside the manifest: modules and [Manifest.others].
func (m Manifest) files() []File {
	files := make([]File, 0, len(m.Modules))
	for _, e := range m.Modules {
		files = append(files, e.file())
	}
	return slices.Concat(files, m.others())
}

// others are indexes, what the kernel exports, what the modules were compiled with, and
// firmware.
func (m Manifest) others() []File {
	files := append(slices.Clone(m.Indexes), m.Exports)
	if m.Types != nil {
		files = append(files, *m.Types)
	}
	return append(files, m.Firmware...)
}
