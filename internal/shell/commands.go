package shell

// commands is the table of all commands.
func commands() []command {
	return []command{
		connectCommand(), disconnectCommand(), useCommand(), statusCommand(),
		subCommand(), unsubCommand(), pubCommand(), packetCommand(),
		waitCommand(), expectCommand(),
		setCommand(), unsetCommand(), historyCommand(), echoCommand(), helpCommand(), quitCommand("quit"), quitCommand("exit"),
	}
}
