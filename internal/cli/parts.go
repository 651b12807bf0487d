package cli

import "strings"

func parts() []part {
	return []part{benchPart(), clientsPart(), webSocketPart(), etcdPart(), hookPart(), ldapPart(), acmePart()}
}

// without says which parts this binary doesn't have, such as ", without bench".
func without() string {
	var names []string
	for _, p := range parts() {
		if p.leftOut {
			names = append(names, p.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", without " + strings.Join(names, ", ")
}
