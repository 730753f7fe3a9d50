// The drawing with its controls: layer, colours, edges, checkpoints, zoom, and what is known of one neuron.
const viewer = document.getElementById("graph-viewer");
const pack = JSON.parse(document.getElementById("graph-data").textContent);
const part = (name) => viewer.querySelector(`[data-part="${name}"]`);
const canvas = part("canvas");
const context = canvas.getContext("2d");
const parts = Object.fromEntries(["layer", "checkpoint", "moment", "edges", "drawn", "labels", "groups", "neuron", "said", "play", "save", "tip", "find", "stage"].map((n) => [n, part(n)]));
const palettes = pack.palettes;
const themes = JSON.parse(document.getElementById("scales").textContent);
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const NAMED = 16, LONG = 9;
const MOVE = 420, STEP = 1000, REACH = 9;

const state = {
  scene: null, at: 0, by: "class", group: null, chosen: -1, hovered: -1, before: null, share: 1,
  zoom: 1, x: 0, y: 0, printing: false, playing: 0, frame: null, due: false,
};
const scenes = new Map();
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
const grouped = (n) => n.toLocaleString("en-GB");
const graphNow = () => state.scene.graphs[state.at];
const isDark = () => !state.printing && (document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : systemDark.matches);
const themeName = () => (isDark() ? "dark" : "light");
const themeNow = () => themes[themeName()];
const groupName = (group) => (state.by === "class" ? pack.classes[group] ?? String(group) : `C${group + 1}`);

const short = (text) => (text.length > 22 ? `${text.slice(0, 21)}…` : text);

function sceneAt(index) {
  if (!scenes.has(index)) scenes.set(index, unpackScene(pack.scenes[index], pack.extent));
  return scenes.get(index);
}

// ---- what is drawn

function inGroup(graph, v) {
  if (state.group === null) return true;
  return state.by === "class" ? graph.classes[v].includes(state.group) : graph.community[v] === state.group;
}

function edgesShown(graph) {
  return Math.max(graph.drawn ? 1 : 0, Math.round((graph.drawn * Number(parts.edges.value)) / 100));
}

function frameFor(width, height, scale) {
  const graph = graphNow();
  const focus = state.hovered >= 0 ? state.hovered : state.chosen;
  const near = focus >= 0 ? graph.neighbours[focus] : null;
  const { reachX, reachY } = state.scene;
  const margin = 22 * scale;
  const fit = Math.min((width / 2 - margin) / reachX, (height / 2 - margin) / reachY);
  const moment = between(state.before, graph, state.share);
  const many = new Set(graph.own).size;
  const frame = {
    graph, width, height, scale, focus, moment, by: state.by, zoom: state.zoom, before: state.before, share: state.share,
    theme: themeNow(), palette: palettes[state.by][themeName()], edges: edgesShown(graph),
    fade: state.before ? 0.35 + 0.65 * state.share : 1,
    transform: { k: fit * state.zoom, x: width / 2 + state.x * fit * state.zoom, y: height / 2 + state.y * fit * state.zoom },
    labels: parts.labels.checked, label: (group) => short(groupName(group)), font: getComputedStyle(document.body).fontFamily,
    isLit: (v) => (near ? v === focus || near.has(v) : inGroup(graph, v)),
    isLabelled: (group) => graph.drawn > 0 && (state.group === group || (state.group === null && (state.by === "community" || many <= NAMED))),
  };
  frame.bundles = bundles(frame);
  return frame;
}

function redraw() {
  state.due = false;
  const ratio = Math.min(3, devicePixelRatio || 1);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  state.frame = frameFor(width, height, 1);
  paint(context, state.frame);
}

function soon() {
  if (!state.due) requestAnimationFrame(redraw);
  state.due = true;
}

// ---- what is said

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function colourFor(group) {
  return colourOf({ by: state.by, palette: palettes[state.by][themeName()], theme: themeNow() }, group);
}

function listGroups() {
  const graph = graphNow();
  const counts = groupsOf(graph, state.by).filter(([group]) => group !== NO_GROUP);
  const rest = graph.size - counts.reduce((sum, [, count]) => sum + count, 0);
  const buttons = counts.map(([group, count]) => {
    const button = element("button");
    button.type = "button";
    button.dataset.group = group;
    button.title = groupName(group);
    button.setAttribute("aria-pressed", String(state.group === group));
    const swatch = element("i");
    swatch.style.background = colourFor(group);
    button.append(swatch, element("span", groupName(group)), element("b", count));
    return button;
  });
  parts.groups.classList.toggle("long", counts.some(([group]) => groupName(group).length > LONG));
  const focused = document.activeElement && parts.groups.contains(document.activeElement) ? document.activeElement.dataset.group : null;
  parts.groups.replaceChildren(...buttons, ...(rest ? [element("p", `and ${grouped(rest)} in smaller ones, in grey`, "quiet")] : []));
  if (focused !== null) parts.groups.querySelector(`[data-group="${focused}"]`)?.focus();
}

function numbersOf(graph, v) {
  const classes = graph.classes[v].map((c) => pack.classes[c] ?? String(c));
  return [
    [classes.length === 1 ? "represents class" : "represents classes", classes.join(", ")],
    ["mean activation", graph.mean[v].toPrecision(3)],
    ["entropy", `${graph.entropy[v].toFixed(2)} nats`],
    ["degree", `${grouped(graph.degree[v])}${graph.neighbours[v].size < graph.degree[v] ? ` (${graph.neighbours[v].size} drawn)` : ""}`],
    ["strength", graph.strength[v].toFixed(2)],
    ["of it inside its class", graph.strength[v] > 0 ? percent(graph.within[v] / 65535, 0) : "–"],
    ["participation", (graph.participation[v] / 65535).toFixed(2)],
    ["found community", `C${graph.community[v] + 1}`],
  ];
}

function tell() {
  const graph = graphNow();
  const v = state.hovered >= 0 ? state.hovered : state.chosen;
  if (v < 0) {
    parts.neuron.replaceChildren(element("p", "Point at a neuron or tap it to see its numbers. With the keyboard: focus the drawing and press the arrow keys.", "quiet"));
    return;
  }
  const name = element("h4", `Neuron ${state.scene.neurons[graph.id[v]]}`);
  const role = element("p", state.scene.roles[graph.role[v]], "role");
  const list = element("dl");
  for (const [label, value] of numbersOf(graph, v)) {
    const line = element("div");
    line.append(element("dt", label), element("dd", value));
    list.append(line);
  }
  const shots = shotsOf(graph, v);
  parts.neuron.replaceChildren(name, role, ...(shots ? [element("p", "Fires most for", "role"), shots] : []), list);
}

// Pictures of what a neuron fires for, where there are some.
function shotsOf(graph, v) {
  const held = state.scene.pictures[state.scene.neurons[graph.id[v]]];
  if (!held) return null;
  const strip = element("div", "", "shots");
  for (const [address, told] of held) {
    const image = new Image();
    image.src = address;
    image.alt = image.title = told;
    strip.append(image);
  }
  return strip;
}

function tellMoment() {
  const graph = graphNow();
  const { checkpoint, train, test } = graph.facts;
  const accuracies = [train === null ? "" : `train ${percent(train)}`, test === null ? "" : `test ${percent(test)}`].filter(Boolean);
  const when = state.scene.graphs.length > 1 ? `Checkpoint ${checkpoint}` : accuracies.length ? "Accuracy" : "";
  const text = `${when}${accuracies.length ? `: ${accuracies.join(", ")}` : ""}`;
  parts.moment.textContent = text;
  parts.checkpoint.setAttribute("aria-valuetext", text);
  parts.said.textContent = graph.facts.said;
  canvas.setAttribute("aria-label", `Neurons of ${state.scene.layer} that fire together. ${text ? `${text}. ` : ""}${graph.facts.said}`);
  tellEdges();
}

function tellEdges() {
  const graph = graphNow();
  const shown = edgesShown(graph);
  parts.drawn.textContent = graph.facts.edges ? `${grouped(shown)} of ${grouped(graph.facts.edges)} drawn` : "none";
  parts.edges.setAttribute("aria-valuetext", `${grouped(shown)} of ${grouped(graph.facts.edges)} edges`);
}

// ---- what happens

function goTo(at, animate = true) {
  const old = graphNow();
  const kept = (v) => (v < 0 ? -1 : state.scene.graphs[at].index.get(old.id[v]) ?? -1);
  if (at === state.at) return;
  state.chosen = kept(state.chosen);
  state.hovered = -1;
  state.before = old;
  state.at = at;
  parts.checkpoint.value = at;
  hideTip();
  tellMoment();
  listGroups();
  tell();
  if (!animate || stillness.matches) {
    state.before = null;
    state.share = 1;
    soon();
    return;
  }
  const start = performance.now();
  const shown = graphNow();
  const step = (now) => {
    if (graphNow() !== shown) return;
    const gone = Math.min(1, Math.max(0, now - start) / MOVE);
    state.share = gone * gone * (3 - 2 * gone);
    if (gone === 1) state.before = null;
    redraw();
    if (gone < 1) requestAnimationFrame(step);
  };
  state.share = 0;
  requestAnimationFrame(step);
}

function pause() {
  clearInterval(state.playing);
  state.playing = 0;
  parts.play.textContent = "Play";
}

function play() {
  const last = state.scene.graphs.length - 1;
  if (state.at === last) goTo(0, false);
  parts.play.textContent = "Pause";
  state.playing = setInterval(() => {
    if (state.at < last) goTo(state.at + 1);
    if (state.at >= last) pause();
  }, STEP);
}

function showScene(index) {
  if (state.playing) pause();
  state.scene = sceneAt(index);
  state.at = Math.min(Number(parts.checkpoint.value), state.scene.graphs.length - 1);
  Object.assign(state, { before: null, share: 1, chosen: -1, hovered: -1, zoom: 1, x: 0, y: 0 });
  refresh();
}

function refresh() {
  tellMoment();
  listGroups();
  tell();
  soon();
}

function choose(v) {
  state.chosen = v;
  state.hovered = -1;
  tell();
  soon();
}

function isolate(group) {
  state.group = state.group === group ? null : group;
  // One neuron and one group at a time: the neuron would hide the group.
  Object.assign(state, { chosen: -1, hovered: -1 });
  listGroups();
  tell();
  soon();
}

for (const button of viewer.querySelectorAll("[data-by]")) {
  button.addEventListener("click", () => {
    state.by = button.dataset.by;
    state.group = null;
    for (const other of viewer.querySelectorAll("[data-by]")) other.setAttribute("aria-pressed", String(other === button));
    refresh();
  });
}
parts.layer?.addEventListener("change", () => showScene(Number(parts.layer.value)));
parts.checkpoint.addEventListener("input", () => { if (state.playing) pause(); goTo(Number(parts.checkpoint.value)); });
parts.play.addEventListener("click", () => (state.playing ? pause() : play()));
parts.edges.addEventListener("input", () => { tellEdges(); soon(); });
parts.labels.addEventListener("change", soon);
parts.groups.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) isolate(Number(button.dataset.group));
});
parts.find.addEventListener("change", () => {
  const graph = graphNow();
  const wanted = state.scene.neurons.indexOf(parts.find.value.trim());
  const found = graph.index.get(wanted) ?? -1;
  parts.find.setCustomValidity(found < 0 && parts.find.value ? "This neuron is not in the graph" : "");
  parts.find.reportValidity();
  choose(found);
});

viewer.hidden = false;
viewer.redraw = redraw;
new ResizeObserver(soon).observe(canvas);
const retheme = () => { listGroups(); soon(); };
new MutationObserver(retheme).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
systemDark.addEventListener("change", retheme);
addEventListener("beforeprint", () => { state.printing = true; listGroups(); redraw(); });
addEventListener("afterprint", () => { state.printing = false; listGroups(); redraw(); });
