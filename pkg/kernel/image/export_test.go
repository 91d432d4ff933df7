package image

import "fmt"

// What the tests, which are in a package of their own because imagetest imports
// this one, look at beside what is exported.
const (
	MaxWraps   = maxWraps
	MaxPayload = maxPayload
	MaxConfig  = maxConfig
	MaxExports = maxExports
	MaxNames   = maxNames
	MaxName    = maxName
)

var (
	FindConfig = findConfig
	Unpack     = unpack
)

// Unsound is what an image says that it cannot know, empty where it is sound.
func (i Image) Unsound() string {
	if !i.SymbolsKnown && (i.Symbols != nil || i.NamespacesKnown || i.CRCsKnown) {
		return fmt.Sprintf("%d symbols that are not known", len(i.Symbols))
	}
	for _, s := range i.Symbols {
		if !isIdentifier([]byte(s.Name)) || !printable([]byte(s.Namespace)) {
			return fmt.Sprintf("symbol %q in namespace %q", s.Name, s.Namespace)
		}
	}
	if i.StructModule < 0 || !printable([]byte(i.Banner)) || !printable([]byte(i.Release)) {
		return fmt.Sprintf("release %q, banner %q, struct module of %d bytes", i.Release, i.Banner, i.StructModule)
	}
	return ""
}
