"""The admin API, and the services behind it that the dashboard uses too: who may see and change what.

It is made beside the data plane, at its first request: see `headgate.gateway.aside`.
"""
