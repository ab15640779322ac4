"""Letters that look like Latin ones, and what they look like. Made by hand from the Unicode charts; lower case.

Full-width, mathematical, circled and superscript letters are not here: NFKC knows them.
"""

from __future__ import annotations

_LOOKS = {
    "a": "\u0430\u03b1\u0251\u1d00\u0101\u13aa",
    "b": "\u0184\u0185\u044c\u0299\u13cf\u15af",
    "c": "\u0441\u03f2\u1d04\u2ca5\u13df",
    "d": "\u0501\u1d05\u13e7\u146f",
    "e": "\u0435\u0454\u03b5\u1d07\u212e\u0465\u13ac",
    "f": "\ua730\u03dd\u0192",
    "g": "\u0261\u0262\u0581\u13c0",
    "h": "\u04bb\u029c\u0570\u13bb",
    "i": "\u0456\u03b9\u026a\u0131\u04cf\u2170",
    "j": "\u0458\u03f3\u1d0a\u0575",
    "k": "\u043a\u03ba\u1d0b\u13e6",
    "l": "\u029f\u04c0\u217c\u13de",
    "m": "\u043c\u1d0d\u217f\u13b7",
    "n": "\u0578\u0274\u057c\u03b7\u0438",
    "o": "\u043e\u03bf\u1d0f\u0585\u2c9f\u0ce6\u0966\u0e50",
    "p": "\u0440\u03c1\u1d18\u2ca3",
    "q": "\u051b\u0566\ua7af",
    "r": "\u0433\u0280\u1d26\u13a1",
    "s": "\u0455\ua731\u0282\u13da",
    "t": "\u0442\u03c4\u1d1b\u13a2",
    "u": "\u057d\u03c5\u1d1c\u0446\u028b",
    "v": "\u03bd\u0475\u1d20\u2174\u13d9",
    "w": "\u051d\u1d21\u0448\u0561\u13b3",
    "x": "\u0445\u03c7\u2179\u04b3",
    "y": "\u0443\u04af\u028f\u03b3\u13bd",
    "z": "\u1d22\u13c3\u0225",
}
_SQUARES = ((0x1F130, 26), (0x1F150, 26), (0x1F170, 26), (0x1F1E6, 26))  # squared, circled, negative, regional letters

TO_LATIN: dict[int, str] = {ord(look): latin for latin, looks in _LOOKS.items() for look in looks}
for _look, _latin in list(TO_LATIN.items()):
    _upper = chr(_look).upper()
    if len(_upper) == 1:
        TO_LATIN.setdefault(ord(_upper), _latin.upper())
# Capitals whose lower case looks different.
TO_LATIN |= {
    ord(look): latin
    for look, latin in zip("\u0412\u041d\u0420\u0421\u0425\u0392\u0397\u03a1\u0396\u039d", "BHPCXBHPZN", strict=True)
}

LETTER_SIGNS: dict[int, str] = {first + n: chr(97 + n) for first, count in _SQUARES for n in range(count)}
"""Signs that are letters in a frame, wherever they stand."""

LATIN_LOOKS = "".join(map(chr, TO_LATIN))
"""All of them, for a character class."""
