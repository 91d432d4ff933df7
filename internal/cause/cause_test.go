package cause

import (
	"strings"
	"testing"
)

func TestCause(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, log, want string }{
		{"nothing", "", ""},
		{"the first error and not the last", "  CC x.o\nelf.h:10:10: fatal error: gelf.h: No such file or directory\ncompilation terminated.\nx.c:3: error: later\nmake[2]: *** [Makefile:9: x.o] Error 1\nmake: *** [Makefile:1: y] Error 2\n", "elf.h:10:10: fatal error: gelf.h: No such file or directory"},
		{"make's own stop", "Makefile:1137: *** \"Cannot generate ORC metadata, please install libelf-dev\".  Stop.\nmake: *** [Makefile:219: __sub-make] Error 2\n", "Makefile:1137: *** \"Cannot generate ORC metadata, please install libelf-dev\".  Stop."},
		{"a tree that is not clean", "***\n*** The source tree is not clean, please run 'make ARCH=x86_64 mrproper'\n*** in /opt/share/linux\n***\nmake[1]: *** [Makefile:562: outputmakefile] Error 1\n", "*** The source tree is not clean, please run 'make ARCH=x86_64 mrproper'"},
		{"only make's words", "  CC x.o\nmake[1]: *** [Makefile:9: x.o] Error 1\nmake: *** [Makefile:1: y] Error 2\n", "make[1]: *** [Makefile:9: x.o] Error 1"},
		{"a missing goal", "make: *** No rule to make target 'modules_prepare'.  Stop.\n", "make: *** No rule to make target 'modules_prepare'.  Stop."},
		{"make waits", "make[2]: *** Waiting for unfinished jobs....\nx.c:3:1: error: real\nmake: *** [Makefile:1: y] Error 2\n", "x.c:3:1: error: real"},
		{"make waits, and says no more", "make[1]: *** [Makefile:9: x.o] Error 1\nmake[1]: *** Waiting for unfinished jobs....\n", "make[1]: *** [Makefile:9: x.o] Error 1"},
		{"what a shell cannot read, as Linux 6.18 said it", "make[1]: *** Waiting for unfinished jobs....\n/bin/sh: 1: cannot open kernel/sched/rq-offsets.s: No such file\nmake[1]: *** [/linux/Kbuild:46: include/generated/rq-offsets.h] Error 2\n", "/bin/sh: 1: cannot open kernel/sched/rq-offsets.s: No such file"},
		{"the compiler after a script", "sed: can't read x: No such file or directory\nx.c:3:1: error: real\n", "x.c:3:1: error: real"},
		{"a script alone", "  GEN y\nsed: can't read x: No such file or directory\ndone\n", "sed: can't read x: No such file or directory"},
		{"a warning last", "one\nx.c:1:2: warning: unused\n", "one"},
		{"no error at all", "one\ntwo", "two"},
		{"a line without end", strings.Repeat("x", 1000) + " error: y\n", strings.Repeat("x", maxLine)},
	} {
		t.Run(test.name, func(t *testing.T) {
			// However the writes fall, the lines are the same.
			for _, size := range []int{1, 7, 4096} {
				var f Finder
				for rest := test.log; rest != ""; {
					n := min(size, len(rest))
					if wrote, err := f.Write([]byte(rest[:n])); wrote != n || err != nil {
						t.Fatalf("Write = %d, %v", wrote, err)
					}
					rest = rest[n:]
				}
				if got := f.Cause(); got != test.want {
					t.Errorf("by %d bytes: %q, want %q", size, got, test.want)
				}
			}
		})
	}
}
