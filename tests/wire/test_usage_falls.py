"""Whether a stream's later counts take back earlier ones: the short way says what the long one does."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire import anthropic_usage
from headgate.wire.anthropic_usage import falls, usage

COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
VALUES = st.one_of(st.none(), st.integers(-1, 60), st.sampled_from([1.0, 2.5, "3", True, 1 << 60]))
SPLIT = st.fixed_dictionaries(
    {"ephemeral_5m_input_tokens": st.integers(0, 40), "ephemeral_1h_input_tokens": st.integers(0, 40)}
)
FIELDS = st.builds(
    lambda counts, split: {**counts, **({"cache_creation": split} if split else {})},
    st.dictionaries(st.sampled_from(COUNTS), VALUES),
    st.one_of(st.none(), SPLIT),
)


@settings(deadline=None, max_examples=150)
@given(FIELDS, FIELDS)
def test_counts_fall_where_the_usage_they_make_up_falls(known: dict[str, Any], delta: dict[str, Any]) -> None:
    told = {name: value for name, value in delta.items() if name in COUNTS and value is not None}
    before, after = usage(known), usage({**known, **told})
    expected = (
        before is not None
        and after is not None
        and (
            after.prompt_tokens < before.prompt_tokens
            or after.output_tokens < before.output_tokens > anthropic_usage._PLACEHOLDER
        )
    )
    assert falls(known, delta) == expected
