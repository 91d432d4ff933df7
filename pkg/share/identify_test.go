package share

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	aBoot = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
	aHost = "0123456789abcdef"
)

// TestIdentifyKnowsTheLayout: all that layout.go names, or makes a name for, is
// known for what it is.
func TestIdentifyKnowsTheLayout(t *testing.T) {
	s := &Share{dir: "/opt/share"}
	digest := strings.Repeat("0a", 32)
	for path, want := range map[string]Kind{
		s.Dir():                             Folder,
		s.CUDA():                            Users,
		s.Linux():                           Cache,
		s.Modules():                         Folder,
		s.Release("6.1.0-coreos"):           Folder,
		s.Result("6.1.0-coreos", "535.1"):   Published,
		s.Drivers():                         Folder,
		s.Driver("535.1"):                   Published,
		s.CurrentDriver():                   Published,
		s.CDI():                             Folder,
		s.Loaded():                          Folder,
		s.Private():                         Folder,
		s.Logs():                            Folder,
		s.Log("prepare", "6.1.0+", "535.1"): Log,
		s.Exports():                         Folder,
		s.Answers():                         Folder,
		s.AnswersOf("6.1.0-coreos", digest): Cache,
		s.Downloads():                       Folder,
		s.Image(digest):                     Cache,
		s.Prepared():                        Folder,
		s.Digests():                         Folder,
		s.Digest("/opt/share/cuda/NVIDIA-Linux-x86_64-535.1.run"): Cache,
		s.pullFile():            Log,
		s.Scratch():             Leftover,
		s.lockFile():            Held,
		s.rangeFile():           Held,
		s.lockFolder():          Held,
		s.deadFolder("lock-12"): Held,
		s.leftFolder("lock-12"): Held,
		Content(s.Driver("535.1"), "0123456789ab", 0):                 Published,
		Content(s.Result("6.1.0-coreos", "535.1"), "0123456789ab", 3): Published,
	} {
		name, err := filepath.Rel(s.Dir(), path)
		if got := Identify(name); err != nil || got.Kind != want {
			t.Errorf("%s is %q, %v, want %q", path, got.Kind, err, want)
		}
	}
}

func TestIdentify(t *testing.T) {
	for name, want := range map[string]Place{
		"cuda/cuda_12.run":                                           {Kind: Users, Whole: true},
		"README.md":                                                  {Kind: Users},
		"modules.zip":                                                {Kind: Users},
		"linux/Makefile":                                             {Kind: Cache, Whole: true},
		"linux-6.1":                                                  {Kind: Users},
		"modules/6.1/535@0123456789ab/a.ko":                          {Kind: Published, Whole: true},
		"modules/6.1/535@0123456789ab.1":                             {Kind: Published, Whole: true},
		"driver/535@0123456789ab":                                    {Kind: Published, Whole: true},
		"modules/6.1/535@0123456789abc":                              {Kind: Users},
		"modules/6.1/.535-0123456789ab/a.ko":                         {Kind: Published, Whole: true},
		"modules/6.1/.535-0123456789ab.1":                            {Kind: Published, Whole: true},
		"modules/6.1/.535-0123456789abc":                             {Kind: Users},
		"modules/6.1/.535.tmp-1abc":                                  {Kind: Leftover},
		"modules/6.1/.mine":                                          {Kind: Users},
		"driver/.535.tmp-1abc":                                       {Kind: Leftover},
		"cdi/nvidia.com-gpu.json":                                    {Kind: Published},
		"cdi/.nvidia.com-gpu.json.tmp-12":                            {Kind: Leftover},
		"loaded/" + aHost:                                            {Kind: Folder},
		"loaded/" + aHost + "/" + aBoot + ".json":                    {Kind: Record},
		"loaded/" + aHost + "/" + aBoot + ".lock":                    {Kind: Record},
		"loaded/" + aHost + "/" + aBoot + ".json.unread.1":           {Kind: Record},
		"loaded/" + aHost + "/" + aBoot + ".json.unread.x":           {Kind: Stranger},
		"loaded/" + aHost + "/" + aBoot + ".lock.unread":             {Kind: Stranger},
		"loaded/" + aBoot + ".json":                                  {Kind: Stranger},
		"loaded/unknown":                                             {Kind: Folder},
		"loaded/unknown/" + aBoot + ".json":                          {Kind: Record},
		"loaded/others":                                              {Kind: Stranger},
		"loaded/" + aHost + "/." + aBoot + ".json.tmp-12":            {Kind: Leftover},
		"loaded/" + aHost + "/" + aBoot + ".txt":                     {Kind: Stranger},
		"loaded/" + aHost + "/notes":                                 {Kind: Stranger},
		"loaded/" + aHost + "/.notes.tmp-12":                         {Kind: Stranger},
		"loaded/.DS_Store":                                           {Kind: Users},
		".builder/lock.d/lock-12":                                    {Kind: Held, Whole: true},
		".builder/writable-12":                                       {Kind: Held, Whole: true},
		".builder/lock.old":                                          {Kind: Stranger},
		".builder/scratch/driver":                                    {Kind: Leftover, Whole: true},
		".builder/prepared/6.1.0-0123456789ab/Makefile":              {Kind: Cache, Whole: true},
		".builder/prepared/6.1.0":                                    {Kind: Stranger},
		".builder/exports/6.1.0-0123456789ab.symvers":                {Kind: Cache},
		".builder/answers/6.1.0-0123456789ab.answers":                {Kind: Cache},
		".builder/answers/.6.1.0-0123456789ab.answers.tmp-12":        {Kind: Leftover},
		".builder/answers/6.1.0.answers":                             {Kind: Stranger},
		".builder/downloads/NVIDIA-Linux-x86_64-535.1.run.part.json": {Kind: Cache},
		".builder/downloads/NVIDIA-Linux-x86_64-535.1.run.part":      {Kind: Cache},
		".builder/downloads/NVIDIA-Linux-x86_64-535.1.run.sha256sum": {Kind: Cache},
		".builder/downloads/notes.txt":                               {Kind: Stranger},
		".builder/digests/cuda/.x.json.tmp-1":                        {Kind: Leftover},
		".builder/digests/cuda":                                      {Kind: Folder},
		".builder/digests/cuda/deep/x.json":                          {Kind: Stranger},
		".builder/logs/notes":                                        {Kind: Stranger},
		".builder/bin":                                               {Kind: Stranger},
		".builder/._bin":                                             {Kind: Users},
		".builder/.nfs0001":                                          {Kind: Users},
	} {
		if got := Identify(name); got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
}

func TestLinkOf(t *testing.T) {
	for name, want := range map[string]string{
		"535@0123456789ab":      "535",
		"535-1@0123456789ab.2":  "535-1",
		".535@0123456789ab":     "",
		"@0123456789ab":         "",
		".535-0123456789ab":     "535",
		".535-1-0123456789ab.2": "535-1",
		".535.tmp-1abc":         "535",
		".535-0123456789":       "",
		".535-0123456789AB":     "",
		"535-0123456789ab":      "",
		".535":                  "",
	} {
		if got := LinkOf(name); got != want {
			t.Errorf("%s belongs to %q, want %q", name, got, want)
		}
	}
}
