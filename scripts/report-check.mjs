// node scripts/report-check.mjs FOLDER: every FOLDER/*.html in headless Chromium.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const puppeteer = createRequire(`${folder}/package.json`)("puppeteer-core");
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
  // A busy machine is slow, not wrong.
  timeout: 0,
  protocolTimeout: 0,
});

/** Relative luminance of `rgb(r, g, b)` (WCAG 2). */
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map((byte) => {
    const share = byte / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [dark, bright] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (bright + 0.05) / (dark + 0.05);
};

async function look(name, scheme, width) {
  const where = `${name}, ${scheme}, ${width} px`;
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  const url = pathToFileURL(`${folder}/${name}`).href;
  const wrong = [];
  page.on("console", (message) => wrong.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) wrong.push(`request: ${request.url()}`);
  });
  await page.setViewport({ width, height: 844, deviceScaleFactor: width < 500 ? 2 : 1, hasTouch: width < 500 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url, { waitUntil: "load" });

  const seen = await page.evaluate(() => {
    const style = (element) => getComputedStyle(element);
    const figures = [...document.querySelectorAll("svg, img")];
    const size = (element) => element.getBoundingClientRect();
    const texts = [...document.querySelectorAll("p, td, th, h1, h2, figcaption, .chart text")];
    return {
      overflow: document.documentElement.scrollWidth - window.innerWidth,
      figures: figures.length,
      empty: figures.filter((f) => size(f).width < 40 || size(f).height < 20).length,
      broken: [...document.images].filter((image) => !(image.complete && image.naturalWidth > 0)).length,
      charts: document.querySelectorAll(".chart").length,
      curves: document.querySelectorAll(".series").length,
      // Lines that leave the plot to the left or right, or the drawing above or below.
      outside: [...document.querySelectorAll(".chart polyline")].filter((line) => {
        const svg = line.closest("svg");
        const [left, right] = svg.dataset.plot.split(",").map(Number);
        const box = line.getBBox();
        const height = svg.viewBox.baseVal.height;
        return box.x < left - 0.5 || box.x + box.width > right + 0.5 || box.y < 0 || box.y + box.height > height;
      }).length,
      // Of each noise level labels, real images and two players at least, every map of 16 × 16 cells.
      heats: [...document.querySelectorAll(".heat svg")].map((map) => map.querySelectorAll("rect").length),
      scales: [...document.querySelectorAll("p")].filter((p) => p.textContent.startsWith("Colours from ")).length,
      small: Math.min(...[...document.querySelectorAll(".chart text")].map((t) => size(t).height)),
      paper: style(document.body).backgroundColor,
      inks: [...new Set(texts.map((t) => (t.tagName === "text" ? style(t).fill : style(t).color)))],
      lines: [...new Set([...document.querySelectorAll(".series")].map((s) => style(s).stroke))],
    };
  });
  assert.ok(seen.overflow <= 0, `${where}: ${seen.overflow} px too wide`);
  assert.ok(seen.figures > 0 && seen.charts > 0 && seen.curves > 0, `${where}: nothing drawn`);
  assert.equal(seen.outside, 0, `${where}: curves outside their plots`);
  assert.ok(seen.heats.length >= 4 * seen.scales, `${where}: ${seen.heats.length} heat maps for ${seen.scales} noise levels`);
  for (const cells of seen.heats) assert.equal(cells, 256, `${where}: a heat map of ${cells} cells`);
  assert.equal(seen.empty, 0, `${where}: figures without size`);
  assert.equal(seen.broken, 0, `${where}: broken pictures`);
  assert.ok(seen.small >= 9, `${where}: marks ${seen.small} px high`);
  assert.equal(luminance(seen.paper) < 0.2, scheme === "dark", `${where}: paper ${seen.paper}`);
  for (const ink of seen.inks) assert.ok(contrast(ink, seen.paper) >= 4.5, `${where}: ${ink} on ${seen.paper}`);
  for (const line of seen.lines) assert.ok(contrast(line, seen.paper) >= 3, `${where}: ${line} on ${seen.paper}`);

  const chart = await page.$(".chart svg");
  await chart.scrollIntoView();
  const box = await chart.boundingBox();
  await page.mouse.move(box.x + 0.6 * box.width, box.y + 0.5 * box.height);
  const value = await page.$eval(".chart output", (output) => output.textContent);
  assert.match(value, /\d+: [\d.e-]+/, `${where}: no value under the pointer, got “${value}”`);
  const button = await page.$(".legend button");
  if (button) {
    const off = () => page.$$eval(".series.off", (all) => all.length);
    await button.evaluate((b) => b.click());
    assert.ok((await off()) > 0, `${where}: the legend switches nothing off`);
    await button.evaluate((b) => b.click());
    assert.equal(await off(), 0, `${where}: the legend switches nothing on`);
  }
  await page.screenshot({ path: `${folder}/${name.replace(".html", "")}-${scheme}-${width}.png`, fullPage: true });
  assert.deepEqual(wrong, [], where);
  await page.close();
  console.log(`${where}: ${seen.charts} charts, ${seen.figures} figures, ${seen.curves} curves`);
}

try {
  const pages = readdirSync(folder).filter((name) => name.endsWith(".html"));
  assert.ok(pages.length > 0, "no page to look at");
  for (const name of pages) {
    for (const scheme of ["light", "dark"]) {
      for (const width of [390, 1280]) await look(name, scheme, width);
    }
  }
} finally {
  await browser.close();
}
