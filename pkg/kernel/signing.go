package kernel

import (
	"slices"
	"strings"
)

const (
	cmdlineFile     = "proc/cmdline"
	lockdownFile    = "sys/kernel/security/lockdown"
	sigEnforceFile  = "sys/module/module/parameters/sig_enforce"
	sigEnforceParam = "module.sig_enforce"
	lockdownParam   = "lockdown"
)

// signing is what the kernel asks of a module's signature: what its config
// settles, and else what the running kernel says of how it was booted
// (kernel/module/signing.c, security/lockdown/lockdown.c).
func signing(root *Root, config Config) Signing {
	hash, _ := config.Get("MODULE_SIG_HASH")
	s := Signing{Checked: config.Bool("MODULE_SIG"), Hash: hash}
	if !s.Checked {
		s.Enforcement, s.From = NotEnforced, "CONFIG_MODULE_SIG"
		return s
	}
	s.Enforcement, s.From = enforcement(root, config)
	s.readKeys(root)
	return s
}

func enforcement(root *Root, config Config) (e Enforcement, from string) {
	for _, option := range []string{"MODULE_SIG_FORCE", "LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"} {
		if config.Bool(option) {
			return Enforced, "CONFIG_" + option
		}
	}
	parameter, parameterFrom := sigEnforce(root, config)
	lockdown, lockdownFrom := lockedDown(root, config)
	switch {
	case parameter == Enforced:
		return Enforced, parameterFrom
	case lockdown == Enforced:
		return Enforced, lockdownFrom
	case parameter == NotEnforced && lockdown == NotEnforced:
		return NotEnforced, parameterFrom + ", " + lockdownFrom
	}
	return EnforcementUnknown, ""
}

// sigEnforce is the module loader's own switch. It starts as the command line
// has it, and an architecture's IMA policy may turn it on afterwards.
func sigEnforce(root *Root, config Config) (e Enforcement, from string) {
	switch root.Text(sigEnforceFile) {
	case "Y":
		return Enforced, sigEnforceFile
	case "N":
		return NotEnforced, sigEnforceFile
	}
	data, err := root.ReadFile(cmdlineFile)
	line := string(data)
	on := slices.ContainsFunc(strings.Fields(line), func(word string) bool {
		name, value, given := strings.Cut(word, "=")
		// The kernel takes - and _ of a parameter's name for the same.
		return strings.ReplaceAll(name, "-", "_") == sigEnforceParam && (!given || isTrue(value))
	})
	switch {
	case on:
		return Enforced, sigEnforceParam + " in " + cmdlineFile
	case err != nil || config.Bool("IMA_ARCH_POLICY"):
		return EnforcementUnknown, ""
	}
	return NotEnforced, cmdlineFile
}

// isTrue is the kernel's kstrtobool, lib/kstrtox.c.
func isTrue(value string) bool {
	value = strings.ToLower(value)
	return strings.HasPrefix(value, "y") || strings.HasPrefix(value, "t") ||
		strings.HasPrefix(value, "1") || strings.HasPrefix(value, "on")
}

// lockedDown says whether lockdown makes signatures a must, as it does at
// both of its levels.
func lockedDown(root *Root, config Config) (e Enforcement, from string) {
	if !config.Bool("SECURITY_LOCKDOWN_LSM") {
		return NotEnforced, "CONFIG_SECURITY_LOCKDOWN_LSM"
	}
	switch state := root.Text(lockdownFile); { // "none [integrity] confidentiality"
	case strings.Contains(state, "[integrity]"), strings.Contains(state, "[confidentiality]"):
		return Enforced, lockdownFile
	case strings.Contains(state, "[none]"):
		return NotEnforced, lockdownFile
	}
	// What one word locks no later one unlocks.
	if slices.ContainsFunc(strings.Fields(root.Text(cmdlineFile)), func(word string) bool {
		return word == lockdownParam+"=integrity" || word == lockdownParam+"=confidentiality"
	}) {
		return Enforced, lockdownParam + " in " + cmdlineFile
	}
	return EnforcementUnknown, ""
}

// decisiveParameters are the words of a command line that say anything about
// modules: the only ones read here and kept in a capture.
func decisiveParameters(line string) string {
	var kept []string
	for word := range strings.FieldsSeq(line) {
		name, _, _ := strings.Cut(word, "=")
		if n := strings.ReplaceAll(name, "-", "_"); n == sigEnforceParam || n == lockdownParam {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}
