"""`/v1/models`: what every provider has, and the virtual models, in the caller's dialect, under names that work here.

A model is listed as this caller has to ask for it: by its bare name where its provider is the default of the caller's
dialect (and the router does not read that name as something else), else as `provider/model`. Under `/p/<provider>/`,
`/anthropic/` and `/openai/` the provider's own list passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from headgate.core.errors import NotServed
from headgate.core.exchange import Route
from headgate.core.ports import Clock, Upstream
from headgate.gateway.catalogue import PATIENCE_SECONDS, Catalogue, Catalogues
from headgate.gateway.models_pages import OURS, Entry, page
from headgate.policy.routing import Router

PATH = b"/v1/models"


@dataclass(frozen=True, slots=True)
class Listed:
    """An answer.

    Attributes:
        body: JSON in the caller's dialect.
        left_out: providers that could not be asked, or have no credential.
        simulated: the simulator's models are among them.
    """

    body: bytes
    left_out: tuple[str, ...] = ()
    simulated: bool = False


class ModelLists:
    """Answers `GET /v1/models` and `GET /v1/models/{id}`. For one event loop.

    Args:
        router: which providers and virtual models there are.
        upstream, clock, tell, patience: see `Catalogues`.
    """

    def __init__(
        self,
        router: Router,
        upstream: Upstream,
        clock: Clock,
        tell: Callable[..., None],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._router = router
        self._catalogues = Catalogues(upstream, clock.now, tell, keys=router.keys, patience=patience)

    async def answer(self, dialect: str, raw_path: bytes, query: bytes) -> Listed | None:
        """The list, or one model.

        Args:
            dialect: the caller's.
            raw_path: from `/v1/models` on.
            query: Anthropic's list has pages.

        Returns:
            None where the dialect's default provider has to be asked: a bare name that no list holds may still be an
            alias of its own.

        Raises:
            NotServed, BadRequest: in words for the caller.
        """
        name = unquote(raw_path[len(PATH) :].decode("ascii", "replace")).removeprefix("/")
        return await self._one(dialect, name) if name else await self._all(dialect, query)

    async def _all(self, dialect: str, query: bytes) -> Listed:
        providers = self._router.providers
        for provider, why in tuple(self._router.unready.items()):
            self._catalogues.not_asked(provider, why)
        asked = [route for name, route in providers.items() if name not in self._router.unready]
        found = await asyncio.gather(*map(self._catalogues.of, asked))
        listed = {name: Entry(name, OURS) for name in self._virtual()}
        default = self._router.defaults.get(dialect)
        # The caller's own dialect first; else in the order of the configuration.
        for route, catalogue in sorted(zip(asked, found, strict=True), key=lambda pair: pair[0].dialect != dialect):
            for model, told in catalogue.entries.items():
                bare = route.provider == default and self._is_bare(model)
                name = model if bare else f"{route.provider}/{model}"
                if name not in listed:  # a virtual model goes first, as it does in routing
                    listed[name] = Entry(name, route.provider, route.dialect, told)
        answered = {r.provider for r, catalogue in zip(asked, found, strict=True) if not catalogue.failed}
        left_out = tuple(name for name in providers if name not in answered)
        simulated = any(catalogue.simulated for catalogue in found)
        return Listed(page(list(listed.values()), dialect, query), left_out, simulated)

    async def _one(self, dialect: str, name: str) -> Listed | None:
        if name in self._router.models:
            return Listed(msgspec.json.encode(Entry(name, OURS).shown(dialect)))
        for mark in ("/", ":"):
            provider, found, model = name.partition(mark)
            route = self._router.providers.get(provider)
            if found and model and route is not None:
                return await self._at(dialect, name, model, route)
        default = self._router.providers.get(self._router.defaults.get(dialect, ""))
        if default is None or default.provider in self._router.unready:
            return None
        catalogue = await self._catalogues.of(default)
        told = catalogue.entries.get(name)
        return None if told is None else _shown(name, default, told, catalogue, dialect)

    async def _at(self, dialect: str, name: str, model: str, route: Route) -> Listed:
        why = self._router.unready.get(route.provider)
        catalogue = None if why else await self._catalogues.of(route)
        if catalogue is None or catalogue.failed:
            raise NotServed(
                f"the models of provider {route.provider} cannot be read: {why or (catalogue and catalogue.failed)}",
                code="provider_not_configured" if why else "provider_broken",
                status_hint=503,
            )
        told = catalogue.entries.get(model) or await self._catalogues.unlisted(route, model)
        if told is None:
            raise NotServed(f"provider {route.provider} has no model {model[:200]!r}", code="model_not_found")
        return _shown(name, route, told, catalogue, dialect)

    def _is_bare(self, model: str) -> bool:
        """Whether the router takes a name for a model of the default provider."""
        known = self._router.providers
        return (
            model not in self._router.models
            and model.partition("/")[0] not in known
            and model.partition(":")[0] not in known
        )

    def _virtual(self) -> list[str]:
        """Virtual models with a route that can be used."""
        unready = self._router.unready
        return [name for name, routes in self._router.models.items() if any(r.provider not in unready for r in routes)]


def _shown(name: str, route: Route, told: Mapping[str, Any], catalogue: Catalogue, dialect: str) -> Listed:
    shown = Entry(name, route.provider, route.dialect, told).shown(dialect)
    return Listed(msgspec.json.encode(shown), simulated=catalogue.simulated)
