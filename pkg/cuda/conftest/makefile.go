package conftest

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/pkg/cuda/conftest/standin"
)

// LookOnce is a makefile to read before a driver's Kbuild, by which make looks at what
// conftest.sh makes once. Of a kernel before 6.2, kbuild says `.SECONDARY:` of all files, to
// keep those that are made on the way, and GNU make looks at what such a file is made from
// again wherever it is named. NVIDIA's hundreds of tests each wait for one header that is
// made from a hundred files, and hundreds of objects for all of these: nine million looks,
// nine seconds of one CPU while nothing else runs, at the start of each build. The files
// that all of it goes through are said to be none on the way, as newer kernels say of all
// files. Make before 4.4 takes the name for a target that nobody asks for.
//
// Source: GNU make, src/remake.c (check_dep) and src/file.c (snap_file); Linux,
// scripts/Kbuild.include, before and after 6.2.
const LookOnce = `
.NOTINTERMEDIATE: $(addprefix $(obj)/conftest/,uts_release headers.h functions.h symbols.h types.h generic.h macros.h patches.h)
`

// Call is how the stand-in is called.
type Call struct {
	// Program is a program that is the stand-in: builder itself.
	Program string
	// Known is a file that it reads, which [Answers.Known] are the content of, and Notes
	// a folder that it may write to, which [Answers.Learn] reads.
	Known, Notes string
}

// Args are the command, before the compiler.
func (c Call) Args() []string { return []string{c.Program, standin.Word, c.Known, c.Notes} }

// Makefile is what to read before a driver's Kbuild, so that its conftest.sh, whose text
// is script, calls the stand-in in the place of the compiler. The error says why it had
// better not.
func (c Call) Makefile(kbuild, script []byte) ([]byte, error) {
	standin := strings.Join(c.Args(), " ")
	if !plain.MatchString(standin) {
		return nil, fmt.Errorf("make and a shell would not take %q for what it is", standin)
	}
	if rest := looks.ReplaceAll(script, nil); bytes.Contains(rest, []byte("conftest$$.o")) {
		return nil, errors.New("conftest.sh does more with an object file than to see whether it is there")
	}
	called := calls.FindAllSubmatch(kbuild, -1)
	if len(called) != 1 || len(compiler.FindAll(called[0][1], -1)) != 1 {
		return nil, errors.New("the driver's Kbuild does not call conftest.sh in a way that is known")
	}
	call := compiler.ReplaceAllLiteral(called[0][1], []byte(`"`+standin+` $(strip $(CC))"`))
	return fmt.Appendf(nil, "override NV_CONFTEST_CMD = %s\n", call), nil
}

var (
	plain = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_ -]+$`)
	// looks are what conftest.sh does with the object file of a text.
	looks = regexp.MustCompile(`\[ (! )?-f conftest\$\$\.o \]|\brm -f conftest\$\$\.o`)
	// calls finds the command by which Kbuild has conftest.sh run a test:
	//
	//	NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) \
	//	 "$(strip $(CC))" $(ARCH) $(NV_KERNEL_SOURCES) $(NV_KERNEL_OUTPUT)
	calls    = regexp.MustCompile(`(?m)^NV_CONFTEST_CMD[ \t]*:?=[ \t]*((?:[^\\\n]|\\\n)+)$`)
	compiler = regexp.MustCompile(`"\$\((?:strip \$\(CC\)|CC)\)"`)
)
