// The views: each makes its elements once and then changes what they show, once a second.

import { Chart } from "/chart.js";
import { byteRate, bytes, count, duration, element, longest, moment, percent, rate, seconds, setText } from "/format.js";

const RANGES = [
  { name: "5 min", spanMs: 5 * 60_000 },
  { name: "15 min", spanMs: 15 * 60_000 },
  { name: "24 h", spanMs: 24 * 3_600_000 },
];

const perSecond = (name) => (sample) => (sample[name] * 1000) / Math.max(1, sample.interval_ms);
const hitRatio = ({ hits, misses }) => (hits + misses > 0 ? hits / (hits + misses) : null);
const timed = (name) => (sample) => (sample[name] > 0 ? sample[name] : null);
const overhead = (sample) =>
  Math.max(0, sample.resident_bytes - sample.item_bytes - sample.table_bytes - sample.connection_bytes);

const MEMORY_KINDS = [
  { name: "items", value: (sample) => sample.item_bytes, help: "keys and values" },
  { name: "tables", value: (sample) => sample.table_bytes, help: "what finds, orders and expires them, estimated" },
  { name: "connections", value: (sample) => sample.connection_bytes, help: "requests and replies that wait" },
  { name: "other", value: overhead, help: "the program, its threads, room that the allocator keeps" },
];

function memoryChart() {
  return new Chart({
    title: "Memory",
    series: MEMORY_KINDS,
    limit: { name: "bound", value: (sample) => sample.bound_bytes },
    format: bytes,
    base: 1024,
    least: 1024,
    stacked: true,
  });
}

// Buttons of which one is pressed.
function choice(label, options, chosen, choose) {
  const buttons = options.map((name, index) =>
    element("button", { type: "button", "aria-pressed": String(index === chosen), onclick: () => press(index) }, name),
  );
  function press(index) {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    choose(index);
  }
  return element("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}

function heading(title, note, ...beside) {
  return element(
    "div",
    { class: "viewhead" },
    element("h2", {}, title),
    ...beside,
    note ? element("p", { class: "quiet" }, note) : "",
  );
}

// What a column may be: numeric, wide, in the letters of code, wrapped, a row's head, or left out where
// there is little room.
const KINDS = ["numeric", "wide", "code", "wrap", "head", "extra"];

function kinds(column) {
  return KINDS.filter((kind) => column[kind]).join(" ");
}

// A table whose rows change while its head stays. columns: {name, value(row), text(row), and KINDS}. One
// that stacks shows each row as a block where there is little room.
class Table {
  constructor({ label, columns, sort, descending = true, empty, sortable = true, filter, stacks = false }) {
    this.columns = columns;
    this.sort = sort;
    this.descending = descending;
    this.rows = [];
    this.words = "";
    this.heads = columns.map((column, index) => {
      const label = sortable
        ? element("button", { type: "button", onclick: () => this.sortBy(index) }, column.name, element("span", { class: "arrow", "aria-hidden": "true" }))
        : column.name;
      return element("th", { scope: "col", class: kinds(column) || false }, label);
    });
    this.body = element("tbody");
    this.empty = element("p", { class: "empty", hidden: true }, empty);
    this.table = element(
      "table",
      { class: stacks ? "stacks" : false },
      element("caption", { class: "hidden" }, label),
      element("thead", {}, element("tr", {}, ...this.heads)),
      this.body,
    );
    const scroller = element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": label }, this.table);
    this.root = element("section", { class: "card" }, scroller, this.empty);
    if (filter) {
      const input = element("input", { type: "search", placeholder: filter, "aria-label": filter, autocomplete: "off", spellcheck: "false" });
      input.addEventListener("input", () => {
        this.words = input.value.toLowerCase();
        this.draw();
      });
      this.root.prepend(input);
    }
    this.nothing = empty;
  }

  sortBy(index) {
    if (this.sort === index) {
      this.descending = !this.descending;
    } else {
      this.sort = index;
      this.descending = Boolean(this.columns[index].numeric);
    }
    this.draw();
  }

  update(rows) {
    this.rows = rows;
    this.draw();
  }

  shown() {
    const text = (column, row) => (column.text ?? column.value)(row);
    const matching = this.rows.filter((row) =>
      this.columns.some((column) => String(text(column, row)).toLowerCase().includes(this.words)),
    );
    if (this.sort === undefined) {
      return matching;
    }
    const { value } = this.columns[this.sort];
    const sign = this.descending ? -1 : 1;
    return [...matching].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    });
  }

  draw() {
    const rows = this.shown();
    this.heads.forEach((head, index) => {
      if (index === this.sort) {
        head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      } else {
        head.removeAttribute("aria-sort");
      }
    });
    while (this.body.rows.length > rows.length) {
      this.body.deleteRow(-1);
    }
    rows.forEach((row, at) => {
      const line = this.body.rows[at] ?? this.body.insertRow();
      this.columns.forEach((column, index) => {
        const cell = line.cells[index] ?? line.insertCell();
        if (cell.className === "") {
          cell.className = kinds(column);
        }
        setText(cell, String((column.text ?? column.value)(row)));
      });
    });
    this.table.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
    setText(this.empty, this.words && this.rows.length > 0 ? "Nothing matches." : this.nothing);
  }
}

// Numbers with a label and a note each. labels: [text, name] each.
class Tiles {
  constructor(labels) {
    this.root = element("dl", { class: "tiles" });
    this.parts = new Map();
    for (const [label, name] of labels) {
      const number = element("dd", {}, "–");
      const note = element("dd", { class: "quiet" });
      this.parts.set(name, [number, note]);
      this.root.append(element("div", { class: "tile" }, element("dt", {}, label), number, note));
    }
  }

  show(name, text, note = "") {
    const [number, below] = this.parts.get(name);
    setText(number, text);
    setText(below, note);
  }
}

class OverviewView {
  static title = "Overview";
  static id = "overview";

  constructor(state) {
    this.range = 0;
    this.tiles = new Tiles([
      ["Operations", "ops"],
      ["Hit ratio", "hits"],
      ["p99", "p99"],
      ["Memory", "memory"],
      ["Keys", "keys"],
      ["Clients", "clients"],
      ["Evictions", "evictions"],
      ["Expirations", "expirations"],
    ]);
    this.charts = [
      new Chart({
        title: "Operations per second",
        series: [{ name: "commands", value: perSecond("commands") }],
        format: rate,
        least: 1,
      }),
      new Chart({ title: "Hit ratio", series: [{ name: "hits of all reads", value: hitRatio }], format: percent, top: 1 }),
      new Chart({
        title: "Time of commands",
        series: [
          { name: "p50", value: timed("p50_ns") },
          { name: "p99", value: timed("p99_ns") },
          { name: "p99.9", value: timed("p999_ns") },
        ],
        format: duration,
        least: 25,
      }),
      memoryChart(),
      new Chart({
        title: "Keys removed per second",
        series: [
          { name: "evicted", value: perSecond("evicted") },
          { name: "expired", value: perSecond("expired") },
        ],
        format: rate,
        least: 1,
      }),
      new Chart({
        title: "Network",
        series: [
          { name: "in", value: perSecond("read_bytes") },
          { name: "out", value: perSecond("written_bytes") },
        ],
        format: byteRate,
        base: 1024,
        least: 1,
      }),
    ];
    const ranges = choice("Range of time", RANGES.map((range) => range.name), 0, (index) => {
      this.range = index;
      this.update(state);
      state.refresh();
    });
    this.root = element(
      "div",
      {},
      heading("Overview", null, ranges),
      this.tiles.root,
      element("div", { class: "charts" }, ...this.charts.map((chart) => chart.root)),
    );
  }

  get needsMinutes() {
    return RANGES[this.range].spanMs > 15 * 60_000;
  }

  update(state) {
    const { overview } = state;
    const latest = state.seconds.at(-1);
    const levels = overview.totals;
    const tile = (name, text, note) => this.tiles.show(name, text, note);
    const perLatest = (name) => (latest ? rate(perSecond(name)(latest)) : "–");
    const ratio = latest && hitRatio(latest);
    const since = hitRatio(levels);
    tile("ops", perLatest("commands"), `${count(levels.commands)} in all`);
    tile("hits", ratio === null || ratio === undefined ? "–" : percent(ratio), since === null ? "no reads yet" : `${percent(since)} in all`);
    tile("p99", latest ? duration(latest.p99_ns) : "–", latest ? `p50 ${duration(latest.p50_ns)}` : "");
    tile("memory", bytes(levels.resident_bytes), `of ${bytes(levels.bound_bytes)}`);
    tile("keys", count(levels.keys), bytes(levels.item_bytes + levels.table_bytes));
    tile("clients", count(levels.clients), `of ${count(overview.max_clients)} at most`);
    tile("evictions", perLatest("evicted"), `${count(levels.evicted)} in all`);
    tile("expirations", perLatest("expired"), `${count(levels.expired)} in all`);
    const { spanMs } = RANGES[this.range];
    const samples = this.needsMinutes ? state.minutes : state.seconds;
    for (const chart of this.charts) {
      chart.update(samples, spanMs, overview.now_ms);
    }
  }

  close() {
    this.charts.forEach((chart) => chart.close());
  }
}

class CommandsView {
  static title = "Commands";
  static id = "commands";
  path = "/api/commands";

  constructor() {
    const errors = (row) => row.failed + row.rejected;
    this.table = new Table({
      label: "Commands that were called",
      sort: 2,
      empty: "No command has been called yet.",
      filter: "Filter commands",
      columns: [
        { name: "Command", value: (row) => row.name, text: (row) => row.name.replace("|", " ") },
        { name: "Calls", value: (row) => row.calls, text: (row) => count(row.calls), numeric: true },
        { name: "Rate", value: (row) => row.per_second, text: (row) => rate(row.per_second), numeric: true },
        { name: "p50", value: (row) => row.p50_ns, text: (row) => duration(row.p50_ns), numeric: true },
        { name: "p99", value: (row) => row.p99_ns, text: (row) => duration(row.p99_ns), numeric: true },
        { name: "p99.9", value: (row) => row.p999_ns, text: (row) => duration(row.p999_ns), numeric: true },
        { name: "Total time", value: (row) => row.total_us, text: (row) => duration(row.total_us * 1000), numeric: true },
        { name: "Errors", value: errors, text: (row) => count(errors(row)), numeric: true },
      ],
    });
    this.root = element("div", {}, heading("Commands", "Times are since the start, or since CONFIG RESETSTAT, without the way over the network."), this.table.root);
  }

  update(state) {
    this.table.update(state.data.commands);
  }
}

class MemoryView {
  static title = "Memory";
  static id = "memory";
  path = "/api/big-keys";

  constructor() {
    this.chart = memoryChart();
    this.kinds = new Table({
      label: "Memory by kind",
      sortable: false,
      empty: "",
      columns: [
        { name: "Kind", value: (row) => row.name },
        { name: "Bytes", value: (row) => row.bytes, text: (row) => bytes(row.bytes), numeric: true },
        { name: "Of the bound", value: (row) => row.share, text: (row) => percent(row.share), numeric: true },
        { name: "What it is", value: (row) => row.help, wide: true, extra: true },
      ],
    });
    const share = [
      { name: "Keys", value: (row) => row.keys, text: (row) => count(row.keys), numeric: true },
      { name: "Bytes", value: (row) => row.bytes, text: (row) => bytes(row.bytes), numeric: true },
    ];
    this.types = new Table({
      label: "Keys by type",
      empty: "No keys yet.",
      sort: 2,
      columns: [{ name: "Type", value: (row) => row.name }, ...share],
    });
    this.sizes = new Table({
      label: "Keys by size",
      empty: "No keys yet.",
      sort: 0,
      descending: false,
      columns: [{ name: "At least", value: (row) => Number(row.name), text: (row) => bytes(Number(row.name)) }, ...share],
    });
    this.note = element("p", { class: "quiet" });
    this.root = element(
      "div",
      {},
      heading("Memory"),
      this.chart.root,
      this.kinds.root,
      element(
        "div",
        { class: "charts" },
        element("div", {}, element("h3", {}, "By type"), this.types.root),
        element("div", {}, element("h3", {}, "By size"), this.sizes.root),
      ),
      this.note,
    );
  }

  update(state) {
    const levels = state.overview.totals;
    this.chart.update(state.seconds, RANGES[1].spanMs, state.overview.now_ms);
    const rows = MEMORY_KINDS.map(({ name, value, help }) => ({ name, help, bytes: value(levels) }));
    rows.push({ name: "resident", bytes: levels.resident_bytes, help: "all of it, as the system counts" });
    rows.push({ name: "bound", bytes: levels.bound_bytes, help: "maxmemory: above it keys are evicted" });
    rows.forEach((row) => (row.share = levels.bound_bytes > 0 ? row.bytes / levels.bound_bytes : 0));
    this.kinds.update(rows);
    this.types.update(state.data.by_type);
    this.sizes.update(state.data.by_size);
    setText(this.note, scanNote(state.data));
  }

  close() {
    this.chart.close();
  }
}

function scanNote(view) {
  return view.is_complete
    ? "Found by a scan in the background that has seen every key; it goes on."
    : "Found by a scan in the background that has not seen every key yet.";
}

const syncMean = ({ log_syncs: syncs, log_sync_ns: ns }) => (syncs > 0 ? ns / syncs : null);
const heldUp = (sample) => Math.min(1, sample.held_up_ms / Math.max(1, sample.interval_ms));
const SYNC_TIMES = { always: "before it is answered", everysec: "within a second or so", no: "when the system sees fit" };

// A bar that fills, and words beside it.
class Progress {
  constructor(label) {
    this.bar = element("progress", { max: "1", "aria-label": label });
    this.words = element("p", { class: "quiet" });
    this.root = element("div", { class: "progress", hidden: true }, this.bar, this.words);
  }

  // part: 0 to 1, or null if nothing is under way.
  show(part, words = "") {
    this.root.hidden = part === null;
    this.bar.value = Math.min(1, part ?? 0);
    setText(this.words, words);
  }
}

class DurabilityView {
  static title = "Durability";
  static id = "durability";
  path = "/api/durability";

  constructor() {
    this.state = element("p");
    this.error = element("p", { class: "quiet" });
    this.loading = new Progress("Loading");
    this.saving = new Progress("Snapshot");
    this.card = element("section", { class: "card state" }, this.state, this.loading.root, this.saving.root, this.error);
    this.tiles = new Tiles([
      ["Writes", "writes"],
      ["Log", "log"],
      ["Written", "written"],
      ["Time of a sync", "sync"],
      ["Not synced", "unsynced"],
      ["Snapshot age", "age"],
      ["Snapshot", "snapshot"],
      ["Changes since", "changes"],
    ]);
    this.charts = [
      new Chart({
        title: "Written to the log",
        series: [{ name: "records", value: perSecond("log_written_bytes") }],
        format: byteRate,
        base: 1024,
        least: 1,
      }),
      new Chart({
        title: "Time of syncs",
        series: [
          { name: "mean", value: syncMean },
          { name: "longest of ten seconds", value: timed("log_sync_max_ns") },
        ],
        format: duration,
        least: 25,
      }),
      new Chart({
        title: "Waiting to be written",
        series: [{ name: "buffered", value: (sample) => sample.log_buffered_bytes }],
        format: bytes,
        base: 1024,
        least: 1,
      }),
      new Chart({
        title: "On disk",
        series: [
          { name: "log", value: (sample) => sample.log_bytes },
          { name: "snapshot", value: (sample) => sample.snapshot_bytes },
        ],
        format: bytes,
        base: 1024,
        least: 1024,
      }),
      new Chart({
        title: "Writes held up by the disk",
        series: [{ name: "of the time", value: heldUp }],
        format: percent,
        top: 1,
      }),
      new Chart({
        title: "Writes refused",
        series: [{ name: "refused", value: perSecond("refused_writes") }],
        format: rate,
        least: 1,
      }),
    ];
    this.plots = element("div", { class: "charts" }, ...this.charts.map((chart) => chart.root));
    this.facts = new Table({
      label: "What is kept, and how",
      sortable: false,
      empty: "",
      columns: [
        { name: "What", value: (row) => row[0] },
        { name: "At present", value: (row) => row[1], wide: true },
      ],
    });
    this.root = element("div", {}, heading("Durability"), this.card, this.tiles.root, this.plots, this.facts.root);
  }

  update(state) {
    const { data, overview, seconds: samples } = state;
    const now = overview.now_ms;
    this.card.className = `card state ${data.health}`;
    setText(this.state, data.state);
    setText(this.error, data.last_error ? `Last error, ${moment(data.last_error[1])}: ${data.last_error[0]}` : "");
    this.loading.show(data.is_loading ? data.loaded_part : null, loadingWords(data));
    this.saving.show(data.is_saving ? data.saved_part : null, savingWords(data, now));
    for (const part of [this.tiles.root, this.plots, this.facts.root]) {
      part.hidden = !data.is_on;
    }
    this.showTiles(data, samples.at(-1), now);
    this.charts.forEach((chart) => chart.update(samples, RANGES[1].spanMs, now));
    this.facts.update(facts(data));
  }

  showTiles(data, latest, now) {
    const tile = (name, text, note) => this.tiles.show(name, text, note);
    const log = (text) => (data.is_logging ? text : "–");
    const troubled = [[data.refused_writes, "refused"], [data.delays, "held up"]].find(([times]) => times > 0);
    tile("writes", data.is_loading ? "–" : data.admission, troubled ? `${count(troubled[0])} ${troubled[1]}` : "");
    tile("log", log(bytes(data.log_bytes)), data.is_logging ? `${count(data.log_records)} records` : "no log is kept");
    tile("written", latest ? log(byteRate(perSecond("log_written_bytes")(latest))) : "–", log(`${bytes(data.log_written_bytes)} in all`));
    tile("sync", log(duration(latest ? syncMean(latest) ?? 0 : 0)), log(`longest ${duration(data.sync_max_ns)}`));
    tile("unsynced", log(data.unsynced_ms > 0 ? duration(data.unsynced_ms * 1e6) : "nothing"), log(`${bytes(data.buffered_bytes)} to write`));
    const took = data.last_save_duration_ms;
    tile(
      "age",
      took !== null ? longest((now - data.last_save_ms) / 1000) : data.snapshot_bytes > 0 ? "–" : "none yet",
      data.last_save.failed ? "one has failed since" : took === null ? (data.snapshot_bytes > 0 ? "older than this run" : "") : `took ${duration(Math.max(1, took) * 1e6)}`,
    );
    tile("snapshot", data.snapshot_bytes > 0 ? bytes(data.snapshot_bytes) : "–", `${count(data.saves)} since the start`);
    tile("changes", count(data.changes_since_save), "the last snapshot");
  }

  close() {
    this.charts.forEach((chart) => chart.close());
  }
}

function loadingWords(data) {
  const left = data.loading_left_ms === null ? "" : `, about ${seconds(Math.ceil(data.loading_left_ms / 1000))} left`;
  const { loading_loaded_bytes: loaded, loading_total_bytes: total } = data;
  return `Loaded ${bytes(loaded)} of ${bytes(total)} (${percent(data.loaded_part)})${left}.`;
}

function savingWords(data, now) {
  const since = seconds(Math.max(0, Math.floor((now - data.save_started_ms) / 1000)));
  return `Snapshot under way since ${since}: ${count(data.saved_keys)} of about ${count(data.keys)} keys, ${bytes(data.saved_bytes)}.`;
}

function facts(data) {
  const loaded = data.is_loading
    ? "under way"
    : `${count(data.loaded_keys)} keys from ${count(data.loaded_records)} records in ${duration(Math.max(1, data.load_ms) * 1e6)}, ` +
      `${count(data.load_expired)} had expired`;
  const cut = data.load_cut_bytes > 0 ? `; ${bytes(data.load_cut_bytes)} of the log's torn end were cut off` : "";
  return [
    ["Data directory", data.directory],
    ["A change is on disk", data.is_logging ? `${SYNC_TIMES[data.sync_policy]} (appendfsync ${data.sync_policy})` : "with the next snapshot (appendonly no)"],
    ["If the disk fails", data.on_disk_error === "refuse" ? "writes are refused (on-disk-error refuse)" : "writes are taken and not kept (on-disk-error serve)"],
    ["Loaded at the start", loaded + cut],
    ["Syncs", `${count(data.syncs)}, ${duration(data.syncs > 0 ? data.sync_ns / data.syncs : 0)} on average`],
    ["Writes held up", `${count(data.delays)} times, ${data.delayed_ms > 0 ? duration(data.delayed_ms * 1e6) : "0 s"} in all`],
  ];
}

class ClientsView {
  static title = "Clients";
  static id = "clients";
  path = "/api/clients";

  constructor() {
    this.table = new Table({
      label: "Clients connected",
      sort: 0,
      descending: false,
      empty: "No client is connected.",
      filter: "Filter clients",
      columns: [
        { name: "Id", value: (row) => row.id, numeric: true },
        { name: "Address", value: (row) => row.address, code: true },
        { name: "Name", value: (row) => row.name },
        { name: "User", value: (row) => row.user },
        { name: "Library", value: (row) => row.lib },
        { name: "Age", value: (row) => row.age_s, text: (row) => seconds(row.age_s), numeric: true },
        { name: "Idle", value: (row) => row.idle_s, text: (row) => seconds(row.idle_s), numeric: true },
        { name: "Last command", value: (row) => row.command, text: (row) => row.command.replace("|", " ") },
        { name: "Doing", value: (row) => row.doing.join(", ") },
        { name: "In", value: (row) => row.read_bytes, text: (row) => bytes(row.read_bytes), numeric: true },
        { name: "Out", value: (row) => row.written_bytes, text: (row) => bytes(row.written_bytes), numeric: true },
        { name: "Waiting", value: (row) => row.waiting_bytes, text: (row) => bytes(row.waiting_bytes), numeric: true },
      ],
    });
    this.note = element("p", { class: "quiet" });
    this.root = element("div", {}, heading("Clients"), this.table.root, this.note);
  }

  update(state) {
    const { clients, total } = state.data;
    this.table.update(clients);
    setText(this.note, total > clients.length ? `The first ${clients.length} of ${total}.` : "");
  }
}

class SlowLogView {
  static title = "Slow log";
  static id = "slow-log";
  path = "/api/slow-log";

  constructor() {
    this.table = new Table({
      label: "Slow commands",
      sort: 0,
      stacks: true,
      empty: "No command was slow.",
      columns: [
        { name: "When", value: (row) => row.time_ms, text: (row) => moment(row.time_ms), numeric: true },
        { name: "Took", value: (row) => row.duration_us, text: (row) => duration(row.duration_us * 1000), numeric: true },
        { name: "Command", value: (row) => row.command, wide: true, code: true },
        { name: "Client", value: (row) => row.client, code: true },
        { name: "Name", value: (row) => row.client_name },
      ],
    });
    this.note = element("p", { class: "quiet" });
    this.root = element("div", {}, heading("Slow log"), this.table.root, this.note);
  }

  update(state) {
    const { entries, threshold_us: threshold } = state.data;
    this.table.update(entries);
    setText(
      this.note,
      threshold < 0
        ? "Nothing is kept: slowlog-log-slower-than is negative."
        : `Commands that took at least ${duration(Math.max(1, threshold * 1000))} (slowlog-log-slower-than).`,
    );
  }
}

class HotKeysView {
  static title = "Hot keys";
  static id = "hot-keys";
  path = "/api/hot-keys";

  constructor() {
    const share = (row) => row.share;
    this.table = new Table({
      label: "Hot keys",
      sort: 1,
      empty: "No key stands out. Hot keys show up when many commands are run.",
      columns: [
        { name: "Key", value: (row) => row.key, wide: true, code: true },
        { name: "Commands", value: (row) => row.per_second, text: (row) => "≈ " + rate(row.per_second), numeric: true },
        { name: "Of all", value: share, text: (row) => percent(share(row)), numeric: true },
        { name: "May be less by", value: (row) => row.error_per_second, text: (row) => rate(row.error_per_second), numeric: true },
      ],
    });
    this.note = element("p", { class: "quiet" });
    this.root = element("div", {}, heading("Hot keys"), this.table.root, this.note);
  }

  update(state) {
    const { keys, sampled_one_in: oneIn, commands_per_second: all } = state.data;
    this.table.update(keys.map((row) => ({ ...row, share: all > 0 ? Math.min(1, row.per_second / all) : 0 })));
    setText(this.note, `Estimated from one command in ${oneIn}, over about the last half minute.`);
  }
}

class BigKeysView {
  static title = "Big keys";
  static id = "big-keys";
  path = "/api/big-keys";

  constructor() {
    this.table = new Table({
      label: "Big keys",
      sort: 2,
      empty: "No keys yet.",
      columns: [
        { name: "Key", value: (row) => row.key, wide: true, code: true },
        { name: "Type", value: (row) => row.type },
        { name: "Bytes", value: (row) => row.bytes, text: (row) => bytes(row.bytes), numeric: true },
      ],
    });
    this.note = element("p", { class: "quiet" });
    this.root = element("div", {}, heading("Big keys"), this.table.root, this.note);
  }

  update(state) {
    this.table.update(state.data.keys);
    setText(this.note, scanNote(state.data));
  }
}

class SettingsView {
  static title = "Settings";
  static id = "settings";
  path = "/api/settings";

  constructor() {
    this.policy = element("p");
    this.table = new Table({
      label: "Settings",
      sort: undefined,
      empty: "",
      filter: "Filter settings",
      stacks: true,
      columns: [
        { name: "Setting", value: (row) => row.name, code: true, head: true },
        { name: "Value", value: (row) => row.value, text: (row) => row.value || "(empty)", code: true, wrap: true },
        { name: "From", value: (row) => row.origin },
        { name: "Set", value: (row) => (row.is_live ? "at any time" : "at the start") },
        { name: "What it does", value: (row) => row.help, wide: true },
      ],
    });
    this.root = element("div", {}, heading("Settings"), this.policy, this.table.root);
  }

  update(state) {
    const { policy, policy_in_force: inForce, threads } = state.overview;
    setText(this.policy, `Policy in force: ${inForce}${policy === inForce ? "" : ` (maxmemory-policy ${policy})`}. Data threads: ${threads}.`);
    this.table.update(state.data.settings);
  }
}

export const VIEWS = [OverviewView, CommandsView, MemoryView, DurabilityView, ClientsView, SlowLogView, HotKeysView, BigKeysView, SettingsView];
