// The matrix: rows are sources, columns destinations. Only the part in sight is drawn, as one path for
// each state, so that its size does not matter.

const matrix = { cell: 18, left: 0, top: 0, rows: [], columns: [], cursor: null, hover: null, drawn: false };
const MOST_PRINTED = 240;

const scroller = h("div", {
  class: "matrix", tabindex: 0, role: "application", "aria-roledescription": "matrix",
  "aria-label": "Matrix of sources and destinations. Arrow keys move, Enter explains the pair, plus and minus open and close the namespace of the row.",
});
const paper = s("svg", { class: "paper", "aria-hidden": "true" });
const spacer = h("div", { class: "spacer", "aria-hidden": "true" });
scroller.append(spacer, paper);

const labelOf = (item) => (item.entity === null ? item.name : shortName(entities[item.entity]));
const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// Width of a label in a font whose letters are about this wide.
const LETTER = 7, MOST_LETTERS = 26;
const labelSpace = (items) => {
  const longest = items.reduce((most, i) => Math.max(most, Math.min(MOST_LETTERS, labelOf(i).length) + (i.entity === null ? 2 : 3)), 6);
  return Math.ceil(longest * LETTER) + 14;
};

function layMatrix() {
  matrix.rows = shownItems("source").filter((item) => item.rows.length > 0 || item.entity === null);
  matrix.columns = shownItems("destination").filter((item) => item.columns.length > 0 || item.entity === null);
  const most = Math.max(matrix.rows.length, matrix.columns.length);
  matrix.cell = most <= 30 ? 22 : most <= 80 ? 18 : 15;
  matrix.left = Math.max(150, labelSpace(matrix.rows));
  matrix.top = labelSpace(matrix.columns);
  if (matrix.cursor) {
    matrix.cursor.row = Math.max(0, Math.min(matrix.cursor.row, matrix.rows.length - 1));
    matrix.cursor.column = Math.max(0, Math.min(matrix.cursor.column, matrix.columns.length - 1));
  }
  spacer.style.width = `${matrix.left + matrix.columns.length * matrix.cell + 4}px`;
  spacer.style.height = `${matrix.top + matrix.rows.length * matrix.cell + 4}px`;
}

// The shape of a cell, which tells states apart without colours too.
function shape(state, x, y, size, part = 0.5) {
  const gap = 1.5, w = size - 2 * gap;
  if (state === ALL_PORTS) return `M${x + gap} ${y + gap}h${w}v${w}h${-w}z`;
  if (state === SOME_PORTS) return `M${x + gap} ${y + size / 2}l${w / 2} ${-w / 2}l${w / 2} ${w / 2}l${-w / 2} ${w / 2}z`;
  // The more pairs are open, the fuller it is.
  if (state === SOME_PAIRS) return `M${x + gap} ${y + gap + w}h${w}v${-Math.max(2, Math.round(part * w))}h${-w}z`;
  if (state === ITSELF) return `M${x + size * 0.3} ${y + size * 0.4}h${size * 0.4}M${x + size * 0.3} ${y + size * 0.6}h${size * 0.4}`;
  if (state === UNKNOWN) return `M${x + gap} ${y + gap}h${w}v${w}h${-w}z`;
  return "";
}

const STATE_CLASS = ["denied", "ports", "all", "unknown", "pairs", "itself", "blank"];

function drawMatrix(whole = false) {
  const { cell, left, top, rows, columns } = matrix;
  const width = whole ? left + columns.length * cell + 4 : scroller.clientWidth;
  const height = whole ? top + rows.length * cell + 4 : scroller.clientHeight;
  const shiftX = whole ? 0 : scroller.scrollLeft, shiftY = whole ? 0 : scroller.scrollTop;
  paper.setAttribute("width", width);
  paper.setAttribute("height", height);
  const firstRow = Math.max(0, Math.floor(shiftY / cell)), lastRow = Math.min(rows.length, Math.ceil((shiftY + height - top) / cell) + 1);
  const firstColumn = Math.max(0, Math.floor(shiftX / cell)), lastColumn = Math.min(columns.length, Math.ceil((shiftX + width - left) / cell) + 1);
  const xOf = (column) => left + column * cell - shiftX, yOf = (row) => top + row * cell - shiftY;
  const endX = Math.min(width, xOf(columns.length)), endY = Math.min(height, yOf(rows.length));

  const paths = STATE_CLASS.map(() => ""), dots = [], marks = [], bands = [], grid = [];
  for (let row = firstRow; row < lastRow; row += 1) {
    const y = yOf(row);
    if (rows[row].entity === null) bands.push(s("rect", { class: "band", x: left, y, width: Math.max(0, endX - left), height: cell }));
    grid.push(`M${left} ${y}H${endX}`);
    for (let col = firstColumn; col < lastColumn; col += 1) {
      const state = stateOf(rows[row], columns[col]);
      const x = xOf(col);
      if (state === DENIED) dots.push(`M${x + cell / 2 - 1} ${y + cell / 2}h2`);
      else if (state === NOT_ASKED) paths[NOT_ASKED] += `M${x} ${y}h${cell}v${cell}h${-cell}z`;
      else paths[state] += shape(state, x, y, cell, state === SOME_PAIRS ? openPart(rows[row], columns[col]) : 0);
      if (state === UNKNOWN) marks.push(s("text", { class: "mark", x: x + cell / 2, y: y + cell / 2 + 4 }, "?"));
    }
  }
  for (let col = firstColumn; col < lastColumn; col += 1) {
    if (columns[col].entity === null) bands.push(s("rect", { class: "band", x: xOf(col), y: top, width: cell, height: Math.max(0, endY - top) }));
    grid.push(`M${xOf(col)} ${top}V${endY}`);
  }
  const cross = [], at = matrix.hover ?? matrix.cursor;
  if (at && rows[at.row] && columns[at.column]) {
    cross.push(s("rect", { class: "cross", x: 0, y: yOf(at.row), width: endX, height: cell }));
    cross.push(s("rect", { class: "cross", x: xOf(at.column), y: 0, width: cell, height: endY }));
  }
  const frame = [];
  for (const [place, name] of [[matrix.cursor, "cursor"], [chosenPlace(), "chosen"]]) {
    if (place && rows[place.row] && columns[place.column]) {
      frame.push(s("rect", { class: name, x: xOf(place.column) + 0.5, y: yOf(place.row) + 0.5, width: cell - 1, height: cell - 1 }));
    }
  }
  const label = (item, attributes, hot) => {
    const mark = item.entity !== null ? "" : item.members.length === 0 ? "  " : view.expanded.has(item.namespace) ? "▾ " : "▸ ";
    const hit = view.words.length > 0 && (item.entity === null ? matches(item.name) : entityMatches(item.entity));
    const name = `label${item.entity === null ? " namespace" : ""}${hit ? " hit" : ""}${hot ? " hot" : ""}`;
    return s("text", { class: name, ...attributes }, mark + shorten(labelOf(item), MOST_LETTERS), s("title", {}, item.name));
  };
  const rowLabels = [], columnLabels = [];
  for (let row = firstRow; row < lastRow; row += 1) {
    const x = rows[row].entity === null ? 6 : 20;
    rowLabels.push(label(rows[row], { x, y: yOf(row) + cell / 2 + 4, "data-row": row }, at?.row === row));
  }
  for (let col = firstColumn; col < lastColumn; col += 1) {
    const y = top - (columns[col].entity === null ? 6 : 8), x = xOf(col) + cell / 2 + 4;
    columnLabels.push(label(columns[col], { transform: `translate(${x} ${y}) rotate(-90)`, "data-column": col }, at?.column === col));
  }
  paper.replaceChildren(
    s("defs", {},
      s("clipPath", { id: "cells" }, s("rect", { x: left, y: top, width: Math.max(0, width - left), height: Math.max(0, height - top) })),
      s("clipPath", { id: "row-labels" }, s("rect", { x: 0, y: top, width: left, height: Math.max(0, height - top) })),
      s("clipPath", { id: "column-labels" }, s("rect", { x: left, y: 0, width: Math.max(0, width - left), height: top }))),
    s("g", { "clip-path": "url(#cells)" }, bands, s("path", { class: "grid", d: grid.join("") }),
      s("path", { class: "dots", d: dots.join("") }),
      paths.map((d, state) => (d === "" ? null : s("path", { class: `cell ${STATE_CLASS[state]}`, d }))), marks),
    cross,
    s("g", { "clip-path": "url(#cells)" }, frame),
    s("g", { "clip-path": "url(#row-labels)" }, rowLabels),
    s("g", { "clip-path": "url(#column-labels)" }, columnLabels),
    s("text", { class: "corner", x: 6, y: top - 8 }, "source ↓  destination →"),
  );
  matrix.drawn = true;
}

function chosenPlace() {
  const chosen = view.chosen;
  if (chosen?.kind !== "pair") return null;
  return { row: matrix.rows.indexOf(chosen.from), column: matrix.columns.indexOf(chosen.to) };
}

function placeAt(event) {
  const box = scroller.getBoundingClientRect();
  const x = event.clientX - box.left - scroller.clientLeft, y = event.clientY - box.top - scroller.clientTop;
  const column = x < matrix.left ? -1 : Math.floor((x + scroller.scrollLeft - matrix.left) / matrix.cell);
  const row = y < matrix.top ? -1 : Math.floor((y + scroller.scrollTop - matrix.top) / matrix.cell);
  return { row: row < matrix.rows.length ? row : -1, column: column < matrix.columns.length ? column : -1 };
}

function redraw() {
  if (view.tab === "matrix") drawMatrix();
}

function moveCursor(row, column) {
  const bound = (value, list) => Math.max(0, Math.min(value, list.length - 1));
  matrix.cursor = { row: bound(row, matrix.rows), column: bound(column, matrix.columns) };
  matrix.hover = null;
  const { cell, left, top } = matrix, { row: r, column: c } = matrix.cursor;
  const reveal = (start, space, head, current) =>
    start < current ? start : start + cell + head > current + space ? start + cell + head - space : current;
  scroller.scrollTop = reveal(r * cell, scroller.clientHeight, top, scroller.scrollTop);
  scroller.scrollLeft = reveal(c * cell, scroller.clientWidth, left, scroller.scrollLeft);
  const from = matrix.rows[r], to = matrix.columns[c];
  if (from && to) say(`${from.name} to ${to.name}: ${pairText(from, to)}`);
  redraw();
}

scroller.addEventListener("scroll", redraw);
scroller.addEventListener("mousemove", (event) => {
  const { row, column } = placeAt(event);
  const before = matrix.hover;
  matrix.hover = row >= 0 && column >= 0 ? { row, column } : null;
  if (matrix.hover) {
    const from = matrix.rows[row], to = matrix.columns[column];
    showTip(event, [`${from.name} → ${to.name}`, pairText(from, to)]);
  } else if (row >= 0 || column >= 0) {
    const item = row >= 0 ? matrix.rows[row] : matrix.columns[column];
    showTip(event, [item.name, item.entity === null ? "opens and closes" : "who reaches it, and whom it reaches"]);
  } else hideTip();
  scroller.classList.toggle("pressable", row >= 0 || column >= 0);
  if (before?.row !== matrix.hover?.row || before?.column !== matrix.hover?.column) redraw();
});
scroller.addEventListener("mouseleave", () => {
  matrix.hover = null;
  hideTip();
  redraw();
});
scroller.addEventListener("click", (event) => {
  const { row, column } = placeAt(event);
  if (row >= 0 && column >= 0) {
    matrix.cursor = { row, column };
    choose({ kind: "pair", from: matrix.rows[row], to: matrix.columns[column] });
  } else if (row >= 0 || column >= 0) {
    const item = row >= 0 ? matrix.rows[row] : matrix.columns[column];
    if (item.entity === null) toggle(item.namespace);
    else choose({ kind: "entity", entity: item.entity });
  }
});
scroller.addEventListener("keydown", (event) => {
  const { row, column } = matrix.cursor ?? { row: 0, column: 0 };
  const screenful = Math.max(1, Math.floor((scroller.clientHeight - matrix.top) / matrix.cell) - 1);
  const moves = {
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
    Home: [row, 0], End: [row, matrix.columns.length - 1], PageUp: [row - screenful, column], PageDown: [row + screenful, column],
  };
  const from = matrix.rows[row], to = matrix.columns[column];
  if (event.ctrlKey || event.metaKey || event.altKey || !from || !to) return;
  if (moves[event.key]) moveCursor(...moves[event.key]);
  else if (event.key === "Enter" || event.key === " ") choose({ kind: "pair", from, to });
  else if (event.key === "+" || event.key === "-") {
    if ((event.key === "+") !== view.expanded.has(from.namespace)) toggle(from.namespace);
    moveCursor(matrix.rows.findIndex((item) => item.namespace === from.namespace), column);
  } else return;
  event.preventDefault();
});
scroller.addEventListener("focus", () => {
  if (!matrix.cursor && scroller.matches(":focus-visible")) moveCursor(0, 0);
});

const legendEntry = (state, text) =>
  h("span", { class: "entry" },
    s("svg", { width: 16, height: 16, "aria-hidden": "true" },
      state === DENIED ? s("path", { class: "dots", d: "M7 8h2" }) : s("path", { class: `cell ${STATE_CLASS[state]}`, d: shape(state, 0, 0, 16) || "M1 1h14v14h-14z" }),
      state === UNKNOWN ? s("text", { class: "mark", x: 8, y: 12 }, "?") : null),
    text);
const legend = () =>
  h("p", { class: "legend", "aria-label": "Legend" },
    legendEntry(ALL_PORTS, view.port ? "open" : "all ports"),
    legendEntry(SOME_PORTS, view.port ? "open over one family" : "some ports"),
    legendEntry(SOME_PAIRS, "some pairs"), legendEntry(DENIED, "denied"), legendEntry(UNKNOWN, "unknown"),
    legendEntry(ITSELF, "itself"), only.length > 0 ? legendEntry(NOT_ASKED, "not asked about") : null);

const expandButtons = () => [
  button("Expand all", () => {
    membersOf.forEach((_, number) => view.expanded.add(number));
    changed();
  }),
  button("Collapse all", () => {
    view.expanded.clear();
    changed();
  }),
];

function matrixPanel() {
  return [h("div", { class: "bar" }, legend(), h("span", { class: "grow" }), expandButtons()), scroller];
}

function showMatrix() {
  layMatrix();
  redraw();
}

window.addEventListener("resize", redraw);
// What is printed is the whole matrix, where it fits on paper at all.
window.addEventListener("beforeprint", () => {
  layMatrix();
  const fits = Math.max(matrix.rows.length, matrix.columns.length) <= MOST_PRINTED;
  if (fits) {
    drawMatrix(true);
    paper.setAttribute("viewBox", `0 0 ${paper.getAttribute("width")} ${paper.getAttribute("height")}`);
  }
});
window.addEventListener("afterprint", () => {
  paper.removeAttribute("viewBox");
  redraw();
});
