"""Keys that their maker gave a beginning of their own: by prefix and shape, as vendors and scanners publish them.

A prefix is looked for as plain text first, which costs next to nothing; only a text that holds it meets the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from headgate.core.guards import Span
from headgate.policy.guards.secret_shapes import entropy, is_placeholder, stands_alone

_W = r"[A-Za-z0-9_\-]"


class Vendor(NamedTuple):
    """One kind of key.

    Attributes:
        kind: the span's type.
        prefixes: plain texts of which one is in every such key.
        pattern: from the prefix on; 64 characters of a key are always enough for it.
        strict: its random part must look random.
    """

    kind: str
    prefixes: tuple[str, ...]
    pattern: re.Pattern[str]
    strict: bool = True


def _kind(kind: str, prefixes: str, pattern: str, *, strict: bool = True) -> Vendor:
    return Vendor(kind, tuple(prefixes.split()), re.compile(pattern), strict)


VENDORS = (
    _kind("anthropic_key", "sk-ant-", rf"sk-ant-{_W}{{20,}}"),
    _kind("openrouter_key", "sk-or-", rf"sk-or-{_W}{{20,}}"),
    _kind("openai_key", "sk-", rf"sk-(?:(?:proj|svcacct|admin|service|None){_W}{{20,}}|[A-Za-z0-9]{{20,}})"),
    _kind("headgate_key", "hg-", r"hg-[A-Za-z0-9]{4,32}-[A-Za-z0-9_\-]{12,}"),
    _kind("aws_access_key", "AKIA ASIA AROA AIDA ABIA ACCA",
          r"(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _kind("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    _kind("github_token", "github_pat_", r"github_pat_[A-Za-z0-9_]{36,}"),
    _kind("gitlab_token", "glpat- gldt- glrt- glft- glptt- glcbt- glimt- glagent- glsoat- gloas-",
          rf"gl(?:pat|dt|rt|ft|ptt|cbt|imt|agent|soat|oas)-{_W}{{20,}}(?:\.[a-z0-9.]{{2,20}})?"),
    _kind("slack_token", "xox", r"xox[abeoprs][-.][A-Za-z0-9.\-]{10,}"),
    _kind("slack_token", "xapp-", r"xapp-[0-9]-[A-Za-z0-9\-]{16,}"),
    _kind("slack_webhook", "hooks.slack.com/",
          r"(?:https?://)?hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_\-]{20,}", strict=False),
    _kind("discord_webhook", "/api/webhooks/",
          r"(?:https?://)?(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]{17,20}(?:/[\w\-]{0,80})?", strict=False),
    _kind("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _kind("stripe_key", "whsec_", r"whsec_[A-Za-z0-9+/]{24,}={0,2}"),
    _kind("gcp_api_key", "AIza", rf"AIza{_W}{{35}}(?!{_W})"),
    _kind("google_oauth", "GOCSPX- ya29.", rf"(?:GOCSPX-{_W}{{24,}}|ya29\.{_W}{{20,}})"),
    _kind("twilio_key", "SK", r"SK[0-9a-f]{32}(?![0-9a-zA-Z])"),
    _kind("sendgrid_key", "SG.", rf"SG\.{_W}{{16,24}}\.{_W}{{16,}}"),
    _kind("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _kind("pypi_token", "pypi-", rf"pypi-{_W}{{48,}}"),
    _kind("huggingface_token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    _kind("databricks_token", "dapi", r"dapi[0-9a-f]{32}(?:-[0-9])?(?![0-9a-zA-Z])"),
    _kind("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", r"do[por]_v1_[0-9a-f]{40,64}"),
    _kind("mailgun_key", "key-", r"key-[0-9a-f]{32}(?![0-9a-zA-Z])"),
    _kind("mailchimp_key", "-us", r"[0-9a-f]{32}-us[0-9]{1,2}(?![0-9a-zA-Z])"),
    _kind("square_token", "sq0atp- sq0csp- EAAA", rf"(?:sq0[a-z]{{3}}-{_W}{{22,}}|EAAA{_W}{{56,}})"),
    _kind("shopify_token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _kind("supabase_key", "sbp_ sb_secret_", rf"(?:sbp_[0-9a-f]{{40}}|sb_secret_{_W}{{20,}})"),
    _kind("groq_key", "gsk_", r"gsk_[A-Za-z0-9]{40,}"),
    _kind("xai_key", "xai-", r"xai-[A-Za-z0-9]{40,}"),
    _kind("perplexity_key", "pplx-", r"pplx-[A-Za-z0-9]{40,}"),
    _kind("replicate_token", "r8_", r"r8_[A-Za-z0-9]{37,}"),
    _kind("langsmith_key", "lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}(?:_[0-9a-f]{10})?"),
    _kind("langfuse_key", "sk-lf-", r"sk-lf-[0-9a-f\-]{36}"),
    _kind("vault_token", "hvs. hvb.", rf"hv[sb]\.{_W}{{24,}}"),
    _kind("atlassian_token", "ATATT3", rf"ATATT3{_W}{{50,}}=?[0-9A-F]{{0,8}}"),
    _kind("linear_key", "lin_api_", r"lin_api_[A-Za-z0-9]{32,}"),
    _kind("notion_token", "ntn_", r"ntn_[A-Za-z0-9]{40,}"),
    _kind("figma_token", "figd_", rf"figd_{_W}{{36,}}"),
    _kind("doppler_token", "dp.pt. dp.st.", r"dp\.(?:pt|st)\.(?:[a-z0-9\-_]{2,35}\.)?[A-Za-z0-9]{40,44}"),
    _kind("newrelic_key", "NRAK-", r"NRAK-[A-Z0-9]{27}"),
    _kind("sentry_token", "sntrys_ sntryu_", r"sntry[su]_[A-Za-z0-9+/=_\-]{40,}"),
    _kind("grafana_token", "glsa_ glc_", r"(?:glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,}={0,2})"),
    _kind("pulumi_token", "pul-", r"pul-[0-9a-f]{40}"),
    _kind("postman_key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{30,34}"),
    _kind("docker_token", "dckr_pat_ dckr_oat_", rf"dckr_[po]at_{_W}{{24,}}"),
    _kind("rubygems_key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    _kind("flyio_token", "fm2_", r"fm2_[A-Za-z0-9+/]{50,}={0,3}"),
    _kind("age_secret_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{40,58}"),
    _kind("telegram_bot_token", ":AA", rf"[0-9]{{8,10}}:AA{_W}{{33}}(?!{_W})"),
    _kind("azure_client_secret", "8Q~ 7Q~", r"[A-Za-z0-9_~.]{3}[78]Q~[A-Za-z0-9_~.\-]{31,34}"),
)  # fmt: skip

_DISCORD_BOT = re.compile(rf"[MNO][A-Za-z0-9_\-]{{22,27}}+\.{_W}{{6}}\.{_W}{{25,40}}(?![\w\-])")
_PREFIXES = tuple((prefix, vendor) for vendor in VENDORS for prefix in vendor.prefixes)

_SHORTEST = 20
"""Characters; of an AWS access key."""

_BITS = 2.8
_BITS_HEX = 2.4


def vendor_keys(text: str) -> Iterator[Span]:
    """Keys of the well-known vendors; not their placeholders."""
    # Most words are shorter than any key: the prefixes are looked for in the long ones only.
    long = " ".join([word for word in text.split() if len(word) >= _SHORTEST])
    for vendor in {id(vendor): vendor for prefix, vendor in _PREFIXES if prefix in long}.values():
        for found in vendor.pattern.finditer(text):
            if stands_alone(text, found.start()) and _looks_real(vendor, found.group()):
                yield Span(*found.span(), vendor.kind)
    if text.count(".") >= 2:
        for found in _DISCORD_BOT.finditer(text):
            if stands_alone(text, found.start()) and entropy(found.group()) >= 4.0:
                yield Span(*found.span(), "discord_bot_token")


def _looks_real(vendor: Vendor, key: str) -> bool:
    if not vendor.strict:
        return True
    for prefix in vendor.prefixes:
        if prefix in key:
            key = key.replace(prefix, "", 1)
            break
    if is_placeholder(key) or key.endswith("EXAMPLE"):
        return False
    if key.isalpha() and key.lower() == key:
        return False
    return entropy(key[:128]) >= (_BITS_HEX if len(key) < 20 else _BITS)
