"""A real Chromium, driven by the DevTools protocol over one WebSocket."""

import base64
import itertools
import json
import shutil
import subprocess
from contextlib import contextmanager

from websockets.sync.client import connect

BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--autoplay-policy=no-user-gesture-required", "--no-proxy-server", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
]
LOOK = """new Promise((ok, no) => {
  const end = performance.now() + 15000;
  const look = () => {
    if (%s) ok(true);
    else if (performance.now() > end) no(new Error("never"));
    else setTimeout(look, 20);
  };
  look();
})"""


class Tab:
    """One page; `faults` are what its console and its policy complained of."""

    def __init__(self, socket):
        self._socket, self._numbers, self.faults = socket, itertools.count(1), []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=30))
            if told.get("id") == number:
                assert "error" not in told, told["error"]
                return told["result"]
            self._note(told)

    def _note(self, told):
        entry = told.get("params", {}).get("entry", {})
        if entry.get("level") == "error":
            self.faults.append(entry["text"])
        if told.get("method") == "Runtime.exceptionThrown":
            self.faults.append(told["params"]["exceptionDetails"]["text"])

    def run(self, script):
        """The value of an expression, awaited."""
        done = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    def wait_for(self, condition):
        self.run(LOOK % condition)

    def goto(self, url):
        self.send("Page.navigate", url=url)
        self.wait_for(
            f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'"
        )

    def size(self, width, height, *, phone=False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def type(self, text):
        self.send("Input.insertText", text=text)

    def press(self, key, code=0, text=""):
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def screenshot(self, path):
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


class Chromium:
    """A browser whose tabs share nothing: each has a context, cookies and storage of its own."""

    def __init__(self, port):
        self._socket = f"ws://127.0.0.1:{port}/devtools/"
        self._id = f"browser/{_version(port)['webSocketDebuggerUrl'].rpartition('/')[2]}"

    @contextmanager
    def tab(self):
        with connect(self._socket + self._id) as own:
            context = _asked(own, "Target.createBrowserContext")
            blank = {"url": "about:blank", **context}
            target = _asked(own, "Target.createTarget", **blank)["targetId"]
            with connect(f"{self._socket}page/{target}", max_size=None) as socket:
                yield Tab(socket)
            _asked(own, "Target.disposeBrowserContext", **context)


def _asked(socket, method, **params):
    socket.send(json.dumps({"id": 1, "method": method, "params": params}))
    while (told := json.loads(socket.recv(timeout=30))).get("id") != 1:
        pass
    return told["result"]


def _version(port):
    import httpx  # noqa: PLC0415

    return httpx.get(f"http://127.0.0.1:{port}/json/version", trust_env=False).json()


@contextmanager
def chromium(folder, wait_until):
    """Start a browser whose profile is in `folder`, and end it."""
    command = [BINARY, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            port = folder / "DevToolsActivePort"
            wait_until(lambda: port.exists() and port.read_text().count("\n"))
            yield Chromium(port.read_text().split()[0])
        finally:
            process.terminate()
