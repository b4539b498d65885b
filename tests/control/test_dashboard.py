# SPDX-License-Identifier: Apache-2.0
"""The agent's TCP port on a farm: metrics for a stranger's scraper, and the page in Chromium; and
`ipos top`, which shows the same in a terminal.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipos.cli.client import ask
from ipos.lab import Lab, Settings
from ipos.top.live_screen import Top
from tests.support.browser import Browser, browsing
from tests.support.farm import Farm, wait_until

pytestmark = pytest.mark.farm
TOKEN = "a-token-that-this-test-has-made"
SERVICES = """\
[[service]]
name = "web"
port = 80
decide = "request"
[[pool]]
name = "images"
servers = { s2 = 1 }
[[route]]
service = "web"
path = "/img/"
pool = "images"
"""
URL = "http://127.0.0.1:9100"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    file = tmp_path_factory.mktemp("web") / "web.token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    section = f'\n[agent]\nweb = "127.0.0.1:9100"\nweb_token_file = "{file}"\n'
    with Lab(Settings(name=f"wb{os.getpid()}", config=SERVICES + section)) as lab:
        yield Farm(lab)


def curl(farm: Farm, path: str, *options: str) -> str:
    return farm.run("s1", "curl", "-s", *options, f"{URL}{path}")


def test_metrics_and_orders_by_the_token(farm: Farm) -> None:
    bearer = ("-H", f"Authorization: Bearer {TOKEN}")
    assert json.loads(curl(farm, "/metrics"))["error"].startswith("this needs the token")
    assert "ipos_server_state{" in curl(farm, "/metrics", *bearer)
    assert curl(farm, "/").startswith("<!doctype html>")
    curl(farm, "/v1/servers/s3/weight", *bearer, "-X", "PUT", "-d", '{"weight": 7}')
    rows = json.loads(curl(farm, "/v1/servers", *bearer))
    assert [row["weight_set"] for row in rows if row["server"] == "s3"] == [7]
    wait_until("a sample", lambda: json.loads(curl(farm, "/v1/history", *bearer)), 30)


def test_one_server_asks_all_what_is_wrong_with_them(farm: Farm) -> None:
    def asked() -> dict[str, dict[str, object]]:
        done = farm.lab.run(
            "s1", ["ipos", "doctor", "--farm", "-o", "json"], capture_output=True, text=True
        )
        assert done.stderr == ""
        return {row["server"]: row for row in json.loads(done.stdout)["servers"]}

    assert {name: row["answered"] for name, row in asked().items()} == dict.fromkeys(
        ("s1", "s2", "s3"), True
    )
    farm.run("s2", "sysctl", "-qw", "net.ipv4.tcp_sack=0")
    try:
        wait_until("s2 has examined itself anew", lambda: "tcp_options" in str(asked()["s2"]))
        said = farm.lab.run("s1", ["ipos", "doctor", "--farm"], capture_output=True, text=True)
        assert said.returncode == 1
        assert "\ns2 (10.77.0.2): " in said.stdout
        assert "sysctl -w net.ipv4.tcp_sack=1" in said.stdout
    finally:
        farm.run("s2", "sysctl", "-qw", "net.ipv4.tcp_sack=1")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page(farm: Farm, tmp_path: Path) -> None:
    with load(farm), browsing(farm, "s1") as browser:
        browser.resize(1280, 900)
        browser.open(f"{URL}/")
        wait_until("it asks for the token", lambda: "Use it" in browser.text())
        browser.run("document.getElementById('token').focus()")
        for letter in TOKEN:
            browser.key(letter, ord(letter.upper()), letter)
        browser.key("Enter", 13, "\r")
        wait_until("all is well", lambda: "3 of 3 servers ready" in browser.text())
        _press(browser, "Drain", of="s3")
        wait_until("s3 is drained", lambda: "2 of 3 servers ready" in browser.text())
        browser.picture(tmp_path / "drained.png")
        _press(browser, "Ready", of="s3")
        wait_until("s3 is back", lambda: "3 of 3 servers ready" in browser.text())
        _press(browser, "Drain", of="s2")
        wait_until("it says why not", lambda: "s2" in browser.run(_TOLD))
        browser.run("document.getElementById('url').value = 'http://203.0.113.1/img/logo.png'")
        browser.run("document.getElementById('explain').requestSubmit()")
        wait_until("why", lambda: "100.0%  s2" in browser.text())
        images = ("sh", "-c", f"while :; do curl -s http://{farm.address('s1')}/img/[1-9]; done")
        with farm.lab.popen("client1", images, stdout=subprocess.DEVNULL) as busy:
            try:
                for table in ("services", "routes"):
                    rate = f"+document.querySelector('#{table} td:nth-child(4)').textContent"
                    wait_until(f"{table} are busy", lambda rate=rate: browser.run(rate) > 0)  # type: ignore[misc]
                wait_until("times are told", lambda: browser.run(_HALF_WITHIN).endswith("s"))
                browser.run("document.getElementById('capture').requestSubmit()")
                ladder = "document.getElementById('ladder').textContent"
                wait_until("a ladder", lambda: "type 1 connection" in browser.run(ladder), 60)
                assert "GET /img/1 HTTP/1.1" in browser.run(ladder)
                browser.picture(tmp_path / "busy.png")
            finally:
                busy.terminate()
        browser.run("tell('')")
        for width in (1280, 700, 400):
            browser.resize(width, 900, dark=width == 700)
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run(_CUT) == [], width
            browser.picture(tmp_path / f"{width}.png")
        _shows_many(browser, tmp_path)


@contextmanager
def load(farm: Farm) -> Iterator[None]:
    """Clients that ask without pause, so that there is something to see."""
    wrk = ("wrk", "-t1", "-c20", "-d300s", "http://203.0.113.1/")
    with farm.lab.popen("client1", wrk, stdout=subprocess.DEVNULL) as clients:
        try:
            yield
        finally:
            clients.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
def test_top_drains_a_server_under_load(
    farm: Farm, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its key, in terminals of three sizes; pictures of each are kept."""
    monkeypatch.setenv("IPOS_RUN_DIR", str(farm.lab.place("s1").run_dir))

    def state(server: str) -> str:
        found = {row["server"]: row["state"] for row in ask("GET", "/v1/servers")}
        return str(found[server])

    async def watch() -> None:
        top = Top(ask, 0.5)
        async with top.run_test(size=size) as pilot:
            await pilot.press("down", "down")
            await pilot.pause(5)
            top.save_screenshot(f"{size[0]}-ready.svg", str(tmp_path))
            await pilot.press("d")
            await _becomes(lambda: state("s3") == "drain")
            await pilot.pause(2)
            top.save_screenshot(f"{size[0]}-drained.svg", str(tmp_path))
            await pilot.press("d")
            await _becomes(lambda: state("s3") == "ready")

    with load(farm):
        asyncio.run(watch())


async def _becomes(true: Callable[[], bool]) -> None:
    """Until something is so: in a thread, because the screen goes on."""
    await asyncio.to_thread(wait_until, "it is so", true)


_SIXTY_FOUR = """{
  const real = ask;
  ask = async (path, ...more) => {
    const said = await real(path, ...more), many = Array.from({length: 64}, (_, n) => n);
    if (path === "/v1/status")
      said.servers = many.map(n => ({...said.servers[n % 3], server: "www-" + n}));
    return said;
  };
}"""


def _shows_many(browser: Browser, tmp_path: Path) -> None:
    """A large farm is to be seen at a glance, and why an order was refused without scrolling."""
    browser.run(_SIXTY_FOUR)
    shown = "document.querySelectorAll('.many .server:not([open])').length"
    wait_until("64 servers, folded", lambda: browser.run(shown) == 64)
    browser.run("tell('a refusal')")
    for width, height in ((400, 5000), (1280, 3000)):
        browser.resize(width, 900)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("document.documentElement.scrollHeight") < height
        assert 0 < browser.run("document.getElementById('told').getBoundingClientRect().top") < 900
        browser.picture(tmp_path / f"many-{width}.png")


_HALF_WITHIN = "document.querySelector('#services td:nth-child(6)').textContent"
_CUT = """[...document.querySelectorAll("section")]
  .filter(one => one.scrollWidth > one.clientWidth)
  .map(one => one.querySelector("h2").textContent)"""
"""Headings of what is wider than the page; the ladder moves by itself."""
_TOLD = "document.getElementById('told').textContent"


def _press(browser: Browser, button: str, of: str) -> None:
    """By the keyboard: the button has the focus, and Enter is typed."""
    browser.run(
        "[...document.querySelectorAll('.server')].find(box => box.querySelector('b').textContent"
        f" === '{of}').querySelector('button').focus()"
    )
    wait_until(
        f"it says {button}",
        lambda: browser.run("document.activeElement.textContent") == button,
    )
    browser.key("Enter", 13, "\r")


_SCRAPE = """\
global: {{ scrape_interval: 1s }}
rule_files: [{rules}]
scrape_configs:
- job_name: ipos
  authorization: {{ credentials: {token} }}
  static_configs: [{{ targets: ["127.0.0.1:9100"] }}]
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_a_real_prometheus_scrapes_it(farm: Farm, tmp_path: Path) -> None:
    rules = Path(__file__).parents[2] / "packaging" / "prometheus" / "ipos.rules.yml"
    (tmp_path / "prometheus.yml").write_text(_SCRAPE.format(rules=rules, token=TOKEN))
    argv = (
        "prometheus", f"--config.file={tmp_path}/prometheus.yml",
        "--web.listen-address=127.0.0.1:9099",
        f"--storage.tsdb.path={tmp_path}/data",
    )  # fmt: skip
    with farm.lab.popen("s1", argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for question in ('up{job="ipos"} == 1', "ipos_service_servers", "ipos_build_info"):
                wait_until(question, lambda asked=question: _series(farm, asked), 60)  # type: ignore[misc]
            said = json.loads(farm.run("s1", "curl", "-s", "http://127.0.0.1:9099/api/v1/rules"))
            health = {rule["health"] for group in said["data"]["groups"] for rule in group["rules"]}
            assert health <= {"ok", "unknown"}
        finally:
            server.terminate()


def _series(farm: Farm, question: str) -> list[object]:
    url = "http://127.0.0.1:9099/api/v1/query"
    done = farm.lab.run(
        "s1", ["curl", "-sG", url, "--data-urlencode", f"query={question}"],
        capture_output=True, text=True,
    )  # fmt: skip
    if not done.stdout.startswith("{"):  # it is still starting
        return []
    found: list[object] = json.loads(done.stdout)["data"]["result"]
    return found
