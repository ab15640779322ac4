"""The domain: no I/O, no clock, no randomness, no HTTP library. Imports nothing but the standard library."""
