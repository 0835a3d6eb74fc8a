"""The documentation: examples run, names have one, and the built pages work in a browser."""

from __future__ import annotations

import doctest
import inspect
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import rankbound as rb

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import make_docs

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if ">>>" in path.read_text("utf-8"))
PUBLIC = [name for name in dir(rb) if callable(getattr(rb, name))]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NARROW, WIDE = 390, 1400


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_examples_of_a_page(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "assert " in path.read_text("utf-8") and not __debug__:
        pytest.skip("python -O drops its asserts")
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(path), module_relative=False)
    assert results.attempted
    assert not results.failed


def test_each_guide_has_an_example() -> None:
    guides = [path for path in (DOCS / "howto").glob("*.md") if path.stem != "index"]
    assert len(guides) >= 6
    assert set(guides) <= set(PAGES)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_has_an_example(name: str) -> None:
    """That it runs as printed is tested with its module, in test_package.py."""
    assert ">>>" in (inspect.getdoc(getattr(rb, name)) or "")


def test_each_field_of_a_record_is_described() -> None:
    """In its docstring or beside it in the source, from where the page of the API has it."""
    described = 0
    for kind in (getattr(rb, name) for name in PUBLIC if inspect.isclass(getattr(rb, name))):
        for name, words in zip(*[iter(make_docs.field_list(kind)[2:])] * 2, strict=True):
            assert words.strip(), f"{kind.__name__}.{name}"
            described += 1
    assert described >= 50


def test_formulas_of_claims_and_of_the_theory_are_typeset() -> None:
    texts = {name: str(text) for name, text in make_docs.everything().items()}
    assert r"$\operatorname{logrank} ( P ) \le k$" in texts["claims/theorems.md"]
    assert "`logrank(P) <= k`" in (DOCS / "theory.md").read_text("utf-8")
    assert "`logrank(P) <= k`" not in texts["theory.md"]
    assert "`theorem-a`" in texts["claims/theorems.md"]  # names of code stay


def test_each_claim_says_where_it_is_proved_or_told() -> None:
    texts = {name: (DOCS / f"{name}.md").read_text("utf-8") for name in ("theory", "papers")}
    lost = [claim.id for claim in rb.claims.values() if not make_docs.passage(claim, texts)[1]]
    assert not lost


# The pages as they are built


@pytest.fixture(scope="module")
def site() -> Path:
    """What `make docs` builds; a build that is up to date costs a few seconds."""
    for module in ("sphinx", "pydata_sphinx_theme", "myst_nb", "numpydoc"):
        pytest.importorskip(module, reason="pages are built with the extra rankbound[docs]")
    sources, pages = ROOT / ".docs" / "source", ROOT / ".docs" / "html"
    for command in (
        ["scripts/make_docs.py", str(sources)],
        ["-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", str(sources), str(pages)],
    ):
        home = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        run = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": home},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
    return pages


class Page(HTMLParser):
    """What a page points to, what can be pointed to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given or (tag == "link" and "href" in given):
            self.loaded.append(given.get("src") or given["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    found = sorted(site.rglob("*.html"))
    return {
        path.relative_to(site).as_posix(): Page(path)
        for path in found
        if "_static" not in path.parts
    }


@pytest.mark.slow
def test_pages_are_there(pages: dict[str, Page]) -> None:
    assert {f"{path.relative_to(DOCS).with_suffix('.html').as_posix()}" for path in PAGES} <= set(
        pages
    )
    for name in (path.stem for path in (ROOT / "notebooks").glob("*.ipynb")):
        assert f"tutorials/{name}.html" in pages
    for name in rb.claims:
        assert any(name in page.places for at, page in pages.items() if at.startswith("claims/"))
    for name in PUBLIC:
        assert any(f"rankbound.{name}" in page.places for page in pages.values())


@pytest.mark.slow
def test_no_link_is_broken(site: Path, pages: dict[str, Page]) -> None:
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(urljoin(f"/{name}", link))
            if parts.scheme in ("http", "https") and link in page.links:
                continue
            target = unquote(parts.path).lstrip("/")
            there = not (parts.scheme or parts.netloc) and (site / target).is_file()
            if there and parts.fragment and target in pages:
                there = unquote(parts.fragment) in pages[target].places
            if not there and parts.scheme != "data":
                broken.append(f"{name}: {link}")
    assert not broken


LOOK = """<!doctype html><script>
const NAMES = %s, NARROW = %d, WIDE = %d, found = {};
const LATEX = /\\$[^$\\s][^$]*\\$|\\\\\\(|\\\\\\[|\\\\[a-zA-Z]+ ?[{\\\\^_]/;
const pause = (time) => new Promise((done) => setTimeout(done, time));
async function look(name) {
  const frame = document.createElement("iframe");
  frame.width = WIDE; frame.height = 900;
  await new Promise((done) => {
    frame.onload = done; frame.src = "/" + name; document.body.append(frame);
  });
  const page = frame.contentWindow, doc = frame.contentDocument;
  await pause(50);
  const wrong = [...page.errors];
  for (const image of doc.images) if (!image.naturalWidth) wrong.push("no image " + image.src);
  for (const one of page.performance.getEntriesByType("resource"))
    if (!one.name.startsWith(location.origin) && !one.name.startsWith("data:"))
      wrong.push("from elsewhere: " + one.name);
  if (page.MathJax) await page.MathJax.startup.promise;
  for (const one of doc.querySelectorAll("[data-mjx-error]"))
    wrong.push("formula: " + one.dataset.mjxError);
  const walk = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const held = walk.currentNode.parentElement.closest("code, pre, script, style, noscript");
    if (!held && LATEX.test(walk.currentNode.data))
      wrong.push("LaTeX as text: " + walk.currentNode.data.trim().slice(0, 80));
  }
  for (const width of [WIDE, NARROW]) {
    frame.width = width;
    await pause(50);
    const over = doc.documentElement.scrollWidth - width;
    if (over > 0) wrong.push(`${over} px beyond ${width}`);
  }
  frame.remove();
  found[name] = wrong;
}
addEventListener("load", async () => {
  const left = [...NAMES];  // four frames: one is looked at while others load
  const one = async () => { while (left.length) await look(left.shift()); };
  await Promise.all([one(), one(), one(), one()]);
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
});
</script><body></body>"""
NOTE_ERRORS = b"""<script>
var errors = [];
const words = (e) => e.message || "not loaded: " + e.target.outerHTML;
addEventListener("error", (e) => errors.push(words(e)), true);
addEventListener("unhandledrejection", (e) => errors.push(String(e.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...said) => errors.push(said.join(" "));
</script>"""


class Server(SimpleHTTPRequestHandler):
    """The pages, each with a script that notes errors, and the page that looks at them."""

    def __init__(self, look: bytes, found: list[dict[str, list[str]]], *args: Any, **kw: Any):
        self.look, self.found = look, found
        super().__init__(*args, **kw)

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.path == "/look":
            self.send(self.look)
        elif path.suffix == ".html" and path.is_file():
            head, mark, rest = path.read_bytes().partition(b"<head>")
            self.send(head + mark + NOTE_ERRORS + rest)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send(b"")
        threading.Thread(target=self.server.shutdown).start()

    def send(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def seen(folder: Path, names: list[str], profile: Path) -> dict[str, list[str]]:
    """What is wrong with each page, in a browser that reaches this server alone."""
    assert BROWSER
    found: list[dict[str, list[str]]] = []
    look = (LOOK % (json.dumps(names), NARROW, WIDE)).encode()
    handler = partial(Server, look, found, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        command = [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--no-first-run", "--disable-component-update", "--disable-sync"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}",
            f"--window-size={WIDE},1000",
            "--remote-debugging-port=0",  # stays until it is told to go
            f"http://127.0.0.1:{server.server_port}/look",
        ]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        late = threading.Timer(60 + 3 * len(names), server.shutdown)
        late.start()
        try:
            server.serve_forever(poll_interval=0.1)
        finally:
            late.cancel()
            browser.terminate()
            browser.wait(30)
    assert found, "the browser did not look at all pages in time"
    return {name: wrong for name, wrong in found[0].items() if wrong}


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_every_page_in_a_browser(site: Path, pages: dict[str, Page], tmp_path: Path) -> None:
    assert seen(site, list(pages), tmp_path) == {}


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_the_browser_sees_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    broken = {
        "fine": "<p>fine, <code>$x$</code></p>",
        "latex": "<p>the head size $k$</p>",
        "command": r"<p>the size \frac{d}{h}</p>",
        "image": '<img src="nowhere.png">',
        "elsewhere": '<script src="https://example.org/mathjax.js"></script>',
        "script": "<script>undefined_name()</script>",
        "console": "<script>console.error('oh')</script>",
        "wide": '<div style="width: 500px">wide</div>',
    }
    for name, body in broken.items():
        text = f"<!doctype html><html><head></head><body>{body}</body></html>"
        (folder / f"{name}.html").write_text(text)
    found = seen(folder, [f"{name}.html" for name in broken], tmp_path / "profile")
    assert set(found) == {f"{name}.html" for name in broken if name != "fine"}
    assert "not defined" in found["script.html"][0]
    assert found["wide.html"] == ["118 px beyond 390"]  # with the margin of 8 px
