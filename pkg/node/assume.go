package node

import (
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
)

// assume is what load has done on this host where no record says so, as far as the
// kernel tells, and names that nobody else gives: the modules of a driver that are
// the share's, its firmware's folder, its device files and CDI specifications. Where
// another driver is loaded it is nothing. Of the kernel's own modules it has none:
// whom they are for is not to be seen. And it has device files only while the driver
// is loaded, which tells of them.
func (l *loader) assume() []entry {
	loaded := l.state.Version()
	if loaded != "" && !l.isShares(loaded) {
		return nil
	}
	var list []change
	now := live.ReadFirmware(l.host, l.own).Path
	if (isFirmware(l.release, now) || isCopy(now)) && l.journal.firmware() == "" {
		list = append(list, firmwarePath{now, kernelsFirmware(l.host)})
	}
	for _, m := range l.state.Driver() {
		list = append(list, driverModule{m.Name, loaded})
	}
	if loaded != "" {
		for _, f := range l.filesThere() {
			list = append(list, deviceFile{l.Dev, f})
		}
	}
	if cdi.Wrote(l.share.CDI()) {
		list = append(list, cdiFolder{Dir: cdiInShare})
	}
	for _, dir := range []string{filepath.Join(l.own.Dir(), cdi.Dir), l.CDIDir} {
		if dir != "" && l.access.onMount(dir) && cdi.Wrote(dir) {
			list = append(list, cdiFolder{dir, true})
		}
	}
	entries := with(nil, list)
	for i := range entries {
		entries[i].fresh = false
	}
	return entries
}

// isShares says whether all modules of the driver that is loaded are those that the
// share has of that version, and nobody else has brought them as far as is known.
func (l *loader) isShares(loaded string) bool {
	if broughtBy(l.host, loaded) != "" {
		return false
	}
	found, err := modules.Find(l.share, l.release, loaded, l.trust)
	if err != nil {
		return false
	}
	for _, m := range l.state.Driver() {
		at := slices.IndexFunc(found.Manifest.Modules, func(e modules.Entry) bool { return e.Name == m.Name })
		if at < 0 || isAnother(m, filepath.Join(found.Dir, found.Manifest.Modules[at].File)) {
			return false
		}
	}
	return true
}

// filesThere are the driver's device files that are in the host's /dev.
func (l *loader) filesThere() []devices.File {
	if !l.access.isHosts(l.Dev) {
		return nil
	}
	plan, err := devices.Plan(l.host)
	if err != nil {
		return nil
	}
	missing, err := l.files.Missing(l.Dev, plan)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(plan, func(f devices.File) bool { return f.Kept || slices.Contains(missing, f) })
}
