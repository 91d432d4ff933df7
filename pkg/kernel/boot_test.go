package kernel

import "testing"

func TestBootID(t *testing.T) {
	t.Parallel()
	const boot = "0e8ac4a1-6b0c-4b2e-9d43-0f6a4c1e7b55"
	for text, ok := range map[string]bool{boot + "\n": true, "": false, "../../x": false, boot + "0": false} {
		got, err := BootID(openFiles(t, map[string]string{"proc/sys/kernel/random/boot_id": text}))
		if (err == nil) != ok || ok && got != boot {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
