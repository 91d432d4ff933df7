package devices

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChannels lists device files, and nothing else of their names. Only root can make
// one; a link to one is none.
func TestChannels(t *testing.T) {
	t.Parallel()
	dev := t.TempDir()
	if got := Channels(dev); got != nil {
		t.Errorf("of no folder: %q", got)
	}
	dir := filepath.Join(dev, channelsDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"channel1", "channelx", "README"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "channel2")); err != nil {
		t.Fatal(err)
	}
	if got := Channels(dev); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
