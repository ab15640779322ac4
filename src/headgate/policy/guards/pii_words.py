"""What the words before a number say that it is: most numbers are told from others by their label only.

One table of words for all kinds, looked up per candidate, so that the cost does not grow with the number of kinds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

REACH = 56
"""Characters before a candidate in which a word counts as its context."""

_CLOSE = 28
"""Characters before it in which a word may say that it is something else."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")

_LABELS: dict[str, str] = {
    # Numbers without groups count after these; see `pii_phone`.
    "phone": "phone phones telephone telephones tel mobile mobiles cell cellphone cellular fax telefax "
    "handy whatsapp sms call calls "
    "calling callback dial hotline helpline voicemail landline pager telefon telefonnummer handynummer "
    "mobilnummer rufnummer teléfono telefono teléfonos móvil movil celular téléphone telephone portable tél fijo "
    "cellulare telefone telemóvel telemovel telefoon mobiel puhelin puhelinnumero telefonnummer komórka numer "
    "телефон тел моб phonenumber mobilephone|my number|her number|his number|their number|"
    "mi número|mi numero|mon numéro|mon numero|meine nummer|il mio numero|meu número|contact number",
    # Only numbers in groups count after these, which are used of other things as well.
    "talk": "reach contact answering answer answers message messages text texts texting ring rang rung desk registered "
    "office extension anrufen rufen llama llamar llame appeler appelez joindre chiama chiamare ligar hablar",
    "card": "card cards cc creditcard debitcard visa mastercard amex maestro discover diners jcb "
    "unionpay "
    "pan credit debit charge kreditkarte kreditkartennummer karte kartennummer tarjeta carte cartão "
    ""
    "cartao carta kort kortnummer "
    "creditcardnumber cardnumber",
    "account": "account accounts konto cuenta compte conto",
    "national_id": "national id|identity number|identity card|id number|id card|identification number|personal number|"
    "personal id|tax id|tax number|taxpayer|citizen id|social insurance",
    "us_ssn": "ssn ssns socialsecurity|social security|social sec|soc sec",
    "us_itin": "itin tin|taxpayer identification|tax id",
    "uk_nino": "nino ni|national insurance|insurance number",
    "uk_nhs": "nhs",
    "ca_sin": "sin nas|social insurance",
    "es_dni": "dni nif documento identidad",
    "es_nie": "nie nif extranjero",
    "it_codice_fiscale": "fiscale cf|codice fiscale",
    "de_steuer_id": "idnr steueridentifikationsnummer steuernummer steuer tin identifikationsnummer|steuer id|tax id",
    "fr_nir": "nir insee sécu secu|sécurité sociale|securite sociale|numéro de sécurité|social security",
    "pl_pesel": "pesel",
    "nl_bsn": "bsn burgerservicenummer sofinummer",
    "be_nn": "rijksregisternummer rijksregister|registre national|numéro national|national number",
    "at_vnr": "svnr sozialversicherungsnummer sozialversicherung|sv nummer",
    "ch_ahv": "ahv avs",
    "se_personnummer": "personnummer samordningsnummer|personal number",
    "no_fodselsnummer": "fødselsnummer fodselsnummer personnummer fnr",
    "dk_cpr": "cpr personnummer",
    "fi_hetu": "hetu henkilötunnus",
    "ee_ik": "isikukood",
    "lt_asmens": "asmens|asmens kodas",
    "cz_rc": "rodné rodne rč|rodné číslo|birth number",
    "ro_cnp": "cnp",
    "bg_egn": "egn егн",
    "hr_oib": "oib",
    "gr_amka": "amka αμκα",
    "pt_nif": "nif contribuinte",
    "ie_pps": "pps ppsn",
    "tr_tckimlik": "tckn tc kimlik",
    "il_idnr": "teudat zehut|teudat zehut",
    "za_idnr": "rsa|south african|identity number",
    "in_aadhaar": "aadhaar aadhar uidai uid आधार",
    "in_pan": "pan",
    "br_cpf": "cpf",
    "mx_curp": "curp",
    "ar_dni": "dni cuil cuit",
    "cl_rut": "rut run",
    "kr_rrn": "rrn",
    "cn_ric": "shenfenzheng resident",
    "au_tfn": "tfn|tax file",
    "nz_ird": "ird",
    "th_pin": "thai",
    "my_nric": "nric mykad ic",
    "id_nik": "nik ktp",
    "pk_cnic": "cnic",
    "passport": "passport passports reisepass reisepassnummer pasaporte passeport passaporto passaporte "
    "paspoort passnummer",
    "driving_licence": "licence license licenses führerschein führerscheinnummer|dl number|dl no|driving "
    "licence|driver license|"
    "drivers license|driving license|permis de conduire|patente di guida|carnet de conducir|permiso de conducir",
    "us_bank_routing": "routing aba rtn",
    "bank_account": "acct iban kontonummer konto|account number|account no|bank account|account nr|checking "
    "account|savings account|"
    "número de cuenta|numéro de compte",
    "uk_sort_code": "sortcode|sort code",
    "date_of_birth": "born birth dob birthdate birthday birthdate dateofbirth geboren geburtsdatum geburtstag "
    "nacimiento "
    "nacido nacida né née naissance nascita nato nata nascimento nascido geboortedatum född syntymäaika urodzony",
    "mac": "mac macaddress ethernet ether hwaddr hwaddress bssid wifi bluetooth lladdr physical arp",
}
"""Per kind: words, and after a bar phrases of two words or more, of which the last two count."""

_DRIVING = frozenset({"driving", "driver", "drivers", "dl", "führerschein", "führerscheinnummer"})

_PARTS = {
    "phone": ["電話", "电话", "手机", "手機", "携帯", "전화", "휴대폰", "โทร", "टेलीफोन", "फोन", "هاتف"],
    "card": ["カード", "卡号", "信用卡", "카드"],
    "date_of_birth": ["生年月日", "出生", "생년월일"],
    "cn_ric": ["身份证", "公民身份"],
    "kr_rrn": ["주민등록"],
    "in_aadhaar": ["आधार"],
    "passport": ["パスポート", "护照", "여권"],
}
"""Of scripts that put no spaces between words."""

_ELSE_WORDS = (
    "order orders ref refs reference references tracking track invoice ticket sku isbn issn doi uuid "
    "guid commit build serial timestamp ts transaction txn case claim issue request req session trace "
    "span correlation shipment parcel package awb po quote model part item product article version rev "
    "revision seed epoch pid port hash checksum sha md5 offset bytes size total population rows count "
    "bestellung bestellnummer rechnung rechnungsnummer sendungsnummer pedido factura commande facture "
    "ordine fattura job batch row page"
)
_ELSE = frozenset(_ELSE_WORDS.split())
_FILL_WORDS = "number numbers no nr num id ids code is was the my your our a of key nummer número numero numéro"
_FILL = frozenset(_FILL_WORDS.split())


def _table() -> tuple[dict[str, frozenset[str]], dict[tuple[str, str], frozenset[str]]]:
    single: dict[str, set[str]] = {}
    double: dict[tuple[str, str], set[str]] = {}
    for kind, told in _LABELS.items():
        first, *phrases = told.split("|")
        if " " in first and kind == "national_id":
            phrases, first = [first, *phrases], ""
        for word in first.split():
            single.setdefault(word, set()).add(kind)
        for phrase in phrases:
            one, two = phrase.split()[-2:] if " " in phrase else ("", phrase)
            if one:
                double.setdefault((one, two), set()).add(kind)
            else:
                single.setdefault(two, set()).add(kind)
    return {k: frozenset(v) for k, v in single.items()}, {k: frozenset(v) for k, v in double.items()}


_SINGLE, _DOUBLE = _table()


def words_before(text: str, start: int, reach: int = REACH) -> list[str]:
    """The words of the `reach` characters before `start`, in lower case; camelCase and snake_case are taken apart."""
    return [each.lower() for each in _WORD.findall(text, max(0, start - reach), start)]


def topics(text: str, start: int) -> frozenset[str]:
    """The kinds that the words before `start` speak of."""
    window = text[max(0, start - REACH) : start]
    words = [each.lower() for each in _WORD.findall(window)]
    found: set[str] = set()
    for place, word in enumerate(words):
        if word in _SINGLE:
            found |= _SINGLE[word]
        if place and (words[place - 1], word) in _DOUBLE:
            found |= _DOUBLE[words[place - 1], word]
    if not window.isascii():
        found.update(kind for kind, parts in _PARTS.items() if any(part in window for part in parts))
    if "driving_licence" in found and not _DRIVING.intersection(words) and "driving_licence" not in _pairs(words):
        found.discard("driving_licence")
    return frozenset(found)


def _pairs(words: list[str]) -> set[str]:
    met: Iterable[frozenset[str]] = (_DOUBLE.get(pair, frozenset()) for pair in itertools.pairwise(words))
    return {kind for kinds in met for kind in kinds}


def says_else(text: str, start: int) -> bool:
    """Whether the label right before `start` says that the number is no one's: an order, a reference, a version."""
    numbered = False
    for word in reversed(words_before(text, start, _CLOSE)):
        if word in _ELSE:
            return True
        if word not in _FILL:
            return False
        numbered = numbered or word in ("id", "ids")
    return numbered
