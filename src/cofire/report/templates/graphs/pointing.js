// Pointer and keyboard on the drawing, and saving it.
function placeOf(v) {
  const { transform, moment } = state.frame;
  return { x: transform.x + transform.k * moment.x[v], y: transform.y + transform.k * moment.y[v] };
}

function vertexAt(x, y) {
  const graph = graphNow();
  const grow = sizeOf(state.frame);
  let best = -1, least = Infinity;
  for (let v = 0; v < graph.size; v += 1) {
    if (!inGroup(graph, v)) continue;
    const place = placeOf(v);
    const distance = Math.hypot(place.x - x, place.y - y) - graph.radius[v] * grow;
    if (distance < Math.min(REACH, least)) [best, least] = [v, distance];
  }
  return best;
}

function hideTip() { parts.tip.hidden = true; }

function showTip(v) {
  const graph = graphNow();
  const place = placeOf(v);
  parts.tip.replaceChildren(element("b", `Neuron ${state.scene.neurons[graph.id[v]]}`), element("span", state.scene.roles[graph.role[v]]));
  const shots = shotsOf(graph, v);
  if (shots) parts.tip.append(shots);
  parts.tip.hidden = false;
  const width = parts.tip.offsetWidth;
  parts.tip.style.left = `${Math.min(canvas.clientWidth - width - 6, Math.max(6, place.x - width / 2))}px`;
  parts.tip.style.top = `${place.y < 70 ? place.y + 16 : place.y - parts.tip.offsetHeight - 14}px`;
}

function zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const zoom = Math.min(12, Math.max(0.6, state.zoom * factor));
  const { k } = state.frame.transform;
  const fit = k / state.zoom;
  // The point under the pointer stays where it is.
  state.x += (x - canvas.clientWidth / 2) * (1 / zoom - 1 / state.zoom) / fit;
  state.y += (y - canvas.clientHeight / 2) * (1 / zoom - 1 / state.zoom) / fit;
  state.zoom = zoom;
  hideTip();
  soon();
}

function panBy(x, y) {
  const { k } = state.frame.transform;
  state.x += x / k;
  state.y += y / k;
  hideTip();
  soon();
}

function reset() {
  Object.assign(state, { zoom: 1, x: 0, y: 0, group: null });
  choose(-1);
  hideTip();
  listGroups();
}

const pointers = new Map();
let moved = 0, spread = 0;
const local = (event) => {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};
const spreadNow = () => {
  const [a, b] = [...pointers.values()];
  return Math.hypot(a.x - b.x, a.y - b.y);
};

canvas.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, local(event));
  canvas.setPointerCapture(event.pointerId);
  moved = pointers.size === 1 ? 0 : 99;
  if (pointers.size === 2) spread = spreadNow();
});
canvas.addEventListener("pointermove", (event) => {
  const at = local(event);
  const from = pointers.get(event.pointerId);
  if (!from) {
    const v = vertexAt(at.x, at.y);
    if (v === state.hovered) return;
    state.hovered = v;
    canvas.style.cursor = v < 0 ? "grab" : "pointer";
    if (v < 0) hideTip();
    else showTip(v);
    tell();
    soon();
    return;
  }
  pointers.set(event.pointerId, at);
  if (pointers.size === 2) {
    const now = spreadNow();
    const [a, b] = [...pointers.values()];
    if (spread > 0) zoomBy(now / spread, (a.x + b.x) / 2, (a.y + b.y) / 2);
    spread = now;
  } else {
    moved += Math.hypot(at.x - from.x, at.y - from.y);
    if (moved > 4) panBy(at.x - from.x, at.y - from.y);
  }
});
const release = (event) => {
  const at = pointers.get(event.pointerId);
  pointers.delete(event.pointerId);
  if (!at || event.type === "pointercancel" || moved > 4) return;
  const v = vertexAt(at.x, at.y);
  choose(v);
  if (v >= 0) showTip(v);
  else hideTip();
};
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => {
  if (state.hovered < 0) return;
  state.hovered = -1;
  hideTip();
  tell();
  soon();
});
// The wheel scrolls the page unless the drawing has been chosen or Ctrl is held.
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
  event.preventDefault();
  const at = local(event);
  zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), at.x, at.y);
}, { passive: false });

// The nearest neuron on that side, sideways steps counting more than ahead.
function step(dx, dy) {
  const graph = graphNow();
  const from = state.chosen >= 0 ? placeOf(state.chosen) : { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 };
  let best = -1, least = Infinity;
  for (let v = 0; v < graph.size; v += 1) {
    if (v === state.chosen || !inGroup(graph, v)) continue;
    const place = placeOf(v);
    const ahead = (place.x - from.x) * dx + (place.y - from.y) * dy;
    const aside = Math.abs((place.x - from.x) * dy) + Math.abs((place.y - from.y) * dx);
    if (state.chosen >= 0 && ahead <= 0) continue;
    const cost = Math.abs(ahead) + 2 * aside;
    if (cost < least) [best, least] = [v, cost];
  }
  if (best < 0) return;
  choose(best);
  showTip(best);
}

const KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};
canvas.addEventListener("keydown", (event) => {
  const way = KEYS[event.key];
  if (way && event.shiftKey) panBy(-40 * way[0], -40 * way[1]);
  else if (way) step(...way);
  else if (event.key === "+" || event.key === "=") zoomBy(1.4);
  else if (event.key === "-") zoomBy(1 / 1.4);
  else if (event.key === "0") reset();
  else if (event.key === "Escape") { choose(-1); hideTip(); }
  else return;
  event.preventDefault();
});
part("closer").addEventListener("click", () => zoomBy(1.5));
part("farther").addEventListener("click", () => zoomBy(1 / 1.5));
part("reset").addEventListener("click", reset);

// The view as it is, with a line that says what it is and the colours' names below.
function image() {
  const scale = 2 * Math.max(1, 900 / canvas.clientWidth);
  const sheet = document.createElement("canvas");
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
  const names = [...parts.groups.querySelectorAll("button")].slice(0, 24).map((b) => [Number(b.dataset.group), b.querySelector("span").textContent]);
  const pen = sheet.getContext("2d");
  const font = getComputedStyle(document.body).fontFamily;
  const line = 13 * scale, head = 2.6 * line, row = 1.8 * line;
  pen.font = `${line}px ${font}`;
  const rows = [[]];
  let used = line;
  for (const [group, name] of names) {
    const needed = pen.measureText(name).width + 2.6 * line;
    if (used + needed > width && rows.at(-1).length) { rows.push([]); used = line; }
    rows.at(-1).push([group, name, used]);
    used += needed;
  }
  sheet.width = width;
  sheet.height = Math.round(head + height + rows.length * row + line);
  const theme = themeNow();
  pen.fillStyle = theme.surface;
  pen.fillRect(0, 0, sheet.width, sheet.height);
  const inner = document.createElement("canvas");
  inner.width = width;
  inner.height = height;
  paint(inner.getContext("2d"), frameFor(width, height, scale));
  pen.drawImage(inner, 0, head);
  pen.textBaseline = "middle";
  pen.fillStyle = theme.ink;
  pen.font = `600 ${1.1 * line}px ${font}`;
  const moment = parts.moment.textContent;
  pen.fillText(`${state.scene.layer}, ${moment[0].toLowerCase()}${moment.slice(1)}`, line, head / 2 + line / 4, width - 2 * line);
  pen.font = `${line}px ${font}`;
  rows.forEach((list, r) => {
    const y = head + height + (r + 0.5) * row;
    for (const [group, name, x] of list) {
      pen.fillStyle = colourFor(group);
      pen.beginPath();
      pen.arc(x + 0.4 * line, y, 0.4 * line, 0, 7);
      pen.fill();
      pen.fillStyle = theme.ink;
      pen.fillText(name, x + 1.2 * line, y);
    }
  });
  return sheet;
}

parts.save.addEventListener("click", () => {
  image().toBlob((blob) => {
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${state.scene.layer}-checkpoint-${graphNow().facts.checkpoint}.png`.replace(/[^\w.-]+/g, "-");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
});

showScene(Number(parts.layer?.value ?? 0));
