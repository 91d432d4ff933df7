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

func TestHostID(t *testing.T) {
	t.Parallel()
	const dmi = "sys/class/dmi/id/"
	one := map[string]string{dmi + "product_uuid": "4c4c4544-0042\n", dmi + "board_serial": "B1\n", "proc/version": "x", "etc/machine-id": "aaa\n"}
	id := func(host map[string]string) string { return HostID(openFiles(t, host)) }
	first := id(one)
	if len(first) != 16 {
		t.Fatalf("%q", first)
	}
	for name, change := range map[string]struct {
		files map[string]string
		same  bool
	}{
		"the mount is not there":     {map[string]string{dmi + "product_uuid": "4c4c4544-0042\n", dmi + "board_serial": "B1\n"}, true},
		"another board":              {map[string]string{dmi + "product_uuid": "4c4c4544-0042\n", dmi + "board_serial": "B2\n"}, false},
		"another machine":            {map[string]string{dmi + "product_uuid": "4c4c4544-0043\n", dmi + "board_serial": "B1\n"}, false},
		"firmware that says nothing": {map[string]string{"etc/machine-id": "aaa\n", "proc/version": "x"}, false},
	} {
		if got := id(change.files); (got == first) != change.same || len(got) != 16 {
			t.Errorf("%s: %q, and %q before", name, got, first)
		}
	}
	if got := id(map[string]string{"proc/version": "x"}); got != "" {
		t.Errorf("of a host that says nothing: %q", got)
	}
}
