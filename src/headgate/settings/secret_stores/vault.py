"""`vault:`: HashiCorp Vault and OpenBao, KV version 2 (and 1), over their HTTP API.

https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2. Address and token come from where the vault and bao
commands take them: VAULT_ADDR, VAULT_TOKEN or ~/.vault-token, VAULT_NAMESPACE, VAULT_CACERT; the same as BAO_*.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headgate.settings.secret_stores import NotAsked, NotThere, Unfitting
from headgate.settings.secret_stores.asking import ask, pick, status_error
from headgate.settings.secret_stores.places import Place

DEFAULT_ADDRESS = "https://127.0.0.1:8200"
_MAX_TOKEN = 64 * 1024


def read(place: Place, env: Mapping[str, str]) -> str:
    """See `secret_stores.read`."""
    address = _told(env, "ADDR") or DEFAULT_ADDRESS
    if not address.startswith(("http://", "https://")):
        raise Unfitting("VAULT_ADDR is no http(s) URL")
    # Agents that were told to (require_request_header) answer only with the second header.
    headers = {"x-vault-token": _token(env), "x-vault-request": "true"}
    if namespace := _told(env, "NAMESPACE"):
        headers["x-vault-namespace"] = namespace
    version = place.options.get("version")
    url = f"{address.rstrip('/')}/v1/{place.path}" + (f"?version={version}" if version else "")
    answer = ask(url, headers=headers, ca_file=_told(env, "CACERT"))
    if answer.status == 404:
        raise NotThere("is not there, or was deleted")
    if answer.status != 200:
        raise status_error(answer.status)
    data = answer.data.get("data") if isinstance(answer.data, dict) else None
    if not isinstance(data, dict):
        raise NotAsked("answered with something else than a secret")
    if isinstance(data.get("metadata"), dict) and "data" in data:  # version 2; version 1 has the fields right here
        if data["data"] is None:
            raise NotThere("was deleted")
        data = data["data"]
        if not isinstance(data, dict):
            raise NotAsked("answered with something else than a secret")
    return pick(data, place.field)


def _told(env: Mapping[str, str], name: str) -> str:
    return (env.get(f"VAULT_{name}") or env.get(f"BAO_{name}") or "").strip()


def _token(env: Mapping[str, str]) -> str:
    """Read anew each time: an agent renews the file.

    VAULT_TOKEN_FILE is ours (the sink of a Vault agent); ~/.vault-token is where `vault login` leaves the token.
    """
    if token := _told(env, "TOKEN"):
        return token
    named = _told(env, "TOKEN_FILE")
    path = Path(named) if named else Path(env.get("HOME") or "~").expanduser() / ".vault-token"
    try:
        with path.open("rb") as file:
            token = file.read(_MAX_TOKEN).decode("ascii").strip()
    except (OSError, ValueError, RuntimeError):
        token = ""
    if not token or any(ch <= " " for ch in token):
        raise NotAsked("wants a token: set VAULT_TOKEN, or VAULT_TOKEN_FILE to a file that holds one")
    return token
