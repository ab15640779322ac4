"""Way in 2: a raw ASGI data plane on uvicorn, with its own front, keys and control API."""
