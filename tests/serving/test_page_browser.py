"""The page in a real Chromium, at the sizes of a desk and of a phone."""

import os
import threading
from pathlib import Path

import pytest
import uvicorn

from avrec.serving.api import create_api
from avrec.serving.auth import Keys
from tests.serving import browser, world
from tests.serving.test_page import gallery

pytestmark = pytest.mark.skipif(
    browser.BINARY is None, reason="no Chromium: apt-get install chromium"
)
TITLES = "[...document.querySelectorAll('#list h3')].map((h) => h.textContent)"
SAID = "document.getElementById('said').textContent"
FOCUSED = "document.activeElement.id || document.activeElement.getAttribute('aria-label') || ''"


@pytest.fixture
def url(models, key, tmp_path, wait_until):
    api = create_api(models, Keys(tmp_path / "keys.json"), read_gallery=lambda: gallery(tmp_path))
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory, wait_until):
    with browser.chromium(tmp_path_factory.mktemp("profile"), wait_until) as started:
        yield started


@pytest.fixture
def tab(chromium):
    with chromium.tab() as opened:
        yield opened


def enter(tab, url, key):
    tab.goto(url)
    tab.wait_for("!document.getElementById('enter').hidden")
    tab.type(key)
    tab.press("Enter", 13, "\r")
    tab.wait_for(f"{TITLES}.length")


def show(tab, person):
    tab.run("document.getElementById('person').focus()")
    tab.type(person)
    tab.press("Enter", 13, "\r")
    tab.wait_for(f"document.getElementById('list-title').textContent === 'For {person}'")


def keep(tab, name):
    """Screenshots are kept where AVREC_SCREENSHOTS names a folder."""
    if folder := os.environ.get("AVREC_SCREENSHOTS"):
        tab.screenshot(Path(folder) / f"{name}.png")


def test_a_key_a_person_and_a_skip_by_keyboard_alone(tab, url, key):
    tab.size(1280, 900)
    enter(tab, url, key)
    assert key not in tab.run("location.href + document.cookie + JSON.stringify({...localStorage})")
    tab.wait_for(f"{FOCUSED} === 'person'")
    show(tab, "ann")
    before = tab.run(TITLES)
    assert before[0] == "Title of b2"
    assert tab.run("document.querySelectorAll('#history li').length") == 2
    for _ in range(60):
        tab.press("Tab", 9)
        if tab.run(FOCUSED) == "Skip Title of b2":
            break
    tab.press("Enter", 13, "\r")
    tab.wait_for(f"{SAID}.startsWith('Skipped')")
    after = tab.run(TITLES)
    assert "Title of b2" not in after
    assert after[:-1] == before[1:]
    assert "1 of 12 places are new" in tab.run(SAID)
    keep(tab, "desk")
    assert not [f for f in tab.faults if "401" not in f], tab.faults


def test_a_like_goes_into_the_history_and_a_sound_plays_to_its_end(tab, url, key):
    tab.size(390, 844, phone=True)
    enter(tab, url, key)
    show(tab, "somebody new")
    tab.run("document.querySelector('[aria-label=\"Like Title of b5\"]').click()")
    tab.wait_for(f"{SAID}.startsWith('Liked')")
    assert "Title of b5" in tab.run("document.getElementById('history').textContent")
    tab.run("document.querySelector('[aria-label=\"Play Title of b0\"]').click()")
    tab.wait_for(f"{SAID}.startsWith('Finished')")
    assert "Title of b0" in tab.run("document.getElementById('history').textContent")
    assert "Title of b0" not in tab.run(TITLES)
    assert tab.run("document.documentElement.scrollWidth") <= 390
    keep(tab, "phone")


def test_status_tells_rates_and_leaving_ends_the_session(tab, url, key):
    tab.size(1280, 900)
    enter(tab, url, key)
    tab.run("document.getElementById('show-status').click()")
    tab.wait_for("document.getElementById('stages').textContent.includes('recommend')")
    tab.wait_for("/requests a second\\d/.test(document.getElementById('facts').textContent)")
    keep(tab, "status")
    tab.run("document.getElementById('leave').click()")
    tab.wait_for("!document.getElementById('enter').hidden")
    tab.goto(url)
    tab.wait_for("!document.getElementById('enter').hidden")


def test_a_wrong_key_is_said(tab, url):
    tab.goto(url)
    tab.wait_for("!document.getElementById('enter').hidden")
    tab.type("wrong")
    tab.press("Enter", 13, "\r")
    tab.wait_for(f"{SAID}.includes('right key')")


def test_a_title_that_is_markup_is_read_not_run(tab, url, key, service):
    service._titles[0] = "<img src=x onerror=alert(1)><script>document.title='taken'</script>"
    enter(tab, url, key)
    assert tab.run(TITLES)[0].startswith("<img src=x")
    assert tab.run("document.title") == "avrec"


def test_two_versions_side_by_side(tab, url, key, models):
    models.shelf.bundles["v2"] = world.bundle("v2")
    models.activate("v2", 0.5)
    tab.size(1280, 900)
    enter(tab, url, key)
    show(tab, "ann")
    tab.run("document.getElementById('version').value = 'v2'")
    tab.run("document.getElementById('version').dispatchEvent(new Event('change'))")
    tab.wait_for("document.querySelectorAll('#other li').length === 12")
    assert "the same place" in tab.run("document.getElementById('other').textContent")
    keep(tab, "beside")
