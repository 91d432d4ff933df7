package pkg_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// byPath are the functions, by their packages, that open, change or look for what a
// path names, and follow the links on its way.
var byPath = map[string][]string{
	"os": {
		"Open", "OpenFile", "OpenInRoot", "OpenRoot", "Create", "CreateTemp", "MkdirTemp", "Mkdir", "MkdirAll", "Remove", "RemoveAll",
		"Rename", "Symlink", "Link", "Readlink", "ReadFile", "WriteFile", "ReadDir", "Stat", "Lstat", "Chown", "Lchown", "Chmod",
		"Chtimes", "Truncate", "DirFS", "CopyFS",
	},
	"filepath": {"Glob", "Walk", "WalkDir", "EvalSymlinks"},
	"unix": {
		"Open", "Creat", "Mkdir", "Rmdir", "Unlink", "Rename", "Symlink", "Link", "Readlink", "Stat", "Lstat", "Chown", "Lchown", "Chmod",
		"Truncate", "Utimes", "Mknod", "Openat", "Openat2", "Access",
	},
	"elf": {"Open"}, "osfs": {"New"}, "zip": {"OpenReader"}, "parser": {"ParseFile"},
}

// notTheShare are the files that may use them, for what is not in a share. What is
// in one goes through package beneath, which follows no link and does all as the
// share's owner.
var notTheShare = map[string]string{
	"internal/testkit":                    "helps tests",
	"internal/docs":                       "helps tests",
	"internal/gittest":                    "helps tests",
	"internal/ko/ko.go":                   "Open is for a host's own modules, and links among them are the host's",
	"internal/command/files.go":           "the container's own files",
	"internal/command/left.go":            "a host's build tree",
	"internal/confine":                    "a view of the container's files is made of them; what is handed over is opened by descriptor",
	"internal/lesser":                     "what the user names, before anything is done with it",
	"internal/spill":                      "a file without a name in the container's /tmp",
	"pkg/job/host.go":                     "captures and archives go where the user says, and what is unpacked to the container's /tmp",
	"pkg/job/registry.go":                 "an archive that the user names, and what the image has to run",
	"pkg/job/cluster.go":                  "a capture is packed in the container's /tmp",
	"pkg/job/image.go":                    "the copy of an image is in the container's /tmp",
	"pkg/kernel/archive.go":               "a capture is unpacked in the container's /tmp",
	"pkg/kernel/root.go":                  "a host's files, looked for beneath its root",
	"pkg/kernel/hosttree.go":              "a host's build tree",
	"pkg/kernel/hosttree":                 "a host's build tree is read; the copy is made through package beneath",
	"pkg/kernel/intree.go":                "a host's own modules",
	"pkg/kernel/staged/capture.go":        "a partition of the host's is mounted in the container's /tmp",
	"pkg/kernel/staged/stagedtest":        "helps tests",
	"pkg/kernel/source/partial/mirror.go": "a git repository that the user names, which go-git reads",
	"pkg/cuda/conftest/standin":           "what it opens is opened among the driver's own programs, confined like these",
	"pkg/cuda/userspace/discover.go":      "a driver that is installed on a host",
	"pkg/modules/signature/load.go":       "keys and certificates that the user names",
	"pkg/share/share.go":                  "the share itself, before anything in it",
	"pkg/cluster/cluster.go":              "a manifest that the user names",
	"pkg/registry/remote.go":              "certificates that the user names",
	"pkg/registry/runtime.go":             "what the image has to run",
	"pkg/job/jobs.go":                     "/sys/fs/cgroup of the container",
	"pkg/sysext":                          "builder's own file, in the image",
	"pkg/nextkernel":                      "captures are in the container's /tmp, or in a folder that two containers of a pod share",
	"pkg/node/access.go":                  "the host's folders",
	"pkg/node/bounds.go":                  "the host's folders",
	"pkg/node/trust.go":                   "folders of root's, and those above the share on the host",
	"pkg/share/writers.go":                "who can write to the folders above the share",
	"pkg/modules/signature/detached.go":   "certificates that the user names",
	"pkg/node/turn.go":                    "/run of the host",
	"pkg/node/devices":                    "the host's /dev",
	"pkg/node/daemons":                    "the host's /proc, and what daemons leave in /run",
	"pkg/node/features.go":                "a folder of the host's that Node Feature Discovery reads",
	"pkg/node/link.go":                    "/run of the host",
	"pkg/node/stay.go":                    "/run of the host, and the container's /tmp",
	"pkg/node/live":                       "the running kernel's /proc, /sys and /dev",
	"pkg/node/load.go":                    "the host's folders",
	"pkg/node/equip.go":                   "the share's own path",
	"pkg/node/place.go":                   "/run of the host",
	"pkg/node/provider.go":                "the host's folders",
}

// TestSharesAreOpenedByDescriptor: a path in a share is somebody's who may be
// hostile, and who may exchange a folder for a link at any time.
func TestSharesAreOpenedByDescriptor(t *testing.T) {
	used := map[string]bool{}
	for _, name := range sources(t) {
		if strings.HasPrefix(name, "internal/beneath/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := s.X.(*ast.Ident)
			if !ok || !slices.Contains(byPath[pkg.Name], s.Sel.Name) {
				return true
			}
			for place := range notTheShare {
				if name == place || strings.HasPrefix(name, place+"/") {
					used[place] = true
					return true
				}
			}
			t.Errorf("%s uses %s.%s: what is in a share is opened through internal/beneath; what is not is listed in this test, with the reason", name, pkg.Name, s.Sel.Name)
			return true
		})
	}
	for place := range notTheShare {
		if !used[place] {
			t.Errorf("%s is listed, and opens nothing by its path", place)
		}
	}
}
