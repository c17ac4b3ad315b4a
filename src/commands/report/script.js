"use strict";
// Values under the pointer.
for (const figure of document.querySelectorAll(".chart")) {
  const svg = figure.querySelector("svg");
  const output = figure.querySelector("output");
  const cursor = svg.querySelector(".cursor");
  const numbers = (text) => text.split(",").map(Number);
  const [low, high] = numbers(svg.dataset.x);
  const [left, right] = numbers(svg.dataset.plot);
  const series = [...svg.querySelectorAll(".series")].map((group) => ({
    group,
    points: group.dataset.points.split(" ").map(numbers),
  }));
  const nearest = (points, x) => {
    let [from, to] = [0, points.length - 1];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (points[middle][0] < x) from = middle + 1;
      else to = middle;
    }
    return from > 0 && x - points[from - 1][0] < points[from][0] - x ? points[from - 1] : points[from];
  };
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const at = ((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width;
    const x = low + ((Math.min(Math.max(at, left), right) - left) / (right - left)) * (high - low);
    const shown = series.filter((s) => !s.group.classList.contains("off"));
    const found = shown.map((s) => [s.group.dataset.name, nearest(s.points, x)]);
    if (found.length === 0) return;
    const place = left + ((found[0][1][0] - low) / (high - low)) * (right - left);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.style.visibility = "visible";
    const text = ([x, y]) => `${Number(x.toPrecision(6))}: ${Number(y.toPrecision(4))}`;
    output.textContent = found
      .map(([name, point]) => (series.length > 1 ? `${name} ${text(point)}` : text(point)))
      .join(" · ");
  });
  svg.addEventListener("pointerleave", () => {
    cursor.style.visibility = "hidden";
    output.textContent = "";
  });
}
// A run's curves, on and off.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    const same = (element) => element.dataset.name === button.dataset.name;
    for (const other of [...document.querySelectorAll(".legend button")].filter(same)) {
      other.setAttribute("aria-pressed", String(shown));
    }
    for (const group of [...document.querySelectorAll(".series")].filter(same)) {
      group.classList.toggle("off", !shown);
    }
  });
}
