// The run as a list of moments, and the state of the nodes at each.

const run = JSON.parse(document.getElementById("trace").textContent);
const nodes = run.start.length;
const checkpointEvery = 64;

const glyphs = { leader: "★", follower: "●", candidate: "◆", preCandidate: "◇", recovering: "↻", removed: "⊘", down: "✖", paused: "‖" };
const roleWords = { preCandidate: "pre-candidate" };
const roleLetters = { leader: "L", follower: "F", candidate: "C", preCandidate: "P", recovering: "R", removed: "X", down: "✖" };

function firstState() {
  return {
    nodes: run.start.map((m) => ({
      up: m.up, why: m.why || "", state: m.state, applied: m.applied, last: m.last, runs: m.runs, pausedUntil: 0,
    })),
    cut: new Set(run.cut.map((p) => p.join("→"))),
  };
}

function copyState(s) {
  return { nodes: s.nodes.map((n) => ({ ...n })), cut: new Set(s.cut) }; // runs are replaced, never changed
}

// applyItem applies one event. Runs and states are shared between copies and never changed in place.
function applyItem(s, item) {
  const n = item.m ? s.nodes[item.m - 1] : null;
  switch (item.k) {
    case "start": Object.assign(n, { up: true, why: "", state: { role: "", term: 0 }, applied: 0, pausedUntil: 0 }); break;
    case "kill": Object.assign(n, { up: false, why: n.up ? "killed" : n.why, applied: 0, pausedUntil: 0 }); break;
    case "stop": Object.assign(n, { up: false, why: "stopped", applied: 0 }); break;
    // A node that does something is not paused: a pause may end early.
    case "state": n.state = item.st; n.pausedUntil = 0; break;
    case "log": changeLog(n, item.lg); n.pausedUntil = 0; break;
    case "applied": n.applied = item.x || 0; n.pausedUntil = 0; break;
    case "cut": s.cut.add(item.m + "→" + item.p); break;
    case "mend": s.cut.delete(item.m + "→" + item.p); break;
    case "fault": if (item.n === "pause" && n) n.pausedUntil = item.u || 0; break;
  }
}

// entryWords describe entries by index and term; an entry is the same in every log.
const entryWords = new Map();
for (const moment of run.moments) for (const item of moment.i) {
  if (item.lg && item.lg.words) item.lg.words.forEach((text, i) => entryWords.set(wordKey(item.lg, item.lg.from + i), text));
}

function wordKey(n, index) { return index + "/" + termAt(n, index); }

function changeLog(n, change) {
  const kept = n.runs.filter((r) => r.first < change.from);
  const added = (change.runs || []).slice();
  if (change.from > n.last + 1) kept.push({ first: n.last + 1, term: 0 });
  if (kept.length && added.length && kept[kept.length - 1].term === added[0].term) added.shift();
  n.runs = kept.concat(added);
  n.last = change.last;
}

function applyMoment(s, moment) {
  for (const item of moment.i) applyItem(s, item);
  for (const n of s.nodes) if (n.pausedUntil && n.pausedUntil <= moment.t) n.pausedUntil = 0;
}

// checkpoints[k] is the state before moment k·checkpointEvery.
const checkpoints = [];
// lanes[node] are the stretches of its lane: from moment `from` on it is `role` in `term`.
const lanes = run.start.map(() => []);
// turns are the most important moments: elections, faults, kills, failures.
const turns = [];

function roleOf(n) {
  if (!n.up) return "down";
  if (n.pausedUntil) return "paused";
  return n.state.role || "recovering";
}

// marks[i] are words next to the lanes at moment i; bands[i] those that belong to no single lane.
const marks = [];
const bands = [];

(function survey() {
  const s = firstState();
  s.nodes.forEach((n, k) => lanes[k].push({ from: -1, role: roleOf(n), term: n.state.term }));
  run.moments.forEach((moment, i) => {
    if (i % checkpointEvery === 0) checkpoints.push(copyState(s));
    const before = copyState(s);
    applyMoment(s, moment);
    const turn = moment.i.some((item) => ["kill", "stop", "fault", "panic", "violation", "cut", "mend"].includes(item.k));
    const elected = surveyLanes(s, i);
    if (turn || elected) turns.push(i);
    marks.push(moment.i.map((item) => markOf(item, before)).filter(Boolean));
    bands.push(bandOf(moment));
  });
})();

// surveyLanes records changed roles, and reports whether the moment is a turn.
function surveyLanes(s, i) {
  let turn = false;
  s.nodes.forEach((n, k) => {
    const lane = lanes[k], was = lane[lane.length - 1];
    const role = roleOf(n), term = n.state.term;
    if (was.role === role && was.term === term) return;
    lane.push({ from: i, role, term });
    if (role === "leader" || role === "candidate" && was.role !== role) turn = true;
  });
  return turn;
}

// markOf is the text next to a node's lane; changes of role are there anyway.
function markOf(item, before) {
  const text = (words, kind) => ({ node: item.m, words, kind });
  switch (item.k) {
    case "start": return text("▲ starts", "start");
    case "kill": return before.nodes[item.m - 1].up ? text("killed", "bad") : null;
    case "stop": return text("stops", "bad");
    case "panic": return text("✖ " + item.a + " panics", "bad");
    case "state": {
      const was = before.nodes[item.m - 1].state, is = item.st, words = [];
      if (is.vote && (is.vote !== was.vote || is.term !== was.term)) words.push("votes " + is.vote);
      if ((is.commit || 0) > (was.commit || 0)) words.push("✓ commit " + is.commit);
      return words.length ? text(words.join(" "), "quiet") : null;
    }
    case "log":
      if (item.lg.last < item.lg.from) return before.nodes[item.m - 1].last < item.lg.from ? null : text("✂ log from " + item.lg.from, "bad");
      return { ...text("+ " + (item.lg.last > item.lg.from ? item.lg.from + "–" : "") + item.lg.last, "quiet"), long: longMark(item.lg) };
    case "call": return { ...text("▷ " + item.n, "client"), long: clip(`▷ ${item.n} ${item.d || ""}`) };
    case "return": return text("◁ " + item.n, "client");
    case "fault": return item.m && !item.p ? text("⚡ " + item.n, "bad") : null;
    case "handle": return text(item.a + ": " + item.n, "quiet");
  }
  return null;
}

// longMark describes appended entries, where there is room.
function longMark(change) {
  const texts = change.words || [];
  return texts.length === 1 ? clip(`+ ${change.last} ${texts[0]}`) : "";
}

function clip(text) {
  return text.length > 25 ? text.slice(0, 24) + "…" : text;
}

function bandOf(moment) {
  const all = [], cuts = [], mends = [];
  for (const item of moment.i) {
    if (item.k === "cut") cuts.push(item.m + "→" + item.p);
    if (item.k === "mend") mends.push(item.m + "→" + item.p);
    if (item.k === "note") all.push({ words: item.d || "", kind: "note" });
    if (item.k === "violation") all.push({ words: "✗ " + item.n + ": " + (item.d || ""), kind: "violation" });
    if (item.k === "fault" && (!item.m || item.p)) all.push({ words: "⚡ " + item.n + (item.p ? " " + item.m + "–" + item.p : ""), kind: "bad" });
  }
  if (cuts.length) all.push({ words: "✂ cut " + cuts.join(", "), kind: "bad" });
  if (mends.length) all.push({ words: "mended " + mends.join(", "), kind: "note" });
  return all;
}

const isBroken = (i) => run.moments[i].i.some((item) => item.k === "violation");

// stateAt is the state of the nodes after moment i; -1 is before the first.
function stateAt(i) {
  if (i < 0 || !checkpoints.length) return firstState();
  const k = Math.min(Math.floor(i / checkpointEvery), checkpoints.length - 1);
  const s = copyState(checkpoints[k]);
  for (let at = k * checkpointEvery; at <= i; at++) applyMoment(s, run.moments[at]);
  return s;
}

function termAt(n, index) {
  let term = 0;
  for (const r of n.runs || []) {
    if (r.first > index) break;
    term = r.term;
  }
  return term;
}

const seconds = (ns, digits = 4) => (ns / 1e9).toFixed(digits) + " s";

function lasted(ns) {
  if (ns < 1e6) return Math.round(ns / 1e3) + " µs";
  if (ns < 1e9) return (ns / 1e6).toPrecision(3) + " ms";
  return (ns / 1e9).toPrecision(3) + " s";
}

// say describes an item.
function say(item) {
  const node = "node " + item.m;
  switch (item.k) {
    case "start": return `${node} starts` + (item.x ? `, run ${item.x}` : "") + (item.d ? ": " + item.d : "");
    case "kill": return `${node} is killed` + (item.d ? ": " + item.d : "");
    case "stop": return `${node} stops by itself: ${item.d || ""}`;
    case "state": return `${node} is ${roleWords[item.st.role] || item.st.role}, term ${item.st.term}` +
      (item.st.vote ? `, voted for ${item.st.vote}` : "") + (item.st.leader ? `, leader ${item.st.leader}` : "") +
      `, commit ${item.st.commit || 0}, on disk to ${item.st.durable || 0}`;
    case "log": return sayLog(node, item.lg);
    case "applied": return `${node} has applied ${item.x || 0}`;
    case "send": case "arrive": case "lose": case "double": return sayMessage(item);
    case "handle": return `${node}, ${item.a}: ${item.n} ${item.d || ""}`;
    case "panic": return `${node}: ${item.a} panics at ${item.n}`;
    case "fault": return `fault: ${item.n}` + (item.m ? ` of ${item.m}` : "") + (item.p ? ` and ${item.p}` : "") +
      (item.u ? ` until ${seconds(item.u)}` : "") + (item.d ? `, ${item.d}` : "");
    case "cut": return `nothing passes from ${item.m} to ${item.p}`;
    case "mend": return `messages pass from ${item.m} to ${item.p} again`;
    case "call": return `${item.a} calls ${item.n} ${item.d || ""} at ${node} (#${item.o})`;
    case "return": return `${item.a}, #${item.o} ${item.n} at ${node}: ${item.d || ""}`;
    case "note": return item.d || "";
    case "violation": return `BROKEN: ${item.n}: ${item.d || ""}`;
  }
  return item.k;
}

function sayLog(node, change) {
  if (change.last < change.from && change.from === 1) return `${node} has an empty log`;
  if (change.last < change.from) return `${node} cuts its log from ${change.from} on`;
  const terms = [...new Set((change.runs || []).map((r) => r.term))].join(", ");
  const what = change.last === change.from ? `entry ${change.from}` : `entries ${change.from}–${change.last}`;
  const texts = (change.words || []).map((text, i) => `${change.from + i}: ${text}`);
  return `${node}: log ${what} of term ${terms}` + (texts.length ? " – " + texts.join(", ") : "");
}

function sayMessage(item) {
  const a = run.arrows[item.r - 1];
  const what = `${a.n} ${a.f} → ${a.t}`;
  switch (item.k) {
    case "send": return `node ${a.f} sends ${a.n} to ${a.t}: ${a.d}`;
    case "arrive": return `${what} arrives` + (a.b ? " again" : "") + (a.d ? `: ${a.d}` : "");
    case "lose": return `${what} is lost: ${a.x}`;
  }
  return `${what} will arrive twice`;
}
