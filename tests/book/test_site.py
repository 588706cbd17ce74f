"""The built site: complete, without warnings, and served from its own folder alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from _notebooks import ROOT, toc_entries

pytestmark = [pytest.mark.site, pytest.mark.slow]
pytest.importorskip("jupyter_book", reason="the site needs the 'course' extra")

RUN = "from jupyter_book.cli.main import main; main()"  # the package has no __main__
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "embed": "src",
}


class Page(HTMLParser):
    """What a page loads, links to, and its pictures."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.pictures, self.ids = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        if facts.get("id"):
            self.ids.add(facts["id"])
        if facts.get(LOADS.get(tag, "")):
            self.loads.append(facts[LOADS[tag]])
        if tag == "link" and facts.get("href"):
            self.loads.append(facts["href"])
        if tag == "a" and facts.get("href"):
            self.links.append(facts["href"])
        if tag == "img":
            self.pictures.append((facts.get("src", ""), facts.get("alt")))


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """Build the site once, as `make book` does but into a folder of its own."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", RUN, "build", str(ROOT), "--path-output", str(out)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [*command, "-n", "-W", "--keep-going"], capture_output=True, text=True, env=env, cwd=out, timeout=570
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site) -> dict[Path, Page]:
    """All pages, parsed."""
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return {path: Page(path.read_text(encoding="utf-8")) for path in files}


def _outside(address: str) -> bool:
    return bool(re.match(r"\s*(https?:)?//", address, re.IGNORECASE))


def test_every_page_is_there(site):
    assert (site / "index.html").is_file()
    for entry in toc_entries():
        assert (site / f"{entry}.html").is_file()


def test_nothing_is_loaded_from_outside(pages):
    found = {(path.name, address) for path, page in pages.items() for address in page.loads if _outside(address)}
    assert found == set()


def test_no_style_loads_from_outside(site, pages):
    sheets = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    sheets += [path.read_text(encoding="utf-8") for path in pages]
    for text in sheets:
        assert not re.search(r"""(url\(\s*["']?|@import\s+["'])(https?:)?//""", text)


def test_no_script_fetches_a_known_network(site):
    """Scripts may name an address in a comment; ours and the page's own may not load one."""
    loader = re.compile(r"""(import\s*\(?|fetch\(|importScripts\(|\.src\s*=)\s*["'`](https?:)?//""")
    for path in [*site.rglob("*.html"), site / "_static" / "site.js"]:
        assert not loader.search(path.read_text(encoding="utf-8")), path.name


def test_what_is_loaded_exists(site, pages):
    missing = []
    for path, page in pages.items():
        for address in [*page.loads, *page.links]:
            part = urlsplit(address)
            if part.scheme or part.netloc or not part.path:
                continue
            if not (path.parent / unquote(part.path)).resolve().exists():
                missing.append((path.relative_to(site).as_posix(), address))
    assert missing == []


def test_links_inside_pages_have_a_target(pages):
    for path, page in pages.items():
        wanted = {unquote(link[1:]) for link in page.links if link.startswith("#") and len(link) > 1}
        assert wanted <= page.ids, (path.name, wanted - page.ids)


def test_pictures_are_described(pages):
    for path, page in pages.items():
        for source, alt in page.pictures:
            assert alt, (path.name, source[:60])
            assert not re.search(r"\.(png|jpe?g|svg)$", alt), (path.name, alt)


def test_pages_do_not_name_this_machine(site):
    for path in site.rglob("*.html"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path.name


def _rendered(page: Path) -> str:
    """Open a page in Chromium without a network and return what its scripts made of it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for found in map(shutil.which, names) if found), None)
    if not browser:
        pytest.skip("no Chromium on this machine")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-component-update"
    flags += " --disable-background-networking --disable-sync --virtual-time-budget=8000 --dump-dom"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *flags.split(), f"--user-data-dir={profile}", page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_a_browser_sets_formulas_and_names_the_toggles(site):
    dom = _rendered(site / "book" / "01_medvlm" / "01_idea.html")
    assert "<mjx-container" in dom
    assert 'type="range"' in dom
    assert "Show or hide the pages of" in dom


def test_a_slider_moves_its_frames(tmp_path):
    torch = pytest.importorskip("torch")
    from medadv.course.figures import slider

    frames = [torch.full((1, 4, 4), i / 2) for i in range(3)]
    html = slider(frames, label="steps", values=[0, 10, 20], alt="A grey square.").html
    move = "const c=document.querySelector('input');c.value=2;c.dispatchEvent(new Event('input'))"
    (tmp_path / "a.html").write_text(f"<!doctype html><title>x</title>{html}<script>{move}</script>")
    dom = _rendered(tmp_path / "a.html")
    assert re.findall(r"display: ?none", dom.split("oninput")[0]) != []
    shown = [tag for tag in re.findall(r"<img[^>]*>", dom) if "none" not in tag]
    assert len(shown) == 1
    assert 'alt="A grey square. steps: 20."' in shown[0]
    assert re.search(r"<output[^>]*>20</output>", dom)
    assert 'aria-valuetext="20"' in dom
