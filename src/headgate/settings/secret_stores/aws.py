"""`aws-sm:`: AWS Secrets Manager, through botocore.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html. Credentials come from botocore's
own chain (environment, shared configuration, container, instance), the region from AWS_REGION, AWS_DEFAULT_REGION, the
shared configuration or the secret's ARN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.settings.secret_stores import NotAsked, NotThere, Unfitting
from headgate.settings.secret_stores.asking import CONNECT_SECONDS, READ_SECONDS, need, pick_json
from headgate.settings.secret_stores.places import Place

# InvalidRequestException: "you can't perform this operation on the secret because it was marked for deletion".
_GONE = frozenset({"ResourceNotFoundException", "InvalidRequestException"})
_REFUSED = frozenset(
    {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"}
)


def read(place: Place, env: Mapping[str, str]) -> str:
    """See `secret_stores.read`."""
    exceptions = need("botocore.exceptions", "aws", "botocore")
    asked = {"SecretId": place.path}
    if "stage" in place.options:
        asked["VersionStage"] = place.options["stage"]
    if "version" in place.options:
        asked["VersionId"] = place.options["version"]
    try:
        found = _client(place, env).get_secret_value(**asked)
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))[:64]
        if code in _GONE:
            raise NotThere("is not there, or was deleted") from None
        if code in _REFUSED:
            raise NotAsked(f"refused us ({code}): check the access that this process was given") from None
        raise NotAsked(f"answered {code or 'with an error'}") from None
    except exceptions.NoRegionError:
        raise Unfitting("wants a region: set AWS_REGION, or refer to the secret by its ARN") from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise NotAsked("found no AWS credentials in the environment, the shared configuration or the machine") from None
    except (exceptions.BotoCoreError, exceptions.HTTPClientError, ValueError) as error:
        raise NotAsked(f"cannot be reached ({type(error).__name__})") from None
    text = found.get("SecretString")
    if not isinstance(text, str):
        try:
            text = bytes(found.get("SecretBinary", b"")).decode()
        except UnicodeDecodeError:
            raise Unfitting("is not UTF-8 text") from None
    return pick_json(text, place.field)


def _client(place: Place, env: Mapping[str, str]) -> Any:
    """A new one each time: it is needed once in some minutes, and what the environment's files say may have changed."""
    session = need("botocore.session", "aws", "botocore").Session()
    config = need("botocore.config", "aws", "botocore").Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 2}
    )
    region = place.path.split(":")[3] if place.path.startswith("arn:") else None
    return session.create_client(
        "secretsmanager",
        region_name=region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or None,
        endpoint_url=env.get("AWS_ENDPOINT_URL_SECRETS_MANAGER") or env.get("AWS_ENDPOINT_URL") or None,
        aws_access_key_id=env.get("AWS_ACCESS_KEY_ID") or None,
        aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY") or None,
        aws_session_token=env.get("AWS_SESSION_TOKEN") or None,
        config=config,
    )
