package share

import (
	"path"
	"regexp"
	"strings"
)

// Kind says to whom a path of a share belongs, and what becomes of it.
type Kind string

// The kinds of what is in a share.
const (
	// Users is the user's, and builder's only to read.
	Users Kind = "the user's"
	// Folder is one that builder makes for what is in it.
	Folder Kind = "a folder of builder's"
	// Published is a result, or one that another replaced.
	Published Kind = "published"
	// Record is of what load changed, or its lock, by a builder before this one: of
	// no use.
	Record Kind = "an earlier builder's record of load's"
	// Log is kept for people to read, or for who watches a fleet.
	Log Kind = "a log"
	// Cache is made again when it is needed.
	Cache Kind = "a cache"
	// Held is a lock of the share, or what a run tries the share with: it may be
	// in use, and is left behind where its run died.
	Held Kind = "a lock"
	// Leftover is what a run left that died while it wrote.
	Leftover Kind = "left behind"
	// Stranger is where only builder writes, and nothing that builder writes.
	Stranger Kind = "not builder's"
)

// Place is what a path of a share is.
type Place struct {
	Kind Kind
	// Whole says that all below the path is the same.
	Whole bool
}

// What names are made of: a release or version, the beginning of a digest, and, of
// what builders before this one recorded, a boot's UUID and a host's identity. They
// named a content's folder with a dot.
const (
	word    = `[A-Za-z0-9_][A-Za-z0-9_.+~-]*`
	twelve  = `[0-9a-f]{12}`
	boot    = `[0-9a-f-]{36}`
	host    = `([0-9a-f]{16}|unknown)`
	content = `(` + word + `@|\.` + word + `-)` + twelve + `(\.[0-9]+)?`
	private = `\.builder`
	held    = `(lock\.d|(` + minePrefix + `|` + deadPrefix + `|` + leftPrefix + `|` + probePrefix + `).+)`
)

// rule is what the paths are that match a pattern from end to end.
type rule struct {
	pattern *regexp.Regexp
	place   Place
}

func rules(kind Kind, whole bool, patterns ...string) []rule {
	var list []rule
	for _, pattern := range patterns {
		if whole {
			pattern += `(/.*)?`
		}
		list = append(list, rule{regexp.MustCompile(`^` + pattern + `$`), Place{Kind: kind, Whole: whole}})
	}
	return list
}

// known are the rules for all that has a name in layout.go; the first that fits
// counts.
var known = concat(
	rules(Users, true, cudaFolder),
	rules(Cache, true, linuxFolder, private+`/`+preparedFolder+`/`+word+`-`+twelve),
	rules(Leftover, true, private+`/`+scratchFolder),
	rules(Held, true, private+`/`+held),
	rules(Held, false, private+`/lock(\.range)?`),
	rules(Published, true, driverFolder+`/`+content, modulesFolder+`/`+word+`/`+content),
	rules(Published, false, driverFolder+`/`+word, modulesFolder+`/`+word+`/`+word, cdiFolder+`/`+word+`\.json`),
	rules(Record, false, loadedFolder+`/`+host+`/`+boot+`\.(json(\.unread(\.[0-9]+)?)?|lock)`),
	rules(Log, false, private+`/`+logsFolder+`/`+word+`\.log`, private+`/`+pulledName+`\.json`),
	rules(Cache, false,
		private+`/`+exportsFolder+`/`+word+`-`+twelve+`\.symvers`,
		private+`/`+answersFolder+`/`+word+`-`+twelve+`\.answers`,
		private+`/`+downloadsFolder+`/(`+imagePrefix+`(?:[0-9a-f]{64}){1,2}|`+word+`\.run)(\.part(\.json)?|\.sha256sum)?`,
		private+`/`+digestsFolder+`/[^/]+/`+word+`\.json`),
	rules(Folder, false, `\.`, modulesFolder, modulesFolder+`/`+word, driverFolder, cdiFolder, loadedFolder, loadedFolder+`/`+host,
		private, private+`/(`+logsFolder+`|`+exportsFolder+`|`+downloadsFolder+`|`+preparedFolder+`|`+answersFolder+`|`+digestsFolder+`(/[^/]+)?)`),
)

func concat(lists ...[]rule) []rule {
	var all []rule
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// unfinished is a file or link that was not renamed yet: package atomicfile's.
var unfinished = regexp.MustCompile(`^\.(.+)\.tmp-[0-9a-z]+$`)

// LinkOf is the name of the link that another entry beside it belongs to, by the
// entry's name: a folder as [Content] names one, or a link that was not renamed
// yet. It is "" for any other.
func LinkOf(name string) string {
	for _, pattern := range []*regexp.Regexp{contentName, unfinished} {
		if match := pattern.FindStringSubmatch(name); match != nil {
			return strings.Join(match[1:], "") // the one that is not empty
		}
	}
	return ""
}

var contentName = regexp.MustCompile(`^(?:([^.].*)@|\.(.+?)-)` + twelve + `(?:\.[0-9]+)?$`)

// Identify says what a path is, relative to the share and slash-separated. It
// knows by the name alone: whether a result is one that another replaced, and
// whether a lock is held, is to be seen in the share.
func Identify(name string) Place {
	if place, ok := identify(name); ok {
		return place
	}
	dir, base := path.Split(name)
	if match := unfinished.FindStringSubmatch(base); match != nil {
		if _, ok := identify(dir + match[1]); ok {
			return Place{Kind: Leftover}
		}
	}
	top, _, _ := strings.Cut(name, "/")
	if top == privateFolder || top == loadedFolder {
		if others(base) {
			return Place{Kind: Users}
		}
		return Place{Kind: Stranger}
	}
	return Place{Kind: Users}
}

func identify(name string) (Place, bool) {
	for _, r := range known {
		if r.pattern.MatchString(name) {
			return r.place, true
		}
	}
	return Place{}, false
}

// others says whether a name is one of those that systems give files of their
// own which they leave in any folder: macOS, and NFS for what is removed while
// it is open.
func others(base string) bool {
	return base == ".DS_Store" || strings.HasPrefix(base, "._") || strings.HasPrefix(base, ".nfs")
}
