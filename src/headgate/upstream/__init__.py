"""Sending over the network: our own HTTP/1.1 pools, one per colour, and httpx2 where a proxy stands between.

`choose.async_upstream` and `choose.blocking_upstream` are the doors; both give a `core.ports.Upstream`.
"""
