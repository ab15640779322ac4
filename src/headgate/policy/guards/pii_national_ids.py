"""National identity, tax and health numbers, by their shape, their check digit and, where both are weak, their label.

A candidate's shape is its *mask*: every digit as 9, every letter as A, the rest as it is. One pass over the text makes
the candidates; a look-up of the mask tells what each could be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from headgate.core.guards import Span
from headgate.policy.guards.checks import valid
from headgate.policy.guards.pii_tokens import LONGEST
from headgate.policy.guards.pii_words import says_else, topics

_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]")

_SPACED = re.compile(
    r"[0-9](?<![A-Za-z0-9_.,][0-9])[0-9]{0,5}+(?:[ /][0-9]{2,6}+){1,7}(?: [A-Za-z])?(?![A-Za-z0-9_]|[.,][0-9])"
)
_LETTERS_BEFORE = re.compile(r"[A-Z]{2} ")
_MASK = str.maketrans("012345678" + "BCDEFGHIJKLMNOPQRSTUVWXYZ", "9" * 9 + "A" * 25)


class National(NamedTuple):
    """One kind of number.

    Attributes:
        kind: the span's type.
        check: a module of python-stdnum, or "" where the shape is all there is.
        labelled: the masks, separated by commas, that count only after a word which says what the number is.
        sure: those that need none.
    """

    kind: str
    check: str
    labelled: str
    sure: str = ""


KNOWN = (
    National("us_ssn", "us.ssn", "999999999, 999 99 9999", "999-99-9999"),
    National("us_itin", "us.itin", "999999999, 999 99 9999", "999-99-9999"),
    National("uk_nino", "", "AA999999A", "AA 99 99 99 A"),
    National("uk_nhs", "gb.nhs", "9999999999, 999 999 9999, 999-999-9999"),
    National("ca_sin", "ca.sin", "999999999, 999 999 999, 999-999-999"),
    National("es_dni", "es.dni", "99999999A, 99999999-A, 99.999.999-A"),
    National("es_nie", "es.nie", "", "A9999999A, A-9999999-A"),
    National("it_codice_fiscale", "it.codicefiscale", "", "AAAAAA99A99A999A"),
    National("de_steuer_id", "de.idnr", "99999999999, 99 999 999 999"),
    National("fr_nir", "fr.nir", "999999999999999", "9 99 99 99 999 999 99"),
    National("pl_pesel", "pl.pesel", "99999999999"),
    National("nl_bsn", "nl.bsn", "999999999, 9999.99.999"),
    National("be_nn", "be.nn", "99999999999", "99.99.99-999.99"),
    National("at_vnr", "at.vnr", "9999999999, 9999 999999"),
    National("ch_ahv", "ch.ssn", "9999999999999", "999.9999.9999.99"),
    National("se_personnummer", "se.personnummer", "9999999999, 999999999999, 999999-9999, 99999999-9999, 999999+9999"),
    National("no_fodselsnummer", "no.fodselsnummer", "99999999999, 999999 99999"),
    National("dk_cpr", "dk.cpr", "9999999999, 999999-9999"),
    National("fi_hetu", "fi.hetu", "", "999999-9999, 999999-999A, 999999+9999, 999999+999A, 999999A9999, 999999A999A"),
    National("ee_ik", "ee.ik", "99999999999"),
    National("lt_asmens", "lt.asmens", "99999999999"),
    National("cz_rc", "cz.rc", "9999999999, 999999/9999, 999999/999"),
    National("ro_cnp", "ro.cnp", "9999999999999"),
    National("bg_egn", "bg.egn", "9999999999"),
    National("hr_oib", "hr.oib", "99999999999"),
    National("gr_amka", "gr.amka", "99999999999"),
    National("pt_nif", "pt.nif", "999999999, 999 999 999"),
    National("ie_pps", "ie.pps", "9999999A, 9999999AA"),
    National("tr_tckimlik", "tr.tckimlik", "99999999999"),
    National("il_idnr", "il.idnr", "999999999"),
    National("za_idnr", "za.idnr", "9999999999999, 999999 9999 999"),
    National("in_aadhaar", "in_.aadhaar", "999999999999, 9999 9999 9999, 9999-9999-9999"),
    National("in_pan", "in_.pan", "", "AAAAA9999A"),
    National("br_cpf", "br.cpf", "99999999999", "999.999.999-99"),
    National("mx_curp", "mx.curp", "", "AAAA999999AAAAAA99, AAAA999999AAAAAAA9"),
    National("ar_dni", "ar.dni", "99999999, 99.999.999"),
    National("cl_rut", "cl.rut", "99999999-9, 99999999-A", "99.999.999-9, 99.999.999-A, 9.999.999-9, 9.999.999-A"),
    National("kr_rrn", "kr.rrn", "9999999999999", "999999-9999999"),
    National("cn_ric", "cn.ric", "", "999999999999999999, 99999999999999999A"),
    National("au_tfn", "au.tfn", "999999999, 999 999 999"),
    National("nz_ird", "nz.ird", "99999999, 999999999, 99-999-999, 999-999-999"),
    National("th_pin", "th.pin", "9999999999999", "9-9999-99999-99-9"),
    National("my_nric", "my.nric", "999999999999", "999999-99-9999"),
    National("id_nik", "id.nik", "9999999999999999"),
    National("pk_cnic", "pk.cnic", "9999999999999", "99999-9999999-9"),
)

_MASKS: dict[str, list[tuple[National, bool]]] = {}


for _known in KNOWN:
    for _told, _certain in ((_known.labelled, False), (_known.sure, True)):
        for _mask in filter(None, _told.split(", ")):
            _MASKS.setdefault(_mask, []).append((_known, _certain))


def national_ids(text: str, tokens: Iterable[tuple[int, int]]) -> Iterator[Span]:
    """The numbers of `KNOWN`: among the words with digits, and among the digits that spaces group."""
    for start, end in tokens:
        kind = _kind(text, start, text[start:end])
        if kind:
            yield Span(start, end, kind)
    for found in _SPACED.finditer(text):
        start, end = found.span()
        if _LETTERS_BEFORE.fullmatch(text[max(0, start - 3) : start]):
            start -= 3
        if 8 <= end - start <= LONGEST:
            kind = _kind(text, start, text[start:end])
            if kind:
                yield Span(start, end, kind)


def _kind(text: str, start: int, written: str) -> str:
    number = written.upper()
    could_be = _MASKS.get(number.translate(_MASK))
    if could_be is None:
        return ""
    spoken: frozenset[str] | None = None
    for known, sure in could_be:
        if spoken is None and (not sure or number != written):
            spoken = topics(text, start)
        if sure and says_else(text, start):
            continue
        # In lower case letters and digits mixed are a digest's beginning as often as not.
        labelled = not sure or number != written
        if labelled and spoken is not None and not spoken & {known.kind, "national_id"}:
            continue
        if _checks(known, number):
            return known.kind
    return ""


def _checks(known: National, number: str) -> bool:
    if known.check:
        return valid(known.check, number)
    return _NINO.fullmatch(number.replace(" ", "")) is not None
