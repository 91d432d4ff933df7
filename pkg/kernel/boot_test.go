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
	// What many boards say alike is as good as nothing.
	for _, text := range []string{
		"Default string", "To Be Filled By O.E.M.", "System Serial Number", "Not Specified", "None", "0", " Default string ",
		"03000200-0400-0500-0006-000700080009", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "ffffffff",
	} {
		said := map[string]string{dmi + "product_uuid": "4c4c4544-0042\n", dmi + "product_serial": text + "\n", dmi + "board_serial": "B1\n"}
		if got := id(said); got != first {
			t.Errorf("beside %q: %q, want %q", text, got, first)
		}
		said = map[string]string{dmi + "product_uuid": text + "\n", dmi + "board_serial": text + "\n"}
		if got := id(said); got != "" {
			t.Errorf("of a host that says %q: %q", text, got)
		}
	}
	if got := id(map[string]string{dmi + "product_serial": "F0"}); got == "" {
		t.Error("a short serial number is taken for none")
	}
	if got := id(map[string]string{"proc/version": "x"}); got != "" {
		t.Errorf("of a host that says nothing: %q", got)
	}
}
