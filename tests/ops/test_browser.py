"""The pages in Chromium: light, dark, on a phone, by keyboard.

RATINGS_GATEWAY_SCREENSHOTS=DIR keeps a picture of each page in each form, to be looked at.
"""

import asyncio
import base64
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from gateway.ops.page import headers
from gateway.ops.status.render import render
from gateway.sandbox import ADA
from tests.ops import samples
from tests.ops.conftest import TOKEN, MakeApp

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.expected_conditions import staleness_of  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.needs("chromium", "chromedriver")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip
STATES = {
    "status-healthy": samples.healthy,
    "status-without-apple": samples.without_apple,
    "status-without-redis": samples.without_redis,
    "status-expired-token": samples.with_expired_token,
    "status-just-started": samples.just_started,
}
PAGES = [*STATES, "docs", "runbook"]
FORMS = [(scheme, width) for scheme in ("light", "dark") for width in (1200, 360)]
PICTURES = os.environ.get("RATINGS_GATEWAY_SCREENSHOTS")

TOO_FAINT = """
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.data.trim();
  if (!text || !element.checkVisibility()) continue;
  const pair = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))];
  if ((Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5) faint.push(text);
}
return faint;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def fresh(browser: Any) -> None:
    """No page, no cookie and no log of the test before."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    show(browser, "light", 1200)


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serve an application in a thread of its own, because the driver blocks; its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield lambda app: asyncio.run_coroutine_threadsafe(start(app), loop).result(10)
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def site(serve: Any, ops_app: MakeApp) -> str:
    """The pages, and under `/sample/…` the status page of made-up gateways."""
    app = ops_app()

    async def sample(request: web.Request) -> web.Response:
        text = render(STATES[request.match_info["name"]]())
        return web.Response(text=text, content_type="text/html", headers=headers())

    app.router.add_get("/sample/{name}", sample)
    url: str = serve(app)
    return url


def show(browser: Any, scheme: str, width: int) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def address(site: str, page: str) -> str:
    return f"{site}/sample/{page}" if page in STATES else f"{site}/{page}"


def follow(browser: Any, element: Any) -> None:
    """Click what leads to another page, and wait until that is there."""
    element.click()
    # While the page changes, chromedriver may name the gone element by an error of its own: ask again.
    WebDriverWait(browser, 10, ignored_exceptions=[WebDriverException]).until(staleness_of(element))


def keep_picture(browser: Any, name: str, width: int) -> None:
    if PICTURES is None:
        return
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 8000), "scale": 1}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    (Path(PICTURES) / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))


@pytest.mark.parametrize(("scheme", "width"), FORMS)
@pytest.mark.parametrize("page", PAGES)
def test_it_is_readable(browser, site, page, scheme, width):
    show(browser, scheme, width)
    browser.get(address(site, page))
    for closed in browser.find_elements(By.TAG_NAME, "summary"):
        closed.click()
    keep_picture(browser, f"{page}-{scheme}-{width}", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(TOO_FAINT) == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("page", ["docs", "runbook"])
def test_the_sidebar_shows_whole_names(browser, site, page, width):
    show(browser, "light", width)
    browser.get(address(site, page))
    sidebar = browser.find_element(By.CLASS_NAME, "sidebar")
    assert sidebar.get_property("scrollWidth") <= sidebar.get_property("clientWidth")


@pytest.mark.parametrize("page", PAGES)
def test_it_makes_no_request_besides_the_page(browser, site, page):
    url = address(site, page)
    browser.get(url)
    requested = [
        line["message"].partition('"url":"')[2].partition('"')[0]
        for line in browser.get_log("performance")
        if 'Network.requestWillBeSent"' in line["message"]
    ]
    assert {found for found in requested if not found.startswith("data:")} == {url}


@pytest.mark.parametrize("page", PAGES)
def test_the_keyboard_first_reaches_a_skip_link_and_focus_is_visible(browser, site, page):
    browser.get(address(site, page))
    browser.switch_to.active_element.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the content"
    assert skip.rect["x"] >= 0
    skip.send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.text == "Status"
    assert first.value_of_css_property("outline-style") == "solid"


def test_a_chart_is_as_wide_as_its_column_and_not_flat(browser, site):
    browser.get(address(site, "status-healthy"))
    (line, *_) = browser.find_elements(By.CSS_SELECTOR, ".plot .line.solid")
    assert line.rect["width"] > 150
    (wave, *_) = browser.find_elements(By.CSS_SELECTOR, "figure:nth-of-type(2) .plot .line.solid")
    assert wave.rect["height"] > 15


def test_the_form_explains_an_id(browser, site):
    browser.get(f"{site}/status")
    form = browser.find_element(By.CSS_SELECTOR, "#explain form")
    form.find_element(By.NAME, "id").send_keys("1138988512")
    form.find_element(By.NAME, "user_token").send_keys(ADA)
    follow(browser, form.find_element(By.TAG_NAME, "button"))
    assert browser.find_element(By.TAG_NAME, "h1").text == "Where the answer comes from"
    assert "It is in this process, and fresh." in browser.find_element(By.TAG_NAME, "main").text
    assert ADA not in browser.page_source
    assert ADA not in browser.current_url
    assert browser.find_element(By.NAME, "id").get_attribute("value") == "1138988512"
    assert browser.get_log("browser") == []


def test_the_form_accepts_the_ops_token(browser, serve, ops_app):
    browser.get(f"{serve(ops_app(token=TOKEN, remote=True))}/status")
    assert "server.port" not in browser.page_source
    browser.find_element(By.CSS_SELECTOR, "#settings [name=ops_token]").send_keys(TOKEN)
    follow(browser, browser.find_element(By.CSS_SELECTOR, "#settings button"))
    assert "server.port" in browser.find_element(By.ID, "settings").text
    assert TOKEN not in browser.page_source
    assert TOKEN not in browser.current_url


def test_a_finding_links_to_its_runbook_section(browser, site):
    browser.get(address(site, "status-without-redis"))
    follow(browser, browser.find_element(By.LINK_TEXT, "RatingsGatewayRedisErrors"))
    assert browser.current_url == f"{site}/runbook#ratingsgatewayrediserrors"
    heading = browser.find_element(By.ID, "ratingsgatewayrediserrors")
    assert heading.rect["y"] - browser.execute_script("return window.scrollY") < 100


def test_without_colours_every_finding_still_names_its_severity(browser, site):
    browser.get(address(site, "status-without-apple"))
    findings = browser.find_elements(By.CSS_SELECTOR, "#findings li")
    assert [finding.text.split()[:2] for finding in findings] == [["✖", "Failing"]] * 2


def test_a_hundred_errors_do_not_widen_a_phone(browser, serve, ops_app):
    error = replace(samples.ERRORS[0], request_id="x" * 128, detail="w" * 400)
    text = render(replace(samples.healthy(), recent_errors=(error,) * 50))

    async def sick(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", sick)
    show(browser, "light", 400)
    browser.get(serve(app))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
