"""The page at `/`: a person, their history, their list, and what the service says of itself.

A key is typed into it once, and becomes a session: a signed cookie, so that pictures and media,
whose requests carry no headers of ours, need no key in a URL.
"""

OPEN = {
    "/": "page.html",
    "/page/page.js": "page.js",
    "/page/page.css": "page.css",
    "/page/icon.svg": "icon.svg",
}
"""Files of the page, by path; they hold no one's data and need no key."""
POSTS = ("/page/session", "/page/leave", "/page/items", "/page/beside")
"""What the page posts and any key may."""
