// The data of the page, and how it is looked up. See shared/src/survey for what the fields mean.

const page = JSON.parse(document.getElementById("data").textContent);
const { namespaces, entities, reaches, policies, files, columns, only } = page.survey;
const sides = { ingress: page.survey.ingress, egress: page.survey.egress };
const PROTOCOLS = ["TCP", "UDP", "SCTP"];

// What a pair, or many pairs, come to.
const DENIED = 0, SOME_PORTS = 1, ALL_PORTS = 2, UNKNOWN = 3, SOME_PAIRS = 4, ITSELF = 5, NOT_ASKED = 6;

// Addresses outside are shown as one more namespace, the last.
const OUTSIDE = namespaces.length;
const namespaceOf = (entity) => entity.namespace ?? OUTSIDE;
const namespaceName = (number) => (number === OUTSIDE ? "outside" : namespaces[number].name);
const membersOf = Array.from({ length: OUTSIDE + 1 }, () => []);
entities.forEach((entity, number) => membersOf[namespaceOf(entity)].push(number));

const shortName = (entity) => {
  const prefix = entity.namespace === null ? "" : `${namespaces[entity.namespace].name}/`;
  return entity.name.startsWith(prefix) ? entity.name.slice(prefix.length) : entity.name;
};

const place = (at) => (at ? `${files[at[0]]}:${at[1]}` : "");

// Columns are runs; each is spread out when it is first looked at.
const rowCount = entities.reduce((most, entity) => Math.max(most, (entity.row ?? -1) + 1), 0);
const spread = new Map();
function column(number) {
  let cells = spread.get(number);
  if (!cells) {
    cells = new Uint32Array(rowCount);
    let at = 0;
    for (const [count, reach] of columns[number]) cells.fill(reach, at, (at += count));
    spread.set(number, cells);
  }
  return cells;
}

function isAsked(fromNamespace, toNamespace) {
  if (fromNamespace === OUTSIDE && toNamespace === OUTSIDE) return false;
  return only.length === 0 || only.includes(fromNamespace) || only.includes(toNamespace);
}

// What a pair of entities comes to, or null where it is not asked about.
function reachOf(source, destination) {
  const from = entities[source], to = entities[destination];
  if (from.row === null || to.column === null || !isAsked(namespaceOf(from), namespaceOf(to))) return null;
  return reaches[column(to.column)[from.row]];
}

const isItself = (source, destination) => source === destination && entities[source].single === true;

// Ports.

const isAll = (ports) => ports.length === 3 && ports.every(([, from, to]) => from === 1 && to === 65535);

function portsText(ports) {
  if (ports.length === 0) return "no port";
  if (isAll(ports)) return "all ports";
  const byProtocol = new Map();
  for (const [protocol, from, to] of ports) {
    const range = from === 1 && to === 65535 ? "*" : from === to ? `${from}` : `${from}-${to}`;
    byProtocol.set(protocol, [...(byProtocol.get(protocol) ?? []), range]);
  }
  return [...byProtocol].map(([protocol, ranges]) => `${PROTOCOLS[protocol]} ${ranges.join(",")}`).join(" ");
}

function reachText(reach) {
  const parts = [];
  if (reach.open.length > 0) parts.push(portsText(reach.open));
  for (const [ports, family] of [[reach.onlyV4, "IPv4"], [reach.onlyV6, "IPv6"]]) {
    if (ports) parts.push(`${family} only: ${portsText(ports)}`);
  }
  if (reach.unknown) parts.push(parts.length > 0 ? "the rest is unknown" : "unknown");
  return parts.length > 0 ? parts.join(", ") : "denied";
}

// 5432 or 53/udp; null when the text says no port.
function readPort(text) {
  const [, number, protocol] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? [];
  const port = Number(number);
  if (!(port >= 1 && port <= 65535)) return null;
  return { protocol: Math.max(0, PROTOCOLS.indexOf((protocol ?? "tcp").toUpperCase())), port };
}

const holdsPort = (ports, wanted) =>
  (ports ?? []).some(([protocol, from, to]) => protocol === wanted.protocol && from <= wanted.port && wanted.port <= to);

// What each reach is to somebody who asks for one port, or for any.
function statesFor(wanted) {
  return Uint8Array.from(reaches, (reach) => {
    const limited = [reach.onlyV4, reach.onlyV6];
    if (wanted) {
      if (holdsPort(reach.open, wanted)) return ALL_PORTS;
      if (reach.unknown) return UNKNOWN;
      return limited.some((ports) => holdsPort(ports, wanted)) ? SOME_PORTS : DENIED;
    }
    if (reach.unknown) return UNKNOWN;
    if (isAll(reach.open)) return ALL_PORTS;
    return reach.open.length > 0 || limited.some((ports) => ports) ? SOME_PORTS : DENIED;
  });
}

// Explanations.

const HOLDS = [
  { bit: 1, surely: 1, perhaps: 4, name: "IPv4" },
  { bit: 2, surely: 2, perhaps: 8, name: "IPv6" },
];

// How the peers of a rule hold a kind.
function held(side, rule, kind) {
  if (rule.peers === null) return 3;
  let how = 0;
  for (const [bits, runs] of side.peers[rule.peers].holds) {
    if (runs.some(([first, count]) => first <= kind && kind < first + count)) how |= bits;
  }
  return how;
}

const rulePorts = (side, rule, names) => [
  ...rule.ports,
  ...names.filter(([name]) => rule.names?.includes(name)).map(([name, port]) => [side.names[name][0], port, port]),
];

// What one end's policies say of the other end: which isolate it, and the rules that hold the peer.
function explainSide(direction, source, destination) {
  const side = sides[direction], ingress = direction === "ingress";
  const from = entities[source], to = entities[destination];
  const group = side.groups[ingress ? to.ingress : from.egress];
  const kind = ingress ? from.asSource : to.asDestination;
  const names = ingress ? group.names ?? [] : side.kinds[kind];
  const families = HOLDS.filter(({ bit }) => from.families & to.families & bit);
  const rules = [];
  for (const number of group.policies) {
    policies[number][direction].forEach((rule, index) => {
      const how = held(side, rule, kind);
      const over = families.filter(({ surely }) => how & surely);
      const perhaps = over.length === 0 && families.some((family) => how & family.perhaps);
      const ports = rulePorts(side, rule, names);
      if ((over.length > 0 || perhaps) && ports.length > 0) {
        const limited = over.length > 0 && over.length < families.length ? over[0].name : null;
        rules.push({ policy: number, rule, index, ports, perhaps, limited });
      }
    });
  }
  return { isolatedBy: group.policies, rules };
}

const ruleName = (direction, index) => `spec.${direction}[${index}]`;
const policyName = (policy) => `${namespaces[policy.namespace].name}/${policy.name}`;
const rulePlace = (policy, rule) => (policy.at && rule.line > 0 ? `${files[policy.at[0]]}:${rule.line}` : place(policy.at));
const rulePeers = (side, direction, rule) =>
  rule.peers === null ? [direction === "ingress" ? "from everyone" : "to everyone"] : side.peers[rule.peers].items;

function rulePortsText(side, rule) {
  const names = (rule.names ?? []).map((name) => `${PROTOCOLS[side.names[name][0]]} ${side.names[name][1]}`);
  return [...(rule.ports.length > 0 ? [portsText(rule.ports)] : []), ...names].join(", ") || "no port";
}

// The entities that a policy isolates in a direction.
const isolatedIn = { ingress: new Map(), egress: new Map() };
for (const direction of ["ingress", "egress"]) {
  entities.forEach((entity, number) => {
    if (entity.namespace === null) return;
    for (const policy of sides[direction].groups[entity[direction]].policies) {
      const list = isolatedIn[direction].get(policy) ?? [];
      list.push(number);
      isolatedIn[direction].set(policy, list);
    }
  });
}

// Policies that were not understood and could change what a pair comes to (H2a).
const incompleteFor = (...numbers) =>
  page.incomplete.filter(
    (policy) => policy.namespace === null || numbers.some((n) => n !== OUTSIDE && namespaces[n].name === policy.namespace),
  );
