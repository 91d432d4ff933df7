package share

import "path/filepath"

// Dir is the share itself.
func (s *Share) Dir() string { return s.dir }

// CUDA is where the user puts the toolkit and the driver packages. builder
// never writes there.
func (s *Share) CUDA() string { return filepath.Join(s.dir, "cuda") }

// Linux is the kernel tree, clean, for the user to look at.
func (s *Share) Linux() string { return filepath.Join(s.dir, "linux") }

// Modules is where results are published, as REL/VER.
func (s *Share) Modules() string { return filepath.Join(s.dir, "modules") }

// Drivers is where the drivers' user-space sides are published, by version.
func (s *Share) Drivers() string { return filepath.Join(s.dir, "driver") }

// CDI is where a CDI specification is left for which no folder of the host's is
// mounted.
func (s *Share) CDI() string { return filepath.Join(s.dir, "cdi") }

// Loaded is where it is recorded what loads changed on hosts, for unload. It is
// not in Private, since what is recorded cannot be found out again.
func (s *Share) Loaded() string { return filepath.Join(s.dir, "loaded") }

// Private is .builder: everything that is safe to delete when nothing runs.
func (s *Share) Private() string { return filepath.Join(s.dir, ".builder") }

// Logs is the part of Private that holds the logs of the installer.
func (s *Share) Logs() string { return filepath.Join(s.Private(), "logs") }

// Exports is the part of Private that holds what hosts' modules were found to
// export.
func (s *Share) Exports() string { return filepath.Join(s.Private(), "exports") }

// Downloads is the part of Private that holds what was fetched: driver packages
// and kernel images.
func (s *Share) Downloads() string { return filepath.Join(s.Private(), "downloads") }

// Prepared is the part of Private that holds the prepared kernel trees.
func (s *Share) Prepared() string { return filepath.Join(s.Private(), "prepared") }

// Digests is the part of Private that holds what the driver packages' digests
// were found to be.
func (s *Share) Digests() string { return filepath.Join(s.Private(), "digests") }

// Scratch is the part of Private that the run which holds the lock works in; see
// [Lock.Scratch].
func (s *Share) Scratch() string { return filepath.Join(s.Private(), "scratch") }

// LoadRecord is the part of Loaded that records what loads changed on a host
// since it was started. Host tells it from others and boot from its other starts,
// as package kernel does.
func (s *Share) LoadRecord(host, boot string) string {
	return filepath.Join(s.Loaded(), host, boot+".json")
}

// LoadLock is by which the loaders of a host take turns; see [Share.Turn].
func (s *Share) LoadLock(host, boot string) string {
	return filepath.Join(s.Loaded(), host, boot+".lock")
}
