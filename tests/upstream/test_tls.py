"""TLS with an authority made here: who is believed, and who is not."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import random
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headgate.core.errors import UpstreamBroken, UpstreamRejected
from headgate.engine.blocking import run_blocking
from headgate.upstream.blocking import BlockingPool
from headgate.upstream.tls import TlsLayer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ISSUED = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


def always_ok(line: Any) -> None:
    while line.request()[0]:
        line.send(OK)


def _certificate(name: str, issuer: Any, key: Any, signer: Any, *, authority: bool = False) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ISSUED)
        .not_valid_after(ISSUED + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "127.0.0.1":
            names = [x509.IPAddress(ipaddress.ip_address(name))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


class Authority:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _certificate("Test Authority", None, self.key, self.key, authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, self.certificate.subject, key, self.key)
        path = self.folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def call(colour: Any, outgoing: Any, whole: Any) -> Callable[..., list[bytes]]:
    def run(url: str, *bodies: bytes, **options: Any) -> list[bytes]:
        async def scenario() -> list[bytes]:
            pool = colour.pool(**options)
            return [await whole(await pool.send(outgoing(url, body))) for body in bodies or (b"",)]

        result: list[bytes] = colour.run(scenario())
        return result

    return run


@pytest.mark.parametrize("kind", [str, Path, lambda file: ssl.create_default_context(cafile=file)])
def test_a_certificate_of_a_trusted_authority_is_accepted_and_the_connection_reused(
    call: Any, provide: Any, authority: Authority, kind: Any
) -> None:
    protocols = []

    def play(line: Any) -> None:
        protocols.append(line.sock.selected_alpn_protocol())
        always_ok(line)

    provider = provide(play, tls=authority.server("127.0.0.1"))
    assert call(provider.url, b"a", b"b" * 300_000, b"c", verify=kind(authority.file)) == [b"ok"] * 3
    assert len(protocols) == 1
    assert protocols[0] in ("http/1.1", None)  # never h2; a context of the user's own says nothing


def test_a_certificate_for_another_name_is_a_config_fault(call: Any, provide: Any, authority: Authority) -> None:
    provider = provide(always_ok, tls=authority.server("other.example"))
    with pytest.raises(UpstreamRejected, match=r"certificate of 127\.0\.0\.1:") as caught:
        call(provider.url, verify=authority.file)
    assert (caught.value.kind, caught.value.retryable, caught.value.maybe_billed) == ("config", False, False)


def test_an_unknown_authority_is_a_config_fault_by_default(call: Any, provide: Any, authority: Authority) -> None:
    provider = provide(always_ok, tls=authority.server("127.0.0.1"))
    with pytest.raises(UpstreamRejected, match="was not accepted") as caught:
        call(provider.url)
    assert caught.value.kind == "config"


def test_a_missing_authority_file_is_a_config_fault_that_names_it(call: Any, provide: Any, tmp_path: Path) -> None:
    provider = provide(always_ok)
    with pytest.raises(UpstreamRejected, match=r"absent\.pem"):
        call(provider.url.replace("http:", "https:"), verify=tmp_path / "absent.pem")


def test_a_provider_that_speaks_no_tls_is_a_failure_to_connect(call: Any, provide: Any, authority: Authority) -> None:
    provider = provide(lambda line: (line.sock.recv(1), line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    with pytest.raises(UpstreamBroken) as caught:
        call(provider.url.replace("http:", "https:"), verify=authority.file)
    assert (caught.value.kind, caught.value.retryable, caught.value.maybe_billed) == ("connect", True, False)


def test_a_body_cut_under_tls_is_truncated(call: Any, provide: Any, authority: Authority) -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf"
    provider = provide(lambda line: (line.request(), line.send(cut)), tls=authority.server("127.0.0.1"))
    with pytest.raises(UpstreamBroken) as caught:
        call(provider.url, verify=authority.file)
    assert (caught.value.kind, caught.value.maybe_billed) == ("truncated", True)


def test_a_thread_that_reads_while_another_closes_never_reads_from_a_newer_connection(
    provide: Any, outgoing: Any, authority: Authority
) -> None:
    started = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    provider = provide(
        lambda line: (line.request(), line.send(started), line.gone()), tls=authority.server("127.0.0.1")
    )
    answer = run_blocking(BlockingPool(verify=authority.file).send(outgoing(provider.url)))
    connection = answer._connection
    assert connection is not None
    sock = connection._sock
    open_inside: list[bool] = []
    inside = threading.Event()

    class Slow:
        """Stands for a thread that has been woken within OpenSSL and has not yet left it."""

        def recv(self, size: int) -> bytes:
            inside.set()
            try:
                return sock.recv(size)
            finally:
                time.sleep(0.05)
                open_inside.append(sock.fileno() >= 0)

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

    connection._sock = Slow()  # type: ignore[assignment]  # a stand-in for a socket
    caught: list[BaseException] = []

    def read() -> None:
        try:
            run_blocking(answer.read())
        except UpstreamBroken as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    inside.wait(60)
    time.sleep(0.02)
    answer.close()
    reader.join(60)
    assert len(caught) == 1
    assert open_inside == [True]
    assert sock.fileno() == -1


@pytest.mark.parametrize("framing", [b"content-length: 2048000", b"content-type: a/b"], ids=["length", "until close"])
def test_a_slow_reader_gets_megabytes_whole_though_the_provider_has_long_closed(
    colour: Any, provide: Any, outgoing: Any, whole: Any, authority: Authority, framing: bytes
) -> None:
    body = bytes(range(256)) * 8_000

    def play(line: Any) -> None:
        _, got = line.request()
        line.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing + got)

    provider = provide(play, tls=authority.server("127.0.0.1"))

    async def scenario() -> None:
        for wait in (0, 0.05):
            answer = await colour.pool(verify=authority.file).send(outgoing(provider.url, body))
            await asyncio.sleep(wait) if colour.name != "blocking" else time.sleep(wait)
            assert await whole(answer) == body

    colour.run(scenario())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_the_bytes_from_the_wire_carry_is_there_at_once_however_they_are_cut(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    client = ssl.create_default_context(cafile=authority.file)
    client.maximum_version = client.minimum_version = version
    layer = TlsLayer(client, "127.0.0.1")
    inbox, outbox = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = authority.server("127.0.0.1").wrap_bio(inbox, outbox, server_side=True)
    done = False
    for _ in range(3):
        done = layer.handshake(outbox.read())
        inbox.write(layer.to_send())
        with contextlib.suppress(ssl.SSLWantReadError):
            far.do_handshake()
    assert done
    assert layer.decrypt(outbox.read()) == b""  # session tickets
    drawn = random.Random(7)
    for round_ in range(60):
        sent, wire, ends = b"", b"", []
        for size in drawn.choices([1, 100, 16_383, 16_384, 40_000], k=drawn.randrange(1, 5)):
            piece = drawn.randbytes(size)
            far.write(piece)
            sent, wire = sent + piece, wire + outbox.read()
            ends.append((len(wire), len(sent)))
        at = sorted(drawn.randrange(len(wire) + 1) for _ in range(drawn.randrange(4)))
        got, fed = b"", 0
        for cut in [*at, len(wire)]:
            got += layer.decrypt(wire[fed:cut]) if cut > fed else b""
            fed = cut
            assert len(got) >= max((told for end, told in ends if end <= fed), default=0), round_
        assert got == sent
        inbox.write(layer.encrypt(sent))
        back = b""
        while len(back) < len(sent):
            back += far.read(1 << 20)
        assert back == sent
    far.write(b"last")
    with contextlib.suppress(ssl.SSLWantReadError):
        far.unwrap()
    assert layer.decrypt(outbox.read()) == b"last"
    assert layer.closed
