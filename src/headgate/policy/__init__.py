"""Pure decisions, one file each. No I/O, no clock, no randomness of their own."""
