"""Certificates for the simulator's own TLS: good ones, and the three bad ones a client must refuse.

Needs `cryptography`. Keys live in a folder of their own for as long as the server runs.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KINDS = ("valid", "self_signed", "expired", "wrong_host")
_WRONG = "elsewhere.invalid"


@dataclass(frozen=True, slots=True)
class Certificates:
    """A server's context by kind of certificate, and the file with the authority that a client has to trust."""

    ca_file: Path
    contexts: Mapping[str, ssl.SSLContext]


def make(folder: Path) -> Certificates:
    """Make an authority, and a certificate of every kind for 127.0.0.1 and localhost.

    Raises:
        ConfigError: `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise ConfigError("the simulator's TLS needs the package cryptography: pip install cryptography") from error
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate("headgate simulator", authority, None, None)
    ca_file = folder / "authority.pem"
    ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    contexts = {}
    for kind in KINDS:
        key = ec.generate_private_key(ec.SECP256R1())
        if kind == "self_signed":
            made = _certificate("127.0.0.1", key, None, None, leaf=True)
        else:
            name = _WRONG if kind == "wrong_host" else "127.0.0.1"
            made = _certificate(name, key, root, authority, leaf=True, expired=kind == "expired")
        file = folder / f"{kind}.pem"
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        contexts[kind] = context
    return Certificates(ca_file, contexts)


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: EllipticCurvePrivateKey | None,
    *,
    leaf: bool = False,
    expired: bool = False,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signer = issuer_key or key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=-1 if expired else 30))
        .add_extension(x509.BasicConstraints(ca=not leaf, path_length=None), critical=True)
        # Both identifiers and the usage: Python 3.13 and later are strict about them.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(leaf), critical=True)
    )
    if leaf:
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name != _WRONG:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(name))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(leaf: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )
