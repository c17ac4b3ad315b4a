#!/usr/bin/env python3
"""Opens every page of the built book from disk in headless Chromium and looks at it (`make book-check`).

Of each page, on a desktop and on a phone-wide screen, in a light and in a dark theme:
- nothing is written to the console as an error, and nothing is asked for outside the book's folder;
- no formula is left as TeX, every formula and every figure has a size, and every figure is in colours of the page;
- every font face that the page uses is loaded;
- the page is no wider than the screen (what is wide scrolls by itself: code, tables, formulas).

Needs the book (`make book`), Chromium (`apt-get install chromium`, or CHROMIUM=path) and `pip install playwright`.
`--shots FOLDER` keeps a picture of each page in each way. CI does not run this.
"""

import argparse
import os
import pathlib
import shutil
import sys

from playwright.sync_api import sync_playwright

WAYS = [("desktop", 1280, 900), ("phone", 390, 844)]
THEMES = ["light", "navy"]

# What a reader would see wrong, asked in the page.
LOOK = r"""
async () => {
  await document.fonts.ready;
  const wrong = [];
  const main = document.querySelector('main');
  const shown = (e) => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0; };
  const name = (e) => e.tagName.toLowerCase() + ' ' + (e.id || e.textContent.trim().slice(0, 40));
  const formulas = [...main.querySelectorAll('math')];
  formulas.filter((e) => !shown(e)).forEach((e) => wrong.push('a formula without a size: ' + name(e)));
  main.querySelectorAll('merror').forEach((e) => wrong.push('a formula in error: ' + name(e)));
  // mdBook keeps a second copy of each picture, hidden until the first is clicked.
  const figures = [...main.querySelectorAll('figure, figure svg, img')].filter((e) => !e.closest('.img-wrapper'));
  figures.filter((e) => !shown(e)).forEach((e) => wrong.push('a figure without a size: ' + name(e)));
  main.querySelectorAll('img').forEach((e) => { if (!e.naturalWidth) wrong.push('a picture not loaded: ' + e.src); });
  const skip = 'pre, code, math, svg, script, style';
  const walk = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  for (let t = walk.nextNode(); t; t = walk.nextNode()) {
    if (t.parentElement.closest(skip)) continue;
    if (/\$|\\[a-zA-Z]+|\{\{#/.test(t.data)) wrong.push('left as source: ' + t.data.trim().slice(0, 60));
  }
  for (const face of document.fonts) {
    if (face.status === 'error') wrong.push('a font that is not there: ' + face.family);
  }
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  if (wide > 0) {
    const over = [...main.querySelectorAll('*')].filter((e) => {
      const r = e.getBoundingClientRect();
      if (r.right <= window.innerWidth + 1) return false;
      for (let p = e.parentElement; p && p !== main; p = p.parentElement) {
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
      }
      return true;
    });
    wrong.push(`wider than the screen by ${wide}: ` + over.slice(0, 3).map(name).join(' | '));
  }
  // Text against what is behind it, by the WCAG's formula.
  const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = (rgb) => { const [r, g, b] = rgb.match(/[\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const page = light(getComputedStyle(document.documentElement).backgroundColor);
  for (const e of main.querySelectorAll('p, figcaption, figure .title, li')) {
    const ink = light(getComputedStyle(e).color);
    const contrast = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    if (contrast < 4.5) { wrong.push(`contrast ${contrast.toFixed(1)}: ` + name(e)); break; }
  }
  return { wrong, formulas: formulas.length, figures: main.querySelectorAll('figure').length };
}
"""


def look_at(context, page_file, book, theme, shot):
    """What is wrong with one page, and how much there was to look at."""
    page = context.new_page()
    page.set_default_timeout(300_000)
    wrong = []
    page.on("console", lambda m: m.type == "error" and wrong.append(f"console: {m.text}"))
    page.on("pageerror", lambda e: wrong.append(f"script: {e}"))
    page.on("requestfailed", lambda r: wrong.append(f"not loaded: {r.url}"))
    inside = book.as_uri()

    def asked(request):
        if not request.url.startswith((inside, "data:", "blob:")):
            wrong.append(f"asked for {request.url}")

    page.on("request", asked)
    page.add_init_script(f"localStorage.setItem('mdbook-theme', '{theme}');")
    page.goto(page_file.as_uri(), wait_until="load")
    seen = page.evaluate(LOOK)
    if not page.evaluate(f"document.documentElement.classList.contains('{theme}')"):
        wrong.append(f"not in the theme {theme}")
    if shot:
        page.screenshot(path=shot, full_page=True)
    page.close()
    return wrong + seen["wrong"], seen


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("book", nargs="?", default="docs/book")
    arguments.add_argument("--only", default="", help="look only at pages whose name contains this")
    arguments.add_argument("--shots", type=pathlib.Path, help="folder for pictures of the pages")
    given = arguments.parse_args()
    book = pathlib.Path(given.book).resolve()
    once = ("toc.html", "404.html", "print.html", "index.html")  # frames, and pages that repeat others
    pages = sorted(p for p in book.glob("*.html") if p.name not in once and given.only in p.name)
    pages = [p for p in pages if 'http-equiv="refresh"' not in p.read_text(encoding="utf-8")]  # an old name of a page
    if not pages:
        sys.exit(f"no pages in {book} with {given.only!r} in their name: run `make book` first")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") \
        or shutil.which("google-chrome")
    if not chromium:
        sys.exit("no Chromium found: install it or set CHROMIUM to its path")
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
    found, formulas, figures = [], 0, 0
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for way, width, height in WAYS:
            for theme in THEMES:
                scheme = "light" if theme == "light" else "dark"
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
                for page_file in pages:
                    shot = given.shots and str(given.shots / f"{page_file.stem}-{way}-{theme}.png")
                    wrong, seen = look_at(context, page_file, book, theme, shot)
                    wrong = [f"{page_file.name}, {way}, {theme}: {w}" for w in wrong]
                    found += wrong
                    for fault in wrong:
                        print(fault, flush=True)
                    if (way, theme) == ("desktop", "light"):
                        formulas, figures = formulas + seen["formulas"], figures + seen["figures"]
                context.close()
        browser.close()
    if not formulas or not figures:
        sys.exit(f"saw {formulas} formulas and {figures} figures: this is not the book")
    print(f"{len(pages)} pages, {formulas} formulas, {figures} figures, {len(WAYS) * len(THEMES)} ways: {len(found)} faults")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
