//go:build without_websocket

package cli

func webSocketPart() part { return leftOut("websocket") }
