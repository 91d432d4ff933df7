package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProcVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text      string
		release, banner string
		builder         string
		compiler        Compiler
	}{
		{
			name:    "debian 12",
			text:    "Linux version 6.1.0-49-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.174-1 (2026-05-26)\n",
			release: "6.1.0-49-amd64",
			builder: "debian-kernel@lists.debian.org",
			banner:  "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40",

			compiler: Compiler{Name: "gcc", Major: 12, Version: "12.2.0"},
		},
		{
			name:    "flatcar",
			text:    "Linux version 6.12.103-flatcar (build@pony-truck.infra.kinvolk.io) (x86_64-cros-linux-gnu-gcc (Gentoo Hardened 13.3.1_p20240614 p17) 13.3.1 20240614, GNU ld (Gentoo 2.44 p1) 2.44.0) #1 SMP PREEMPT_DYNAMIC",
			release: "6.12.103-flatcar",
			builder: "build@pony-truck.infra.kinvolk.io",
			banner:  "x86_64-cros-linux-gnu-gcc (Gentoo Hardened 13.3.1_p20240614 p17) 13.3.1 20240614, GNU ld (Gentoo 2.44 p1) 2.44.0",

			compiler: Compiler{Name: "gcc", Major: 13, Version: "13.3.1"},
		},
		{
			name:    "coreos 4.19",
			text:    "Linux version 4.19.78-coreos (jenkins@ip-10-7-32-103) (gcc version 8.3.0 (Gentoo Hardened 8.3.0-r1 p1.1)) #1 SMP Mon Oct 14 22:56:39 -00 2019",
			release: "4.19.78-coreos",
			builder: "jenkins@ip-10-7-32-103",
			banner:  "gcc version 8.3.0 (Gentoo Hardened 8.3.0-r1 p1.1)",

			compiler: Compiler{Name: "gcc", Major: 8, Version: "8.3.0"},
		},
		{
			name:    "coreos 4.7, a space before the end",
			text:    "Linux version 4.7.3-coreos-r2 (jenkins@jenkins-os-executor-1) (gcc version 4.9.4 (Gentoo Hardened 4.9.4 p1.0, pie-0.6.4) ) #1 SMP Tue Nov 1 01:38:43 UTC 2016",
			release: "4.7.3-coreos-r2",
			builder: "jenkins@jenkins-os-executor-1",
			banner:  "gcc version 4.9.4 (Gentoo Hardened 4.9.4 p1.0, pie-0.6.4) ",

			compiler: Compiler{Name: "gcc", Major: 4, Version: "4.9.4"},
		},
		{
			name:    "fedora's gcc names itself in parentheses",
			text:    "Linux version 6.8.5-301.fc40.x86_64 (mockbuild@1234) (gcc (GCC) 14.0.1 20240411 (Red Hat 14.0.1-0), GNU ld version 2.41-34.fc40) #1 SMP",
			release: "6.8.5-301.fc40.x86_64",
			builder: "mockbuild@1234",
			banner:  "gcc (GCC) 14.0.1 20240411 (Red Hat 14.0.1-0), GNU ld version 2.41-34.fc40",

			compiler: Compiler{Name: "gcc", Major: 14, Version: "14.0.1"},
		},
		{
			name:    "clang",
			text:    "Linux version 6.6.1 (me@here) (Ubuntu clang version 14.0.0-1ubuntu1, Ubuntu LLD 14.0.0) #1 SMP",
			release: "6.6.1",
			builder: "me@here",
			banner:  "Ubuntu clang version 14.0.0-1ubuntu1, Ubuntu LLD 14.0.0",

			compiler: Compiler{Name: "clang", Major: 14, Version: "14.0.0"},
		},
		{
			name:    "clang with its repository",
			text:    "Linux version 6.6.1 (me@here) (clang version 16.0.6 (https://github.com/llvm/llvm-project.git 7cbf1a25), LLD 16.0.6) #1 SMP",
			release: "6.6.1",
			builder: "me@here",
			banner:  "clang version 16.0.6 (https://github.com/llvm/llvm-project.git 7cbf1a25), LLD 16.0.6",

			compiler: Compiler{Name: "clang", Major: 16, Version: "16.0.6"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := parseBanner(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if v.release != c.release || v.builder != c.builder || v.compiler != c.banner {
				t.Errorf("got %q, %q, %q", v.release, v.builder, v.compiler)
			}
			c.compiler.Banner = c.banner
			got, err := ParseCompiler(v.compiler)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.compiler, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseCompilerRefuses(t *testing.T) {
	t.Parallel()
	for _, banner := range []string{"", "gcc", "icc 12.1.0", "gcc (13.2.0)", "((((", "))))gcc", "gcc version x.y"} {
		if got, err := ParseCompiler(banner); err == nil {
			t.Errorf("%q: no error, got %+v", banner, got)
		}
	}
}

func TestParseProcVersionWithoutBanner(t *testing.T) {
	t.Parallel()
	v, err := parseBanner("Linux version 6.1.0 (a@b) (gcc 12.2.0 #1 SMP")
	if err != nil || v.release != "6.1.0" || v.compiler != "" {
		t.Errorf("got %+v, %v", v, err)
	}
	if _, err := parseBanner("FreeBSD 14.0"); err == nil {
		t.Error("FreeBSD was taken for Linux")
	}
}
