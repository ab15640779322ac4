"""A call that comes again, answered in the very read that brings it: no task, no scope, and its head from few pieces.

Where anything would have to wait, or to be looked at as in any other call, there is no answer here, and nothing has
happened: `Gateway` serves it in its usual way, and answers the same.
"""

from __future__ import annotations

from headgate.core.cache import Stored
from headgate.core.exchange import Exchange
from headgate.engine.again import Again, Repeat
from headgate.engine.answer import exchange_headers, trailing_comment
from headgate.gateway.auth import KeyRing
from headgate.gateway.cycle import COPY_UNDER, STATUS_LINES, block_of
from headgate.gateway.entrance import Head
from headgate.gateway.repeats import Repeats

_ID = "ex_here"  # in the place of an exchange's id; as no header has it
_LIMITS = (b"x-headgate-limits-here", b"")
_LIMIT_LINE = b"%b: \r\n" % _LIMITS[0]
_LENGTH = b"%d\r\n\r\n"


class _Pieces:
    """What answers to one repeat, while they are of one kept answer, have in common; around the exchange's id, and the
    lines of its caller's limits.

    Attributes:
        digest: the kept answer's.
        behind: ends before the digits of the length.
        comment: of a stream, around the id; else None.
    """

    __slots__ = ("before", "behind", "between", "comment", "digest", "status")

    def __init__(self, repeat: Repeat, stored: Stored) -> None:
        told = Exchange(_ID, repeat.request, 0.0)
        told.cache, told.recalled, told.limit_headers = "hit", stored, (_LIMITS,)
        headers = [*stored.headers, *exchange_headers(told, 0.0, final=True)]
        block = block_of(headers) + b"\r\n"
        self.digest = stored.digest
        self.status = STATUS_LINES[stored.status]
        self.before, _, rest = block.partition(_ID.encode())
        self.between, _, behind = rest.partition(_LIMIT_LINE)
        self.behind = behind + b"content-length: "
        self.comment: tuple[bytes, bytes] | None = None
        if stored.kind == "stream":
            opening, _, closing = trailing_comment(told).partition(_ID.encode())
            self.comment = opening, closing


class AtOnce:
    """Shared by the connections of one gateway; the event loop's thread alone uses it."""

    __slots__ = ("_again", "_repeats", "_ring")

    def __init__(self, again: Again, repeats: Repeats, ring: KeyRing) -> None:
        self._again = again
        self._repeats = repeats
        self._ring = ring

    def __call__(self, head: object, headers: object, body: bytes, date: bytes) -> bytes | None:
        """The whole response, its exchange settled; None where it takes more than this.

        Args:
            head: what `Gateway` knows of the connection's last head.
            headers: of this request. Where it is the list that `head` was read from, they are the same.
            date: the `date` header line.
        """
        if type(head) is not Head or head.headers is not headers or head.ring_version != self._ring.version:
            return None
        repeat = self._repeats.find(head, body)
        if repeat is None:
            return None
        again = self._again
        stored = again.kept(repeat) if again.at_once else None
        if stored is None or len(stored.body) >= COPY_UNDER:
            return None
        pieces = repeat.shown
        if type(pieces) is not _Pieces or pieces.digest != stored.digest:
            pieces = repeat.shown = _Pieces(repeat, stored)
        found = again.answer_at_once(repeat, stored)
        if found is None:
            return None
        exchange, limits = found
        told = exchange.id.encode()
        body, comment = stored.body, pieces.comment
        if comment is not None:
            body = b"".join((body, comment[0], told, comment[1]))
        before, between, behind, length = pieces.before, pieces.between, pieces.behind, _LENGTH % len(body)
        return b"".join((pieces.status, date, before, told, between, limits, behind, length, body))
