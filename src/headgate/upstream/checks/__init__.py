"""Guards that ask somebody: `core.ports.Checkers`, in both colours."""
