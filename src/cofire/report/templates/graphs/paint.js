// Draws one frame. Everything that it needs is in `frame`; it keeps nothing.
const LEVELS = [
  { width: 0.8, alpha: 0.26 },
  { width: 0.9, alpha: 0.32 },
  { width: 1.1, alpha: 0.42 },
  { width: 1.5, alpha: 0.55 },
];
const FAINT = 0.1;

const colourOf = (frame, group) => {
  const palette = frame.palette;
  if (frame.by === "community") return group < palette.length ? palette[group] : frame.theme.muted;
  return palette[group % palette.length];
};

// Edges of one colour and one strength are one path: a few dozen strokes draw all of them.
function bundles(frame) {
  const { graph, by, edges } = frame;
  const found = new Map();
  const low = graph.drawn ? graph.weight[graph.drawn - 1] : 0;
  const span = Math.max(1, (graph.drawn ? graph.weight[0] : 0) - low);
  for (let e = 0; e < edges; e += 1) {
    const s = graph.source[e], t = graph.target[e];
    const group = groupOf(graph, by, s);
    const inside = group === groupOf(graph, by, t);
    const level = Math.min(LEVELS.length - 1, Math.floor((LEVELS.length * (graph.weight[e] - low)) / span));
    const lit = frame.isLit(s) && frame.isLit(t);
    const key = (inside ? group + 1 : 0) * 16 + level * 2 + (lit ? 1 : 0);
    let bundle = found.get(key);
    if (!bundle) found.set(key, (bundle = { colour: inside ? colourOf(frame, group) : frame.theme.muted, level, lit, inside, list: [] }));
    bundle.list.push(e);
  }
  // Edges between groups lie under those inside them, weak ones under strong ones.
  return [...found.values()].sort((a, b) => a.lit - b.lit || a.inside - b.inside || a.level - b.level);
}

// Dots grow with the drawing and, more slowly, with the zoom.
function sizeOf({ width, height, scale, zoom }) {
  const room = Math.min(width, height) / scale;
  return scale * Math.min(2.2, Math.sqrt(zoom)) * Math.min(1, Math.max(0.55, Math.sqrt(room / 600)));
}

function paint(context, frame) {
  const { graph, width, height, theme, transform, moment } = frame;
  const X = Float32Array.from(moment.x, (v) => transform.x + transform.k * v);
  const Y = Float32Array.from(moment.y, (v) => transform.y + transform.k * v);
  const size = sizeOf(frame);
  context.clearRect(0, 0, width, height);
  context.lineCap = "round";
  const crowd = Math.min(1.5, Math.max(0.75, Math.sqrt(450 / Math.max(1, frame.edges))));
  for (const { colour, level, lit, inside, list } of frame.bundles) {
    context.strokeStyle = colour;
    context.globalAlpha = Math.min(0.85, LEVELS[level].alpha * crowd * frame.fade * (inside ? 1 : 0.42) * (lit ? 1 : 0.12));
    context.lineWidth = LEVELS[level].width * frame.scale;
    context.beginPath();
    for (const e of list) {
      const s = graph.source[e], t = graph.target[e];
      context.moveTo(X[s], Y[s]);
      context.lineTo(X[t], Y[t]);
    }
    context.stroke();
  }
  if (frame.focus >= 0) paintOwnEdges(context, frame, X, Y);
  paintVertices(context, frame, X, Y, size);
  if (frame.focus >= 0) {
    context.globalAlpha = 1;
    context.strokeStyle = theme.ink;
    context.lineWidth = 2 * frame.scale;
    context.beginPath();
    context.arc(X[frame.focus], Y[frame.focus], graph.radius[frame.focus] * size + 3 * frame.scale, 0, 7);
    context.stroke();
  }
  if (frame.labels) paintLabels(context, frame);
  context.globalAlpha = 1;
}

function paintOwnEdges(context, frame, X, Y) {
  const { graph, focus } = frame;
  context.globalAlpha = 0.75;
  context.lineWidth = 1.3 * frame.scale;
  for (const other of graph.neighbours[focus]) {
    context.strokeStyle = colourOf(frame, groupOf(graph, frame.by, other));
    context.beginPath();
    context.moveTo(X[focus], Y[focus]);
    context.lineTo(X[other], Y[other]);
    context.stroke();
  }
}

function paintVertices(context, frame, X, Y, size) {
  const { graph, theme, moment } = frame;
  const batches = new Map();
  for (let v = 0; v < graph.size; v += 1) {
    const lit = frame.isLit(v);
    const alpha = (lit ? 1 : FAINT) * moment.shown[v];
    const group = groupOf(graph, frame.by, v);
    const key = `${lit ? 1 : 0}|${moment.shown[v] < 1 ? 0 : 1}|${group}`;
    let batch = batches.get(key);
    if (!batch) batches.set(key, (batch = { alpha, lit, colour: colourOf(frame, group), list: [] }));
    batch.list.push(v);
  }
  context.lineWidth = 1.1 * frame.scale;
  context.strokeStyle = theme.surface;
  for (const { alpha, colour, list } of [...batches.values()].sort((a, b) => a.lit - b.lit)) {
    context.globalAlpha = alpha;
    context.fillStyle = colour;
    // One by one: in one path the rims of dots that overlap would run across each other.
    for (const v of list) {
      context.beginPath();
      context.arc(X[v], Y[v], graph.radius[v] * size, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }
  if (!moment.gone.length) return;
  const before = frame.before;
  for (const v of moment.gone) {
    context.globalAlpha = 1 - frame.share;
    context.fillStyle = colourOf({ ...frame, graph: before }, groupOf(before, frame.by, v));
    context.beginPath();
    context.arc(frame.transform.x + frame.transform.k * before.x[v], frame.transform.y + frame.transform.k * before.y[v], before.radius[v] * size, 0, 7);
    context.fill();
  }
}

// Names stand beside the densest part of their group, pushed apart where they would overlap.
function paintLabels(context, frame) {
  const { graph, theme, scale, transform, share } = frame;
  const old = frame.before ? anchorsOf(frame.before, frame.by) : new Map();
  const labels = [];
  context.font = `650 ${13.5 * scale}px ${frame.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const [group, now] of anchorsOf(graph, frame.by)) {
    if (now.count < 3 || !now.compact || !frame.isLabelled(group)) continue;
    const from = old.get(group) || now;
    const at = (key) => from[key] + share * (now[key] - from[key]);
    const text = frame.label(group);
    const half = context.measureText(text).width / 2 + 4 * scale;
    labels.push({
      group, text, half,
      x: transform.x + transform.k * at("x") + at("dx") * (half + 8 * scale),
      y: transform.y + transform.k * at("y") + at("dy") * 16 * scale,
    });
  }
  const tall = 18 * scale;
  for (let round = 0; round < 12; round += 1) {
    for (const a of labels) {
      for (const b of labels) {
        const across = a.half + b.half - Math.abs(a.x - b.x), down = tall - Math.abs(a.y - b.y);
        if (a === b || across <= 0 || down <= 0) continue;
        const push = (down / 2) * (a.y < b.y || (a.y === b.y && a.group < b.group) ? -1 : 1);
        a.y += push;
        b.y -= push;
      }
    }
  }
  for (const label of labels) {
    const inside = (value, room, size) => (frame.zoom > 1 ? value : Math.min(size - room, Math.max(room, value)));
    const x = inside(label.x, label.half, frame.width), y = inside(label.y, tall / 2, frame.height);
    context.globalAlpha = 0.9;
    context.strokeStyle = theme.surface;
    context.lineWidth = 4.5 * scale;
    context.strokeText(label.text, x, y);
    context.globalAlpha = 1;
    context.fillStyle = theme.ink;
    context.fillText(label.text, x, y);
  }
}
