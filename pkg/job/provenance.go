package job

import (
	"cmp"
	"maps"
	"strings"

	"github.com/k8sp/cuda/pkg/modules"
)

// provenance is the predicate of SLSA's provenance (slsa.dev/provenance/v1): what was asked
// for, what of, and by whom. It has no times, so that the same result says the same.
type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string            `json:"buildType"`
	ExternalParameters   map[string]string `json:"externalParameters"`
	InternalParameters   map[string]any    `json:"internalParameters"`
	ResolvedDependencies []dependency      `json:"resolvedDependencies"`
}

type dependency struct {
	URI    string            `json:"uri,omitempty"`
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type runDetails struct {
	Builder struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version"`
	} `json:"builder"`
}

// The names of what builds and how, which mean what docs/artefact.md says of a build.
const (
	buildType = "https://github.com/k8sp/cuda/build/v1"
	builderID = "https://github.com/k8sp/cuda"
)

// provenanceOf is what a manifest says of how its modules came about.
func provenanceOf(m modules.Manifest) provenance {
	p := provenance{BuildDefinition: buildDefinition{
		BuildType:          buildType,
		ExternalParameters: map[string]string{"release": m.Target.Release, "architecture": string(m.Target.Arch), "driver": m.Driver.Version, "moduleType": m.Driver.ModuleType},
		InternalParameters: map[string]any{"compiler": m.Build.Compiler, "installerFlags": m.Build.InstallerFlags},
	}}
	if m.Build.WithoutInstaller != "" {
		p.BuildDefinition.InternalParameters["withoutInstaller"] = m.Build.WithoutInstaller
	}
	maps.Copy(p.BuildDefinition.ExternalParameters, m.Inputs)
	add := func(uri, name, algorithm, digest string) {
		d := dependency{URI: uri, Name: name}
		if digest != "" {
			d.Digest = map[string]string{algorithm: digest}
		}
		p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, d)
	}
	source := ""
	if m.Source.Repository != "" {
		source = "git+https://github.com/" + m.Source.Repository + "@" + m.Source.Ref
	}
	add(source, "the kernel's source ("+cmp.Or(m.Source.Rung, "unknown")+")", "gitCommit", m.Source.Commit)
	add("", "the kernel's config", "sha256", strings.TrimPrefix(m.Target.Config.Digest, "sha256:"))
	add("", "what the kernel exports", "sha256", strings.TrimPrefix(m.Target.Symbols.Digest, "sha256:"))
	add("", "the driver package "+m.Driver.Version, "sha256", strings.TrimPrefix(m.Driver.Digest, "sha256:"))
	for _, patch := range append(m.Source.Patches, m.Driver.Patches...) {
		add("", "the patch "+patch.Name, "sha256", patch.SHA256)
	}
	p.RunDetails.Builder.ID = builderID
	p.RunDetails.Builder.Version = map[string]string{"builder": m.Build.Builder}
	return p
}
