"use strict";
// The page's data, as report.py packs it:
//   words     text of every label and runner-up; the labels come first, as many as there are colours
//   pictures  [name, width, height, stem, original, columns, rows, runs, regions]
//   regions   [id, word, score, share of the picture, [[word, score], ...], [[caption, cosine, index, row], ...]]
// Everything that is shown goes through textContent or setAttribute: no string of the data is ever read as HTML.

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LABELS_SHOWN = 40;

// Runs of region numbers, row by row: Uint8Array [rows * columns]. A number is digits of 5 bits, the lowest first;
// a digit from 32 says that another follows.
function decodeRuns(text, cells) {
  const grid = new Uint8Array(cells);
  let place = 0;
  let at = 0;
  const number = () => {
    for (let value = 0, shift = 0; ; shift += 5) {
      const digit = DIGITS.indexOf(text[at++]);
      value |= (digit & 31) << shift;
      if (digit < 32) return value;
    }
  };
  while (at < text.length) {
    const id = number();
    const length = number();
    grid.fill(id, place, place + length);
    place += length;
  }
  return grid;
}

// The outline of a region as an SVG path: through the middles of the sides of its cells, so that stairs become slopes.
function outline(grid, columns, rows, id) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < columns && y < rows && grid[y * columns + x] === id;
  const next = new Map(); // start of a side -> ends of sides; the region lies to the right of each
  const side = (x0, y0, x1, y1) => {
    const key = y0 * (columns + 1) + x0;
    if (!next.has(key)) next.set(key, []);
    next.get(key).push([x1, y1]);
  };
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1)) side(x, y, x + 1, y);
      if (!inside(x + 1, y)) side(x + 1, y, x + 1, y + 1);
      if (!inside(x, y + 1)) side(x + 1, y + 1, x, y + 1);
      if (!inside(x - 1, y)) side(x, y + 1, x, y);
    }
  let path = "";
  for (const [key, ends] of next)
    while (ends.length) {
      let x = key % (columns + 1);
      let y = Math.floor(key / (columns + 1));
      let points = "";
      for (;;) {
        const from = next.get(y * (columns + 1) + x);
        if (!from || !from.length) break;
        const [toX, toY] = from.pop();
        const onBorder = (x === toX && (x === 0 || x === columns)) || (y === toY && (y === 0 || y === rows));
        if (onBorder) points += `L${x} ${y}`;
        points += `L${(x + toX) / 2} ${(y + toY) / 2}`;
        if (onBorder) points += `L${toX} ${toY}`;
        x = toX;
        y = toY;
      }
      path += "M" + points.slice(1) + "Z";
    }
  return path;
}

// Pictures that hold every chosen label and every word of the search.
function matches(data, picture, chosen, terms) {
  const labels = new Set(picture[8].map((region) => region[1]));
  for (const label of chosen) if (!labels.has(label)) return false;
  if (!terms.length) return true;
  const text = textOf(data, picture);
  return terms.every((term) => text.includes(term));
}

const texts = new Map();
function textOf(data, picture) {
  if (!texts.has(picture)) {
    const parts = [picture[0]];
    for (const region of picture[8]) {
      parts.push(data.words[region[1]]);
      for (const [caption] of region[5]) parts.push(data.captions[caption]);
    }
    texts.set(picture, parts.join("\n").toLowerCase());
  }
  return texts.get(picture);
}

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const store = {
    get(name) { try { return localStorage.getItem(name); } catch { return null; } },
    set(name, value) { try { localStorage.setItem(name, value); } catch { /* a page from a file may have no store */ } },
  };
  const chosen = new Set();
  const cards = [];
  let pinned = null;
  let lit = null;
  let photographs = false;
  let allLabels = false;

  // --- cards -------------------------------------------------------------------------------------------------------

  function makeCard(picture) {
    const [name, width, height, stem] = picture;
    const card = { picture, article: element("article"), filled: false, buttons: new Map(), paths: new Map() };
    card.frame = element("div", undefined, "frame");
    card.frame.style.aspectRatio = `${width} / ${height}`;
    const heading = element("h2");
    const link = element("a", name);
    link.href = `${stem}.json`;
    link.title = "the labels as JSON";
    heading.append(link);
    card.article.append(card.frame, heading);
    card.article.setAttribute("aria-label", name);
    card.article.card = card;
    return card;
  }

  function fill(card) {
    if (card.filled) return;
    card.filled = true;
    const [name, , , , , columns, rows, runs, regions] = card.picture;
    card.image = element("img");
    card.image.loading = "lazy";
    card.image.decoding = "async";
    card.image.alt = `${name}: ${[...new Set(regions.map((region) => data.words[region[1]]))].join(", ")}`;
    card.svg = document.createElementNS(SVG, "svg");
    card.svg.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
    card.svg.setAttribute("preserveAspectRatio", "none");
    card.svg.setAttribute("aria-hidden", "true"); // the buttons below say the same to those who do not point
    const grid = decodeRuns(runs, columns * rows);
    const list = element("ul", undefined, "chips");
    for (const region of regions) {
      const [id, word, score] = region;
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", outline(grid, columns, rows, id));
      path.style.setProperty("--colour", data.colours[word]);
      path.target = { card, region };
      card.paths.set(region, path);
      card.svg.append(path);
      const button = element("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.style.setProperty("--colour", data.colours[word]);
      button.append(element("i"), data.words[word], element("span", score.toFixed(2)));
      button.target = { card, region };
      card.buttons.set(region, button);
      const item = element("li");
      item.append(button);
      list.append(item);
    }
    card.shade = document.createElementNS(SVG, "path");
    card.shade.setAttribute("class", "shade");
    card.svg.append(card.shade);
    card.frame.append(card.image, card.svg);
    card.article.append(list);
    setSource(card);
  }

  function setSource(card) {
    if (!card.filled) return;
    const plain = photographs && card.picture[4];
    card.image.src = plain ? card.picture[4] : `${card.picture[3]}.overlay.jpg`;
    card.article.classList.toggle("photo", Boolean(plain));
  }

  // --- regions -----------------------------------------------------------------------------------------------------

  function light(target) {
    if (lit) {
      lit.card.paths.get(lit.region).classList.remove("lit");
      lit.card.shade.removeAttribute("d");
    }
    lit = target;
    byId("panel").hidden = !target;
    if (!target) return;
    const { card, region } = target;
    const path = card.paths.get(region);
    path.classList.add("lit");
    card.shade.setAttribute("d", `M0 0H${card.picture[5]}V${card.picture[6]}H0Z${path.getAttribute("d")}`);
    describe(card.picture, region);
  }

  function pin(target) {
    if (pinned) pinned.card.buttons.get(pinned.region).setAttribute("aria-pressed", "false");
    pinned = target && pinned && pinned.region === target.region ? null : target;
    if (pinned) pinned.card.buttons.get(pinned.region).setAttribute("aria-pressed", "true");
    light(pinned);
  }

  function describe(picture, region) {
    const [, word, score, share, others, captions] = region;
    const panel = byId("panel");
    const close = element("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => { pinned = pinned || lit; pin(pinned); });
    const heading = element("h2", data.words[word]);
    heading.append(element("small", `score ${score.toFixed(2)}, ${(100 * share).toFixed(1)} % of ${picture[0]}`));
    const columns = element("div");
    columns.append(
      section("Runners-up", others.map(([other, its]) => [data.words[other], its.toFixed(2)])),
      section("Captions that spoke for it", captions.map(([caption, cosine, index, row]) => [
        data.captions[caption], `${cosine.toFixed(2)}, ${data.indexes[index]} row ${row}`,
      ])),
    );
    panel.replaceChildren(close, heading, columns);
  }

  function section(title, lines) {
    const made = element("section");
    const list = element("ul");
    for (const [text, note] of lines) {
      const item = element("li", `${text} `);
      item.append(element("small", note));
      list.append(item);
    }
    made.append(element("h3", title), lines.length ? list : element("p", "none"));
    return made;
  }

  const grid = byId("grid");
  const targetOf = (event) => event.target.closest("path, button")?.target ?? null;
  const show = (event) => { if (!pinned && targetOf(event)) light(targetOf(event)); };
  grid.addEventListener("pointerover", show);
  grid.addEventListener("focusin", show);
  grid.addEventListener("pointerleave", () => { if (!pinned) light(null); });
  grid.addEventListener("focusout", () => { if (!pinned) light(null); });
  grid.addEventListener("click", (event) => { if (targetOf(event)) pin(targetOf(event)); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { pinned = pinned || lit; if (pinned) pin(pinned); }
  });

  // --- filters -----------------------------------------------------------------------------------------------------

  const held = data.colours.map(() => 0); // regions of each label
  for (const picture of data.pictures) for (const region of picture[8]) held[region[1]]++;
  const byCount = [...held.keys()].sort((one, other) => held[other] - held[one] || one - other);

  function listLabels() {
    const terms = termsOf();
    const hits = (word) => terms.length && terms.every((term) => data.words[word].toLowerCase().includes(term));
    const first = allLabels ? byCount : byCount.slice(0, LABELS_SHOWN);
    const listed = new Set([...chosen, ...byCount.filter(hits).slice(0, LABELS_SHOWN), ...first]);
    byId("labels").replaceChildren(...[...listed].map((word) => {
      const item = element("li");
      const button = element("button");
      button.type = "button";
      button.dataset.word = word;
      button.style.setProperty("--colour", data.colours[word]);
      button.setAttribute("aria-pressed", String(chosen.has(word)));
      button.append(element("i"), data.words[word], element("span", held[word].toLocaleString("en")));
      item.append(button);
      return item;
    }));
    byId("more").hidden = byCount.length <= LABELS_SHOWN;
    byId("more").textContent = allLabels ? "Fewer labels" : `All ${count(byCount.length, "label")}`;
  }

  const termsOf = () => byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);

  function apply() {
    const terms = termsOf();
    let pictures = 0;
    let regions = 0;
    for (const card of cards) {
      const shown = matches(data, card.picture, chosen, terms);
      card.article.hidden = !shown;
      if (!shown) continue;
      pictures++;
      regions += chosen.size ? card.picture[8].filter((region) => chosen.has(region[1])).length : card.picture[8].length;
    }
    if (lit && lit.card.article.hidden) { pinned = null; light(null); }
    const all = pictures === cards.length && !chosen.size;
    byId("found").textContent = all ? "" : `${count(pictures, "picture")}, ${count(regions, "region")} found`;
  }

  byId("labels").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const word = Number(button.dataset.word);
    if (!chosen.delete(word)) chosen.add(word);
    listLabels();
    byId("labels").querySelector(`[data-word="${word}"]`)?.focus();
    apply();
  });
  byId("search").addEventListener("input", () => { listLabels(); apply(); });
  byId("more").addEventListener("click", () => { allLabels = !allLabels; listLabels(); });

  // --- the page ----------------------------------------------------------------------------------------------------

  byId("size").addEventListener("input", (event) => grid.style.setProperty("--card", `${event.target.value}px`));
  byId("view").hidden = !data.pictures.some((picture) => picture[4]);
  byId("view").addEventListener("click", (event) => {
    photographs = !photographs;
    event.currentTarget.setAttribute("aria-pressed", String(photographs));
    cards.forEach(setSource);
  });
  const themes = { "": "as the system", light: "light", dark: "dark" };
  function setTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    byId("theme").textContent = `Theme: ${themes[theme]}`;
    store.set("labels-theme", theme);
  }
  byId("theme").addEventListener("click", () => {
    const names = Object.keys(themes);
    setTheme(names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length]);
  });
  const wanted = store.get("labels-theme");
  setTheme(wanted in themes ? wanted : "");

  const segments = data.pictures.reduce((sum, picture) => sum + picture[8].length, 0);
  byId("summary").textContent =
    `${count(data.pictures.length, "picture")}, ${count(segments, "region")}, ${count(data.colours.length, "label")}` +
    (data.total > data.pictures.length ? `: the first of ${count(data.total, "picture")}; the others are in the files` : "") +
    ". Point at a region, or tab to its name; click to keep it.";
  byId("warning").textContent = data.warning;
  byId("warning").hidden = !data.warning;

  const watcher = new IntersectionObserver((seen) => {
    for (const each of seen) if (each.isIntersecting) { fill(each.target.card); watcher.unobserve(each.target); }
  }, { rootMargin: "800px" });
  for (const picture of data.pictures) cards.push(makeCard(picture));
  grid.append(...cards.map((card) => card.article));
  cards.forEach((card) => watcher.observe(card.article));
  listLabels();
  apply();
}

if (typeof document !== "undefined") start();
else module.exports = { decodeRuns, outline, matches };
