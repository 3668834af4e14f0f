import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from avrec.errors import MediaError
from avrec.media import http
from avrec.media.fetch import local_copy
from avrec.media.files import expand
from avrec.media.http import is_public, shown
from avrec.media.limits import Limits

HERE = Limits(allow_private_hosts=True, max_file_mb=1, fetch_seconds=5, max_redirects=2)
CONTENT = bytes(range(256)) * 40


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[dict]

    def do_GET(self):
        self.server.asked.append(dict(self.headers))
        name = self.path.partition("?")[0].rpartition("/")[2]
        getattr(self, name.partition(".")[0], self.missing)()

    def send(self, status=200, body=CONTENT, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def clip(self):
        self.send()

    def missing(self):
        self.send(404)

    def short(self):
        self.send(length=len(CONTENT) + 10)

    def boast(self):
        self.send(length=2 << 20)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(40):
            self.wfile.write(bytes(1 << 16))
        self.close_connection = True

    def chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")

    def zipped(self):
        self.send(Content_Encoding="gzip")

    def once(self):
        self.send(302, b"", Location="/deep/clip.mp4")

    def round(self):
        self.send(302, b"", Location="/round")

    def away(self):
        self.send(302, b"", Location=f"http://127.0.0.1:{self.server.server_port}/clip.mp4")

    def out(self):
        self.send(302, b"", Location="file:///etc/passwd")

    def silent(self):
        self.server.stopped.wait(20)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked, server.stopped = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.stopped.set()
    server.shutdown()
    server.server_close()
    thread.join()


def at(site, path, who=""):
    return f"http://{who}127.0.0.1:{site.server_port}/{path}"


def failure(uri, limits=HERE):
    with pytest.raises(MediaError) as caught, local_copy(uri, limits):
        pass
    return caught.value


def test_a_file_comes_over_http_and_keeps_its_name(site):
    with local_copy(at(site, "a/clip.mp4?v=2"), HERE) as path:
        assert path.read_bytes() == CONTENT
        assert path.name == "clip.mp4"
    assert not path.exists()


def test_redirects_are_followed(site):
    with local_copy(at(site, "once"), HERE) as path:
        assert path.read_bytes() == CONTENT


def test_chunks_are_put_together(site):
    with local_copy(at(site, "chunked"), HERE) as path:
        assert path.read_bytes() == b"hello world"


@pytest.mark.parametrize(
    ("page", "kind", "words"),
    [
        ("nowhere", "fetch_failed", "404"),
        ("short", "fetch_failed", "10240 of 10250 bytes"),
        ("boast", "too_large", "1 MiB"),
        ("endless", "too_large", "1 MiB"),
        ("zipped", "fetch_failed", "compressed"),
        ("round", "fetch_failed", "more than 2 times"),
        ("out", "fetch_failed", "no http"),
    ],
)
def test_what_cannot_be_had_says_why(site, page, kind, words):
    error = failure(at(site, page))
    assert error.kind == kind
    assert words in error.message


def test_a_server_that_says_nothing_is_left(site):
    error = failure(at(site, "silent"), Limits(allow_private_hosts=True, fetch_seconds=0.3))
    assert error.kind == "fetch_failed"
    assert "0.3 seconds" in error.message


def test_private_addresses_are_refused_unless_allowed(site):
    error = failure(at(site, "clip.mp4"), Limits())
    assert error.kind == "fetch_failed"
    assert "allow_private_hosts" in error.message
    assert site.asked == []


def test_a_redirect_to_a_private_address_is_refused(site, monkeypatch):
    def only_first(address):
        return not site.asked

    monkeypatch.setattr(http, "is_public", only_first)
    assert "allow_private_hosts" in failure(at(site, "once"), Limits()).message
    assert len(site.asked) == 1


def test_the_address_that_was_looked_at_is_the_one_connected_to(site, monkeypatch):
    answers = [("127.0.0.1", site.server_port), ("192.0.2.1", 9)]

    def rebinding(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answers.pop(0))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", connect_to_address_only())
    uri = f"http://name.example:{site.server_port}/clip.mp4"
    with local_copy(uri, HERE) as path:
        assert path.read_bytes() == CONTENT
    assert site.asked[0]["Host"] == f"name.example:{site.server_port}"


def test_the_next_address_is_tried_where_one_does_not_answer(site, monkeypatch):
    port = site.server_port
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("::1", "127.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", connect_to_address_only())
    with local_copy(f"http://name.example:{port}/clip.mp4", HERE) as path:
        assert path.read_bytes() == CONTENT


def connect_to_address_only():
    def connect(where, timeout):
        connection = socket.socket()
        connection.settimeout(timeout)
        try:
            connection.connect(where)
        except OSError:
            connection.close()
            raise
        return connection

    return connect


def test_credentials_are_sent_but_never_told(site):
    who = "me:s3cret@"
    with local_copy(at(site, "clip.mp4", who), HERE):
        assert site.asked[0]["Authorization"].startswith("Basic ")
    for page in ("nowhere?sig=t0ken", "round?sig=t0ken"):
        text = str(failure(at(site, page, who)))
        assert "s3cret" not in text
        assert "t0ken" not in text
    with local_copy(at(site, "away", who), HERE):
        assert "Authorization" not in site.asked[-1]


def test_an_object_store_tells_no_key(s3_uri):
    text = str(failure(s3_uri.replace("?", "/gone.mp4?")))
    assert "secret" not in text
    assert "gone.mp4" in text


def test_an_unknown_host_cannot_be_fetched(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "not known" in failure("https://nowhere.example/a.mp4", Limits()).message


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[(one, True) for one in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8")],
        *[(one, False) for one in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254")],
        *[(one, False) for one in ("0.0.0.0", "224.0.0.1", "100.64.0.1", "255.255.255.255")],  # noqa: S104
        *[(one, False) for one in ("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1")],
        *[(one, False) for one in ("64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1")],
    ],
)
def test_public_addresses_are_told_from_private(address, public):
    assert is_public(address) == public


def test_a_uri_is_shown_without_what_is_secret():
    assert shown("s3://key:secret@bucket/a?x=1") == "s3://bucket/a"
    assert shown("http://h?sig=1") == "http://h"
    assert shown("/plain/path?.mp4") == "/plain/path?.mp4"


def test_an_http_file_is_an_input():
    (file,) = expand(["https://example.org/films/a%20b.mp4?sig=1"]).files
    assert (file.item_id, file.uri) == ("a b.mp4", "https://example.org/films/a%20b.mp4?sig=1")
