package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/stage"
)

// Dir is where runtimes look for specifications that stay.
const Dir = "/etc/cdi"

// FileName is the specification's, by CDI's custom: vendor and class.
const FileName = "nvidia.com-gpu.json"

// Write leaves a specification in the folder dir, which it makes where there is
// none, all at once, and returns its path. It refuses where that folder has one
// of the same kind by somebody else: runtimes then refuse the devices of both.
// (Of two folders, the one that they read last decides.) Errors are of the load
// stage; errors.Is tells fs.ErrExist for that refusal.
func Write(dir string, spec specs.Spec) (string, error) {
	if theirs := rival(dir); theirs != "" {
		return "", stage.Wrap(stage.Load, fs.ErrExist,
			fmt.Sprintf("%s specifies %s as well, and container runtimes refuse devices that are specified twice, so none is written", theirs, Kind),
			"use that one, which NVIDIA's toolkit made, or remove it and load again")
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(spec); err != nil {
		return "", err
	}
	file := filepath.Join(dir, FileName)
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = atomicfile.WriteFile(file, text.Bytes(), 0o644)
	}
	if err != nil {
		return "", stage.Wrap(stage.Load, err, fmt.Sprintf("the CDI specification cannot be written to %s, so no container runtime knows of the GPUs", dir),
			"mount the host's /etc/cdi, writable, or name another folder with --cdi-dir")
	}
	return file, nil
}

// Remove takes away what [Write] left in dir. Errors are of the load stage.
func Remove(dir string) error {
	file := filepath.Join(dir, FileName)
	if theirs(file) {
		return nil
	}
	err := os.Remove(file)
	if err == nil {
		err = atomicfile.SyncDir(dir)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return stage.Wrap(stage.Load, err, fmt.Sprintf("the CDI specification %s cannot be removed", file), "remove it: it names device files that are no more")
}

// kindLine is a specification's kind, in YAML or JSON.
var kindLine = regexp.MustCompile(`["']?\bkind["']?\s*:\s*["']?` + regexp.QuoteMeta(Kind) + `["']?\s*(,|\}|#|\n|$)`)

// rival is the file in a folder that specifies our kind and is not ours; ""
// where there is none.
func rival(dir string) string {
	for _, pattern := range []string{"*.json", "*.yaml"} { // what runtimes read
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			if filepath.Base(file) == FileName && !theirs(file) {
				continue
			}
			if text, err := os.ReadFile(file); err == nil && kindLine.Match(text) {
				return file
			}
		}
	}
	return ""
}

// theirs says whether a file of our name has what ours never has, hooks, which
// NVIDIA's always has.
func theirs(file string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var spec specs.Spec
	return json.Unmarshal(text, &spec) != nil || len(spec.ContainerEdits.Hooks) > 0
}
