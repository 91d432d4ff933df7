package share

import "github.com/k8sp/cuda/internal/beneath"

// Owner is whom the share belongs to, and so all that builder makes in it.
func (s *Share) Owner() (uid, gid int) { return s.uid, s.gid }

// MkdirAll makes a folder of the share, and those it is in, readable by all.
func (s *Share) MkdirAll(dir string) error { return beneath.MkdirAll(dir, 0o755) }
