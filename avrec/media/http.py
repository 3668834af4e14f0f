"""Fetching a file over http or https, from strangers.

The host's name is resolved once, its addresses are looked at, and the connection goes to one of
those that were looked at: a name that answers otherwise the second time gains nothing. Redirects
are followed by us, each with the same look. Proxies and the environment are not consulted.
"""

import base64
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from avrec.errors import MediaError
from avrec.media.limits import Limits

PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
OK = 200
SILENCE_SECONDS = 30.0
"""How long a server may say nothing."""
CHUNK_BYTES = 1 << 18
AGENT = "avrec"
LARGE = "has more than {} MiB; raise media.limits.max_file_mb if you trust it"


class _NoFileError(Exception):
    """Why there is no file; the message names no address, the caller does."""


def is_http(uri: str) -> bool:
    """Whether a URI is for `fetch`."""
    return uri.lower().startswith(("http://", "https://"))


def fetch(url: str, path: Path, limits: Limits) -> None:
    """Write what is at `url` to `path`.

    Raises:
        MediaError: of kind fetch_failed or too_large. No message holds a password or a query,
            which may be a signature.
    """
    deadline = time.monotonic() + limits.fetch_seconds
    here = url
    try:
        for _ in range(limits.max_redirects + 1):
            onward = _visit(here, path, limits, deadline)
            if onward is None:
                return
            here = urljoin(here, onward)
    except (OSError, http.client.HTTPException, ValueError, _NoFileError) as error:
        late = time.monotonic() >= deadline
        why = f"took more than {limits.fetch_seconds:g} seconds" if late else _why(error)
        raise MediaError("fetch_failed", f"{shown(here)} {why}") from error
    many = f"redirects more than {limits.max_redirects} times"
    raise MediaError("fetch_failed", f"{shown(url)} {many}")


def shown(uri: str) -> str:
    """Tell a URI without its credentials and its query.

    >>> shown("https://me:secret@example.org:8443/a/b.mp4?token=1")
    'https://example.org:8443/a/b.mp4'
    """
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{host}{slash}{path.partition('?')[0].partition('#')[0]}"


class _Place(NamedTuple):
    """Where one request goes."""

    url: SplitResult
    host: str
    port: int
    addresses: tuple[str, ...]


def _visit(url: str, path: Path, limits: Limits, deadline: float) -> str | None:
    """Ask for one URL; gives where it sends us on, or None where the file has come."""
    place = _looked_at(url, allow_private=limits.allow_private_hosts)
    with _connected(place, deadline) as connection:
        connection.request("GET", _target(place.url), headers=_headers(place))
        with connection.getresponse() as answer:
            if answer.status in REDIRECTS and (onward := answer.getheader("Location")):
                return onward
            _check(answer)
            _save(answer, path, limits, deadline)
    return None


def _check(answer: http.client.HTTPResponse) -> None:
    if answer.status != OK:
        raise _NoFileError(f"answers {answer.status} {answer.reason}")
    if answer.getheader("Content-Encoding", "identity").lower() != "identity":
        raise _NoFileError("sends the file compressed, which was not asked for")


def _looked_at(url: str, *, allow_private: bool) -> _Place:
    parts = urlsplit(url)
    if parts.scheme.lower() not in PORTS or not parts.hostname:
        raise _NoFileError("is no http or https address")
    port = parts.port or PORTS[parts.scheme.lower()]
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not allow_private and not all(map(is_public, addresses)):
        raise _NoFileError(
            "is on a private network; set media.limits.allow_private_hosts if that is meant"
        )
    return _Place(parts, parts.hostname, port, tuple(addresses))


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, also when it hides one of version 4.

    >>> [is_public(one) for one in ("8.8.8.8", "127.0.0.1", "::ffff:10.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    hidden = (ip.ipv4_mapped, ip.sixtofour) if isinstance(ip, ipaddress.IPv6Address) else ()
    told = [ip, *(one for one in hidden if one is not None)]
    return all(one.is_global and not one.is_multicast for one in told) and not _translated(ip)


def _translated(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return ip in ipaddress.ip_network("64:ff9b::/96")


@contextmanager
def _connected(place: _Place, deadline: float) -> Iterator[http.client.HTTPConnection]:
    """Connect to an address that was looked at; the connection breaks at the deadline."""
    left = max(deadline - time.monotonic(), 0.001)
    with _dialled(place, min(left, SILENCE_SECONDS)) as plain:
        watch = threading.Timer(left, _hang_up, [plain])
        watch.daemon = True
        watch.start()
        connection = http.client.HTTPConnection(place.host, place.port)
        try:
            connection.sock = _secured(plain, place)
            yield connection
        finally:
            watch.cancel()
            connection.close()


def _dialled(place: _Place, wait_seconds: float) -> socket.socket:
    """The first of the addresses that answers."""
    failure: OSError | None = None
    for address in place.addresses:
        try:
            return socket.create_connection((address, place.port), timeout=wait_seconds)
        except OSError as error:
            failure = error
    raise failure or OSError("no address")


def _secured(plain: socket.socket, place: _Place) -> socket.socket:
    if place.url.scheme.lower() == "http":
        return plain
    return ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def _target(url: SplitResult) -> str:
    query = f"?{url.query}" if url.query else ""
    return f"{url.path or '/'}{query}"


def _headers(place: _Place) -> dict[str, str]:
    host = f"[{place.host}]" if ":" in place.host else place.host
    usual = place.port == PORTS[place.url.scheme.lower()]
    headers = {
        "Host": host if usual else f"{host}:{place.port}",
        "User-Agent": AGENT,
        "Accept-Encoding": "identity",
    }
    if place.url.username is not None:
        pair = f"{unquote(place.url.username)}:{unquote(place.url.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _save(answer: http.client.HTTPResponse, path: Path, limits: Limits, deadline: float) -> None:
    promised, received = answer.length, 0
    most = limits.max_file_mb << 20
    too_large = MediaError("too_large", f"{path.name} {LARGE.format(limits.max_file_mb)}")
    if promised is not None and promised > most:
        raise too_large
    with path.open("wb") as sink:
        while piece := answer.read1(CHUNK_BYTES):
            received += len(piece)
            if received > most:
                raise too_large
            sink.write(piece)
    if time.monotonic() >= deadline or (promised is not None and received < promised):
        raise _NoFileError(f"ended after {received} of {promised} bytes")


def _why(error: Exception) -> str:
    if isinstance(error, _NoFileError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"was silent for {SILENCE_SECONDS:g} seconds"
    why = getattr(error, "verify_message", None) or getattr(error, "strerror", None)
    return f"cannot be fetched: {why or type(error).__name__}"
