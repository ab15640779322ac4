"""The same work through others, side by side. Each peer lives in a virtual environment of its own."""
