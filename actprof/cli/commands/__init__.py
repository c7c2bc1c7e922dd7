"""One module per command: its name is the command's, its first line stands in `actprof --help`."""
