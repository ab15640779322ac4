"""Every number that the README states, measured on this machine: `python -m benchmarks`."""
