// Draws the frames of /v1/stream. Everything from the desk reaches the page as text, never as markup.
import { NONE, brief, direction, duration, percent, percentSigned, plain, stamp, time, tone, usd, usdSigned } from "./format.js";
import { drawCurve } from "./chart.js";

const STALE_SECONDS = 3, SILENT_SECONDS = 10, MOST_EVENTS = 60, MOST_POINTS = 1440;
const SIGNS = { ARMED: "✓", TRIPPED: "■", COOLING_DOWN: "◷", DISABLED: "○", UNKNOWN: "?" };
const $ = (id) => document.getElementById(id);

let points = [], last = null, connected = false, attempt = 0, frameAt = 0, announced = "", paused = false;
let waitingEvents = [];

function say(node, text) {
  const value = String(text ?? "");
  if (node.textContent !== value) node.textContent = value;
}

function dress(node, names) {
  if (node.className !== names) node.className = names;
}

// Rows are reused, so that a selection survives and nothing flickers. Each cell: [text, class names].
function fill(body, rows, empty) {
  const wanted = rows.length ? rows : [[[empty, "quiet empty"]]];
  while (body.rows.length > wanted.length) body.deleteRow(-1);
  wanted.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach(([text, names = "", hint = ""], j) => {
      const cell = row.cells[j] ?? row.insertCell();
      say(cell, text);
      dress(cell, names);
      const span = cells.length === 1 ? 8 : 1;
      if (cell.colSpan !== span) cell.colSpan = span;
      if (cell.title !== hint) cell.title = hint;
    });
  });
}

function showStop(s) {
  const { stop, gate } = s;
  const state = stop.lease_fresh || stop.state === "UNKNOWN" ? stop.state : `${stop.state} (not heard now)`;
  const held = stop.state === "ARMED" && (stop.reduce_only || !stop.lease_fresh);
  dress($("stop"), `card stop ${held ? "HELD" : stop.state}`);
  say($("stop-sign"), held ? "!" : SIGNS[stop.state] ?? "?");
  say($("stop-state"), state.replace("_", " "));
  const calm = stop.state === "ARMED" ? "Watching every tick." : stop.state === "DISABLED" ? "Nothing stops this desk by itself." : "";
  say($("stop-reason"), stop.reason || calm);
  say($("gate"), gate.state === "REDUCE_ONLY" ? "■ REDUCE ONLY" : gate.state === "OPEN" ? "✓ OPEN" : "? UNKNOWN");
  dress($("gate"), gate.state === "OPEN" ? "good" : "bad");
  const why = [gate.code, gate.reason === stop.reason ? "" : gate.reason].filter(Boolean).join(": ");
  say($("gate-reason"), why);
  const tripped = stop.trip_id !== null;
  $("tripped").hidden = !tripped;
  if (tripped) {
    const unit = stop.unit === "errors" ? " errors" : ` ${stop.unit}`;
    say($("trip-measured"), stop.measured === null ? NONE : brief(stop.measured) + unit);
    say($("trip-limit"), stop.limit === null ? NONE : `${brief(stop.limit)}${unit} (${stop.binding})`);
    say($("trip-trigger"), stop.trigger.replaceAll("_", " ").toLowerCase());
    say($("trip-when"), `${stamp(stop.tripped_at)}, ${stop.who}`);
    say($("trip-left"), stop.remaining_seconds === null ? "starts when flat" : duration(stop.remaining_seconds));
    const list = $("needs");
    while (list.children.length > stop.needs.length) list.lastChild.remove();
    stop.needs.forEach((need, i) => {
      const item = list.children[i] ?? list.appendChild(document.createElement("li"));
      say(item, `${need.met ? "✓" : "○"} ${need.text}`);
      dress(item, need.met ? "good" : "");
    });
    say($("reset-cli"), stop.reset_command);
    say($("reset-kubectl"), stop.kubectl_command);
    $("reset-kubectl").parentElement.hidden = !stop.kubectl_command;
  }
  const news = tripped ? `Emergency stop ${stop.state}: ${stop.reason}` : "";
  if (`${stop.state}${stop.trip_id}` !== announced) {
    announced = `${stop.state}${stop.trip_id}`;
    say($("alert"), news);
  }
}

function showAccount(s) {
  const p = s.snapshot;
  const day = p ? Number(p.equity) - Number(p.baseline) : null;
  say($("k-equity"), p ? usd(p.equity) : NONE);
  say($("k-wallet"), p ? `wallet ${usd(p.wallet)} USDT` : "USDT");
  say($("k-day"), p ? `${direction(day)} ${usdSigned(day)}` : NONE);
  dress($("k-day"), `number ${tone(day)}`);
  say($("k-day-pct"), p ? `${percentSigned((day / Number(p.baseline)) * 100)} of ${usd(p.baseline)}` : "");
  say($("k-open"), p ? `${direction(p.unrealised_pnl)} ${usdSigned(p.unrealised_pnl)}` : NONE);
  dress($("k-open"), `number ${tone(p?.unrealised_pnl)}`);
  say($("k-open-pct"), p ? `fees today ${usd(p.fees_today)}${Number(p.funding_today) ? `, funding ${usdSigned(p.funding_today)}` : ""}` : "");
  say($("k-exposure"), p ? percent(p.exposure_pct) : NONE);
  say($("k-gross"), p ? `${usd(p.gross_notional)} of notional` : "");
  const missing = p?.marks_missing.length ? `no mark: ${p.marks_missing.join(", ")}` : "";
  say($("k-ledger"), p ? (p.reconciled ? "✓ agrees" : "! not reconciled") : NONE);
  dress($("k-ledger"), p ? (p.reconciled ? "good" : "bad") : "");
  const a = s.account;
  say($("k-orders"), missing || (a ? `${a.open_orders} + ${a.open_algo_orders} orders at the venue` : "venue not read yet"));
  const trip = s.trip_equity === null ? null : Number(s.trip_equity);
  // Points come about each second; the newest snapshot always ends the line.
  const now = p ? Date.parse(p.time) : 0;
  const line = p && points.length && now > points.at(-1)[1] ? [...points, [0, now, p.equity]] : points;
  const note = drawCurve($("curve"), line, p ? Number(p.baseline) : null, trip);
  say($("curve-note"), note);
}

function showTables(s) {
  say($("positions-count"), s.positions.length || "");
  fill($("positions"), s.positions.map((p) => [
    [p.symbol, "strong"], [`${p.side === "LONG" ? "▲" : "▼"} ${p.side} ${p.leverage}x`], [plain(p.quantity), "right"],
    [plain(p.entry_price), "right"], [plain(p.mark_price), "right"],
    [`${direction(p.unrealised_pnl)} ${usdSigned(p.unrealised_pnl)} (${percentSigned(p.pnl_pct)})`, `right ${tone(p.unrealised_pnl)}`],
    [plain(p.stop_price), "right"], [usd(p.notional), "right"],
  ]), "Flat: no position is open.");
  say($("fills-count"), s.counts.filled || "");
  fill($("fills"), s.fills.map((f) => [
    [time(f.time)], [f.symbol, "strong"], [f.role], [f.side], [plain(f.quantity), "right"], [plain(f.price), "right"], [usd(f.commission), "right"],
  ]), "No fill since this page's desk started.");
  say($("orders-note"), s.counts.submitted ? `${s.counts.submitted} accepted, ${s.counts.failed} failed` : "");
  fill($("orders"), s.orders.map((o) => [
    [time(o.time)], [o.symbol, "strong"], [o.role], [o.side], [o.order_type],
    [`${plain(o.filled)} / ${plain(o.quantity)}`, "right"], [plain(o.trigger_price ?? o.price), "right"],
    [o.status, o.status === "FILLED" ? "good" : o.text ? "bad" : "", o.text],
  ]), "No order yet.");
  say($("refusals-count"), s.counts.refused || "");
  fill($("refusals"), s.refusals.map((r) => [
    [r.code, "strong", r.last_text], [r.count, "right number"], [`${time(r.last_time)} ${r.last_symbol}`, "quiet right"],
  ]), "Nothing was refused.");
  const aside = s.counts.dead_letters;
  say($("health"), `${s.health ?? ""}${aside ? `, ${aside} event(s) set aside: breakwater dead-letters list` : ""}`);
  const signs = { ok: "✓ ok", degraded: "! degraded", silent: "■ silent" };
  fill($("components"), s.components.map((c) => [
    [c.name.replaceAll("_", " "), "strong"], [signs[c.status] ?? c.status, c.status === "ok" ? "good" : "bad"],
    [c.failing.length ? c.failing.join(", ") : `${c.age_seconds.toFixed(1)} s ago`, "quiet right"],
  ]), "No component was heard yet.");
}

function showRisk(s) {
  const box = $("risk");
  while (box.children.length > s.risk.length) box.lastChild.remove();
  s.risk.forEach((bar, i) => {
    let row = box.children[i];
    if (!row) {
      row = document.createElement("div");
      row.append(document.createElement("span"), document.createElement("span"), document.createElement("div"));
      row.children[2].append(document.createElement("i"));
      box.append(row);
    }
    dress(row, `bar ${bar.level}`);
    say(row.children[0], bar.label);
    const unit = bar.unit ? ` ${bar.unit}` : "";
    const sign = { ok: "", near: "▲ ", over: "■ " }[bar.level];
    say(row.children[1], `${sign}${brief(bar.used)} of ${brief(bar.limit)}${unit}`);
    row.title = `${bar.name}, limit from ${bar.binding}`;
    row.children[2].firstChild.style.width = `${Math.min(100, Math.max(0, Number(bar.share_pct)))}%`;
  });
  const p = s.policy;
  say($("policy"), p ? `Policy version ${p.version}, ${p.profile}${p.stale ? ", STALE" : ""}: ${p.symbols.join(" ")}` : "No policy is known.");
}

function showEvents(rows) {
  waitingEvents.push(...rows);
  if (paused || !waitingEvents.length) return;
  const list = $("events");
  for (const row of waitingEvents.slice(-MOST_EVENTS)) {
    const item = document.createElement("li");
    for (const [text, names] of [[time(row.time), "number quiet"], [row.kind, `kind ${row.level}`], [row.text, ""]]) {
      const part = document.createElement("span");
      part.textContent = text;
      part.className = names;
      item.append(part);
    }
    list.prepend(item);
  }
  waitingEvents = [];
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

function showHead(s) {
  say($("desk"), s.desk);
  say($("mode"), s.mode ? s.mode.toUpperCase() : "MODE UNKNOWN");
  dress($("mode"), `chip mode ${s.mode ?? ""}`);
  const speed = Number(s.market.speed) === 1 ? "" : ` · ×${s.market.speed}`;
  say($("market"), `${s.market.data} · ${s.market.source}${speed}`);
  say($("clock"), `${stamp(s.market_time)} UTC`);
  say($("build"), `Breakwater ${s.build}, running since ${stamp(s.started_at)} UTC`);
  const state = s.stop.trip_id ? `■ ${s.stop.state.replace("_", " ")}` : s.snapshot ? usd(s.snapshot.equity) : s.stop.state;
  const title = `${state} · ${s.desk} · Breakwater`;
  if (document.title !== title) document.title = title;
}

// Freshness follows the last tick that was received, not the socket: a socket can be open and dead.
function showFreshness() {
  const elapsed = (performance.now() - frameAt) / 1000;
  const reported = last?.freshness.last_mark_age_seconds;
  const age = reported === null || reported === undefined ? null : reported + elapsed;
  const stale = age === null || age > STALE_SECONDS;
  document.body.className = !last ? "waiting" : stale ? "stale" : "live";
  const ticks = age === null ? "no market tick yet" : `STALE: no market tick for ${Math.floor(age)} s`;
  if (!last) say($("fresh"), "waiting for the desk");
  else if (!connected) say($("fresh"), `DISCONNECTED, reconnecting: figures of ${time(last.market_time)}`);
  else say($("fresh"), stale ? ticks : "● live");
  dress($("fresh"), `chip fresh ${stale || !connected ? "bad" : "good"}`);
}

function show(frame) {
  const s = frame.status;
  if (frame.full) { points = []; waitingEvents = []; $("events").replaceChildren(); }
  points.push(...frame.equity);
  if (points.length > MOST_POINTS) points = points.filter((_, i) => i % 2 === 0);
  last = s;
  frameAt = performance.now();
  showHead(s); showStop(s); showAccount(s); showTables(s); showRisk(s); showEvents(frame.events); showFreshness();
}

let stream = null, timer = 0;

function connect() {
  const opened = performance.now();
  stream = new EventSource("/v1/stream");
  stream.onmessage = (message) => { connected = true; attempt = 0; show(JSON.parse(message.data)); };
  stream.onerror = again;
  clearInterval(timer);
  timer = setInterval(() => {
    showFreshness();
    const quiet = performance.now() - Math.max(frameAt, opened);
    if (quiet > SILENT_SECONDS * 1000) again();
  }, 500);
}

function again() {
  stream.close();
  clearInterval(timer);
  connected = false;
  attempt += 1;
  // Half to one and a half times the step: a restarted desk is not met by all its pages at once.
  const wait = Math.min(15, 0.5 * 2 ** Math.min(attempt, 5)) * (0.5 + Math.random());
  timer = setInterval(showFreshness, 500);
  setTimeout(connect, wait * 1000);
  showFreshness();
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  say($("pause"), paused ? "Go on" : "Pause");
  waitingEvents = waitingEvents.slice(-MOST_EVENTS);
  showEvents([]);
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($(button.dataset.copy).textContent);
      say(button, "Copied");
    } catch {
      getSelection().selectAllChildren($(button.dataset.copy));
      say(button, "Selected");
    }
    setTimeout(() => say(button, "Copy"), 1500);
  });
}

addEventListener("resize", () => last && showAccount(last));
connect();
