"""Guards: checks on what goes in and what comes out. One guard a file; pure, and linear in the length of the text."""
