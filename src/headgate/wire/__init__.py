"""Bytes in, facts and events out. No I/O, no clock; one file per provider dialect, tested one byte at a time."""
