// Draws the views that come from /events, twice a second. All text goes in as text, never as HTML.

const SILENT_MS = 2500; // after which the page says that nothing comes
const RETRY_MS = 1000;
const LATE_S = 1.2; // a role beats at least twice a second
const NO_MAJORITY = "no majority";
const SILENT_WRITER_S = 2.5; // the writer of a stream gives its word twice a second
const CHART_MS = 1900; // at most one drawing of the charts in this time

const $ = (id) => document.getElementById(id);
const when = (at) => new Date(at * 1000);
const signs = { 1: ["▲ buy", "buy"], 0: ["– none", "none"], "-1": ["▼ sell", "sell"] };

let source = null;
let view = null;
let lastViewMs = performance.now();
let lastChartMs = 0;

// Which symbol: in the address, so that it can be kept and shared.

function chosenSymbol() {
  return new URLSearchParams(location.search).get("symbol");
}

function choose(symbol) {
  const address = new URL(location.href);
  address.searchParams.set("symbol", symbol);
  history.replaceState(null, "", address);
  lastChartMs = 0;
  listen();
}

// The stream of views. A browser has six connections to one place for all its pages together, so a
// hidden page has none.

document.onvisibilitychange = () => {
  lastViewMs = performance.now(); // the silence of a hidden page was its own
  listen();
};

async function fetchSymbols() {
  const symbols = await (await fetch("/symbols")).json();
  const select = $("symbol");
  const chosen = select.value;
  select.replaceChildren(...symbols.map((symbol) => element("option", symbol)));
  if (symbols.includes(chosen)) select.value = chosen;
}

function listen() {
  if (source) source.close();
  if (document.hidden) return;
  const symbol = chosenSymbol();
  source = new EventSource("/events" + (symbol === null ? "" : "?symbol=" + encodeURIComponent(symbol)));
  source.onopen = () => fetchSymbols().catch(() => {}); // the next opening tries again
  source.onmessage = (message) => {
    view = JSON.parse(message.data);
    lastViewMs = performance.now();
    show();
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
  };
}

function sayWhetherViewsCome() {
  const silentMs = performance.now() - lastViewMs;
  const isSilent = silentMs > SILENT_MS && !document.hidden;
  document.body.classList.toggle("silent", isSilent);
  if (isSilent) {
    setText("summary", "▲ out of date", "loss");
    alarm("Nothing comes from the stack any more. It is down, or its dashboard is; " +
      "this page goes on by itself when it is back.");
  } else if (view && view.cluster && view.cluster.streams.some((one) => one.activity === NO_MAJORITY)) {
    alarm("No majority of the brokers can be reached: no tick is published and no order is booked " +
      "until there is one.");
  } else if (view && view.halted) {
    alarm("Trading is halted: while the file HALT is there, every order is rejected.");
  } else if (view && view.at_loss_limit.length) {
    alarm("The loss limit (max_loss) is reached, and only orders that reduce a position are " +
      "filled, while these files are there: " +
      view.at_loss_limit.map((client) => "LOSS_LIMIT-" + client).join(", ") + ".");
  } else {
    alarm("");
  }
}

function alarm(text) {
  setText("alarm", text);
  $("alarm").hidden = !text;
}

// Small helpers.

// What has not changed is left alone: a screen reader would say it again.
function setText(id, text, className = "") {
  if ($(id).textContent !== text) $(id).textContent = text;
  if ($(id).className !== className) $(id).className = className;
}

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

// Rows are kept and their cells changed: what has the focus, or is being selected, stays.
function fill(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] || body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach(([text, className = "", address = ""], place) => {
      const cell = row.cells[place] || row.insertCell();
      if (cell.className !== className) cell.className = className;
      if (cell.textContent === text) return;
      if (!address) {
        cell.textContent = text;
        return;
      }
      const link = element("a", text);
      link.href = address;
      cell.replaceChildren(link);
    });
  });
}

// Of the same kind for other elements: only those that differ are replaced.
function replaceChanged(parent, elements) {
  while (parent.children.length > elements.length) parent.lastElementChild.remove();
  elements.forEach((made, index) => {
    const old = parent.children[index];
    if (!old) parent.append(made);
    else if (!old.isEqualNode(made)) old.replaceWith(made);
  });
}

function number(value, digits = 2, mostDigits = digits) {
  return value === null ? "–" : value.toLocaleString("en-US",
    { minimumFractionDigits: digits, maximumFractionDigits: mostDigits });
}

function counted(count, noun) {
  return `${number(count, 0)} ${noun}${count === 1 ? "" : "s"}`;
}

// All decimals that a price may have, as far as a float holds them.
function price(value) {
  return number(value, 2, value < 1e6 ? 8 : 2);
}

function money(value) {
  if (value === null) return ["–", "none"];
  const sign = value > 0 ? "+" : "";
  return [sign + number(value), value > 0 ? "gain" : value < 0 ? "loss" : "none"];
}

function setMoney(id, value) {
  setText(id, ...money(value));
}

function time(at) {
  const date = when(at);
  const clock = date.toLocaleTimeString("en-GB", { hour12: false });
  if (date.toDateString() === new Date().toDateString()) return clock;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
}

function duration(seconds) {
  if (seconds >= 120) return age(seconds);
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${number(seconds, 1)} s`;
}

function age(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

function microseconds(value) {
  if (value === null) return "–";
  return value < 1000 ? `${Math.round(value)} µs` : `${number(value / 1000, 2)} ms`;
}

// What is shown.

function show() {
  const missing = view.missing;
  for (const line of document.querySelectorAll("[data-part]")) {
    const awaits = missing[line.dataset.part];
    line.textContent = awaits ? `Waiting for ${awaits}.` : "";
  }
  $("clock").textContent = time(view.at);
  showRoles();
  showSummary();
  showTapeEnded();
  showFigures();
  showCluster();
  showStrategies();
  showPrices();
  showNews();
  showOrders();
  showIncidents();
  if (performance.now() - lastChartMs > CHART_MS) {
    lastChartMs = performance.now();
    drawCourse();
    drawNews();
  }
  sayWhetherViewsCome();
}

function showSummary() {
  const down = view.roles.filter((role) => !role.is_up).map((role) => role.program);
  const tape = view.tape === null ? "no tape yet" : `tape ${view.tape || "without numbers"}`;
  const problem = view.missing.roles;
  const said = problem
    ? `▲ ${problem}`
    : down.length
      ? `▲ down: ${down.join(", ")}; ${tape}`
      : `● all ${view.roles.length} programs are up; ${tape}`;
  setText("summary", said, problem || down.length ? "loss" : "");
}

function showTapeEnded() {
  const ticks = view.ended_ticks;
  $("tape-ended").hidden = ticks === null;
  if (ticks === null) return;
  const booked = view.filled === null ? "" : ` In the ledger: ${counted(view.filled, "order")} ` +
    `filled, ${number(view.rejected, 0)} rejected, realised profit ${money(view.realised)[0]}, ` +
    `open profit ${money(view.open_profit)[0]}.`;
  setText("tape-ended", `The tape has ended after ${counted(ticks, "tick")}.${booked}`);
}

function showRoles() {
  replaceChanged($("roles"), view.roles.map((role) => {
    const isLate = role.is_up && role.heartbeat_age_s > LATE_S;
    const card = element("div", "", role.is_up ? (isLate ? "role late" : "role") : "role down");
    card.dataset.program = role.program;
    const name = element("div", "", "name");
    const state = !role.is_up ? `▲ ${role.state.toLowerCase()}` : isLate ? "▲ silent" : "● up";
    name.append(element("span", role.program), element("span", state, "state"));
    const beat = role.heartbeat_age_s === null ? "" : `last beat ${number(role.heartbeat_age_s, 1)} s ago`;
    const up = role.uptime_s === null ? "–" : `up ${age(role.uptime_s)}`;
    const cpu = role.cpu_share === null ? "–" : `${number(100 * role.cpu_share, 1)} % cpu`;
    const memory = role.resident_bytes === null ? "–" : `${number(role.resident_bytes / 1e6, 0)} MB`;
    const restarts = role.restarts === 1 ? "1 restart" : `${role.restarts} restarts`;
    card.append(name, element("div", `${up}, ${restarts}`, "facts"),
      element("div", `${cpu}, ${memory}`, "facts"), element("div", beat, "facts"));
    if (role.problem) card.append(element("div", role.problem, "problem"));
    return card;
  }));
}

function showFigures() {
  setMoney("realised", view.realised);
  setMoney("open-profit", view.open_profit);
  $("filled").textContent = number(view.filled, 0);
  $("rejected").textContent = number(view.rejected, 0);
  $("rate").textContent = number(view.latency.ticks_per_s, 0);
  $("p50").textContent = microseconds(view.latency.p50_us);
  $("p99").textContent = microseconds(view.latency.p99_us);
  $("p999").textContent = microseconds(view.latency.p999_us);
}

function showStrategies() {
  const strategies = view.strategies;
  fill($("strategy-rows"), strategies.map((one) => [
    [one.name], [one.client_id], [number(one.filled, 0)], [number(one.rejected, 0)],
    [number(one.held, 0)], money(one.realised), [microseconds(one.p50_us)],
    [microseconds(one.p99_us)], [one.signal_class],
  ]));
  const whose = $("whose-signals");
  whose.hidden = strategies.length < 2;
  setText("whose-signals", `Above, the times to decision are those of ${strategies[0].name}, ` +
    "and so are below the signals, the averages and the thresholds of the sentiment. " +
    "Profit, positions and orders are those of all clients.");
}

function showCluster() {
  const cluster = view.cluster;
  $("cluster").hidden = !cluster;
  if (!cluster) return;
  setText("cluster-host", `Cluster, seen from ${cluster.host}`);
  setText("no-streams", cluster.streams.length ? "" : "Waiting for a role of the cluster.", "awaits");
  const shown = (value, text) => value === null ? "–" : text(value);
  fill($("stream-rows"), cluster.streams.map((one) => {
    const activity = one.activity === NO_MAJORITY ? [`▲ ${NO_MAJORITY}`, "loss"]
      : one.activity === "resolving" || one.activity === "starting" ? [`▲ ${one.activity}`, "late"]
        : [`● ${one.activity}`, one.activity === "standing by" ? "" : "gain"];
    return [
      [one.stream], [one.role], activity, [one.writer || "–"],
      [shown(one.heard_s, (value) => `${duration(value)} ago`), one.heard_s > SILENT_WRITER_S ? "loss" : ""],
      [number(one.epoch, 0)], [number(one.takeovers, 0)], [number(one.last, 0)],
      [number(one.position, 0)], [number(one.lag, 0)], [shown(one.lag_s, duration)],
      [microseconds(one.p50_us)], [microseconds(one.p99_us)],
    ];
  }));
}

function showPrices() {
  const chosen = view.course && view.course.symbol;
  fill($("price-rows"), view.prices.map((one) => {
    const change = one.change === null ? ["–", "none"]
      : [`${one.change > 0 ? "+" : ""}${number(100 * one.change)} %`,
        one.change > 0 ? "gain" : one.change < 0 ? "loss" : "none"];
    return [
      [one.symbol, one.symbol === chosen ? "chosen" : "", "?symbol=" + encodeURIComponent(one.symbol)],
      [price(one.price)], change, signs[one.price_signal], signs[one.agreed],
      [number(one.position, 0)], money(one.realised), money(one.open_profit),
    ];
  }));
  const select = $("symbol");
  if (chosen && document.activeElement !== select) select.value = chosen;
  const wanted = chosenSymbol();
  $("no-course").textContent = view.course === null && wanted !== null
    ? `There is no symbol ${wanted} in the settings: choose another one.`
    : view.course && !view.course.at.length ? `Waiting for a price of ${chosen}.` : "";
}

function showNews() {
  const { sentiment, signal, bullish_threshold: bullish, bearish_threshold: bearish } = view.news;
  const gauge = $("gauge");
  gauge.querySelector(".bearish").style.width = `${bearish}%`;
  gauge.querySelector(".bullish").style.width = `${100 - bullish}%`;
  const needle = gauge.querySelector(".needle");
  needle.hidden = sentiment === null;
  needle.style.left = `${sentiment}%`;
  const [text, className] = signs[signal];
  const said = sentiment === null ? "no news: no signal"
    : `${sentiment} of 100: ${text} (sell below ${bearish}, buy above ${bullish})`;
  setText("sentiment", said, className);
  gauge.setAttribute("aria-label", said);
}

function showOrders() {
  const wanted = $("order-filter").value.trim().toLowerCase();
  const onlyRejected = $("only-rejected").checked;
  const shown = view.orders.filter((order) => {
    if (onlyRejected && order.status !== "REJECTED") return false;
    const text = `${order.client_id} ${order.order_id} ${order.symbol} ${order.side} ` +
      `${order.status} ${order.reason}`;
    return text.toLowerCase().includes(wanted);
  });
  $("no-orders").textContent = !view.orders.length
    ? "Waiting for the first order: price and news must agree."
    : !shown.length ? "No order is like that." : "";
  fill($("order-rows"), shown.map((order) => {
    if (order.status === "BOOKED") {
      return [[time(order.at)], [""], [""], [""], [""], [""], [""], [`… ${order.reason}`], [""]];
    }
    const [mark, className] = order.side === "BUY" ? ["▲ BUY", "buy"] : ["▼ SELL", "sell"];
    const isFilled = order.status === "FILLED";
    return [
      [time(order.at)], [order.client_id], [String(order.order_id)], [mark, className],
      [order.symbol], [number(order.quantity, 0)], [price(order.price)],
      isFilled ? [`✓ filled, trade ${order.trade_id}`] : [`✗ rejected: ${order.reason}`, "reason"],
      [number(order.position, 0)],
    ];
  }));
}

function showIncidents() {
  $("no-incidents").textContent = view.incidents.length ? "" : "Nothing has gone wrong so far.";
  replaceChanged($("incident-rows"), view.incidents.map((one) => {
    const line = document.createElement("li");
    const end = !one.is_over ? ["▲ going on", "going-on"]
      : one.duration_s === null ? ["✓ noted", "over"] : [`✓ over after ${duration(one.duration_s)}`, "over"];
    line.append(element("span", `${time(one.at)} `, "when"),
      element("span", `${one.where}: ${one.what} `), element("span", end[0], end[1]));
    return line;
  }));
}

// The charts.

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function layout(ticks, more) {
  const axis = { gridcolor: colour("line"), zeroline: false, tickfont: { size: 10 } };
  return {
    margin: { l: 48, r: 8, t: 8, b: 24 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("text"), size: 11 }, hovermode: "x unified", uirevision: "kept",
    legend: { orientation: "h", y: 1.12, x: 0, font: { size: 10 } },
    xaxis: { ...axis, type: "date", tickformat: "%H:%M:%S", tickangle: 0, nticks: ticks }, yaxis: axis, ...more,
  };
}

const OPTIONS = { displayModeBar: false, responsive: true };

function drawCourse() {
  const course = view.course;
  if (!window.Plotly) return;
  if (!course || !course.at.length) {
    Plotly.purge("chart");
    $("chart").setAttribute("aria-label", "Price, averages and trades: nothing to show yet");
    return;
  }
  $("chart").setAttribute("aria-label", `Price, averages and trades of ${course.symbol}`);
  const at = course.at.map(when);
  const line = (name, y, shade, dash) => (
    { x: at, y, name, mode: "lines", line: { color: colour(shade), width: 1.5, dash }, connectgaps: false });
  const trades = (side, symbol, shade) => {
    const of = course.trades.filter((trade) => trade.side === side);
    return { x: of.map((trade) => when(trade.at)), y: of.map((trade) => trade.price), name: side.toLowerCase(),
      text: of.map((trade) => trade.client_id), mode: "markers", marker: { symbol, size: 10, color: colour(shade), line: { color: colour("text"), width: 1 } } };
  };
  Plotly.react("chart", [
    line("price", course.price, "text", "solid"), line("short mean", course.short_mean, "accent", "dot"),
    line("long mean", course.long_mean, "second", "dash"),
    trades("BUY", "triangle-up", "good"), trades("SELL", "triangle-down", "bad"),
  ], layout(6, { uirevision: course.symbol }), OPTIONS);
}

function drawNews() {
  const news = view.news;
  if (!news.at.length || !window.Plotly) return;
  const level = (y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: colour("faint"), width: 1, dash: "dot" } });
  Plotly.react("news-chart", [{
    x: news.at.map(when), y: news.course, mode: "lines", line: { color: colour("accent"), width: 1.5, shape: "hv" },
  }], layout(3, {
    margin: { l: 28, r: 8, t: 4, b: 20 }, showlegend: false, yaxis: { range: [0, 100], gridcolor: colour("line"), tickfont: { size: 10 } },
    shapes: [level(news.bullish_threshold), level(news.bearish_threshold)],
  }), OPTIONS);
}

$("price-rows").onclick = (event) => {
  const row = event.target.closest("tr");
  if (!row || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  choose(row.cells[0].textContent);
};
$("symbol").onchange = (event) => choose(event.target.value);
for (const id of ["order-filter", "only-rejected"]) $(id).oninput = () => view && showOrders();
setInterval(sayWhetherViewsCome, 500);
listen();
