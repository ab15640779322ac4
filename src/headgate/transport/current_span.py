"""The program's own span, where it traces with OpenTelemetry: ours go under it. Imports nothing of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from headgate.policy.tracing import TRACEPARENT

Raw = Sequence[tuple[bytes, bytes]]


def with_span(headers: Raw) -> Raw:
    """The headers, and the context of the current span where they name none: an SDK that traces by itself does."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or any(name.lower() == TRACEPARENT for name, _ in headers):
        return headers
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return headers
    told = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"
    return [*headers, (TRACEPARENT, told.encode())]
