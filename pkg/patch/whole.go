package patch

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// hunkHeader is where the lines of a hunk begin, with how many it has of the old file
// and of the new; one where it does not say.
var hunkHeader = regexp.MustCompile(`^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@`)

// whole counts the hunks of a patch. The parser passes over whatever it does not know
// between two files, as mails have words there; an error is that this looks like a part
// of a change, which would be left out: a hunk with more lines than its header says, a
// torn header. What is wrong within a hunk the parser says.
func whole(text []byte) (hunks int, err error) {
	var lines []string
	for line := range bytes.Lines(text) {
		lines = append(lines, strings.TrimSuffix(string(line), "\n"))
	}
	var (
		was, is int // lines of the hunk that are still to come
		named   int // the line that names a file of which there was no hunk yet; 0 for none
		inFile  bool
	)
	refuse := func(at int, what string) (int, error) { return 0, fmt.Errorf("line %d: %s", at, what) }
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if was > 0 || is > 0 {
			switch {
			case line == "" || line[0] == ' ':
				was, is = was-1, is-1
			case line[0] == '-':
				was--
			case line[0] == '+':
				is--
			case line[0] != '\\':
				return hunks, nil // of a hunk that ends too early
			}
			if was < 0 || is < 0 {
				return refuse(i+1, "the hunk has more lines than its header says")
			}
			continue
		}
		begins := strings.HasPrefix(line, "--- ") && i+1 < len(lines) && strings.HasPrefix(lines[i+1], "+++ ")
		header := hunkHeader.FindStringSubmatch(line)
		ends := strings.HasPrefix(line, "diff --git ") || line == "-- " || line == "--" || strings.HasPrefix(line, "From ")
		switch {
		case (begins || ends) && named > 0:
			return refuse(named, "there is no hunk of this file")
		case begins && strings.HasSuffix(line, "\r"), strings.HasPrefix(line, "diff --git ") && strings.HasSuffix(line, "\r"):
			return refuse(i+1, "it has Windows line ends (CR LF): make it with those of Unix, or convert it with dos2unix")
		case begins:
			named, inFile = i+1, true
			i++
		case header != nil && !inFile:
			return refuse(i+1, "the hunk is of no file")
		case header != nil:
			hunks, named = hunks+1, 0
			was, is = count(header[1]), count(header[2])
		case strings.HasPrefix(line, "@@"):
			return refuse(i+1, "this is no header of a hunk, @@ -LINE,COUNT +LINE,COUNT @@")
		case ends:
			inFile = false // until its names, if it is git's; or the words of a mail
		case inFile && (strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-")):
			return refuse(i+1, "this is of no hunk: the one before it has more lines than its header says, or the next file's names are torn")
		case strings.HasPrefix(line, "+++ "):
			return refuse(i+1, "the next file's names are torn")
		}
	}
	if named > 0 {
		return refuse(named, "there is no hunk of this file")
	}
	return hunks, nil
}

// count is a number of lines in a hunk's header.
func count(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 1 // "" is; what is too large the parser refuses
	}
	return n
}
