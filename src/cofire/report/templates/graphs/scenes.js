// The scenes of the drawing: columns of numbers in base64 become typed arrays, one set per graph.
const column = (text, Kind) => new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

const PER_VERTEX = {
  id: Uint16Array, x: Int16Array, y: Int16Array, own: Uint16Array, community: Uint16Array, degree: Uint16Array,
  mean: Float32Array, entropy: Float32Array, strength: Float32Array, within: Uint16Array, participation: Uint16Array,
  role: Uint16Array, many: Uint16Array,
};
const PER_EDGE = { source: Uint16Array, target: Uint16Array, weight: Uint16Array };

function unpackScene(scene, extent) {
  const columns = {};
  for (const [name, Kind] of Object.entries({ ...PER_VERTEX, ...PER_EDGE, classes: Uint16Array })) {
    columns[name] = column(scene.columns[name], Kind);
  }
  let vertex = 0, edge = 0, member = 0, reachX = 0.2, reachY = 0.2;
  const graphs = scene.graphs.map((facts) => {
    const graph = { facts, size: facts.vertices, drawn: facts.drawn, index: new Map() };
    for (const name of Object.keys(PER_VERTEX)) graph[name] = columns[name].subarray(vertex, vertex + facts.vertices);
    for (const name of Object.keys(PER_EDGE)) graph[name] = columns[name].subarray(edge, edge + facts.drawn);
    graph.x = Float32Array.from(graph.x, (v) => (v / 32767) * extent);
    graph.y = Float32Array.from(graph.y, (v) => (v / 32767) * extent);
    graph.found = largest(graph.community);
    graph.classes = [];
    for (let v = 0; v < graph.size; v += 1) {
      graph.classes.push([...columns.classes.subarray(member, member + graph.many[v])]);
      member += graph.many[v];
      graph.index.set(graph.id[v], v);
      reachX = Math.max(reachX, Math.abs(graph.x[v]));
      reachY = Math.max(reachY, Math.abs(graph.y[v]));
    }
    graph.neighbours = Array.from({ length: graph.size }, () => new Set());
    for (let e = 0; e < graph.drawn; e += 1) {
      graph.neighbours[graph.source[e]].add(graph.target[e]);
      graph.neighbours[graph.target[e]].add(graph.source[e]);
    }
    vertex += facts.vertices;
    edge += facts.drawn;
    return graph;
  });
  let strongest = 0;
  for (const value of columns.strength) strongest = Math.max(strongest, value);
  for (const graph of graphs) {
    graph.radius = Float32Array.from(graph.strength, (s) => 3 + 5.4 * Math.sqrt(strongest > 0 ? s / strongest : 0));
  }
  return { layer: scene.layer, neurons: scene.neurons, roles: scene.roles, pictures: scene.pictures, graphs, reachX, reachY };
}

// Which group a vertex belongs to: its own class, or its community if that is one of the largest.
const NO_GROUP = 65535, COMMUNITIES = 12;
const groupOf = (graph, by, v) => (by === "class" ? graph.own[v] : graph.found[v]);

function largest(community) {
  const counts = new Map();
  for (const c of community) counts.set(c, (counts.get(c) || 0) + 1);
  return Uint16Array.from(community, (c) => (c < COMMUNITIES && counts.get(c) > 1 ? c : NO_GROUP));
}

function groupsOf(graph, by) {
  const counts = new Map();
  for (let v = 0; v < graph.size; v += 1) {
    const group = groupOf(graph, by, v);
    counts.set(group, (counts.get(group) || 0) + 1);
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

// Where the name of each group stands: beside its densest part, where there is most room.
const PAD = 0.07, COMPACT = 0.3;

function anchorsOf(graph, by) {
  graph.anchors = graph.anchors || {};
  if (graph.anchors[by]) return graph.anchors[by];
  const members = new Map();
  for (let v = 0; v < graph.size; v += 1) {
    const group = groupOf(graph, by, v);
    if (group === NO_GROUP) continue;
    if (!members.has(group)) members.set(group, []);
    members.get(group).push(v);
  }
  const anchors = new Map();
  for (const [group, list] of members) anchors.set(group, { ...besides(graph, densest(graph, list)), count: list.length });
  return (graph.anchors[by] = anchors);
}

function densest(graph, list) {
  const { x, y } = graph;
  const near = Math.min(list.length - 1, 8, Math.max(2, Math.floor(list.length / 5)));
  let best = { reach: Infinity, x: x[list[0]], y: y[list[0]] };
  for (const v of near > 0 ? list.slice(0, 200) : []) {
    const others = list.map((w) => [Math.hypot(x[v] - x[w], y[v] - y[w]), w]).sort((a, b) => a[0] - b[0]).slice(0, near + 1);
    if (others[near][0] >= best.reach) continue;
    const mean = (axis) => others.reduce((sum, [, w]) => sum + axis[w], 0) / others.length;
    best = { reach: others[near][0], x: mean(x), y: mean(y) };
  }
  const away = (w) => Math.hypot(x[w] - best.x, y[w] - best.y);
  const edge = list.map(away).filter((d) => d < 1.8 * best.reach + 0.02).reduce((a, b) => Math.max(a, b), 0);
  return { x: best.x, y: best.y, edge: Math.min(edge, 0.16), compact: best.reach < COMPACT };
}

function besides(graph, { x, y, edge, compact }) {
  let best = null;
  for (let turn = 0; turn < 12; turn += 1) {
    const dx = Math.cos((turn * Math.PI) / 6), dy = Math.sin((turn * Math.PI) / 6);
    const px = x + dx * (edge + PAD), py = y + dy * (edge + PAD);
    let cost = 0.4 * (1 - (dx * x + dy * y) / (Math.hypot(x, y) || 1));
    for (let v = 0; v < graph.size; v += 1) if (Math.hypot(graph.x[v] - px, graph.y[v] - py) < PAD) cost += 1;
    if (!best || cost < best.cost) best = { cost, x: x + dx * edge, y: y + dy * edge, dx, dy, compact };
  }
  return best;
}

// Positions between two graphs; a neuron of one of them only fades.
function between(before, after, share) {
  const x = new Float32Array(after.size), y = new Float32Array(after.size), shown = new Float32Array(after.size);
  for (let v = 0; v < after.size; v += 1) {
    const old = before ? before.index.get(after.id[v]) : undefined;
    x[v] = old === undefined ? after.x[v] : before.x[old] + share * (after.x[v] - before.x[old]);
    y[v] = old === undefined ? after.y[v] : before.y[old] + share * (after.y[v] - before.y[old]);
    shown[v] = old === undefined && before ? share : 1;
  }
  const gone = [];
  if (before && share < 1) for (let v = 0; v < before.size; v += 1) if (!after.index.has(before.id[v])) gone.push(v);
  return { x, y, shown, gone };
}
