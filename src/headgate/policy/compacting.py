"""White space that a system prompt does not need. Careful rather than thorough: what may mean something stays.

Never touched: what is in a fenced block; indentation, and lines that have any; blank lines beside such lines; and every
paragraph in which anything looks like code, JSON, YAML, a table or markup. What is left is prose: there a run of spaces
is one space, and between paragraphs there is one blank line.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_STRUCTURE = re.compile(
    r"[{}\[\]|<>`\"=\\\t\x0b\x0c\x85\u2028\u2029]"  # JSON, tables, markup, code, escapes
    r"|(?<!\w)'|'(?!\w)"  # a quotation, and no apostrophe
    r"|:(?:\s|$)"  # a key of YAML, or a header
    r"|^\s*(?:[-*+]|\d+[.)])\s"  # an item of a list
    r"|^(?:---|\.\.\.)"  # a document of YAML, a rule
    r"|^\s"  # indentation
)
_RUN = re.compile(r"(?<=\S) {2,}(?=\S)")
_COLUMNS = re.compile(r"(?<=[^\s.!?]) {2,}(?=\S)")


def compact(text: str) -> str:
    """The text with less white space. The words stay the same, in the same order; doing it twice is doing it once."""
    found: list[str] = []
    lines = text.split("\n")
    n = 0
    while n < len(lines):
        fence = _FENCE.match(lines[n])
        if fence is not None:
            end = _end_of_fence(lines, n, fence[1])
            found += lines[n:end]
            n = end
        elif lines[n].strip(" \r"):
            end = _end_of_paragraph(lines, n)
            found += _paragraph(lines[n:end])
            n = end
        else:
            end = n
            while end < len(lines) and not lines[end].strip(" \r"):
                end += 1
            found += _gap(lines, n, end)
            n = end
    return "\n".join(found)


def _end_of_fence(lines: list[str], start: int, fence: str) -> int:
    """Behind its closing line; the end, where there is none."""
    for n in range(start + 1, len(lines)):
        closing = lines[n].strip()
        if len(closing) >= len(fence) and not closing.strip(fence[0]):
            return n + 1
    return len(lines)


def _end_of_paragraph(lines: list[str], start: int) -> int:
    end = start
    while end < len(lines) and lines[end].strip(" \r") and _FENCE.match(lines[end]) is None:
        end += 1
    return end


def _paragraph(lines: list[str]) -> list[str]:
    if any(_STRUCTURE.search(line) for line in lines):
        return lines
    if sum(_COLUMNS.search(line) is not None for line in lines) > 1:
        return lines  # words that stand below each other: a table without lines
    last = len(lines) - 1
    return [_RUN.sub(" ", _ended(line, last=n == last)) for n, line in enumerate(lines)]


def _ended(line: str, *, last: bool) -> str:
    """Without spaces at its end; with two, where they break the line (Markdown)."""
    end = "\r" if line.endswith("\r") else ""
    plain = line[: -len(end)] if end else line
    bare = plain.rstrip(" ")
    return bare + ("  " if len(plain) - len(bare) >= 2 and not last else "") + end


def _gap(lines: list[str], start: int, end: int) -> list[str]:
    """Blank lines: one is enough between what begins at the margin."""
    before = lines[start - 1] if start else ""
    after = lines[end] if end < len(lines) else ""
    if before[:1] in (" ", "\t") or after[:1] in (" ", "\t") or start == 0 or end == len(lines):
        return lines[start:end]
    return ["\r" if lines[start].endswith("\r") else ""]
