"""Way in 2: a raw ASGI data plane on uvicorn, with health and the control API beside it."""
