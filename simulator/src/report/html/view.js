// What is looked at: the search, the port, what is expanded, what is chosen; and pairs of many at once.

const MANY_NAMESPACES = 8, MANY_ENTITIES = 40;

const view = {
  tab: "overview",
  words: [],
  role: "both",
  port: null,
  states: statesFor(null),
  expanded: new Set(
    entities.length > MANY_ENTITIES || namespaces.length > MANY_NAMESPACES ? [] : membersOf.map((_, number) => number),
  ),
  chosen: null,
  tenantLabel: page.tenantLabel,
};

const matches = (text) => view.words.length === 0 || view.words.some((word) => text.toLowerCase().includes(word));
const entityMatches = (number) => {
  const entity = entities[number];
  return matches(entity.name) || (entity.namespace === null && matches("outside"));
};

// An item is a namespace or an entity: what a row, a column or a node of the graph stands for.
const histogram = (members, field) => {
  const counts = new Map();
  for (const number of members) {
    const place = entities[number][field];
    if (place !== null) counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  return [...counts];
};

const itemOf = (namespace, members, entity) => ({
  namespace,
  members,
  entity,
  name: entity === null ? namespaceName(namespace) : entities[entity].name,
  rows: histogram(members, "row"),
  columns: histogram(members, "column"),
});
const namespaceItems = membersOf.map((members, number) => itemOf(number, members, null));
const entityItems = entities.map((entity, number) => itemOf(namespaceOf(entity), [number], number));

// What all pairs of two items come to together. What a pod has with itself does not count.
let sums = new Map();
function sumOf(from, to) {
  const key = from.entity === null && to.entity === null ? from.namespace * namespaceItems.length + to.namespace : null;
  const known = key === null ? undefined : sums.get(key);
  if (known) return known;
  const sum = { total: 0, byState: [0, 0, 0, 0] };
  if (isAsked(from.namespace, to.namespace)) {
    const add = (row, place, times) => {
      sum.total += times;
      sum.byState[view.states[column(place)[row]]] += times;
    };
    for (const [place, columnTimes] of to.columns) {
      for (const [row, rowTimes] of from.rows) add(row, place, rowTimes * columnTimes);
    }
    if (from.namespace === to.namespace) {
      const shared = from.entity === null ? to.members : to.entity === null || to.entity === from.entity ? from.members : [];
      for (const number of shared) {
        const entity = entities[number];
        if (entity.single && entity.row !== null && entity.column !== null) add(entity.row, entity.column, -1);
      }
    }
  }
  if (key !== null) sums.set(key, sum);
  return sum;
}

function stateOf(from, to) {
  if (!isAsked(from.namespace, to.namespace)) return NOT_ASKED;
  if (from.entity !== null && to.entity !== null) {
    if (isItself(from.entity, to.entity)) return ITSELF;
    const a = entities[from.entity], b = entities[to.entity];
    return a.row === null || b.column === null ? NOT_ASKED : view.states[column(b.column)[a.row]];
  }
  const { total, byState } = sumOf(from, to);
  if (total === 0) return from.rows.length === 0 || to.columns.length === 0 ? NOT_ASKED : ITSELF;
  if (byState[UNKNOWN] > 0) return UNKNOWN;
  if (byState[ALL_PORTS] === total) return ALL_PORTS;
  if (byState[DENIED] === total) return DENIED;
  return byState[DENIED] === 0 ? SOME_PORTS : SOME_PAIRS;
}

function openPart(from, to) {
  const { total, byState } = sumOf(from, to);
  return total === 0 ? 0 : (byState[ALL_PORTS] + byState[SOME_PORTS]) / total;
}

const asked = () => (view.port ? `${PROTOCOLS[view.port.protocol]} ${view.port.port}` : null);

// A pair in words.
function pairText(from, to) {
  const state = stateOf(from, to);
  if (state === ITSELF) return "itself: always open";
  if (state === NOT_ASKED) return "not asked about";
  if (from.entity !== null && to.entity !== null) {
    const text = reachText(reachOf(from.entity, to.entity));
    return view.port ? `${asked()} ${["denied", "open over one family", "open", "unknown"][state]} (${text})` : text;
  }
  const { total, byState } = sumOf(from, to);
  const parts = [];
  const open = byState[ALL_PORTS] + byState[SOME_PORTS];
  parts.push(open === 0 ? "no pair is open" : `${open.toLocaleString("en")} of ${count(total, "pair")} open`);
  if (!view.port && byState[ALL_PORTS] > 0) parts.push(`${byState[ALL_PORTS].toLocaleString("en")} on all ports`);
  if (byState[UNKNOWN] > 0) parts.push(`${byState[UNKNOWN].toLocaleString("en")} unknown`);
  return (view.port ? `${asked()}: ` : "") + parts.join(", ");
}

// Rows or columns that are shown: namespaces, and below the expanded ones what is in them. A search opens
// the namespaces in which it finds something.
function shownItems(role) {
  const place = role === "source" ? "row" : "column";
  const narrowed = view.words.length > 0 && (view.role === "both" || view.role === role);
  const found = entities.filter((_, number) => entityMatches(number)).length;
  const items = [];
  for (const item of namespaceItems) {
    const fitting = item.members.filter((n) => entities[n][place] !== null && (!narrowed || entityMatches(n)));
    const whole = !narrowed || (matches(item.name) && item.members.length > 0);
    if (fitting.length === 0 && !whole) continue;
    if (fitting.length === 0 && item.members.length === 0 && namespaces.length > MANY_NAMESPACES) continue;
    if (item.namespace === OUTSIDE && fitting.length === 0) continue;
    items.push(item);
    const opened = view.expanded.has(item.namespace) || (narrowed && found <= 60);
    if (opened) items.push(...fitting.map((number) => entityItems[number]));
  }
  return items;
}

const listeners = [];
const onChange = (listener) => listeners.push(listener);
const changed = () => listeners.forEach((listener) => listener());

function setPort(port) {
  view.port = port;
  view.states = statesFor(port);
  sums = new Map();
  changed();
}

function toggle(namespace) {
  if (!view.expanded.delete(namespace)) view.expanded.add(namespace);
  changed();
}

function choose(chosen) {
  view.chosen = chosen;
  changed();
  showDetails();
}
