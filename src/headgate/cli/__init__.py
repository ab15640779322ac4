"""Way in 3: the command line, one file per command. Only this room imports click, and rich but for a bar of `many`."""
