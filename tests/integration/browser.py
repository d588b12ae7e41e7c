"""A headless Chromium, driven over the WebDriver protocol (plain JSON over HTTP, so that Debian's
chromium and chromium-driver are all it needs)."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import targets
import wire
from postgres import free_port

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class BrowserError(Exception):
    """What the driver says went wrong."""


class Browser:
    """`get`, `run` (JavaScript) and friends; `close` ends it and gives what its console said."""

    def __init__(self, width=1280, height=900, arguments=()):
        self.port = free_port()
        self.profile = Path(tempfile.mkdtemp(prefix="sluice-chromium-"))
        driver = shutil.which("chromedriver")
        assert driver and shutil.which("chromium"), \
            "no chromium: scripts/install-packages brings chromium and chromium-driver"
        self.log = open(self.profile / "driver.log", "wb")
        self.driver = subprocess.Popen(
            [driver, f"--port={self.port}", "--allowed-ips=127.0.0.1"], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True,
            env={**os.environ, "HOME": str(self.profile), "XDG_CONFIG_HOME": str(self.profile)})
        self.session = ""
        try:
            wire.eventually(self._is_up, 20 * targets.SCALE, "chromedriver is up")
            # The sandbox wants to be somebody else than root; the only pages here are our own.
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--no-first-run", "--disable-background-networking", "--disable-sync",
                     "--disable-component-update", "--no-proxy-server", "--hide-scrollbars",
                     f"--user-data-dir={self.profile}/profile", f"--window-size={width},{height}",
                     *arguments]
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "acceptInsecureCerts": True,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "goog:chromeOptions": {"args": flags}}}})
            self.session = f"/session/{made['sessionId']}"
            self._call("POST", "/timeouts", {"script": int(30000 * targets.SCALE),
                                             "pageLoad": int(30000 * targets.SCALE)})
        except BaseException:
            self.close()
            raise

    def _is_up(self):
        try:
            return self._call("GET", "/status")["ready"]
        except (OSError, BrowserError):
            return False

    def _call(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.session}{path}", method=method,
            data=None if method == "GET" else json.dumps(body or {}).encode(),
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60 * targets.SCALE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise BrowserError(json.load(error)["value"]["message"]) from None

    def get(self, url):
        self._call("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a function's body; what it throws is a BrowserError."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        return self.run("const e = document.querySelector(arguments[0]);"
                        "return e && e.textContent", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])]"
                        ".map((e) => e.textContent)", selector)

    def wait(self, script, *arguments, timeout=20, what=None):
        """Until the function's body gives something true; that."""
        return wire.eventually(lambda: self.run(script, *arguments), timeout * targets.SCALE,
                               what or script)

    def press(self, *keys):
        """Keys to whatever has the focus."""
        down_and_up = [{"type": kind, "value": key} for key in keys
                       for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [
            {"type": "key", "id": "keyboard", "actions": down_and_up}]})

    def devtools(self, command, **parameters):
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def prefer(self, scheme):
        """light or dark, as the system would tell."""
        self.devtools("Emulation.setEmulatedMedia",
                      features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=False)

    def screenshot(self, path, height, scale=1):
        """The page from its top; as PNG."""
        width = self.run("return innerWidth")
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                             clip={"x": 0, "y": 0, "width": width, "height": height,
                                   "scale": scale})
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def console(self):
        """What the console has said since it was last asked."""
        return [f"{line['level']}: {line['message']}"
                for line in self._call("POST", "/se/log", {"type": "browser"})]

    def requested(self):
        """Every address asked for since it was last asked."""
        out = []
        for line in self._call("POST", "/se/log", {"type": "performance"}):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                out.append(message["params"]["request"]["url"])
        return out

    def close(self):
        if self.session:
            try:
                self._call("DELETE", "")
            except (OSError, BrowserError):
                pass
            self.session = ""
        if self.driver.poll() is None:
            os.killpg(self.driver.pid, signal.SIGKILL)  # its browser, too
            self.driver.wait()
        self.log.close()
        shutil.rmtree(self.profile, ignore_errors=True)
