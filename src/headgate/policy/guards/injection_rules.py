"""The rules: what of an injection is told by words and their order, in named sets.

`STANDARD` rules read lines of kinds (`injection_lines`), or, for chat frames and links, the folded sentence itself.
A rule that is met proves nothing alone: how much it counts is learned, and a rule that harmless text meets often counts
little. `CLASSIC` is the set of seven that many guides repeat, kept to compare with; it sees about one attack in eight.

Every pattern is linear: gaps are bounded and nothing nests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

REASONS = (
    "override",
    "role_play",
    "extraction",
    "fake_system",
    "exfiltration",
    "tool_hijack",
    "encoded",
    "urgency",
    "obfuscated",
)
"""The reason words a `Suspicion` may have."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern.

    Attributes:
        name: its place in the table of weights.
        reason: one of `REASONS`.
        pattern: of a line of kinds, or of the folded sentence.
        needs: letters, or for a folded sentence marks, one of which a text without a match may lack.
        context: it supports others, and is no reason by itself.
    """

    name: str
    reason: str
    pattern: re.Pattern[str]
    needs: str
    context: bool = False


def _rules(reason: str, *parts: tuple[str, str, str]) -> tuple[Rule, ...]:
    return tuple(Rule(name, reason, re.compile(pattern, re.MULTILINE), needs) for name, needs, pattern in parts)


LINES: tuple[Rule, ...] = (
    *_rules(
        "override",
        ("override_any_orders", "O", r"O.{0,4}[PE].{0,4}[RHhw]"),
        ("override_prior_orders", "O", r"O.{0,4}P.{0,3}[RHhw]"),
        ("override_yours", "O", r"O.{0,3}u.{0,2}[RH]|O.{0,2}[Hh]"),
        ("orders_then_override", "O", r"[PE].{0,3}[RHh].{0,4}O"),
        ("override_everything", "O", r"O[_u]?E"),
        ("override_everything_only", "O", r"^.{0,4}O[_u]?E[^RH\n]*$"),
        ("override_prior", "O", r"O[_u]{0,2}P"),
        ("override_orders", "O", r"O.{0,2}R"),
        ("override_and_say", "O", r"O.{0,8}[PERHh].{0,14}[SVIN]"),
        ("override_scruples", "O", r"O.{0,6}[UL]"),
        ("now_override", "O", r"[GIT].{0,3}O.{0,4}[PERHh]"),
        ("override_first", "O", r"^[_I,]{0,3}O.{0,2}[PEu]"),
        ("override_forced", "O", r"O.{0,16}f|f.{0,16}O"),
        ("announced_say", "A", r"A.{0,10}[SVGTIA]"),
    ),
    *_rules(
        "urgency",
        ("urgent_announced", "A", r"G.{0,6}A"),
        ("urgent_task", "G", r"G.{0,8}[Rt]"),
        ("task_urgent", "G", r"[Rt].{0,8}G"),
        ("you_urgent_orders", "u", r"[Rt].{0,6}u.{0,8}[GT]|u.{0,6}G.{0,8}[Rt]|u.{0,10}R.{0,10}G"),
        ("machine_addressed", "M", r"^[,_]{0,3}M,.{0,8}[SVGTOFAIKf]"),
        ("machine_told", "M", r"u.{0,3}M.{0,12}[TGFKAf]"),
        ("urgent_answer", "Z", r"[TAG].{0,8}Z"),
    ),
    *_rules(
        "role_play",
        ("become_unbound", "B", r"B.{0,14}[UD]"),
        ("from_now_you", "N", r"N.{0,6}[uB]"),
        ("persona_rules", "D", r"D.{0,14}[UBCLM]"),
        ("unbound_scruples", "UD", r"[UD][^\nb]{0,30}[LU]"),
        ("character", "C", r"C"),
        ("unbound_rules", "U", r"U[^\nb]{0,20}[RLT]|[RL][^\nb]{0,12}U"),
        ("machine_unbound", "U", r"[un].{0,8}M.{0,10}U|M.{0,16}U"),
        ("persona", "D", r"D"),
        ("no_scruple", "L", r"n.{0,3}L.{0,6}L"),
        ("no_scruples", "LR", r"[nU].{0,4}[LR].{0,8}[nTU].{0,4}[LR]"),
        ("you_now", "I", r"u.{0,2}I.{0,2}_"),
        ("must_say_all", "T", r"T.{0,3}[SV].{0,10}E.{0,8}[nLU]"),
        ("owner_override", "o", r"o.{0,8}[DUHhX]|D.{0,8}o"),
        ("never_refuse", "L", r"[nT].{0,3}[nU].{0,2}L|n.{0,2}L.{0,10}[SVu]"),
        ("become_forced", "f", r"[BDN].{0,20}f"),
        ("fiction_harm", "JL", r"B.{0,20}[JL]|Y.{0,14}[JL]"),
    ),
    *_rules(
        "extraction",
        ("say_hidden", "H", r"[SV].{0,6}H"),
        ("reveal_hidden", "Hh", r"V.{0,4}[Hh]"),
        ("say_hidden_first", "HhW", r"^.{0,5}[SV].{0,5}[HhW]"),
        ("say_yours", "h", r"[SVQ].{0,6}h"),
        ("ask_hidden", "Hh", r"q.{0,5}[Hh]"),
        ("say_verbatim", "W", r"[SV].{0,6}W"),
        ("reveal_verbatim", "W", r"V.{0,5}W"),
        ("reveal_everything", "V", r"V.{0,4}E.{0,4}[PRwh]"),
        ("reveal_prior_words", "V", r"V.{0,6}P.{0,2}[wRt]|V.{0,3}w.{0,2}P"),
        ("say_prior_orders", "P", r"[SV].{0,5}P.{0,3}[RHw]"),
        ("ask_prior_orders", "q", r"q.{0,4}u.{0,4}P.{0,2}R|q.{0,6}[PE].{0,2}R"),
        ("all_words", "w", r"q.{0,3}E.{0,3}w|[SV].{0,3}E.{0,3}w.{0,3}[umPRw]"),
        ("verbatim_say", "W", r"W.{0,6}[SV]"),
        ("hidden_say", "Hh", r"[Hh].{0,8}[SVQ]"),
        ("ask_unsayable", "q", r"q.{0,3}u.{0,4}n.{0,6}[SV]"),
        ("say_secret", "X", r"[SV].{0,6}X"),
        ("tell_me_secret", "X", r"[SV].{0,2}m.{0,4}X"),
        ("reveal_secret", "X", r"V.{0,5}X"),
        ("ask_secret", "X", r"^.{0,4}q.{0,3}X[,_]{0,3}$"),
        ("ask_your_secret", "X", r"q.{0,4}u.{0,2}X"),
        ("secret_ciphered", "X", r"X.{0,6}[VQ]|Q.{0,6}X"),
        ("secret_say", "X", r"X.{0,5}S"),
        ("your_secret", "X", r"u.{0,1}X"),
        ("fiction_secret", "Y", r"Y.{0,14}[XH]|[XH].{0,10}Y"),
        ("short_secret", "X", r"^(?=[^\n]{1,12}$).{0,12}[SVQqm].{0,12}X"),
        ("owner_asks", "o", r"o.{0,10}[SV].{0,8}[XHhR]"),
    ),
    *_rules("encoded", ("words_ciphered", "Q", r"[SV].{0,6}[wRHhX].{0,8}Q|Q.{0,8}[XHhRw]")),
    *_rules(
        "tool_hijack",
        ("say_in_answer", "Z", r"S.{0,5}Z"),
        ("answer_say", "Z", r"Z.{0,8}S"),
        ("just_say", "I", r"^.{0,6}I.{0,2}[SV]"),
        ("forced_answer", "f", r"f"),
        ("must_act", "T", r"u.{0,2}T.{0,4}[FK]|T.{0,4}[KF].{0,8}Z"),
        ("unseen_act", "k", r"[SVFKZT].{0,12}k|k.{0,12}[SVFKZT]"),
        ("urgent_act", "F", r"[GA].{0,8}F.{0,8}[XwtK]|u.{0,2}T.{0,4}F"),
    ),
    *_rules("exfiltration", ("send_secret", "K", r"K.{0,10}[QX]|X.{0,8}K")),
    *_rules("obfuscated", ("flood", "~", r"~")),
)
"""Rules on lines of kinds."""

# Begins with letters, so that text is skimmed for them; what may stand in front is looked at from there.
_FRONT = r"(?<![^\s\[(<*#{\"'|>]%s)"
_FRAMED = "|".join(word[0] + _FRONT % word[0] + word[1:] for word in ("system", "developer", "admin(?:istrator)?"))
_FRAME = rf"(?:{_FRAMED})(?: (?:prompt|message|note|override|instructions?|update|alert))?"
_TEMPLATE = r"<\|?[ ]?(?:im_start|im_end|endoftext|eot_id|start_header_id|system)[ ]?\|>|\[/?inst\]|<</?sys>>"
TEXTS: tuple[Rule, ...] = (
    *_rules(
        "fake_system",
        ("template_token", "<[", _TEMPLATE),
        ("system_says", ":]", rf"{_FRAME}[ ]?[:\]]"),
        ("system_heading", "#", r"#{2,4}[ ]?(?:system|instructions?|new|important|override|assistant|response)\b"),
        (
            "system_tag",
            "<",
            r"</?(?:system|instructions?|important|admin|override|secret|prompt|god mode)\b[^<>]{0,40}>",
        ),
        ("turn", ":", r"^\W{0,4}(?:assistant|user|human|ai|chatgpt|system)[ ]?:"),
        ("mode_tag", "[<", r"[\[<](?:test|debug|god|system|admin|developer|maintenance)[ _-]?(?:mode)[\]>]"),
        ("banner", "*=->+!<", r"[*=>+!<\-]{3}[ ]?[a-z ]{4,40}[*=>+!<\-]{3}"),
    ),
    *_rules(
        "exfiltration",
        ("image_query", "!", r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{1,200}[?=]"),
        ("template_query", "?", r"https?://[^\s?]{1,200}\?[^\s=]{1,40}=[\[{<$]"),
        ("script", "<", r"<script[\s>]|onerror[ ]?=|javascript:"),
    ),
)
"""Rules on folded sentences."""

STANDARD: tuple[Rule, ...] = LINES + TEXTS

CLASSIC: tuple[Rule, ...] = tuple(
    Rule(name, reason, re.compile(pattern, re.IGNORECASE), "")
    for name, reason, pattern in (
        (
            "ignore_previous",
            "override",
            r"ignore\s+(?:all\s+)?(?:of\s+)?(?:the\s+|your\s+)?(?:previous|prior|above)\s+(?:instructions|prompts|rules)",
        ),
        ("disregard_above", "override", r"disregard\s+(?:[a-z]+\s+){0,3}(?:above|previous|prior)"),
        ("you_are_now", "role_play", r"you\s+are\s+now\s+"),
        ("system_prompt", "extraction", r"system\s+prompt"),
        ("dan", "role_play", r"\bDAN\b|do\s+anything\s+now|developer\s+mode|jailbreak"),
        ("pretend", "role_play", r"pretend\s+(?:to\s+be|you\s+are)"),
        ("no_restrictions", "role_play", r"act\s+as\s+if\s+(?:you\s+have\s+)?no\s+(?:restrictions|rules|limits)"),
    )
)
"""The seven regular expressions of many guides."""

RULE_SETS: dict[str, tuple[Rule, ...]] = {"standard": STANDARD, "classic": CLASSIC}
"""By the name that a configuration gives."""
