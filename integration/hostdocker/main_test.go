package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
)

var pid = regexp.MustCompile(` docs-[0-9]+ `)

func TestArgv(t *testing.T) {
	t.Parallel()
	root := testkit.WriteTree(t, map[string]string{"boot/vmlinuz": "", "lib/modules/x": "", "etc/os-release": "", "proc/keys": ""})
	home := testkit.WriteTree(t, map[string]string{"share/x": "", "keys/x": ""})
	h := host{Image: "cuda:test", Checkout: home + "/share", Root: root, Folders: []string{home + "/share", home + "/keys"},
		Network: "host", Environ: []string{"A=b"}, Name: "docs"}
	const begins = "run --rm --name docs-PID --network host -v ROOT/proc:/host/proc:ro -e A=b "
	for _, test := range []struct{ args, want, says string }{
		{args: "build -t cuda .", want: "build -t cuda:test ."},
		{args: "run --privileged -v HOME/share:/opt/share cuda",
			want: begins + "--cap-add SYS_ADMIN --cap-add SYSLOG -v HOME/share:/opt/share cuda:test"},
		{args: "run --rm -it --cap-drop ALL --cap-add=SYSLOG -v /boot:/host/boot:ro --volume=/lib/modules:/host/lib/modules:ro -v /proc/keys:/host/proc/keys:ro cuda capture --rm -v x",
			want: begins + "--rm -it --cap-drop ALL --cap-add=SYSLOG -v ROOT/boot:/host/boot:ro --volume ROOT/lib/modules:/host/lib/modules:ro -v ROOT/proc/keys:/host/proc/keys:ro cuda:test capture --rm -v x"},
		{args: "run --name cuda -v HOME/keys/x:/keys:ro cuda verify cuda", want: begins + "--name cuda -v HOME/keys/x:/keys:ro cuda:test verify cuda"},
		{args: "run --no-such-option x cuda", want: begins + "--no-such-option x cuda:test"}, // docker's to refuse
		{args: "run --no-such-option -v HOME/share:/opt/share cuda", want: begins + "--no-such-option -v HOME/share:/opt/share cuda:test"},
		{args: "build -t other .", says: "does not build the image cuda"},
		{args: "build -t cuda HOME", says: "does not build the image cuda"},
		{args: "build --pull -t cuda .", says: "does not build the image cuda"},
		{args: "run --rm debian", says: "not of the image cuda"},
		{args: "run --rm", says: "not of the image cuda"},
		{args: "run --rm --name", says: "not of the image cuda"},
		{args: "push cuda", says: "neither build nor run"},
		{args: "run -v /boot:/host/bot:ro cuda", says: "builder looks for it at /host/boot"},
		{args: "run -v /boot:/host/boot cuda", says: "only reads"},
		{args: "run -v /usr/lib:/host/usr/lib:ro cuda", says: "has no /usr/lib"},
		{args: "run -v /boot/../proc:/host/proc:ro cuda", says: "no path of the host's"},
		{args: "run -v share:/opt/share cuda", says: "no path of the host's"},
		{args: "run -v HOME/share/none:/opt/share cuda", says: "no such file"},
		{args: "run -v HOME/shared:/opt/share cuda", says: "has no HOME/shared"},
		{args: "run -vHOME/share:/opt/share cuda", says: "written as -v HERE:THERE"},
		{args: "run --mount type=bind cuda", says: "written as -v HERE:THERE"},
	} {
		names := strings.NewReplacer("HOME", home, "ROOT", root, "PID", "")
		argv, err := h.argv(strings.Fields(names.Replace(test.args)), h.Checkout)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), names.Replace(test.says)) {
				t.Errorf("%s: %v, want %q", test.args, err, test.says)
			}
			continue
		}
		got := pid.ReplaceAllString(strings.Join(argv, " "), " docs- ")
		if diff := cmp.Diff(names.Replace(test.want), got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", test.args, err, diff)
		}
	}
	if _, err := h.argv([]string{"build", "-t", "cuda", "."}, os.TempDir()); err == nil {
		t.Error("it builds the image of another folder")
	}
}
