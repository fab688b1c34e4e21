"""A real Chromium without a window, spoken to through its DevTools port."""

import asyncio
import base64
import itertools
import os
import subprocess
import time
from pathlib import Path

import aiohttp

_TEXT = """(() => {
  const found = [];
  const walk = node => {
    if (node.nodeType === Node.TEXT_NODE) found.push(node.data);
    if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return;
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  if (document.body) walk(document.body);
  return found.join(" ").replace(/\\s+/g, " ");
})()"""
"""All text of a page, also what is inside of its own elements (shadow roots)."""


class Browser:
    """Shows one page at a time."""

    def __init__(self, program: str, profile: Path) -> None:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1600,1100")
        port = profile / "DevToolsActivePort"
        self.process = subprocess.Popen(
            [program, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (port.exists() and port.read_text().count("\n")):
            assert self.process.poll() is None, "chromium ended"
            assert time.monotonic() < deadline, "chromium did not open its port"
            time.sleep(0.1)
        self._address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def shows(
        self, url: str, *wanted: str, cookie: str = "", reload_s: float = 0, limit_s: float = 180
    ) -> str:
        """Open a page and return its text as soon as all that is wanted is in it.

        Args:
            url: Of the page.
            wanted: Parts of its text.
            cookie: Name and value, as "name=value"; kept for later pages.
            reload_s: Load it anew after so many seconds without them; 0: never, the page follows
                by itself.
            limit_s: Seconds to wait for them. With RETDM_SCREENSHOTS in the environment, a
                folder, a picture of the page goes there.
        """
        return asyncio.run(self._shows(url, wanted, cookie, reload_s, limit_s))

    async def _shows(
        self, url: str, wanted: tuple[str, ...], cookie: str, reload_s: float, limit_s: float
    ) -> str:
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{self._address}/json/new") as answer:
                page = await answer.json()
            socket = page["webSocketDebuggerUrl"]
            numbers = itertools.count()
            async with session.ws_connect(socket, max_msg_size=0) as connection:

                async def call(method, **params):
                    number = next(numbers)
                    await connection.send_json({"id": number, "method": method, "params": params})
                    while (message := await connection.receive_json()).get("id") != number:
                        pass
                    assert "result" in message, message
                    return message["result"]

                if cookie:
                    name, _, value = cookie.partition("=")
                    await call("Network.setCookie", name=name, value=value, url=url)
                await call("Page.navigate", url=url)
                deadline = time.monotonic() + limit_s
                reload_at = time.monotonic() + (reload_s or limit_s + 1)
                while True:
                    found = await call("Runtime.evaluate", expression=_TEXT)
                    text = found["result"]["value"]
                    missing = [one for one in wanted if one not in text]
                    if not missing:
                        break
                    assert time.monotonic() < deadline, f"{url}: no {missing} in:\n{text[:5000]}"
                    if time.monotonic() > reload_at:
                        await call("Page.reload")
                        reload_at = time.monotonic() + reload_s
                    await asyncio.sleep(0.5)
                if folder := os.environ.get("RETDM_SCREENSHOTS"):
                    await asyncio.sleep(2)  # while it is still drawing
                    shot = await call("Page.captureScreenshot")
                    count = len(list(Path(folder).iterdir()))
                    Path(folder, f"{count:02}.png").write_bytes(base64.b64decode(shot["data"]))
            async with session.get(f"{self._address}/json/close/{page['id']}"):
                pass
        return text
