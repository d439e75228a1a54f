"""The way to the broker: its name, the port, the encryption, and the certificates of both sides."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime
from ipaddress import ip_address
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from daemon import losses
from daemon.doctor.findings import Doing, Finding, failure, ok, warning
from daemon.login import tls_context

if TYPE_CHECKING:
    from pathlib import Path

    from config.connection import Mqtt
    from daemon.doctor.findings import Examination, Findings

SOON = 30  # days before its end from which a certificate should be renewed
DAY = 86_400.0
REFUSAL_WITHIN = 0.5  # seconds; by TLS 1.3 a broker that refuses our certificate says so after the handshake
WAYS = ("name", "port", "encryption")  # the checks without which nothing reaches the broker


def examine(mqtt: Mqtt) -> Examination[bool]:
    """Looks at the way to the broker; returns whether it can be reached."""
    addresses = yield from _name(mqtt)
    if not addresses or not (yield from _port(mqtt, addresses)):
        return False
    return (yield from _encryption(mqtt, addresses))


def _name(mqtt: Mqtt) -> Examination[list[str]]:
    yield Doing(f"resolving {mqtt.host}")
    try:
        found = socket.getaddrinfo(mqtt.host, mqtt.broker_port, type=socket.SOCK_STREAM)
    except OSError as error:
        loss = losses.of_error(error)
        yield failure("name", f"{mqtt.host}: {loss.detail}", loss.hint)
        return []
    addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
    if addresses != [mqtt.host]:
        yield ok("name", f"{mqtt.host} is {', '.join(addresses)}")
    return addresses


def _port(mqtt: Mqtt, addresses: list[str]) -> Examination[bool]:
    """Whether somebody listens on one of the addresses; the client tries them in turn, too."""
    silent = []
    for address in addresses:
        where = f"{address} port {mqtt.broker_port}"
        yield Doing(f"connecting to {where}")
        begun = time.monotonic()
        try:
            socket.create_connection(
                (address, mqtt.broker_port), mqtt.connect_timeout.total_seconds()
            ).close()
        except OSError as error:
            silent.append((where, losses.of_error(error)))
        else:
            before = "".join(f"; {other}: {loss.detail}" for other, loss in silent)
            yield ok("port", f"{where} answers in {(time.monotonic() - begun) * 1000:.2g} ms{before}")
            return True
    found = "; ".join(f"{where}: {loss.detail}" for where, loss in silent)
    yield failure("port", found, silent[-1][1].hint)
    return False


def _encryption(mqtt: Mqtt, addresses: list[str]) -> Examination[bool]:
    if not mqtt.tls.enabled:
        if all(ip_address(address.partition("%")[0]).is_loopback for address in addresses):
            yield ok("encryption", "off, and the broker is on this host")
        else:
            found = "off: passwords and readings cross the network in the clear"
            yield warning("encryption", found, "set mqtt.tls.enabled: true, and the broker up for it")
        return True
    yield Doing("agreeing on an encryption")
    context = tls_context(mqtt.tls)
    try:
        with _handshake(mqtt, context) as channel:
            certificate, version = channel.getpeercert() or {}, channel.version()
            channel.settimeout(REFUSAL_WITHIN)
            with _silence():
                channel.recv(1)
    except OSError as error:
        loss = losses.of_error(error)
        yield failure("encryption", f"{loss.detail}{_shown_instead(mqtt, loss)}", loss.hint)
        yield from _ours(mqtt, context)
        return False
    yield ok("encryption", f"{version}")
    yield _dated("certificate", f"the broker's, {_who(certificate)}", certificate)
    yield from _ours(mqtt, context)
    return True


class _silence:  # noqa: N801 - reads as a phrase
    """Passes over that nothing came: a broker waits for us to speak."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, TimeoutError)


def _handshake(mqtt: Mqtt, context: ssl.SSLContext) -> ssl.SSLSocket:
    """An encrypted connection.

    Raises:
        OSError: There is none, for the reason that it gives.
    """
    timeout = mqtt.connect_timeout.total_seconds()
    channel = socket.create_connection((mqtt.host, mqtt.broker_port), timeout)
    try:
        return context.wrap_socket(channel, server_hostname=mqtt.host)
    except BaseException:
        channel.close()
        raise


def _shown_instead(mqtt: Mqtt, loss: losses.Loss) -> str:
    """What the certificate says that was not accepted, to compare with what should be."""
    if not loss.reason.startswith("certificate_"):
        return ""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    if mqtt.tls.cert_file is not None:
        unchecked.load_cert_chain(mqtt.tls.cert_file, mqtt.tls.key_file, password="")
    try:
        with _handshake(mqtt, unchecked) as channel:
            content = channel.getpeercert(binary_form=True) or b""
    except OSError:
        return ""
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(ssl.DER_cert_to_PEM_cert(content))
        file.flush()
        certificate = _decoded(file.name)
    return f"; it shows one {_who(certificate)}, from {_day(certificate, 'notBefore')} to {_day(certificate)}"


def _ours(mqtt: Mqtt, context: ssl.SSLContext) -> Findings:
    """Our own certificate, and the authorities that we were given."""
    tls = mqtt.tls
    if tls.cert_file is not None:
        certificate = _decoded(tls.cert_file)
        yield _dated("certificate", f"ours, {_who(certificate)}", certificate)
    if tls.ca_file is not None:
        for authority in context.get_ca_certs():
            found = _dated("certificate", f"the authority {_common_name(authority['subject'])}", authority)
            if found.change is not None:
                yield found


def _decoded(path: Path | str) -> dict[str, Any]:
    """A certificate's fields; Python has no public way to read those of a file."""
    fields: dict[str, Any] = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]  # noqa: SLF001
    return fields


def _dated(check: str, whose: str, certificate: dict[str, Any]) -> Finding:
    left = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / DAY
    until = f"{whose}, until {_day(certificate)}"
    if left < 0:
        return failure(check, f"{until}: it has expired", "renew it")
    if left < SOON:
        return warning(check, f"{until}: {left:.0f} days are left", "renew it")
    return ok(check, until)


def _who(certificate: dict[str, Any]) -> str:
    names = [name for _, name in certificate.get("subjectAltName", ())]
    subject = ", ".join(names) or _common_name(certificate.get("subject", ()))
    return f"for {subject} by {_common_name(certificate.get('issuer', ()))}"


def _common_name(parts: Any) -> str:  # noqa: ANN401 - nested tuples, as `ssl` has them
    fields = {key: value for part in parts for key, value in part}
    return str(fields.get("commonName") or fields.get("organizationName") or "nobody")


def _day(certificate: dict[str, Any], which: str = "notAfter") -> str:
    moment = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate[which]), UTC)
    return f"{moment:%Y-%m-%d}"
