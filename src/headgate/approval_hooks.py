"""Who is told of tool calls that wait for a person: a webhook, as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headgate.policy.guards.tokens import decide_token
from headgate.settings.model import Settings
from headgate.stores.approvals import ApprovalStore
from headgate.upstream.approval_hook import ApprovalHook


def hook_of(
    settings: Settings,
    approvals: ApprovalStore,
    *,
    env: Mapping[str, str],
    now: Callable[[], float],
    tell: Callable[..., None],
) -> ApprovalHook | None:
    """What tells a webhook of them; None where there is none."""
    tools = settings.guards.tool_rules
    webhook = None if tools is None else tools.webhook
    if webhook is None or webhook.secret is None:
        return None
    secret = webhook.secret
    hook = ApprovalHook(
        webhook.url,
        lambda: secret.resolve(env),
        decide=approvals.decide,
        token=lambda parked: decide_token(approvals.key, parked),
        now=now,
        tell=tell,
    )
    approvals.on_parked = hook.parked
    return hook
