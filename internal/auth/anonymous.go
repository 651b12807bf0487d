package auth

// Anonymous lets clients in that don't say who they are. They are nobody in
// particular then.
type Anonymous struct {
	// Named: those with a user name, too, whose password nobody checks. Their names
	// don't count.
	Named bool
}

// Check implements Link.
func (a Anonymous) Check(r *Request, done func(Answer)) {
	if a.Named || r.UserName == nil && r.Password == nil {
		done(Answer{Decision: Allow})
		return
	}
	done(Answer{})
}
