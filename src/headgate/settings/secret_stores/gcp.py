"""`gcp-sm:`: Google Cloud Secret Manager, over its REST API with google-auth's application default credentials
(GOOGLE_APPLICATION_CREDENTIALS of the process, gcloud's, the machine's).

https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access. The API's address can
be replaced as for gcloud, by CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from headgate.settings.secret_stores import NotAsked, NotThere, Unfitting
from headgate.settings.secret_stores.asking import Answer, ask, need, pick_json, status_error
from headgate.settings.secret_stores.places import Place

GLOBAL = "https://secretmanager.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def read(place: Place, env: Mapping[str, str]) -> str:
    """See `secret_stores.read`."""
    name = place.path if "/versions/" in place.path else f"{place.path}/versions/latest"
    answer = ask(f"{_address(place, env)}/v1/{name}:access", headers={"authorization": f"Bearer {_token()}"})
    if answer.status == 404:
        raise NotThere("is not there, or was deleted")
    said = answer.data if isinstance(answer.data, dict) else {}
    if answer.status == 400 and _status(said) == "FAILED_PRECONDITION":
        raise NotThere("has been disabled or destroyed")  # the version's state is not ENABLED
    if answer.status != 200:
        raise status_error(answer.status)
    try:
        text = base64.b64decode(said["payload"]["data"], validate=True).decode()
    except UnicodeDecodeError:
        raise Unfitting("is not UTF-8 text") from None
    except (KeyError, TypeError, ValueError):
        raise NotAsked("answered with something else than a secret") from None
    return pick_json(text, place.field)


def _address(place: Place, env: Mapping[str, str]) -> str:
    told = env.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", "").strip().rstrip("/")
    if told:
        return told
    parts = place.path.split("/")
    # https://cloud.google.com/secret-manager/regional-secrets/access-regional-secret-version
    return f"https://secretmanager.{parts[3]}.rep.googleapis.com" if parts[2] == "locations" else GLOBAL


def _status(said: Mapping[str, Any]) -> str:
    error = said.get("error")
    return str(error.get("status", "")) if isinstance(error, dict) else ""


def _token() -> str:
    auth = need("google.auth", "gcp", "google-auth")
    errors = need("google.auth.exceptions", "gcp", "google-auth")
    try:
        credentials, _ = auth.default(scopes=[SCOPE], request=_request)
        credentials.refresh(_request)
    except errors.DefaultCredentialsError:
        raise NotAsked("found no Google credentials: set GOOGLE_APPLICATION_CREDENTIALS to a file") from None
    except errors.RefreshError:
        raise NotAsked("refused our credentials") from None
    except (errors.GoogleAuthError, OSError, ValueError) as error:
        raise NotAsked(f"cannot be reached ({type(error).__name__})") from None
    return str(credentials.token)


class _Response:
    """An answer as `google.auth.transport.Response`."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.data = answer.body


def _request(
    url: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: Any,
) -> _Response:
    """`google.auth.transport.Request`, so that google-auth needs no HTTP library of its own."""
    content = body.encode() if isinstance(body, str) else body
    try:
        return _Response(ask(url, headers=headers or {}, method=method, body=content))
    except NotAsked as error:
        raise need("google.auth.exceptions", "gcp", "google-auth").TransportError(str(error)) from None
