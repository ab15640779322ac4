"""Sections about the books: invoices and anomalies."""

from __future__ import annotations

from headgate.settings.fields import Section
from headgate.settings.model import AnomalySettings, InvoiceSettings, InvoiceTerms, frozen
from headgate.settings.tree import Scalar
from headgate.settings.units import one_of, percentage, ratio, seconds, switch, text_up_to, usd

INVOICE_KEYS = ("markup", "minimum_usd", "seller", "tenants")
ANOMALY_KEYS = ("tokens_per_call", "daily_spend", "session_usd", "session_window", "new_model")

_markup = percentage(100_000, like="20%", zero=True)
_window = seconds(1, 86_400)


def read_invoices(root: Section) -> InvoiceSettings:
    """`invoices: {markup: 20%, minimum_usd: 5, tenants: {acme: {markup: 10%}}, seller: "..."}`."""
    section = root.section("invoices", INVOICE_KEYS)
    everybody = _terms(section, InvoiceTerms())
    tenants = {}
    for name, node, path in section.named("tenants"):
        try:
            text_up_to(200)(name)
        except ValueError as error:
            root.context.wrong_name(path, str(error))
        tenants[name] = _terms(Section(root.context, node, path, ("markup", "minimum_usd")), everybody)
    return InvoiceSettings(
        markup_basis_points=everybody.markup_basis_points,
        minimum_nano=everybody.minimum_nano,
        seller=section.take("seller", text_up_to(500), ""),
        tenants=frozen(tenants),
    )


def _terms(section: Section, default: InvoiceTerms) -> InvoiceTerms:
    return InvoiceTerms(
        markup_basis_points=section.take("markup", _markup, default.markup_basis_points),
        minimum_nano=section.take("minimum_usd", usd, default.minimum_nano),
    )


def read_anomalies(root: Section) -> AnomalySettings:
    """`anomalies:`, a mapping, or `on` or `off` for all."""
    node = root.table.entries.get("anomalies")
    if isinstance(node, Scalar) and not node.null:
        return AnomalySettings(enabled=root.take("anomalies", one_of(("on", "off")), "on") == "on")
    section = root.section("anomalies", ANOMALY_KEYS)
    default = AnomalySettings()
    return AnomalySettings(
        tokens_ratio=section.take("tokens_per_call", ratio, default.tokens_ratio),
        spend_ratio=section.take("daily_spend", ratio, default.spend_ratio),
        session_nano=section.take("session_usd", usd, default.session_nano),
        session_window_seconds=section.take("session_window", _window, default.session_window_seconds),
        new_model=section.take("new_model", switch, default.new_model),
    )
