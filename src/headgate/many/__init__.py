"""Many calls at once: `headgate.gather`, `Gate.map`, `Gate.amap`. Failures are kept per item, and so is the order.

Concurrency is bounded here only so that nobody holds 100,000 tasks: what may go to the provider, and when, is the
engine's to decide, which paces, queues and retries each call as any other.
"""
