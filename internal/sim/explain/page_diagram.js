// The diagram. Only the visible part is drawn, so that a page with thousands of messages stays fast.

const scroller = document.getElementById("scroll");
const spacer = document.getElementById("spacer");
const svg = document.getElementById("diagram");

const laneWidths = { leader: 11, candidate: 8, preCandidate: 6, paused: 8 };
const heights = []; // of each moment's row: the y of its middle
const gaps = []; // moments after a long time without visible events
let total = 0;
let geometry = { gutter: 80, column: 100, width: 0, small: false };

// silent[i]: nothing is drawn at moment i, and its row is narrow.
const silent = run.moments.map((_, i) => !marks[i].length && !bands[i].length && !lanes.some((_, lane) => stretchFrom(lane, i)));
for (const a of run.arrows) for (const end of [a.s, a.e]) if (end >= 0) silent[end] = false;

const quietFor = 20e6; // of virtual time, in nanoseconds
const lineHeight = 15;
let lines = []; // of each moment's bands, as they fit into the window
let below = []; // how far each moment's row reaches below its first line

function layRows() {
  heights.length = gaps.length = 0;
  lines = bands.map((all) => all.flatMap((band) => fitted(band).map((words) => ({ words, kind: band.kind }))));
  below = lines.map((all, i) => lineHeight * Math.max(0, all.length - (marks[i].length ? 0 : 1)));
  let y = 26;
  run.moments.forEach((moment, i) => {
    const row = silent[i] ? 8 : 21;
    const idle = i ? moment.t - run.moments[i - 1].t : 0;
    if (idle > quietFor) {
      const room = 16 + Math.min(26, 10 * Math.log10(idle / quietFor));
      gaps.push({ y: y - row / 2 + room / 2 + 1, idle, before: i });
      y += room;
    }
    heights.push(y);
    y += row + below[i];
  });
  total = y + 30;
}

// fitted splits a band into lines that fit: a violation in full, anything else in one line.
function fitted(band) {
  const most = Math.max(20, Math.floor((geometry.width - geometry.gutter) / 7.4));
  if (band.kind !== "violation") return [band.words.length > most ? band.words.slice(0, most - 1) + "…" : band.words];
  const all = [];
  for (const line of band.words.split("\n")) {
    let fits = "";
    for (const word of line.split(/\s+/).filter(Boolean)) {
      if (fits && fits.length + 1 + word.length > most) {
        all.push(fits);
        fits = "";
      }
      fits += (fits ? " " : "") + word.slice(0, most);
    }
    if (fits) all.push(fits);
  }
  return all.length > 12 ? [...all.slice(0, 11), "…"] : all;
}

const laneX = (node) => geometry.gutter + (node - 0.5) * geometry.column;

function measure() {
  const width = scroller.clientWidth;
  const small = width < 620;
  const gutter = small ? 46 : 84;
  const margin = small ? 0 : 84; // for texts beside the last lane
  geometry = { width, small, gutter, column: (width - gutter - margin) / nodes };
  const cards = document.getElementById("cards");
  cards.style.paddingLeft = gutter + "px";
  cards.style.paddingRight = scroller.offsetWidth - width + margin + "px";
  layRows();
  spacer.style.height = total + "px";
}

function el(name, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (text !== undefined) e.textContent = text;
  return e;
}

// firstAt is the first moment whose row is at y or below.
function firstAt(y) {
  let low = 0, high = heights.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (heights[middle] < y) low = middle + 1; else high = middle;
  }
  return low;
}

function draw() {
  const top = scroller.scrollTop, height = scroller.clientHeight;
  svg.setAttribute("width", geometry.width);
  svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 ${top} ${geometry.width} ${height}`);
  const from = Math.max(0, firstAt(top - 40)), to = Math.min(heights.length - 1, firstAt(top + height + 40));
  const layer = document.createDocumentFragment();
  drawNow(layer, from, to);
  for (let k = 0; k < nodes; k++) drawLane(layer, k, top, top + height);
  for (const gap of gaps) if (gap.y > top - 20 && gap.y < top + height + 20) drawGap(layer, gap);
  run.arrows.forEach((a, i) => {
    if (reaches(a, from, to)) drawArrow(layer, a, i);
  });
  for (let i = from; i <= to; i++) drawMoment(layer, i);
  drawFuture(layer, top, height);
  svg.replaceChildren(layer);
}

function reaches(a, from, to) {
  const begins = a.s, ends = a.e < 0 ? heights.length : a.e;
  return begins <= to && ends >= from;
}

function drawNow(layer, from, to) {
  const row = (i, kind) => layer.append(el("rect", { class: kind, "data-row": i + 1, x: 0, y: heights[i] - above(i), width: geometry.width, height: 2 * above(i) + (silent[i] ? 0 : 4) + below[i] }));
  if (current >= 0 && heights.length) row(current, "now");
  for (let i = from; i <= to; i++) if (isBroken(i)) row(i, "wrong");
}

// above is how far the highlight of a row reaches up; an empty row has a narrow one.
const above = (i) => silent[i] ? 4.5 : 9;

function drawFuture(layer, top, height) {
  const y = current < 0 ? 0 : heights[current] + (silent[current] ? 4.5 : 13) + below[current];
  if (y < top + height) layer.append(el("rect", { class: "future", x: 0, y: Math.max(y, top), width: geometry.width, height: top + height - Math.max(y, top) }));
}

function drawLane(layer, k, top, bottom) {
  const x = laneX(k + 1), stretches = lanes[k];
  stretches.forEach((stretch, i) => {
    const y1 = stretch.from < 0 ? 0 : heights[stretch.from];
    const y2 = i + 1 < stretches.length ? heights[stretches[i + 1].from] : total;
    if (y2 < top - 20 || y1 > bottom + 20) return;
    layer.append(el("line", {
      class: "lane " + stretch.role, x1: x, x2: x, y1, y2, "stroke-width": laneWidths[stretch.role] || 4, "data-node": k + 1, "data-term": stretch.term,
    }));
  });
}

function drawGap(layer, gap) {
  for (let node = 1; node <= nodes; node++) layer.append(el("rect", { class: "gap", x: laneX(node) - 8, y: gap.y - 3, width: 16, height: 5 }));
  layer.append(el("text", { class: "time gap", x: 6, y: gap.y + 4 }, "⋮ " + lasted(gap.idle)));
}

const families = { RequestVote: "vote", VoteResponse: "vote", RequestPreVote: "vote", PreVoteResponse: "vote", TimeoutNow: "vote", AppendEntries: "append", AppendResponse: "append" };

function drawArrow(layer, a, i) {
  const right = a.t > a.f ? 1 : -1;
  const x1 = laneX(a.f) + 6 * right, y1 = a.s < 0 ? 0 : heights[a.s];
  let x2 = laneX(a.t) - 8 * right, y2 = a.e < 0 ? total : heights[a.e];
  if (a.x) x2 -= right * Math.min(geometry.column * 0.25, 40);
  const kind = a.x ? "lost" : a.e < 0 ? "flying" : "";
  const g = el("g", { class: `message ${families[a.n] || "other"} ${kind} ${i === hot ? "hot" : ""}`, "data-arrow": i, "data-from": a.f, "data-to": a.t });
  const d = `M${x1} ${y1} L${x2} ${y2}`;
  g.append(el("path", { class: "hit", d }), el("path", { class: "arrow " + kind, d }));
  if (!a.x && a.e >= 0) g.append(head(x1, y1, x2, y2));
  if (a.x) g.append(el("text", { class: "cross", x: x2, y: y2 + 5, "text-anchor": "middle" }, "✕"));
  if (a.e >= 0) {
    const words = a.l + (geometry.column >= 120 ? gist(a) : "") + (a.x ? " lost" : a.b ? " again" : "");
    // Below its head: arrows come from above, and no two end in one row, so this place is free.
    g.append(el("text", { class: "label", x: x2 - right * 11, y: y2 + 11.5, "text-anchor": right > 0 ? "end" : "start" }, words));
  }
  layer.append(g);
}

// gist is the most important field of a message: the term of a vote, the entries that are sent or acknowledged.
function gist(a) {
  const says = families[a.n] === "vote" ? /(t)erm (\d+)/.exec(a.d) : /(?:entry|entries|accepted to)( )([^,]+)/.exec(a.d);
  return says ? ` ${says[1].trim()}${says[2]}` : "";
}

function head(x1, y1, x2, y2) {
  const angle = Math.atan2(y2 - y1, x2 - x1) * 180 / Math.PI;
  return el("path", { class: "head", d: "M4 0 L-6 -4.5 L-4 0 L-6 4.5 Z", transform: `translate(${x2} ${y2}) rotate(${angle})` });
}

// drawMoment writes the time and what stands next to the lanes.
function drawMoment(layer, i) {
  const y = heights[i], moment = run.moments[i];
  if (!silent[i]) layer.append(el("text", { class: "time" + (i === current ? " current" : ""), x: 6, y: y + 4 }, geometry.small ? (moment.t / 1e9).toFixed(4) : seconds(moment.t, 5)));
  const beside = new Map(); // node → its words
  for (const lane of lanes.keys()) {
    const stretch = stretchFrom(lane, i);
    if (stretch) beside.set(lane + 1, [{ words: standing(stretch), kind: "role " + stretch.role }]);
  }
  for (const mark of marks[i]) beside.set(mark.node, [...(beside.get(mark.node) || []), mark]);
  for (const [node, words] of beside) drawBeside(layer, node, y, words);
  lines[i].forEach((line, k) => {
    const under = marks[i].length ? k + 1 : k;
    layer.append(el("text", { class: "band " + line.kind, x: geometry.gutter + 4, y: y + 4 + lineHeight * under }, line.words));
  });
}

function stretchFrom(lane, i) {
  const all = lanes[lane];
  let low = 0, high = all.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (all[middle].from < i) low = middle + 1; else high = middle;
  }
  return low < all.length && all[low].from === i ? all[low] : null;
}

function standing(stretch) {
  if (stretch.role === "down") return glyphs.down + " down";
  const words = geometry.column < 110 ? roleLetters[stretch.role] || stretch.role : roleWords[stretch.role] || stretch.role;
  return `${glyphs[stretch.role] || ""} ${words}${stretch.term ? " t" + stretch.term : ""}`;
}

function drawBeside(layer, node, y, words) {
  const room = geometry.width - laneX(node);
  if (geometry.column > 140) words = words.map((w) => ({ ...w, words: w.long || w.words }));
  const length = words.reduce((n, w) => n + w.words.length + 2, 0) * 6.8;
  const left = length > room - 14 && length < laneX(node) - geometry.gutter;
  const text = el("text", { class: "beside", x: laneX(node) + (left ? -12 : 12), y: y + 4, "text-anchor": left ? "end" : "start" });
  words.forEach((w, k) => {
    if (k) text.append(el("tspan", { class: "quiet" }, "  "));
    text.append(el("tspan", { class: w.kind }, w.words));
  });
  layer.append(text);
}
