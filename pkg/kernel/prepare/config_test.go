package prepare

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
)

func TestHostConfigMakesTheRelease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, release, version string
		files                  map[string]string // localversion*
		config, want           string            // "" for no config
		wantErr                bool
	}{
		{
			name: "a suffix that the config does not have", release: "4.7.3-coreos-r2", version: "4.7.3",
			config: "CONFIG_A=y\n", want: "CONFIG_A=y\nCONFIG_LOCALVERSION=\"-coreos-r2\"\n# CONFIG_LOCALVERSION_AUTO is not set\n",
		},
		{
			name: "a part of it is EXTRAVERSION", release: "4.7.3-coreos-r2", version: "4.7.3-coreos",
			config: "CONFIG_LOCALVERSION=\"\"\nCONFIG_A=y", want: "CONFIG_A=y\nCONFIG_LOCALVERSION=\"-r2\"\n# CONFIG_LOCALVERSION_AUTO is not set\n",
		},
		{
			name: "a plus", release: "3.17.2+", version: "3.17.2",
			config: "# CONFIG_LOCALVERSION_AUTO is not set\nCONFIG_A=y\n", want: "CONFIG_A=y\nCONFIG_LOCALVERSION=\"+\"\n# CONFIG_LOCALVERSION_AUTO is not set\n",
		},
		{
			name: "no suffix", release: "4.0.5", version: "4.0.5",
			config: "CONFIG_LOCALVERSION_AUTO=y\n", want: "CONFIG_LOCALVERSION=\"\"\n# CONFIG_LOCALVERSION_AUTO is not set\n",
		},
		{
			name: "files of the tree come first", release: "6.1.192-rt3-coreos", version: "6.1.192",
			files:  map[string]string{"localversion-rt": "-rt3\n", "localversion-rt~": "-rt2\n"},
			config: "CONFIG_A=y\n", want: "CONFIG_A=y\nCONFIG_LOCALVERSION=\"-coreos\"\n# CONFIG_LOCALVERSION_AUTO is not set\n",
		},
		{
			name: "a file that the host's kernel lacked", release: "6.1.192-coreos", version: "6.1.192",
			files: map[string]string{"localversion-rt": "-rt3\n"}, config: "CONFIG_A=y\n", wantErr: true,
		},
		{
			name: "another option of a like name stays", release: "4.0.5", version: "4.0.5",
			config: "CONFIG_LOCALVERSION_OTHER=y\n", want: "CONFIG_LOCALVERSION_OTHER=y\nCONFIG_LOCALVERSION=\"\"\n# CONFIG_LOCALVERSION_AUTO is not set\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range test.files {
				write(t, dir+"/"+name, text)
			}
			target := kernel.Target{
				Release: kernel.Release{Full: test.release},
				Config:  kernel.Config{Text: []byte(test.config)},
			}
			got, err := hostConfig(target, source.Tree{Dir: dir, Version: test.version})
			if (err != nil) != test.wantErr {
				t.Fatalf("error %v, want one: %v", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if string(target.Config.Text) != test.config {
				t.Errorf("the target's own config was changed to %q", target.Config.Text)
			}
		})
	}
}
