"""A session: what a key allows, as a cookie that the key file's secret signs.

A cookie names the key that it was made from and when it ends, and is worth what that key is worth
at the moment: a key struck out ends its sessions, on every replica. It is sent by no other site
(`SameSite=Strict`), no script can read it, and by itself it only reads: what changes something
must also bring the header PAGE, which another site's page cannot send here.
"""

import hmac
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import Response

from avrec.serving.auth import Grant, Keys

COOKIE, PAGE = "avrec_session", "x-avrec-page"
SECONDS = 12 * 3600
READS = ("GET", "HEAD")


def token(keys: Keys, key_id: str, until: int) -> str:
    """Sign a session of a key that ends at `until`, seconds of Unix time."""
    return f"{key_id}.{until}.{keys.sign(f'{key_id}.{until}')}"


def granted(keys: Keys, headers: Headers, method: str, now: float) -> Grant | None:
    """What the session of a request allows; None where there is none that is right."""
    if method not in READS and PAGE not in headers:
        return None
    key_id, _, rest = _cookie(headers).partition(".")
    until, _, signature = rest.partition(".")
    if not until.isdecimal() or int(until[:12]) <= now:
        return None
    right = keys.sign(f"{key_id}.{until}")
    if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass")):
        return None
    return keys.granted(key_id)


def give(response: Response, value: str, *, encrypted: bool) -> None:
    """Hand a session out; over TLS it never goes out in clear."""
    response.set_cookie(
        COOKIE, value, max_age=SECONDS, httponly=True, samesite="strict", secure=encrypted
    )


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
