"""What the admin API and the dashboard do: each takes who asks, checks the right, does the thing, and puts changes on
record in the audit log.

Everything blocks: call it in a thread. What is told is plain data, as JSON has it: money as decimal strings of USD,
times in seconds since the epoch, None for what is not. Errors: `Denied` (403), `NotServed` (404: there is none, or it
is another tenant's), `BadRequest` and `ConfigError` (400), `Conflict` (409), `Unavailable` (503).
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
Rows = list[Row]
