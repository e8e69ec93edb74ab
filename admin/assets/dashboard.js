// The dashboard: it follows /api/v1/live and shows what comes. All text goes into
// the page as text, never as HTML: names, encoders and reasons are of others.
"use strict";

const $ = id => document.getElementById(id);
const HISTORY = 60;       // samples of a sparkline
const ROWS = 200;         // streams, and bans, that are shown at once
const EVENTS = 100;       // events that are kept in the page
const LOST_AFTER = 6000;  // ms without news after which the page says so
const SHORTEST = 20;      // samples that a sparkline has room for at least
const SOON = 21;          // days before the end of a certificate at which somebody should look

// el makes an element. Children are elements, or text.
function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

// foreign wraps text of others: control characters are made visible, and its
// direction cannot turn what stands beside it.
function foreign(text) {
  return el("bdi", "", visible(text));
}

function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    c => "‹" + c.codePointAt(0).toString(16).padStart(4, "0") + "›");
}

function bits(n) {
  if (n >= 1e9) return (n / 1e9).toFixed(2) + " Gbit/s";
  if (n >= 1e6) return (n / 1e6).toFixed(2) + " Mbit/s";
  if (n >= 1e3) return (n / 1e3).toFixed(0) + " kbit/s";
  return n + " bit/s";
}

function size(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 1000) return (unit === "B" ? n : n.toFixed(1)) + " " + unit;
    n /= 1000;
  }
  return n.toFixed(2) + " TB";
}

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds)), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  if (d) return d + " d " + h + " h";
  if (h) return h + " h " + m + " min";
  if (m) return m + " min " + (s % 60) + " s";
  return s + " s";
}

const days = n => n + (n === 1 ? " day" : " days");
const until = at => span((new Date(at) - Date.now()) / 1000);
const clock = at => new Date(at).toLocaleTimeString([], { hour12: false });

// keep makes the children of list those of items, by key, and reuses what is
// there, so that focus and selection stay. Two items may have the same key, as
// certificates of two kinds have one name.
function keep(list, items, key, make, update) {
  const wanted = new Map();
  for (const item of items) {
    let k = String(key(item));
    while (wanted.has(k)) k += "+";
    wanted.set(k, item);
  }
  const old = new Map();
  for (const e of [...list.children]) { // what is over first: then few have to move
    if (wanted.has(e.dataset.key)) old.set(e.dataset.key, e);
    else e.remove();
  }
  const focus = list.contains(document.activeElement) ? document.activeElement : null;
  let at = list.firstElementChild;
  for (const [k, item] of wanted) {
    let e = old.get(k);
    if (!e) {
      e = make(item);
      e.dataset.key = k;
    }
    update(e, item);
    if (e === at) at = at.nextElementSibling;
    else list.insertBefore(e, at);
  }
  if (focus && focus !== document.activeElement) focus.focus({ preventScroll: true }); // it was in what has moved
}

const MARKS = { good: "● good", poor: "▲ poor", bad: "■ bad" };
const history = new Map();  // bit rates by session

function remember(sessions) {
  const alive = new Set();
  for (const s of sessions) {
    alive.add(s.id);
    const h = history.get(s.id) || [];
    h.push(s.bitrate);
    if (h.length > HISTORY) h.shift();
    history.set(s.id, h);
  }
  for (const id of history.keys()) if (!alive.has(id)) history.delete(id);
}

const SVG = "http://www.w3.org/2000/svg";

function sparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "polygon"), document.createElementNS(SVG, "polyline"));
  return svg;
}

function draw(svg, values) {
  const top = Math.max(1, ...values) * 1.1;
  const room = Math.max(values.length, SHORTEST) - 1;
  const points = values.map((v, i) => (100 - (values.length - 1 - i) * 100 / room).toFixed(1) + "," + (100 - v / top * 100).toFixed(1));
  svg.lastChild.setAttribute("points", points.join(" "));
  const first = points.length ? points[0].split(",")[0] : "100";
  svg.firstChild.setAttribute("points", points.length > 1 ? first + ",100 " + points.join(" ") + " 100,100" : "");
}

// nameOf is a stream's name, or what stands for it where that may be a credential.
const nameOf = s => s.app + "/" + (s.name || "key-" + s.key);

// fields are the columns of a stream after its health.
const COLUMNS = ["Health", "Stream", "From", "Bit rate", "Video", "Keyframes", "Audio", "Origin", "For", ""];

function makeSession(s) {
  const tr = el("tr");
  for (const label of COLUMNS) {
    const td = el("td");
    td.dataset.label = label;
    tr.append(td);
  }
  const [, stream, from, rate, , , , , , action] = tr.children;
  stream.className = "wide";
  from.className = "wide";
  stream.append(el("strong", "", foreign(nameOf(s))),
    el("small", "", s.action === "play" ? "plays" : "publishes", " · ", foreign(s.subject || "key " + s.key)));
  from.append(foreign(s.client), el("small", "", foreign(s.encoder || "–"), " · ", s.tls || "no TLS"));
  rate.append(el("span"), sparkline());
  const kick = el("button", "danger", "Kick");
  kick.type = "button";
  kick.setAttribute("aria-label", "Kick " + visible(nameOf(s)));
  kick.addEventListener("click", () => askKick(s));
  action.append(kick);
  return tr;
}

function updateSession(tr, s) {
  const [health, , , rate, video, keys, audio, origin, time] = tr.children;
  set(health, s.health + s.problems.join(), () => [el("span", "health " + s.health, MARKS[s.health] || s.health), ...s.problems.map(p => el("div", "why", p))]);
  rate.firstChild.textContent = bits(s.bitrate);
  draw(rate.lastChild, history.get(s.id) || []);
  const tracks = s.video_tracks > 1 ? " · " + s.video_tracks + " tracks" : "";
  set(video, [s.video, s.width, s.height, s.fps, s.frame_rate, tracks].join(), () => !s.video ? ["–"] :
    [s.video + (s.width && s.height ? " " + s.width + "×" + s.height : ""), el("small", "", s.fps.toFixed(1) + " fps" + (s.frame_rate ? " of " + +s.frame_rate.toFixed(2) : "") + tracks)]);
  set(keys, s.keyframe_seconds, () => [el("span", "whole", s.keyframe_seconds ? "every " + s.keyframe_seconds.toFixed(1) + " s" : "–")]);
  set(audio, [s.audio, s.sample_rate, s.channels].join(), () => !s.audio ? ["–"] :
    [s.audio, el("small", "", (s.sample_rate ? s.sample_rate / 1000 + " kHz" : "") + (s.channels ? " · " + s.channels + " ch" : ""))]);
  set(origin, s.server, () => [s.origin, el("small", "", s.server)]);
  set(time, span(s.seconds) + size(s.action === "play" ? s.bytes_out : s.bytes_in), () => [el("span", "whole", span(s.seconds)), el("small", "", size(s.action === "play" ? s.bytes_out : s.bytes_in))]);
}

// set changes a cell only when what it shows is new.
function set(td, value, children) {
  if (td.dataset.value === String(value)) return;
  td.dataset.value = value;
  td.replaceChildren(...children());
}

const RANK = { bad: 0, poor: 1, good: 2 };
let state = null;

function showSessions() {
  const words = $("filter").value.trim().toLowerCase();
  const has = s => !words || [s.app, s.name, s.app + "/" + s.name, s.subject, s.client, s.encoder, s.origin, s.id].some(t => t.toLowerCase().includes(words));
  const all = state.sessions.filter(has).sort((a, b) => RANK[a.health] - RANK[b.health] || (a.since < b.since ? -1 : 1));
  keep($("sessions").tBodies[0], all.slice(0, ROWS), s => s.id, makeSession, updateSession);
  $("sessions").hidden = !all.length;
  const none = $("no-sessions");
  none.hidden = all.length > 0 && all.length <= ROWS;
  none.textContent = all.length > ROWS ? (all.length - ROWS) + " more are not shown; find them by name." :
    state.sessions.length ? "No stream fits." : "No stream runs.";
}

function showNumbers(s) {
  let inn = 0, out = 0;
  for (const x of state.sessions) x.action === "play" ? out += x.bitrate : inn += x.bitrate;
  $("n-publishers").textContent = s.publishers;
  $("n-players").textContent = s.players;
  $("n-in").textContent = bits(inn);
  $("n-out").textContent = bits(out);
  $("n-connections").textContent = s.connections;
  $("n-refused").textContent = s.refused.reduce((n, r) => n + r.count, 0);
  $("about").textContent = "version " + s.version + " · up for " + span(s.seconds);
  const troubles = troublesOf(state);
  pill(!s.ready ? "bad" : troubles.length ? "poor" : "good", s.draining ? "draining" : !s.ready ? "not ready" : troubles.join(", ") || "all well");
  $("reasons").hidden = s.ready;
  $("reasons").textContent = s.reasons.join(" · ");
  $("drain").disabled = s.draining;
  document.title = (s.publishers ? s.publishers + " live · " : "") + "rtmps-edge";
}

// troublesOf says in a few words what somebody should look at.
function troublesOf(state) {
  const some = (n, one, many) => n ? [n + " " + (n === 1 ? one : many)] : [];
  return [
    ...some(state.sessions.filter(x => x.health !== "good").length, "stream in trouble", "streams in trouble"),
    ...some(state.origins.flatMap(o => o.servers).filter(x => !x.up).length, "server down", "servers down"),
    ...some(state.certificates.filter(c => c.days_left < SOON).length, "certificate ends soon", "certificates end soon"),
  ];
}

function pill(className, text) {
  if ($("pill").textContent !== text) $("pill").textContent = text;
  $("pill").className = "pill " + className;
}

function showRefused(list) {
  const most = Math.max(1, ...list.map(r => r.count));
  keep($("refused"), list, r => r.stage + " " + r.reason, () => el("li", "", el("div", "row"), el("div", "track", el("i"))), (li, r) => {
    li.firstChild.replaceChildren(el("span", "", r.reason + " ", el("span", "quiet", "at " + r.stage)), el("b", "", String(r.count)));
    li.lastChild.firstChild.style.width = 100 * r.count / most + "%";
    li.title = "last at " + clock(r.last);
  });
  $("no-refused").hidden = list.length > 0;
}

function showOrigins(list) {
  const servers = list.flatMap(o => o.servers.map(s => ({ origin: o.name, ...s })));
  keep($("origins"), servers, s => s.origin + " " + s.address, () => el("li"), (li, s) => {
    const mark = s.up ? (s.checked ? "good" : "") : "bad";
    set(li, [s.up, s.checked, s.sessions].join(), () => [el("span", "health " + mark, s.up ? (s.checked ? "● up" : "○ up?") : "■ down"),
      el("span", "grow", s.origin, el("small", "", s.address)), el("span", "quiet", s.sessions + (s.sessions === 1 ? " stream" : " streams"))]);
    li.title = s.up && !s.checked ? "Nothing is known against it; it is not checked." : "";
  });
}

function showCertificates(list) {
  keep($("certificates"), list, c => c.name, () => el("li"), (li, c) => {
    const mark = c.days_left < 7 ? "bad" : c.days_left < SOON ? "poor" : "good";
    set(li, [c.not_after, Math.floor(c.days_left)].join(), () => [el("span", "health " + mark, c.days_left < 0 ? "■ expired" : (mark === "good" ? "● " : "▲ ") + days(Math.floor(c.days_left)) + " left"),
      el("span", "grow", foreign(c.name), el("small", "", "until " + new Date(c.not_after).toLocaleDateString()))]);
    li.title = c.names.join(", ");
  });
  $("no-certificates").hidden = list.length > 0;
}

function showBans(list) {
  keep($("bans"), list.slice(0, ROWS), b => b.network, b => {
    const lift = el("button", "", "Lift");
    lift.type = "button";
    lift.setAttribute("aria-label", "Lift the ban of " + b.network);
    lift.addEventListener("click", () => ask("Lift this ban?", b.network + " may come again.", "Lift", false,
      () => change("DELETE", "api/v1/bans/" + b.network)));
    return el("li", "", el("span", "grow", el("span", "", b.network), el("small")), lift);
  }, (li, b) => { li.firstChild.lastChild.textContent = visible(b.why) + " · " + until(b.until) + " left" + (b.count > 1 ? " · ban no. " + b.count : ""); });
  const none = $("no-bans");
  none.hidden = list.length > 0 && list.length <= ROWS;
  none.textContent = list.length ? (state.status.banned - ROWS) + " more are not shown; \"rtmps-edge bans\" lists them." : "No address is banned.";
}

const WORDS = { stream_started: ["started", "good"], stream_ended: ["ended", ""], refused: ["refused", "bad"], banned: ["banned", "bad"] };

function showEvent(e) {
  const [word, mark] = WORDS[e.event] || [e.event, ""];
  const who = [];
  if (e.name) who.push(foreign((e.app || "") + "/" + e.name));
  else if (e.app) who.push(foreign(nameOf(e)));
  else if (e.event !== "banned") who.push("no request yet");
  const why = [e.reason && (e.reason + (e.stage ? " at " + e.stage : e.side ? " by " + e.side : ""))];
  if (e.seconds) why.push(span(e.seconds), size(Math.max(e.bytes_in || 0, e.bytes_out || 0)));
  if (e.detail) why.push(visible(e.detail));
  const hint = e.hint ? [el("small", "hint", "→ " + visible(e.hint))] : [];
  const time = el("time", "", clock(e.time));
  time.dateTime = e.time;
  time.title = new Date(e.time).toLocaleString();
  $("events").prepend(el("li", "", time, el("span", "what health " + mark, word),
    el("span", "grow", ...who, " ", el("span", "quiet", foreign(e.client || ""), e.subject ? " · " : "", e.subject ? foreign(e.subject) : ""),
      el("small", "", why.filter(Boolean).join(" · ")), ...hint)));
  while ($("events").children.length > EVENTS) $("events").lastElementChild.remove();
  $("no-events").hidden = true;
}

// Questions before anything is changed.
let answer = null;

function ask(title, text, yes, ban, then) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = visible(text);
  $("ask-yes").textContent = yes;
  $("ask-ban").hidden = !ban;
  $("ask-for").value = "";
  answer = then;
  $("ask").showModal();
  $("ask-no").focus();
}

function askKick(s) {
  ask("End this stream?", nameOf(s) + " of " + (s.subject || s.client) + ". An encoder may come back by itself.", "Kick", true,
    duration => change("DELETE", "api/v1/sessions/" + encodeURIComponent(s.id) + (duration ? "?ban=" + duration : "")));
}

async function change(method, path) {
  try {
    const r = await fetch(path, { method, headers: { "X-Rtmps-Edge": "1" } });
    const v = await r.json();
    toast(v.done || [v.error, ...(v.faults || [])].join("\n"));
  } catch (e) {
    toast("The edge cannot be reached: " + e.message);
  }
}

let toasting = 0;

function toast(text) {
  $("toast").textContent = visible(text).replaceAll("‹000a›", "\n");
  $("toast").hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => { $("toast").hidden = true; }, 6000);
}

let lastEvent = 0;
let heard = Date.now();
let source = null;

// restarted forgets what was of another run of the program.
function restarted() {
  lastEvent = 0;
  history.clear();
  $("events").replaceChildren();
}

function follow() {
  source = new EventSource("api/v1/live");
  source.addEventListener("state", m => {
    heard = Date.now();
    const before = state;
    state = JSON.parse(m.data);
    if (before && before.status.started !== state.status.started) restarted();
    remember(state.sessions);
    showNumbers(state.status);
    showSessions();
    showRefused(state.status.refused);
    showOrigins(state.origins);
    showCertificates(state.certificates);
    showBans(state.bans);
    document.body.dataset.states = Number(document.body.dataset.states || 0) + 1;
  });
  source.addEventListener("event", m => {
    const e = JSON.parse(m.data);
    if (e.number <= lastEvent) return; // told again after a break
    lastEvent = e.number;
    showEvent(e);
  });
}

// look says when nothing is heard any more, and goes on trying.
async function look() {
  if (Date.now() - heard <= LOST_AFTER) return;
  pill("bad", "no news for " + span((Date.now() - heard) / 1000));
  if (source.readyState !== EventSource.CLOSED) return;
  try {
    const r = await fetch("api/v1/status");
    if (r.status === 401) location.reload(); // the browser asks for the token
    else if (r.ok && source.readyState === EventSource.CLOSED) follow();
  } catch (e) { /* the next look tries again */ }
}

$("filter").addEventListener("input", () => { if (state) showSessions(); });
$("ask-no").addEventListener("click", () => $("ask").close());
$("ask-yes").addEventListener("click", () => {
  $("ask").close();
  if (answer) answer($("ask-for").value);
  answer = null;
});
$("reload").addEventListener("click", () => ask("Reload the configuration?", "The file is read again: all of it or, after any fault, nothing.", "Reload", false, () => change("POST", "api/v1/reload")));
$("drain").addEventListener("click", () => ask("Drain this edge?", "It accepts nothing more, and exits when its streams have ended. This cannot be undone from here.", "Drain", false, () => change("POST", "api/v1/drain")));
follow();
setInterval(look, 2000);
