// The chosen moment, and what the page shows of it.

const slider = document.getElementById("slider");
const clock = document.getElementById("clock");
const cards = document.getElementById("cards");
const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
var current = -1; // the moment; -1 is before the first
var hot = -1; // the arrow under the pointer
let pinned = -1;
let playing = 0;

function show(i, { keep = false, silent = false } = {}) {
  current = Math.max(-1, Math.min(run.moments.length - 1, i));
  const moment = run.moments[current];
  slider.value = current + 1;
  clock.textContent = moment ? `${seconds(moment.t, 6)} · step ${moment.s} · moment ${current + 1} of ${run.moments.length}` : `before the first of ${run.moments.length} moments`;
  slider.setAttribute("aria-valuetext", clock.textContent);
  drawCards(stateAt(current));
  tell(moment);
  if (!keep) follow();
  draw();
  if (!silent) history.replaceState(null, "", "#moment=" + (current + 1));
}

// follow scrolls to the chosen moment, to the last line of its row if there is room.
function follow() {
  const y = current < 0 ? 0 : heights[current], height = scroller.clientHeight;
  const at = y - scroller.scrollTop, tall = current < 0 ? 0 : below[current] + 20;
  const room = Math.max(16, Math.min(height * 0.45, height - tall));
  if (at < Math.min(room, height * 0.12) || at > height * 0.72 || at + tall > height) scroller.scrollTop = y - room;
}

function make(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function drawCards(s) {
  const narrow = geometry.column < 110;
  cards.replaceChildren(...s.nodes.map((n, k) => card(n, k + 1, s, narrow)));
}

function card(n, id, s, narrow) {
  const role = roleOf(n), state = n.state, commit = state.commit || 0, durable = state.durable || 0;
  const e = make("article", "card " + role);
  const is = roleWords[role] || role;
  Object.assign(e.dataset, { node: id, term: state.term, role, commit });
  e.setAttribute("aria-label", `Node ${id}: ${n.up ? is : n.why || "down"}, term ${state.term}, log to ${n.last}, commit ${commit}, applied ${n.applied}`);
  const h = make("h3");
  h.append(make("span", "number", id), make("i", "glyph " + role, glyphs[role] || "?"));
  if (!narrow) h.append(make("span", "role", n.up ? (geometry.column < 150 && role === "preCandidate" ? "pre-cand." : is) : n.why || "absent"));
  e.append(h);
  const term = make("p", "term", (narrow ? "t " : "term ") + state.term);
  if (!narrow && state.vote) term.append(make("span", "vote", ` · voted ${state.vote}`));
  e.append(term, log(n, commit, durable));
  e.append(make("p", "indexes", geometry.column < 140 ? `✓${commit}` : `commit ${commit} · applied ${n.applied}`));
  const cut = [...s.cut].filter((p) => p.startsWith(id + "→")).map((p) => p.split("→")[1]);
  e.append(make("p", "cuts", cut.length ? "✂ " + (narrow ? "" : "to ") + cut.join(" ") : " "));
  return e;
}

// log is the end of a log, a cell an entry, as many as have room.
function log(n, commit, durable) {
  const perRow = Math.max(2, Math.floor((geometry.column - 18) / 19)), most = perRow * (geometry.small ? 3 : 2);
  const list = make("ol", "log");
  const first = n.last > most ? n.last - most + 3 : 1; // the mark of hidden entries needs the room of two
  if (first > 1) {
    const more = make("li", "more", first === 2 ? "1…" : `1–${first - 1}…`);
    more.title = `entries 1 to ${first - 1} stand before`;
    list.append(more);
  }
  for (let index = first; index <= n.last; index++) {
    const term = termAt(n, index);
    const standing = index <= commit ? "committed" : index <= durable ? "durable" : "";
    const cell = make("li", `cell t${term % 8} ${standing}`, term);
    Object.assign(cell.dataset, { index, term });
    const text = entryWords.get(wordKey(n, index));
    cell.title = `entry ${index}, term ${term}${text ? ", " + text : ""}: ${standing === "durable" ? "on its disk, not known to be committed" : standing || "not on its disk yet"}`;
    list.append(cell);
  }
  if (!n.last) list.append(make("li", "more", "empty"));
  return list;
}

// tell lists the events of the chosen moment; messages lead to their other end.
function tell(moment) {
  const list = document.getElementById("now");
  if (!moment) {
    list.replaceChildren(make("li", "", "Nothing has happened yet."));
    return;
  }
  list.replaceChildren(...moment.i.map((item) => {
    const li = make("li", "is-" + item.k, say(item));
    const a = item.r ? run.arrows[item.r - 1] : null;
    const other = a ? (item.k === "send" ? a.e : a.s) : -1;
    if (other >= 0 && other !== current) {
      const go = make("button", "go", item.k === "send" ? (a.x ? "lost at" : "arrives at") + " " + (other + 1) : "sent at " + (other + 1));
      go.type = "button";
      go.addEventListener("click", () => show(other));
      li.append(" ", go);
    }
    return li;
  }));
}

function point(i) {
  if (i === hot) return;
  hot = i;
  const a = run.arrows[i];
  document.getElementById("message").hidden = !a;
  if (a) {
    const when = (k) => (k < 0 ? "outside of this page" : `${seconds(run.moments[k].t, 6)}, moment ${k + 1}`);
    const took = a.s >= 0 && a.e >= 0 ? ` (${lasted(run.moments[a.e].t - run.moments[a.s].t)})` : "";
    const fields = [["kind", a.n + (a.b ? ", a second copy" : "")], ["from, to", `${a.f} → ${a.t}`], ["fields", a.d], ["sent", when(a.s)],
      [a.x ? "lost" : "arrives", (a.e < 0 ? "not before the end of this page" : when(a.e)) + took + (a.x ? ": " + a.x : "")]];
    document.getElementById("message-fields").replaceChildren(...fields.filter((f) => f[1]).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  }
  draw();
}

const arrowOf = (target) => {
  const g = target.closest && target.closest("[data-arrow]");
  return g ? Number(g.dataset.arrow) : -1;
};

svg.addEventListener("pointermove", (e) => {
  const i = arrowOf(e.target);
  point(i >= 0 ? i : pinned);
});
svg.addEventListener("pointerleave", () => point(pinned));
svg.addEventListener("click", (e) => {
  pinned = arrowOf(e.target);
  point(pinned);
  if (pinned >= 0) return;
  const y = e.clientY - svg.getBoundingClientRect().top + scroller.scrollTop;
  show(firstAt(y - 10), { keep: true });
});

function turn(direction) {
  const next = direction > 0 ? turns.find((i) => i > current) : turns.findLast((i) => i < current);
  if (next !== undefined) show(next);
}

function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => (current + 1 < run.moments.length ? show(current + 1) : play(false)), reduced ? 800 : 350) : 0;
  const button = document.getElementById("play");
  button.textContent = on ? "❚❚ Pause" : "▶\uFE0E Play";
  button.setAttribute("aria-pressed", String(Boolean(on)));
}

const moves = {
  ArrowRight: () => show(current + 1), ArrowLeft: () => show(current - 1), PageDown: () => show(current + 10), PageUp: () => show(current - 10),
  Home: () => show(-1), End: () => show(run.moments.length - 1), n: () => turn(1), p: () => turn(-1), " ": () => play(!playing),
};
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || !moves[e.key]) return;
  if (e.key === " " && e.target.closest("button, summary")) return;
  e.preventDefault();
  moves[e.key]();
});
// The violated invariant is on top of the page, and leads to its row.
const broken = run.moments.findIndex((_, i) => isBroken(i));
const wrong = document.getElementById("wrong");
wrong.hidden = broken < 0;
if (broken >= 0) wrong.textContent = "✗ violated: " + run.moments[broken].i.find((item) => item.k === "violation").n;
slider.addEventListener("input", () => show(Number(slider.value) - 1));
const clicks = { wrong: () => show(broken), unturn: moves.p, first: moves.Home, back: moves.ArrowLeft, next: moves.ArrowRight, turn: moves.n, play: moves[" "] };
for (const id in clicks) document.getElementById(id).addEventListener("click", clicks[id]);
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
scroller.addEventListener("scroll", () => requestAnimationFrame(draw));
addEventListener("resize", () => { measure(); show(current, { silent: true }); });
addEventListener("hashchange", fromHash);

function fromHash() {
  const wanted = /^#(moment|step)=(\d+)$/.exec(location.hash);
  if (!wanted) return false;
  const number = Number(wanted[2]);
  show(wanted[1] === "moment" ? number - 1 : run.moments.findLastIndex((m) => m.s <= number), { silent: true });
  return true;
}

document.getElementById("window").textContent = run.window + " Replay: " + run.replay;
if (matchMedia("(max-width: 800px)").matches) document.getElementById("legend").open = false;
slider.max = run.moments.length;
measure();
// A failed run opens at its violation, any other at its first election.
const elected = Math.min(...lanes.map((lane) => lane.find((stretch) => stretch.role === "leader")?.from ?? Infinity));
if (!fromHash()) show(broken >= 0 ? broken : Number.isFinite(elected) ? elected : -1, { silent: true });
