package share

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
)

// All that builder writes in a share has its path here, and [Identify] says of a
// path what it is. What is named after a host's or a driver's words is named by
// those who know them, in the folders below.

// Dir is the share itself. What is in it and has no name here is the user's.
func (s *Share) Dir() string { return s.dir }

// CUDA is where the user puts the toolkit and the driver packages. builder
// never writes there.
func (s *Share) CUDA() string { return filepath.Join(s.dir, cudaFolder) }

// Linux is the kernel tree, clean, for the user to look at. It is fetched again
// when it is needed, unless somebody has worked in it.
func (s *Share) Linux() string { return filepath.Join(s.dir, linuxFolder) }

// Modules is where results are published, each as [Share.Result]. What is
// published stays.
func (s *Share) Modules() string { return filepath.Join(s.dir, modulesFolder) }

// Release is the part of Modules with the results for a kernel's release.
func (s *Share) Release(release string) string { return filepath.Join(s.Modules(), release) }

// Result is the link to the modules of a driver's version for a release.
func (s *Share) Result(release, version string) string {
	return filepath.Join(s.Release(release), version)
}

// Drivers is where the drivers' user-space sides are published, each as
// [Share.Driver]. What is published stays.
func (s *Share) Drivers() string { return filepath.Join(s.dir, driverFolder) }

// Driver is the link to the user-space side of a driver's version.
func (s *Share) Driver(version string) string { return filepath.Join(s.Drivers(), version) }

// CurrentDriver is a link to a host's own link to what is loaded there, whose path is
// the same on all the hosts of a share.
func (s *Share) CurrentDriver() string { return filepath.Join(s.Drivers(), "current") }

// CDI is where a CDI specification is left for which no folder of the host's is
// mounted. A load writes it again.
func (s *Share) CDI() string { return filepath.Join(s.dir, cdiFolder) }

// Loaded is where builders before this one recorded what loads changed on hosts, as
// HOST/BOOT.json, and took turns. Nothing there is obeyed: whoever owns the share can
// write it.
func (s *Share) Loaded() string { return filepath.Join(s.dir, loadedFolder) }

// OldRecords are those of a boot in Loaded, for people: they are not opened, nor is
// any link followed.
func (s *Share) OldRecords(boot string) (list []string) {
	if info, err := beneath.Lstat(s.Loaded()); err != nil || !info.IsDir() {
		return nil
	}
	hosts, _ := beneath.ReadDir(s.Loaded())
	for _, host := range hosts {
		path := filepath.Join(s.Loaded(), host.Name(), boot+recordSuffix)
		if !host.IsDir() {
			continue
		}
		if _, err := beneath.Lstat(path); err == nil {
			list = append(list, path)
		}
	}
	return list
}

// Private is .builder: everything that is safe to delete when nothing runs.
func (s *Share) Private() string { return filepath.Join(s.dir, privateFolder) }

// Logs is the part of Private that holds the logs of what builds run.
func (s *Share) Logs() string { return filepath.Join(s.Private(), logsFolder) }

// Log is the last log of a tool's for a release and a driver's version. It cannot
// be made again, as the next run writes another.
func (s *Share) Log(tool, release, version string) string {
	return filepath.Join(s.Logs(), tool+"-"+release+"-"+version+logSuffix)
}

// Exports is the part of Private that holds what hosts' modules were found to
// export, as RELEASE-DIGEST.symvers. It is read again from the modules.
func (s *Share) Exports() string { return filepath.Join(s.Private(), exportsFolder) }

// Downloads is the part of Private that holds what was fetched: driver packages,
// by the names that their maker gives them, and kernel images. It is fetched
// again when it is needed.
func (s *Share) Downloads() string { return filepath.Join(s.Private(), downloadsFolder) }

// Image is where a kernel image of a SHA-256 or SHA-512, in hexadecimal, is kept.
func (s *Share) Image(digest string) string {
	return filepath.Join(s.Downloads(), imagePrefix+digest)
}

// Prepared is the part of Private that holds the prepared kernel trees, as
// RELEASE-DIGEST. They are made again in seconds.
func (s *Share) Prepared() string { return filepath.Join(s.Private(), preparedFolder) }

// Answers is the part of Private that holds what compilers answered to drivers' tests of
// prepared trees, as RELEASE-DIGEST.answers. They are asked again in a minute each.
func (s *Share) Answers() string { return filepath.Join(s.Private(), answersFolder) }

// AnswersOf is where those are kept that belong to a digest, in hexadecimal.
func (s *Share) AnswersOf(release, digest string) string {
	return filepath.Join(s.Answers(), release+"-"+digest[:DigestDigits]+answersSuffix)
}

// ReleaseOfAnswers is the release in such a path.
func ReleaseOfAnswers(path string) string {
	name := filepath.Base(path)
	return name[:max(0, strings.LastIndex(name, "-"))]
}

// Digests is the part of Private that holds what the driver packages' digests
// were found to be. They are read again from the packages.
func (s *Share) Digests() string { return filepath.Join(s.Private(), digestsFolder) }

// Digest is where the digest of a package is noted that is at path. One that was
// downloaded and one of the user's may have the same name.
func (s *Share) Digest(path string) string {
	return filepath.Join(s.Digests(), filepath.Base(filepath.Dir(path)), filepath.Base(path)+recordSuffix)
}

// pullFile is where [Share.NotePull] writes the last pull down.
func (s *Share) pullFile() string { return filepath.Join(s.Private(), pulledName+recordSuffix) }

// Scratch is the part of Private that the run which holds the lock works in; see
// [Lock.Scratch]. The next run clears up what is left there.
func (s *Share) Scratch() string { return filepath.Join(s.Private(), scratchFolder) }

// The folders of a share, and of Private.
const (
	cudaFolder      = "cuda"
	linuxFolder     = "linux"
	modulesFolder   = "modules"
	driverFolder    = "driver"
	cdiFolder       = "cdi"
	loadedFolder    = "loaded"
	privateFolder   = ".builder"
	logsFolder      = "logs"
	exportsFolder   = "exports"
	downloadsFolder = "downloads"
	preparedFolder  = "prepared"
	digestsFolder   = "digests"
	answersFolder   = "answers"
	scratchFolder   = "scratch"
	pulledName      = "pulled"
)

// Content is the path of the folder that a published link leads to, after the
// digest of what is in it; n counts those of the same digest that were damaged. The
// name does not begin with a dot, or what uploads artifacts would leave the folder out,
// and has an @, which no release and no version has.
func Content(link, digest string, n int) string {
	name := filepath.Base(link) + "@" + digest
	if n > 0 {
		name += "." + strconv.Itoa(n)
	}
	return filepath.Join(filepath.Dir(link), name)
}

// DigestDigits is how many hexadecimal digits a digest has in a name.
const DigestDigits = 12

// What names of files begin or end with.
const (
	recordSuffix  = ".json"
	logSuffix     = ".log"
	answersSuffix = ".answers"
	imagePrefix   = "kernel-image-"
)

// The locks of the share, in Private: see lock.go and folderlock.go. The two
// files stay, as whoever waits for one has it open.
const (
	lockFile    = "lock"
	rangeFile   = "lock.range"
	heldFolder  = "lock.d"
	minePrefix  = "lock-"
	deadPrefix  = "dead-"
	leftPrefix  = "left-"
	probePrefix = "writable-"
)

func (s *Share) lockFile() string   { return filepath.Join(s.Private(), lockFile) }
func (s *Share) rangeFile() string  { return filepath.Join(s.Private(), rangeFile) }
func (s *Share) lockFolder() string { return filepath.Join(s.Private(), heldFolder) }

// deadFolder is where a dead holder's folder is moved, and leftFolder where a
// holder's own is when it leaves.
func (s *Share) deadFolder(token string) string { return filepath.Join(s.Private(), deadPrefix+token) }
func (s *Share) leftFolder(token string) string { return filepath.Join(s.Private(), leftPrefix+token) }
