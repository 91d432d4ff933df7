package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sigConfig      = "CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_HASH=\"sha512\"\n"
	lockdownConfig = "CONFIG_SECURITY_LOCKDOWN_LSM=y\n"
)

// signingCase is a kernel of some config on a host of some files.
type signingCase struct {
	name, config string
	files        map[string]string
	want         Enforcement
	from         string
}

func (c signingCase) host() map[string]string {
	k := smallKernel()
	k.Config += c.config
	return change(change(hostFiles(k), map[string]string{smallSymvers: symversText(k)}), c.files)
}

func signingCases() []signingCase {
	const (
		bothOff = cmdlineFile + ", " + lockdownFile
		boot    = "BOOT_IMAGE=/vmlinuz quiet"
	)
	return []signingCase{
		{"signatures are not looked at", "", map[string]string{cmdlineFile: "module.sig_enforce"}, NotEnforced, "CONFIG_MODULE_SIG"},
		{"the config forces", sigConfig + "CONFIG_MODULE_SIG_FORCE=y\n", nil, Enforced, "CONFIG_MODULE_SIG_FORCE"},
		{"the config locks down", sigConfig + lockdownConfig + "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y\n", nil, Enforced, "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY"},
		{"the config locks down more", sigConfig + lockdownConfig + "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY=y\n", nil, Enforced, "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"},

		{"the parameter is on", sigConfig, map[string]string{sigEnforceFile: "Y\n", cmdlineFile: boot}, Enforced, sigEnforceFile},
		{"the parameter is off", sigConfig, map[string]string{sigEnforceFile: "N\n"}, NotEnforced, sigEnforceFile + ", CONFIG_SECURITY_LOCKDOWN_LSM"},
		{"the parameter, whatever the policy", sigConfig + "CONFIG_IMA_ARCH_POLICY=y\n", map[string]string{sigEnforceFile: "N\n"}, NotEnforced, sigEnforceFile + ", CONFIG_SECURITY_LOCKDOWN_LSM"},
		{"the command line", sigConfig, map[string]string{cmdlineFile: boot + " module.sig_enforce=1"}, Enforced, "module.sig_enforce in proc/cmdline"},
		{"without a value", sigConfig, map[string]string{cmdlineFile: "module.sig_enforce"}, Enforced, "module.sig_enforce in proc/cmdline"},
		{"spelt the other way", sigConfig, map[string]string{cmdlineFile: "module.sig-enforce=on"}, Enforced, "module.sig_enforce in proc/cmdline"},
		{"in words", sigConfig, map[string]string{cmdlineFile: "module.sig_enforce=Yes"}, Enforced, "module.sig_enforce in proc/cmdline"},
		{"once on, always on", sigConfig, map[string]string{cmdlineFile: "module.sig_enforce module.sig_enforce=0"}, Enforced, "module.sig_enforce in proc/cmdline"},
		{"off", sigConfig, map[string]string{cmdlineFile: "module.sig_enforce=0"}, NotEnforced, "proc/cmdline, CONFIG_SECURITY_LOCKDOWN_LSM"},
		{"another module's", sigConfig, map[string]string{cmdlineFile: "xmodule.sig_enforce=1 sig_enforce"}, NotEnforced, "proc/cmdline, CONFIG_SECURITY_LOCKDOWN_LSM"},
		{"no command line to be seen", sigConfig, nil, EnforcementUnknown, ""},
		{"a policy may have turned it on", sigConfig + "CONFIG_IMA_ARCH_POLICY=y\n", map[string]string{cmdlineFile: boot}, EnforcementUnknown, ""},

		{"locked down", sigConfig + lockdownConfig, map[string]string{cmdlineFile: boot, lockdownFile: "none [integrity] confidentiality\n"}, Enforced, lockdownFile},
		{"locked down more", sigConfig + lockdownConfig, map[string]string{cmdlineFile: boot, lockdownFile: "none integrity [confidentiality]\n"}, Enforced, lockdownFile},
		{"not locked down", sigConfig + lockdownConfig, map[string]string{cmdlineFile: boot, lockdownFile: "[none] integrity confidentiality\n"}, NotEnforced, bothOff},
		{"locked down, the rest unseen", sigConfig + lockdownConfig, map[string]string{lockdownFile: "none [integrity] confidentiality\n"}, Enforced, lockdownFile},
		{"locked down by the command line", sigConfig + lockdownConfig, map[string]string{cmdlineFile: boot + " lockdown=confidentiality"}, Enforced, "lockdown in proc/cmdline"},
		{"which unlocks nothing", sigConfig + lockdownConfig, map[string]string{cmdlineFile: "lockdown=integrity lockdown=none"}, Enforced, "lockdown in proc/cmdline"},
		{"secure boot may have locked it down", sigConfig + lockdownConfig, map[string]string{cmdlineFile: boot + " lockdown=none"}, EnforcementUnknown, ""},
		{"lockdown unseen, the parameter off", sigConfig + lockdownConfig, map[string]string{sigEnforceFile: "N"}, EnforcementUnknown, ""},
	}
}

func TestSigning(t *testing.T) {
	t.Parallel()
	for _, c := range signingCases() {
		t.Run(c.name, func(t *testing.T) {
			got := mustDetect(t, openFiles(t, c.host()), DetectOptions{}).Signing
			want := Signing{Checked: c.config != "", Enforcement: c.want, From: c.from}
			if want.Checked {
				want.Hash = "sha512"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestOtherKeyrings: a key that one of these holds is in /proc/keys, and is not
// one for modules.
func TestOtherKeyrings(t *testing.T) {
	t.Parallel()
	recorded := string(readTestdata(t, "proc-keys"))
	keyring := func(description string) string {
		return "0b0e9d3f I------     1 perm 1f0b0000     0     0 keyring   " + description + "\n"
	}
	for _, c := range []struct {
		name, more string
		want       []string
	}{
		{"none", "", nil},
		{"an empty one", keyring(".platform: empty"), nil},
		{"firmware's keys", keyring(".platform: 4") + keyring(".ima: 1"), []string{".ima", ".platform"}},
		{"one that is for modules", keyring(".secondary_trusted_keys: 2") + keyring(".machine: 1"), nil},
		{"a user's of such a name", keyring("x.platform: 4"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := signingCase{config: sigConfig, files: map[string]string{keysFile: recorded + c.more}}.host()
			if got := mustDetect(t, openFiles(t, host), DetectOptions{}).Signing.OtherKeyrings; !cmp.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	recorded := string(readTestdata(t, "proc-keys"))
	const skid = "8963f707e289edc09df337a240938134371a5bb8"
	for _, c := range []struct {
		name, text, from string
		want             []string
	}{
		{"the kernel's", recorded, keysFile, []string{skid}},
		{"masked, as Docker does", "", "", nil},
		{"from inside a user namespace", "289ab337 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid_ses.0: 1\n", "", nil},
		{"of a kernel that holds none", strings.ReplaceAll(recorded, "asymmetri", "blacklist"), keysFile, nil},
		{"damaged", recorded + strings.Repeat("x", maxKeysLine+1), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := signingCase{config: sigConfig, files: map[string]string{keysFile: c.text}}.host()
			got := mustDetect(t, openFiles(t, host), DetectOptions{}).Signing
			if !cmp.Equal(got.Keys, c.want) || got.KeysFrom != c.from {
				t.Errorf("keys %q from %q", got.Keys, got.KeysFrom)
			}
		})
	}
}
