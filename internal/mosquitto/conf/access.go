package conf

// hook is what to do instead of a plug-in.
const hook = "plug-ins of Mosquitto can't be loaded; an HTTP service can take the decisions of one: hook.auth_url and hook.acl_url in midge.toml (docs/authentication.md)"

func accessControl() map[string]option {
	return map[string]option{
		"allow_anonymous":            {read: truth, take: (*converter).allowAnonymous, scope: ofAccess},
		"allow_zero_length_clientid": blockingFalse("clients without a client id can't be refused yet"),
		"auto_id_prefix":             {read: anything, kind: Missing, text: "client ids that the broker makes up have no prefix of yours", scope: ofAccess},
		"per_listener_settings": {read: truth, take: func(c *converter, l *Line) {
			c.perListener = isTrue(l)
			c.find(l, Same, "each listener has its own settings")
		}},
		"password_file": {read: anything, take: func(c *converter, l *Line) {
			c.access(ofAccess).asks = true
			c.ofAccess(l, "auth.password_file")
		}, scope: ofAccess},
		"acl_file":            {read: anything, take: func(c *converter, l *Line) { c.ofAccess(l, "acl.file") }, scope: ofAccess},
		"psk_file":            {read: anything, take: asks("TLS with pre-shared keys can't be had in Go; give the clients certificates"), scope: ofAccess},
		"check_retain_source": missing(truth, "true", "whether a client may have a retained message goes by its own rights"),
		"clientid_prefixes":   blocking(global, anything, "", "client ids have no common prefix; auth.client_id binds them to the user names of a password file"),

		"auth_plugin":                    {read: anything, take: (*converter).plugin, scope: ofAccess},
		"plugin":                         {read: anything, take: (*converter).plugin, scope: ofAccess},
		"global_plugin":                  {read: anything, take: (*converter).plugin, scope: global},
		"plugin_load":                    {read: anything, take: (*converter).plugin, scope: global},
		"plugin_use":                     {read: anything, take: (*converter).plugin, scope: ofAccess},
		"auth_plugin_deny_special_chars": {read: truth, take: (*converter).pluginOption},
	}
}

func (c *converter) allowAnonymous(l *Line) {
	c.access(ofAccess).anonymous = l
	if !isTrue(l) {
		c.find(l, Same, "nobody is let in from other machines without it")
	}
}

func blockingFalse(text string) option { return blocking(ofAccess, truth, "true", text) }

// asks is an option that makes Mosquitto ask clients who they are, in a way that
// the broker has not.
func asks(text string) func(*converter, *Line) {
	return func(c *converter, l *Line) {
		a := c.access(ofAccess)
		a.asks, a.closed = true, append(a.closed, *l)
		c.find(l, Blocking, text)
	}
}

// plugin takes the line that loads a plug-in.
func (c *converter) plugin(l *Line) {
	a := c.access(c.options[l.Option].scope)
	a.asks, a.closed = true, append(a.closed, *l)
	c.find(l, Blocking, hook)
	c.loaded = len(c.found)
}

// pluginOption takes an option of the plug-in above it.
func (c *converter) pluginOption(l *Line) {
	if c.loaded == 0 {
		c.find(l, Fault, "there is no plug-in above it")
		return
	}
	f := &c.found[c.loaded-1]
	f.With = append(f.With, *l)
}
