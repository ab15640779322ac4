"""The smallest plain instance of a simple JSON schema: what forced tools and structured outputs are answered with.

Understands `$ref` within the document, `const`, `enum`, `default`, `type` (one or several), `properties`, `required`,
`items`, `prefixItems`, `anyOf`, `oneOf`, `allOf`, bounds and the common string formats. A `pattern` is not solved.
"""

from __future__ import annotations

import math
from typing import Any

_FORMATS = {
    "date": "2026-11-20",
    "date-time": "2026-11-20T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
}
_WORD = "sample"
_DEPTH = 32


def instance(schema: Any) -> Any:
    """A value that satisfies `schema`: required properties only, the shortest arrays, the lowest numbers."""
    return _instance(schema, schema, 0)


def _instance(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    if "$ref" in schema:
        return _instance(_resolve(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return _instance(_plainest(schema[union], root), root, depth + 1)
    if schema.get("allOf"):
        return _instance(_merged(schema, root), root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, depth)
    if kind == "array":
        fixed = [_instance(item, root, depth + 1) for item in schema.get("prefixItems", ())]
        more = max(0, int(schema.get("minItems", 0)) - len(fixed))
        return fixed + [_instance(schema.get("items", {}), root, depth + 1) for _ in range(more)]
    if kind == "integer" or kind == "number":
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "string":
        return _string(schema)
    return None


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    names = schema.get("required") or list(properties)
    return {name: _instance(properties.get(name, {"type": "string"}), root, depth + 1) for name in names}


def _string(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), _WORD)
    shortest = int(schema.get("minLength", 0))
    if len(text) < shortest:
        text += "x" * (shortest - len(text))
    return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    low = schema.get("minimum", -math.inf)
    if "exclusiveMinimum" in schema:
        above = schema["exclusiveMinimum"]
        low = max(low, math.floor(above) + 1 if whole else above + 0.5)
    high = schema.get("maximum", math.inf)
    if "exclusiveMaximum" in schema:
        below = schema["exclusiveMaximum"]
        high = min(high, math.ceil(below) - 1 if whole else below - 0.5)
    value = min(max(1, low), high)
    step = schema.get("multipleOf")
    if step:
        value = math.ceil(value / step) * step
    return int(value) if whole else value


def _plainest(options: list[Any], root: Any) -> Any:
    """The first option that is not `null`: an optional field is then filled, which is the harder case to read."""
    return next((o for o in options if not (isinstance(o, dict) and o.get("type") == "null")), options[0])


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        resolved = _resolve(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part
        if not isinstance(resolved, dict):
            continue
        for key, value in resolved.items():
            if key == "properties":
                merged["properties"] = {**merged.get("properties", {}), **value}
            elif key == "required":
                merged["required"] = [*merged.get("required", []), *value]
            else:
                merged.setdefault(key, value)
    return merged


def _resolve(reference: Any, root: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return {}
    found = root
    for part in reference[1:].strip("/").split("/"):
        if part:
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found
