package acl

import "sync/atomic"

// Rules are those that a listener goes by: the ones of a File, which can be exchanged for
// another one while clients are connected.
type Rules struct{ file atomic.Pointer[File] }

// Use has the rules be those of a file from now on; nil: everybody may do everything.
// Routing has to forget the answers that it remembers: broker.Broker.PermissionsChanged.
func (r *Rules) Use(f *File) { r.file.Store(f) }

// File is the one whose rules these are, nil if there is none.
func (r *Rules) File() *File { return r.file.Load() }

// list is nil if everybody may do everything.
func (r *Rules) list() *list {
	f := r.file.Load()
	if f == nil {
		return nil
	}
	return f.list.Load()
}
