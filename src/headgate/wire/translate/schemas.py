"""JSON schemas between vendors: what each wants of one that it is to keep to."""

from __future__ import annotations

from typing import Any

_UNDER_NAMES = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "not")


def closed(schema: Any) -> tuple[Any, bool]:
    """(the schema with `additionalProperties: false` wherever an object says nothing of them, whether that changed it).

    Anthropic refuses an output schema whose objects are open; OpenAI wants it of strict schemas only.
    """
    if not isinstance(schema, dict):
        return schema, False
    out = dict(schema)
    changed = False
    for key in _UNDER_NAMES:
        named = out.get(key)
        if isinstance(named, dict):
            pairs = {name: closed(each) for name, each in named.items()}
            out[key] = {name: each for name, (each, _) in pairs.items()}
            changed |= any(one for _, one in pairs.values())
    for key in _LISTS:
        listed = out.get(key)
        if isinstance(listed, list):
            results = [closed(each) for each in listed]
            out[key] = [each for each, _ in results]
            changed |= any(one for _, one in results)
    for key in _ONE:
        if key in out:
            out[key], one = closed(out[key])
            changed |= one
    if _is_object(out) and "additionalProperties" not in out:
        out["additionalProperties"] = False
        changed = True
    return out, changed


def strict(schema: Any) -> bool:
    """Whether OpenAI takes it with `strict: true`: every object is closed and requires all of its properties."""
    if not isinstance(schema, dict):
        return True
    if _is_object(schema):
        named = schema.get("properties")
        properties = named if isinstance(named, dict) else {}
        required = schema.get("required", [])
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if any(name not in required for name in properties):
            return False
    inner: list[Any] = [schema[key] for key in _ONE if key in schema]
    for key in _UNDER_NAMES:
        named = schema.get(key)
        inner.extend(named.values() if isinstance(named, dict) else ())
    for key in _LISTS:
        listed = schema.get(key)
        inner.extend(listed if isinstance(listed, list) else ())
    return all(map(strict, inner))


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return (
        kind == "object" or (isinstance(kind, list) and "object" in kind) or (kind is None and "properties" in schema)
    )
