"""Configuration: one typed, frozen object, and the loader that reports every mistake at once."""
