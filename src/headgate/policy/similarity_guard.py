"""Why two questions that look alike are not the same: "cancel" and "do not cancel" score 0.97 as vectors.

Deliberately strict: a difference that means nothing costs a call, one that is not seen costs a wrong answer. No I/O.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

MAX_CHARS = 4_000
"""Of a text that is compared; a longer one is always another one."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,:/\u00a0-]\d+)*")
_MARKED = re.compile(r"\"([^\"]{1,200})\"|`([^`]{1,200})`|«([^»]{1,200})»|“([^”]{1,200})”|„([^“”]{1,200})[“”]")
_TOKENISH = re.compile(r"\S*(?:@|://|[/\\_#]|\w\.\w)\S*|\b(?=\w*\d)(?=\w*[^\W\d])\w+\b")
_SIGNS = re.compile(r"[%‰€$£¥₹°]")
_ENDS = re.compile(r"[.!?:;]\s*$|^\s*$|[\"“„(\[-]\s*$")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEGATIONS = _set(
    "not no never none nothing nobody nowhere neither nor without cannot except unless hardly barely stop avoid "
    "refuse "
    "nicht kein keine keinen keinem keiner keines nie niemals nichts niemand ohne weder außer "
    "pas jamais rien personne aucun aucune sans ni sauf nunca nada nadie ninguno ninguna ningún sin tampoco "
    "non mai niente nessuno nessuna senza né não nem nenhum nenhuma sem nic nie nigdy bez niet geen nooit zonder "
    "ikke ingen aldri inte ingen aldrig uden ej не нет никогда ничего без ni niciodată fără "
    "hayır değil yok 不 没 没有 別 ない"
)
_CONTRACTED = ("n't", "n’t")

_PAIRS = (
    "enable enabled enabling activate|disable disabled disabling deactivate; increase increasing raise grow|decrease "
    "decreasing reduce lower shrink; add adding|remove removing delete; on|off; open opening|close closing shut; "
    "start starting begin|stop stopping end finish; before|after; above over|below under; buy buying purchase|sell "
    "selling; accept approve|reject decline deny; import|export; upload|download; first|last; min minimum least "
    "lowest cheapest smallest|max maximum most highest biggest largest; more|less fewer; with|without; inside|"
    "outside; in|out; up|down; hot|cold; left|right; allow allowed permit|forbid forbidden block ban; win|lose; "
    "pass|fail; true|false; yes|no; subscribe|unsubscribe; install|uninstall; lock|unlock; encrypt|decrypt; "
    "encode|decode; connect|disconnect; lend|borrow; send|receive; hire|fire; arrive arrival|depart departure leave; "
    "public|private; old|new; same|different; legal|illegal; possible|impossible; safe|dangerous unsafe; ascending|"
    "descending; push|pull; login|logout; credit|debit; best|worst; good|bad; cheap|expensive; always|never; early|"
    "late; inbound|outbound; debtor|creditor; employer|employee; landlord|tenant; buyer|seller; mother|father; son|"
    "daughter; brother|sister; man|woman; he his|she her; male|female; day|night; morning|evening; north|south; "
    "east|west; input|output; read|write; row rows|column columns; refund|charge; einschalten aktivieren|ausschalten "
    "deaktivieren; kaufen|verkaufen; öffnen|schließen; vor|nach; mehr|weniger; activer|désactiver; acheter|vendre; "
    "ouvrir|fermer; avant|après; plus|moins; activar|desactivar; comprar|vender; abrir|cerrar; antes|después; "
    "más|menos"
)
_OPPOSITES = [tuple(_set(each) for each in pair.split("|")) for pair in _PAIRS.split(";")]

_NUMBER_WORDS = {
    word: value
    for value, words in {
        "0": "zero null cero",
        "1": "once single",
        "2": "two twice double zwei deux dos",
        "3": "three thrice triple drei trois tres",
        "4": "four vier quatre cuatro",
        "5": "five fünf cinq cinco",
        "6": "six sechs seis",
        "7": "seven sieben sept siete",
        "8": "eight acht huit ocho",
        "9": "nine neun neuf nueve",
        "10": "ten zehn dix diez",
        "11": "eleven elf onze",
        "12": "twelve zwölf douze doce dozen dutzend",
        "15": "fifteen fünfzehn quinze quince",
        "20": "twenty zwanzig vingt veinte",
        "30": "thirty dreißig trente treinta",
        "50": "fifty fünfzig cinquante cincuenta",
        "100": "hundred hundert cent cien",
        "1000": "thousand tausend mille mil",
        "1000000": "million millions millionen millones",
        "1000000000": "billion billions milliarde milliarden milliards",
        "1/2": "half halb demi medio",
        "2nd": "second zweite deuxième segundo",
        "3rd": "third dritte troisième tercero",
        "1/4": "quarter viertel quart cuarto",
        "all": "all every everything everyone alle alles tous toutes todos todas",
        "some": "some few several einige quelques algunos",
        "both": "both beide",
    }.items()
    for word in words.split()
}

_UNITS = _set(
    "mg g kg gram grams kilogram kilograms kilo kilos ton tons tonne tonnes lb lbs pound pounds oz ounce ounces "
    "stone mm cm m km meter meters metre metres kilometer kilometers kilometre kilometres mile miles mi inch "
    "inches ft foot feet yard yards ml l liter liters litre litres gallon gallons pint pints cup cups ms s sec "
    "second seconds min minute minutes hour hours h hr hrs day days week weeks month months year years kb mb gb "
    "tb kib mib gib byte bytes bit bits usd eur gbp chf jpy cny inr dollar dollars euro euros cent cents yen yuan "
    "rupee rupees franc francs percent celsius fahrenheit kelvin degrees kwh watt watts volt volts amp amps joule "
    "joules calorie calories kcal mph kmh tag tage woche wochen monat monate jahr jahre stunde stunden minuten "
    "jour jours semaine mois ans heure heures día días semana mes meses año años hora horas quarterly monthly "
    "weekly daily yearly annual annually hourly "
)
_ONE_UNIT = {"s": "second", "sec": "second", "hr": "hour", "hrs": "hour", "h": "hour", "kg": "kilogram",
             "kilo": "kilogram",
             "km": "kilometer", "kilometre": "kilometer", "metre": "meter", "litre": "liter", "l": "liter",
             "m": "meter",
             "lb": "pound", "lbs": "pound", "feet": "foot", "ft": "foot", "inches": "inch", "%": "percent",
             "mi": "mile", "min": "minute", "annually": "annual", "yearly": "annual", "$": "dollar", "usd": "dollar",
             "€": "euro", "eur": "euro", "g": "gram"}  # fmt: skip
_DATES = _set(
    "january february march april may june july august september october november december jan feb mar apr jun "
    "jul aug "
    "sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun today "
    "tomorrow yesterday tonight now weekend weekday noon midnight am pm next previous current this past coming "
    "upcoming "
    "spring summer autumn fall winter christmas easter januar februar märz mai juni juli oktober dezember "
    "montag dienstag "
    "mittwoch donnerstag freitag samstag sonntag heute morgen gestern janvier février mars avril juin juillet août "
    "septembre octobre novembre décembre lundi mardi mercredi jeudi vendredi samedi dimanche aujourd'hui demain hier "
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre lunes martes miércoles "
    "jueves viernes sábado domingo hoy mañana ayer"
)
_ASKS = _set("who whom whose when where why which many much long often wer wann wo warum wieso wieviel wie "
             "viele qui quand où "
             "pourquoi combien quién cuándo dónde cuánto cuántos")  # fmt: skip
_OBLIGES = {
    "must": "must",
    "should": "should",
    "may": "may",
    "might": "may",
    "could": "can",
    "can": "can",
    "shall": "must",
}

_LANGUAGES = {
    "en": _set("the is are was of to and in for my your what how do does can please with this that it i you me an"),
    "de": _set(
        "der die das ist sind und ich mein meine wie was kann bitte mit für den dem ein eine zu auf nicht es mir"
    ),
    "fr": _set("le la les est sont et je mon ma comment quoi peux avec pour des un une du que dans s'il vous mes"),
    "es": _set("el la los las es son y mi cómo qué puedo por favor con para un una de que en mis al"),
    "it": _set("il lo gli è sono e mio mia come che posso per con un una di della del i miei"),
    "pt": _set("o os as é são e meu minha como que posso por favor com para um uma de da do em não"),
    "nl": _set("de het een is zijn en ik mijn hoe wat kan met voor van niet op te"),
}
_PLAIN = _set(
    "a an the i i'm i'd me my we our you your it its is are was were be been am do does did can could would "
    "will shall "
    "should may might must have has had please hi hello hey thanks thank ok okay so and or but if then of to in "
    "on at for "
    "from by with about as into what what's which who when where why how that this these those there here tell "
    "give show "
    "explain describe find get let want need help know like just also any us someone way ways der die das ist "
    "wie was kann ich bitte mein meine le la les un une est que comment el los las cómo qué puedo mi por favor"
)


def differs(one: str, other: str) -> str:
    """Why two questions may have different answers, in a word; "" where nothing of that is found.

    Returns:
        "length", "language", "negation", "opposite", "number", "unit", "date", "question", "modal", "name", "order",
        "word", or "".
    """
    if len(one) > MAX_CHARS or len(other) > MAX_CHARS:
        return "length"
    one, other = unicodedata.normalize("NFKC", one), unicodedata.normalize("NFKC", other)
    first, second = _words(one), _words(other)
    if _said_twice(one, other):
        return ""
    if _foreign(one, first, other, second):
        return "language"
    for why, look in _LOOKS:
        if look(one, first) != look(other, second):
            return why
    if _opposed(set(first), set(second)):
        return "opposite"
    if _names(one, set(second)) or _names(other, set(first)):
        return "name"
    return _moved(first, second)


def _words(text: str) -> list[str]:
    return [word.casefold().replace("’", "'").removesuffix("'s") for word in _WORD.findall(text)]


def _said_twice(one: str, other: str) -> bool:
    return " ".join(one.split()).rstrip(".!? ") == " ".join(other.split()).rstrip(".!? ")


def _foreign(one: str, first: list[str], other: str, second: list[str]) -> bool:
    """Written in other scripts, or in languages of which each is clear by its small words."""
    if _scripts(one) != _scripts(other):
        return True
    here, there = _language(first), _language(second)
    return bool(here and there and here != there)


def _scripts(text: str) -> set[str]:
    return {unicodedata.name(c, "?").partition(" ")[0] for c in text if c.isalpha()}


def _language(words: list[str]) -> str:
    found = sorted(((sum(w in small for w in words), name) for name, small in _LANGUAGES.items()), reverse=True)
    return found[0][1] if found[0][0] >= 2 and found[0][0] > found[1][0] else ""


def _negations(text: str, words: list[str]) -> object:
    count = sum(w in _NEGATIONS or w.endswith(_CONTRACTED) for w in words)
    return count + sum(c in "不没別" for c in text)


def _numbers(text: str, words: list[str]) -> object:
    """In their order: which of two is more, from, or by, is told by it."""
    found = [(m.start(), m.group().replace(",", "").rstrip(".")) for m in _NUMBER.finditer(text)]
    found += [(m.start(), _NUMBER_WORDS[m.group().casefold()]) for m in _WORD.finditer(text)
              if m.group().casefold() in _NUMBER_WORDS]  # fmt: skip
    minus = re.findall(r"(?<![\w)])[-−](?=\d)", text)
    return [value for _, value in sorted(found)], len(minus)


def _units(text: str, words: list[str]) -> object:
    found: list[str] = [_ONE_UNIT.get(w, w.rstrip("s") if len(w) > 3 else w) for w in words if w in _UNITS]
    found += [_ONE_UNIT.get(sign, sign) for sign in _SIGNS.findall(text)]
    found += [_ONE_UNIT.get(unit, unit) for unit in re.findall(r"\d([a-zµ]{1,3})\b", text.casefold())]
    return Counter(found)


def same_numbers(one: str, other: str) -> bool:
    """Two answers name the same numbers, in whatever order."""
    first, second = ({m.replace(",", "").rstrip(".") for m in _NUMBER.findall(each)} for each in (one, other))
    return first == second


def _dates(text: str, words: list[str]) -> object:
    return Counter(word for word in words if word in _DATES)


def _question(text: str, words: list[str]) -> object:
    return {word for word in words if word in _ASKS}


def _modal(text: str, words: list[str]) -> object:
    told = {_OBLIGES[word] for word in words if word in _OBLIGES}
    return told - {"can"}


def _literal(text: str, words: list[str]) -> object:
    """What stands for itself: quotations, code, addresses, identifiers."""
    quoted = ["".join(each).casefold() for each in _MARKED.findall(text)]
    return Counter(quoted + [each.strip(".,;:!?()[]\"'").casefold() for each in _TOKENISH.findall(text)])


_LOOKS = (
    ("negation", _negations),
    ("number", _numbers),
    ("unit", _units),
    ("date", _dates),
    ("question", _question),
    ("modal", _modal),
    ("name", _literal),
)


def _opposed(first: set[str], second: set[str]) -> bool:
    for one, other in _OPPOSITES:
        if (first & one and second & other and not (first & other and second & one)) or (
            second & one and first & other and not (second & other and first & one)
        ):
            return True
    return False


def _names(text: str, others: set[str]) -> bool:
    """Whether a word that is written as a name is not in the other text, however it is written there."""
    for match in _WORD.finditer(text):
        word = match.group()
        if not word[0].isupper():
            continue
        plain = word.casefold().replace("’", "'")
        begins = bool(_ENDS.search(text[: match.start()]))
        if plain.removesuffix("'s") in others or plain in _PLAIN:
            continue
        if not begins or len(word) > 1:
            return True
    return False


def _moved(first: list[str], second: list[str]) -> str:
    """The same words in another order, or one word in the place of another: what templates differ in."""
    one, other = [w for w in first if not _looked_at(w)], [w for w in second if not _looked_at(w)]
    if Counter(one) == Counter(other):
        return "" if one == other or not _directed([*first, *second]) else "order"
    left, right = Counter(one) - Counter(other), Counter(other) - Counter(one)
    if not left or not right:
        return "word" if sum((left + right).values()) > 1 else ""
    strange = [word for word in left if not any(_akin(word, each) for each in right)]
    return "word" if strange and len(strange) <= 2 and sum(left.values()) == sum(right.values()) else ""


def _looked_at(word: str) -> bool:
    """It says nothing, or has been compared."""
    return word in _PLAIN or word in _NUMBER_WORDS or word in _UNITS or word[0].isdigit()


def _directed(words: Iterable[str]) -> bool:
    return any(word in _DIRECTIONS for word in words)


_DIRECTIONS = _set(
    "from to than by into over under between for against von nach zu als durch de à vers par desde hacia a"
)


def _akin(one: str, other: str) -> bool:
    """Forms of one word: they begin alike."""
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    return common >= max(3, min(len(one), len(other)) - 2)
