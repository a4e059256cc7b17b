// The graph: namespaces as boxes in columns, workloads in them, connections as arrows. Where there are many
// arrows, only those of what is chosen or pointed at are drawn.

const BOX = 210, HEAD = 28, PILL = 24, PAD = 8, GAP_X = 110, GAP_Y = 22, MOST_EDGES = 160;

const graph = { boxes: [], places: new Map(), edges: [], hot: null };
const drawing = s("svg", { class: "graph", role: "group", "aria-label": "Graph of namespaces and workloads" });
const graphNote = h("p", { class: "quiet", role: "status" });

const isOpen = (state) => state === ALL_PORTS || state === SOME_PORTS || state === SOME_PAIRS || state === UNKNOWN;

// Namespaces in the order that the data gives, in as many columns as make the picture about as wide as a screen.
function layGraph() {
  const boxes = page.order
    .map((number) => namespaceItems[number])
    .filter((item) => item.members.length > 0 && (view.words.length === 0 || matches(item.name) || item.members.some(entityMatches)))
    .map((item) => {
      const found = view.words.length > 0 && !matches(item.name);
      const opened = view.expanded.has(item.namespace) || (found && item.members.length <= 60);
      const members = opened ? item.members.filter((number) => !found || entityMatches(number)) : [];
      return { item, members, height: HEAD + (members.length > 0 ? members.length * PILL + PAD : 0) };
    });
  const total = boxes.reduce((sum, box) => sum + box.height + GAP_Y, 0);
  let best = null;
  for (let columns = 1; columns <= Math.max(1, Math.min(12, boxes.length)); columns += 1) {
    const columnHeight = Math.max(total / columns, ...boxes.map((box) => box.height + GAP_Y));
    const odds = Math.abs(Math.log((columns * (BOX + GAP_X)) / columnHeight / 2.6));
    if (!best || odds < best.odds) best = { odds, columnHeight };
  }
  graph.places = new Map();
  let column = 0, y = 0, bottom = 0;
  for (const box of boxes) {
    if (y > 0 && y + box.height / 2 > best.columnHeight) [column, y] = [column + 1, 0];
    Object.assign(box, { x: 20 + column * (BOX + GAP_X), y: 16 + y, column });
    graph.places.set(box.item, { x: box.x, y: box.y + HEAD / 2, width: BOX, column });
    box.members.forEach((number, at) => {
      // Arrows end at the border of the box, where they can be seen.
      const pill = { x: box.x, y: box.y + HEAD + at * PILL + PILL / 2, width: BOX, column };
      graph.places.set(entityItems[number], pill);
    });
    y += box.height + GAP_Y;
    bottom = Math.max(bottom, y);
  }
  graph.boxes = boxes;
  graph.width = 40 + column * (BOX + GAP_X) + BOX + GAP_X / 2;
  graph.height = 16 + bottom;
}

// The ends that arrows go between: expanded namespaces stand back for what is in them, unless all of it
// comes out alike.
function edgesOf() {
  const edges = [];
  const ends = (box) => (box.members.length > 0 ? box.members.map((number) => entityItems[number]) : [box.item]);
  for (const to of graph.boxes) {
    for (const from of graph.boxes) {
      if (!isAsked(from.item.namespace, to.item.namespace)) continue;
      if (from === to && from.members.length === 0) continue;
      if (!isOpen(stateOf(from.item, to.item))) continue;
      for (const end of ends(to)) {
        const starts = ends(from).filter((start) => start !== end && isOpen(stateOf(start, end)));
        const texts = new Set(starts.map((start) => pairText(start, end)));
        const others = ends(from).filter((start) => start !== end && start.rows.length > 0).length;
        const whole = from !== to && from.members.length > 2 && starts.length === others && others === from.item.members.length && texts.size === 1;
        if (whole) edges.push({ from: from.item, to: end, state: stateOf(starts[0], end), text: [...texts][0] });
        else starts.forEach((start) => edges.push({ from: start, to: end, state: stateOf(start, end), text: pairText(start, end) }));
      }
    }
  }
  return edges;
}

function curve(from, to) {
  const a = graph.places.get(from), b = graph.places.get(to);
  if (a.column === b.column) {
    const x = a.x + a.width, end = b.x + b.width, out = Math.max(x, end) + 30 + Math.min(40, Math.abs(a.y - b.y) / 5);
    return `M${x} ${a.y}C${out} ${a.y} ${out} ${b.y} ${end + 6} ${b.y}`;
  }
  const right = b.column > a.column;
  const x = right ? a.x + a.width : a.x, end = right ? b.x - 6 : b.x + b.width + 6;
  const bend = Math.max(40, Math.abs(end - x) / 2) * (right ? 1 : -1);
  return `M${x} ${a.y}C${x + bend} ${a.y} ${end - bend} ${b.y} ${end} ${b.y}`;
}

const touches = (edge, item) =>
  item && [edge.from, edge.to].some((end) => end === item || (item.entity === null && end.namespace === item.namespace)
    || (end.entity === null && item.entity !== null && end.namespace === item.namespace));

function hotItem() {
  const chosen = view.chosen;
  if (graph.hot) return graph.hot;
  if (chosen?.kind === "entity") return entityItems[chosen.entity];
  if (chosen?.kind === "namespace") return namespaceItems[chosen.namespace];
  return null;
}

function drawEdges() {
  const hot = hotItem(), chosen = view.chosen, many = graph.edges.length > MOST_EDGES;
  const shown = many ? graph.edges.filter((edge) => touches(edge, hot) || isChosenPair(edge, chosen)) : graph.edges;
  graphNote.textContent = many
    ? `${count(graph.edges.length, "connection")}: those of what you point at or choose are drawn.`
    : "";
  const strength = (edge) => (isChosenPair(edge, chosen) ? " chosen" : hot ? (touches(edge, hot) ? " hot" : " faint") : "");
  drawing.querySelector(".edges").replaceChildren(...shown.map((edge) => {
    const d = curve(edge.from, edge.to);
    const pick = () => choose({ kind: "pair", from: edge.from, to: edge.to });
    return s("g", {
      class: `edge ${STATE_CLASS[edge.state]}${strength(edge)}`, onclick: pick, "data-from": edge.from.name, "data-to": edge.to.name,
      onmousemove: (event) => showTip(event, [`${edge.from.name} → ${edge.to.name}`, edge.text]), onmouseleave: hideTip,
    }, s("path", { class: "reach", d }), s("path", { class: "line", d, "marker-end": `url(#tip-${STATE_CLASS[edge.state]})` }));
  }));
}

const isChosenPair = (edge, chosen) => chosen?.kind === "pair" && chosen.from === edge.from && chosen.to === edge.to;

function nodeAttributes(item, name, act) {
  const hit = view.words.length > 0 && (item.entity === null ? matches(item.name) : entityMatches(item.entity));
  const chosen = view.chosen?.kind === "entity" && view.chosen.entity === item.entity;
  const point = (value) => () => {
    graph.hot = value;
    drawEdges();
  };
  return {
    class: `${name}${hit ? " hit" : ""}${chosen ? " chosen" : ""}`, tabindex: 0, role: "button", "data-name": item.name,
    onclick: act, onmouseenter: point(item), onmouseleave: point(null), onfocus: point(item), onblur: point(null),
    onkeydown: (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      act();
      drawing.querySelector(`[data-name="${CSS.escape(item.name)}"]`)?.focus();
    },
  };
}

function drawGraph() {
  layGraph();
  graph.edges = edgesOf();
  const marker = (state) => s("marker", { id: `tip-${state}`, class: `tip ${state}`, viewBox: "0 0 8 8", refX: 3, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" }, s("path", { d: "M0 0L8 4L0 8z" }));
  const boxes = graph.boxes.map((box) => {
    const { item, x, y, members } = box, outside = item.namespace === OUTSIDE;
    const opened = members.length > 0;
    const head = s("g", { ...nodeAttributes(item, "head", () => toggle(item.namespace)), "aria-expanded": opened, "aria-label": `${outside ? "Outside" : `Namespace ${item.name}`}, ${count(item.members.length, outside ? "block" : "workload")}` },
      s("rect", { x, y, width: BOX, height: HEAD, rx: 6 }),
      s("text", { class: "name", x: x + 10, y: y + 18 }, `${opened ? "▾" : "▸"} ${shorten(item.name, 22)}`, s("title", {}, item.name)),
      s("text", { class: "number", x: x + BOX - 10, y: y + 18 }, item.members.length));
    const pills = members.map((number, at) => {
      const entity = entities[number], top = y + HEAD + at * PILL + 3;
      const name = shortName(entity);
      return s("g", { ...nodeAttributes(entityItems[number], "pill", () => choose({ kind: "entity", entity: number })), "aria-label": entity.name },
        s("rect", { x: x + PAD, y: top, width: BOX - 2 * PAD, height: PILL - 4, rx: 4 }),
        s("text", { x: x + PAD + 8, y: top + 14 }, shorten(name, 27), s("title", {}, entity.name)));
    });
    return s("g", { class: `box${outside ? " outside" : ""}` }, s("rect", { class: "frame", x, y, width: BOX, height: box.height, rx: 6 }), head, pills);
  });
  drawing.setAttribute("width", graph.width);
  drawing.setAttribute("height", graph.height);
  drawing.setAttribute("viewBox", `0 0 ${graph.width} ${graph.height}`);
  drawing.replaceChildren(s("defs", {}, STATE_CLASS.slice(1, 5).map(marker)), s("g", { class: "edges" }), ...boxes);
  drawEdges();
}

function graphPanel() {
  return [h("div", { class: "bar" }, graphNote, h("span", { class: "grow" }), expandButtons()), h("div", { class: "canvas" }, drawing)];
}
