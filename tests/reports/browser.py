"""A headless Chromium, by its DevTools protocol over pipes: no driver is needed."""

import json
import os
import select
import shutil
import subprocess
from time import monotonic

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)

SECONDS = 100.0  # of waiting for an answer

# Events that a page without faults does not cause.
COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


class Page:
    """A page in a browser of its own; `complaints` is what its console says."""

    def __init__(self, folder):
        theirs, self.write = os.pipe()
        self.read, ours = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += [f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        # The protocol is spoken on the descriptors 3 and 4.
        script = f'exec "$0" "$@" 3<&{theirs} 4>&{ours}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, BROWSER, *options],
            pass_fds=(theirs, ours),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        self.rest = b""
        self.number = 0
        self.session = None
        self.complaints = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self):
        """Open a page, and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Call a method of the protocol; returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        """The next message; complaints are kept."""
        deadline = monotonic() + SECONDS
        while b"\0" not in self.rest:
            left = deadline - monotonic()
            assert left > 0 and select.select([self.read], [], [], left)[0], "silence"
            part = os.read(self.read, 65536)
            assert part, "the browser has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        found = json.loads(message)
        if found.get("method") in COMPLAINTS:
            self.complaints.append(found["params"])
        return found

    def open(self, path, width, scheme):
        """Show a file in a window of some width [px], in a light or dark scheme."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression):
        """The value of an expression of JavaScript in the page."""
        options = {"returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", expression=expression, **options)
        return found["result"]["value"]

    def close(self):
        """End the browser."""
        self.process.kill()
        self.process.wait()
        os.close(self.read)
        os.close(self.write)
