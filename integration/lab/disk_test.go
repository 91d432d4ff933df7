package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	empty := DiskUse(dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	once := DiskUse(dir)
	if once < empty+1<<20 || once > empty+1<<21 {
		t.Errorf("a file of 1 MiB takes %d bytes", once-empty)
	}
	if err := os.Link(file, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if linked := DiskUse(dir, filepath.Join(dir, "absent")); linked > once+1<<16 {
		t.Errorf("a second name of it takes another %d bytes", linked-once)
	}
}
