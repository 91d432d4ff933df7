package share

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/k8sp/cuda/internal/confine"
	"github.com/k8sp/cuda/pkg/stage"
)

// plainVariable tells this program, begun again, where the share is; see Plain.
const plainVariable = "_BUILDER_SHARE_AT"

// Plain has a build get along with a share whose path has characters in it that make
// and the shell take for their own: a space, for example. The program begins again
// in a mount namespace of its own, in which the share is at a plain path too, and
// there Plain returns that path. Where mounts are not allowed, the error is the usage
// error that Buildable gives, with what was in the way. Any other path is returned as
// it is.
func Plain(dir string) (string, error) {
	if !strings.ContainsFunc(dir, special) {
		return dir, nil
	}
	if at := os.Getenv(plainVariable); at != "" {
		return at, nil
	}
	if strings.ContainsFunc(dir, escaped) {
		return "", notPlain(dir, errors.New("such a character would not be told from others in a log"))
	}
	return "", notPlain(dir, confine.Again(dir, plainVariable))
}

// Shown is what Plain's caller writes to in place of w: the share has there the path
// that its user gave it.
func Shown(w io.Writer, dir string) io.Writer {
	at := os.Getenv(plainVariable)
	if at == "" {
		return w
	}
	return &shown{w, strings.NewReplacer(at, dir)}
}

type shown struct {
	io.Writer
	replacer *strings.Replacer
}

// Write takes whole lines.
func (s *shown) Write(line []byte) (int, error) {
	if _, err := s.replacer.WriteString(s.Writer, string(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// special says whether a character means something to make or to the shell.
func special(r rune) bool {
	return r <= ' ' || strings.ContainsRune("!\"#$%&'()*,:;<=>?[\\]^`{|}~\x7f", r)
}

// escaped says whether a character is written as others in JSON, or on a terminal.
func escaped(r rune) bool { return r < ' ' || strings.ContainsRune("\"\\\x7f", r) }

func notPlain(dir string, why error) error {
	i := strings.IndexFunc(dir, special)
	reason := fmt.Sprintf("the share's path %q has %q in it, and no kernel's build gets along with that", dir, dir[i:i+1])
	if why != nil {
		reason += fmt.Sprintf("; nor can it be shown at another path here (%v)", why)
	}
	return stage.New(stage.Usage, reason,
		"mount the share at a path of letters, digits and /._+-, as /opt/share is: docker run -v DIR:/opt/share, whatever DIR is called")
}
