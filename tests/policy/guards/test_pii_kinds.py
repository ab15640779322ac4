"""What `find_pii` finds, kind by kind, and what it leaves alone. The numbers are made up; their checks are right."""

from __future__ import annotations

import pytest

from headgate.policy.guards.pii import PII_KINDS, PiiRecogniser, find_pii

FOUND = [
    ("email", "Send it to ", "ada.lovelace+x@mail.example.co.uk", " please."),
    ("email", "<", "josé@exämple.com", ">"),
    ("email", "メールは", "taro@example.jp", "です"),
    ("email", "write to ", "ada (at) example (dot) com", " soon"),
    ("phone", "Tel.: ", "+33 (0)5 79 29 04 21", ""),
    ("phone", "", "+49(0)6716 285982", " is mine"),
    ("phone", "phone=", "379-638-3470x174", ""),
    ("phone", "電話：", "03278 523390", ""),
    ("phone", "and then ", "078 8098 1119", " rang off"),
    ("phone", "Call me on ", "6844364697", " after 5."),
    ("phone", "They are not answering at ", "516 466 638", ""),
    ("phone", "Phone:\n", "60-56-85-91", "\n"),
    ("phone", "a=", "(02)-5622-4154", " b=2"),
    ("phone", "a=", "48 7368-1930", " b=2"),
    ("phone", "try ", "(650) 555-0123", "."),
    ("phone", "try ", "0039 06 6982 1234", "."),
    ("card", "Please charge ", "4111 1111 1111 1111", " for it"),
    ("card", "a=", "378282246310005", " b=2"),
    ("card", "a=", "6011893408306506", " b=2"),
    ("card", "What is the limit of card ", "4222222222222", "?"),
    ("iban", "Pay to ", "DE89 3704 0044 0532 0130 00", " by Friday"),
    ("iban", "my iban is ", "gb82west12345698765432", ""),
    ("us_ssn", "SSN: ", "536-90-4399", ""),
    ("us_ssn", "social security number ", "536904399", ""),
    ("uk_nino", "National Insurance number ", "AB123456C", "."),
    ("uk_nino", "it is ", "AB 12 34 56 C", "."),
    ("uk_nhs", "NHS number ", "943 476 5870", ""),
    ("ca_sin", "her SIN is ", "123-456-782", ""),
    ("es_dni", "DNI ", "54362315K", ""),
    ("es_nie", "soy ", "X2482300W", ""),
    ("it_codice_fiscale", "cf ", "RCCMNL83S18D969H", ""),
    ("de_steuer_id", "Steuer-ID: ", "36 574 261 809", ""),
    ("fr_nir", "né, ", "2 95 10 99 126 111 93", ""),
    ("pl_pesel", "PESEL ", "44051401359", ""),
    ("nl_bsn", "BSN ", "111222333", ""),
    ("be_nn", "nr ", "85.07.30-033.28", ""),
    ("ch_ahv", "AHV ", "756.9217.0769.85", ""),
    ("se_personnummer", "personnummer ", "880320-0016", ""),
    ("dk_cpr", "CPR ", "211062-5629", ""),
    ("fi_hetu", "hän on ", "131052-308T", ""),
    ("cz_rc", "rodné číslo ", "710319/2745", ""),
    ("ro_cnp", "CNP ", "1630615123457", ""),
    ("hr_oib", "OIB ", "33392005961", ""),
    ("ie_pps", "PPS ", "6433435F", ""),
    ("tr_tckimlik", "TC kimlik ", "17291716060", ""),
    ("in_aadhaar", "Aadhaar ", "2341 2341 2346", ""),
    ("in_pan", "tax ", "ACUPA7085R", ""),
    ("br_cpf", "meu ", "390.533.447-05", ""),
    ("mx_curp", "soy ", "BOXW310820HNERXN09", ""),
    ("cl_rut", "el ", "12.531.909-2", ""),
    ("kr_rrn", "no ", "971013-9019902", ""),
    ("cn_ric", "no ", "360426199101010071", ""),
    ("au_tfn", "tax file number ", "123 456 782", ""),
    ("th_pin", "no ", "1-2345-45678-78-1", ""),
    ("passport", "Passport No. ", "C01X00T47", ""),
    ("driving_licence", "driver's license ", "D1234567", ""),
    ("bank_account", "account number: ", "12345678", ""),
    ("us_bank_routing", "routing number ", "111000025", ""),
    ("uk_sort_code", "sort code ", "20-00-00", ""),
    ("ip", "from ", "93.184.216.34", " port 22"),
    ("ip", "http://", "10.1.2.3", ":8000/"),
    ("ip", "[", "2001:db8::9b7b:55", "]"),
    ("ip", "at ", "6e40:4041:c617:e898:c11:40d2:c669:2eb4", " blocked"),
    ("mac", "MAC address: ", "00:1A:2b:3C:4d:5E", ""),
    ("date_of_birth", "born on ", "12 March 1980", " in York"),
    ("date_of_birth", "DOB: ", "1980-03-12", ""),
    ("date_of_birth", "geboren am ", "12.03.1980", ""),
    ("address", "I live at ", "221B Baker Street", ", you know"),
    ("address", "", "600 S Rowan Ave, Los Angeles, CA 90023", ""),
    ("address", "wohnt ", "Hauptstraße 12, 10115 Berlin", "."),
    ("address", "au ", "12 rue de la Paix, 75002 Paris", "."),
    ("address", "en ", "Calle Mayor 12", "."),
    ("address", "to ", "P.O. Box 186", "."),
]


@pytest.mark.parametrize(("kind", "before", "value", "after"), FOUND, ids=[f"{kind}-{v}" for kind, _, v, _ in FOUND])
def test_what_is_personal_is_found_whole(kind: str, before: str, value: str, after: str) -> None:
    text = before + value + after
    spans = [span for span in find_pii(text) if span.type == kind]
    assert spans, find_pii(text)
    assert text[spans[0].start : spans[0].end] == value


LEFT = [
    "Order #4980397788856 has shipped",
    "order_id=4810707662146554",
    "Your reference is 946-9286876-0298821",
    "tracking number 4111111111111111",
    "population 31,031,553 in 90502",
    "Total 13,328,177 rows in 76576 ms",
    "created_at: 05.04.2019 01:14:04",
    "Due on 2024-02-26 at 14:08:35",
    "created_at: 20121209 07:34:57",
    "upgrade from v1.64.3876 to v23.26.5338",
    "Chrome/120.0.6099.109 and requests==2.31.0.1",
    "version 1.2.3.4 of the firmware",
    "id: 3ad4550c-e0bb-414a-ad05-8008217a1e54",
    "commit e5f3e4c51c9e7dbc8e983ddb12d192f04474618f",
    "git@github.com:headgate/headgate.git",
    "card ending in 4242, SSN: XXX-XX-XXXX",
    "listens on 127.0.0.1 and [::1], mask 255.255.255.0",
    "std::a and abc::def and dead::beef are paths; 12:30:45 is a time",
    "4111 1111 1111 1112 fails Luhn",
    "DE89 3704 0044 0532 0130 01 fails its check",
    "started_at=1708546259.54289 after the calls",
    "the MIT license 2.0 and the BSD-3-Clause license",
    "In 2011 Wall Street fell; during 2021 it did not",
    "3.14159265358979 and 0.4111111111111111 are numbers",
    "Boston, MA 02110-1301 USA",
    "merge cacae4329f and fccff2702e",
    "mac: 00:00:00:00:00:00, account numbers (c) 2011-2018",
    "pip install foo@1.2.3 @decorator",
    "Nature (2005) 437 1299 and 10.1000/182",
    "password in postgres://app:s3cr3tpw@db.example.com/x is a secret's business",
]


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_personal_is_left_alone(text: str) -> None:
    assert find_pii(text) == []


def test_a_national_number_counts_without_a_word_where_its_country_is_told() -> None:
    text = "at 516 466 638 from noon"
    assert find_pii(text) == []
    assert [span.type for span in find_pii(text, regions=("PL",))] == ["phone"]


def test_every_kind_found_is_one_that_is_announced() -> None:
    assert {kind for kind, *_ in FOUND} <= set(PII_KINDS)
    assert len(PII_KINDS) == len(set(PII_KINDS))


def test_only_the_kinds_asked_for_are_given() -> None:
    text = "ada@example.com, 4111 1111 1111 1111"
    assert [span.type for span in find_pii(text, kinds=["card"])] == ["card"]
    assert [span.type for span in PiiRecogniser(kinds=frozenset({"email"})).find(text)] == ["email"]


def test_what_two_recognisers_see_in_one_place_is_one_span_of_the_more_specific_type() -> None:
    text = "card number: call 4111 1111 1111 1111"
    assert [(text[s.start : s.end], s.type) for s in find_pii(text)] == [("4111 1111 1111 1111", "card")]
