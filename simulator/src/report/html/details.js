// What is known of what was chosen: a pair and why, an entity, a namespace, a policy.

const entityButton = (number) => button(entities[number].name, () => choose({ kind: "entity", entity: number }), { class: "link" });
const policyButton = (number) => button(policyName(policies[number]), () => choose({ kind: "policy", policy: number }), { class: "link" });
const badge = (state, text) => h("span", { class: `badge ${STATE_CLASS[state]}` }, text);
const code = (text) => (text ? h("code", {}, text) : null);
const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
const wordOf = (entity) => entity.word ?? entity.name;

function verdictBadge(reach) {
  if (reach.unknown) return badge(UNKNOWN, "unknown");
  if (isAll(reach.open)) return badge(ALL_PORTS, "allowed");
  return reach.open.length > 0 || reach.onlyV4 || reach.onlyV6 ? badge(SOME_PORTS, "allowed") : badge(DENIED, "denied");
}

function ruleItem(direction, { policy, rule, index, ports, limited }) {
  const side = sides[direction];
  return h("li", { class: "rule" },
    h("p", {}, policyButton(policy), " ", code(ruleName(direction, index)), " ", code(rulePlace(policies[policy], rule))),
    h("p", {}, h("strong", {}, portsText(ports)), limited ? ` over ${limited} only` : ""),
    h("p", { class: "quiet" }, rulePeers(side, direction, rule).slice(0, 6).join("; "), rulePeers(side, direction, rule).length > 6 ? "; …" : ""));
}

function sideSection(direction, source, destination, unknown) {
  const subject = entities[direction === "ingress" ? destination : source];
  const { isolatedBy, rules } = explainSide(direction, source, destination);
  const title = h("h3", {}, direction === "ingress" ? "Ingress of " : "Egress of ", h("span", { class: "who" }, subject.name));
  if (isolatedBy.length === 0) {
    const why = subject.namespace === null ? "It is outside the cluster: policies do not isolate it." : subject.host ? "It is on the host's network: policies do not isolate it." : "No policy isolates it: every port is open.";
    return [title, h("p", {}, badge(ALL_PORTS, "open"), " ", why)];
  }
  const sure = rules.filter((rule) => !rule.perhaps), perhaps = sure.length === 0 || unknown ? rules.filter((rule) => rule.perhaps) : [];
  const items = (list) => longList(list, 12, (rule) => [...ruleItem(direction, rule).childNodes], { class: "rules" });
  return [
    title,
    h("p", {}, sure.length > 0 ? [badge(SOME_PORTS, "allowed"), " by"] : [badge(DENIED, "denied"), " no rule allows ", direction === "ingress" ? "this source" : "this destination", "."]),
    sure.length > 0 ? items(sure) : null,
    perhaps.length > 0 ? [h("p", {}, unknown ? "It is not known whether the blocks of these hold it:" : "The blocks of these are assumed not to hold it, as it has no address yet:"), items(perhaps)] : null,
    h("p", { class: "quiet" }, `Isolated by ${count(isolatedBy.length, "policy", "policies")}:`),
    longList(isolatedBy, 8, (number) => [policyButton(number), " ", code(place(policies[number].at))], { class: "plain" }),
  ];
}

function sideAllows(direction, source, destination) {
  const { isolatedBy, rules } = explainSide(direction, source, destination);
  return isolatedBy.length === 0 || rules.some((rule) => !rule.perhaps);
}

function incompleteNote(...numbers) {
  const list = incompleteFor(...numbers);
  if (list.length === 0) return null;
  return h("p", { class: "callout" }, "Incomplete: policies that were not understood could change this: ", list.slice(0, 3).map((policy) => `${policy.kind} ${policy.name}`).join(", "), list.length > 3 ? ` and ${list.length - 3} more` : "", ".");
}

function entityPair(source, destination) {
  const from = entities[source], to = entities[destination];
  const head = [h("h2", {}, entityButton(source), h("span", { class: "arrow" }, " → "), entityButton(destination))];
  if (isItself(source, destination)) return [head, h("p", {}, badge(ALL_PORTS, "allowed"), " A pod always reaches itself, whatever the policies.")];
  const reach = reachOf(source, destination);
  if (!reach) return [head, h("p", {}, "This pair was not asked about.")];
  const text = reachText(reach);
  const words = ["netsim", "can-reach", ...page.inputs.flatMap((input) => ["-f", input]), wordOf(from), wordOf(to), "--explain"];
  const askable = !/^[0-9a-f.:]+\/\d+$/i.test(wordOf(from)) || from.namespace !== null;
  return [
    head,
    h("p", { class: "verdict" }, verdictBadge(reach), " ", text === "denied" ? "no port is open" : text),
    reach.ownNode ? h("p", { class: "callout quiet" }, "A pod and its own node always reach each other, whatever the policies.") : null,
    reach.unknown === "node" ? h("p", { class: "callout" }, "It is not known on which node the pod runs, or which node the other end is. A pod and its own node always reach each other.") : null,
    reach.unknown === "address" ? h("p", { class: "callout" }, "It depends on an address that is not known.") : null,
    text === "denied" && ["egress", "ingress"].every((direction) => sideAllows(direction, source, destination)) ? h("p", {}, "Both ends allow something, but no port in common.") : null,
    source === destination ? h("p", { class: "quiet" }, "From one pod of it to another. Each pod reaches itself.") : null,
    incompleteNote(namespaceOf(from), namespaceOf(to)),
    sideSection("egress", source, destination, reach.unknown),
    sideSection("ingress", source, destination, reach.unknown),
    askable ? [h("p", { class: "quiet" }, "Ask for more:"), h("pre", {}, h("code", {}, words.map(quote).join(" ")))] : null,
  ];
}

// Pairs of which an end is a namespace: what is open, with a way to each pair.
function manyPairs(from, to) {
  const pairs = [];
  for (const source of from.members) {
    for (const destination of to.members) {
      if (isItself(source, destination) || pairs.length >= 2000) continue;
      const state = stateOf(entityItems[source], entityItems[destination]);
      if (isOpen(state)) pairs.push({ source, destination });
    }
  }
  const line = ({ source, destination }) => button([entities[source].name, " → ", entities[destination].name].join(""), () => choose({ kind: "pair", from: entityItems[source], to: entityItems[destination] }), { class: "link" });
  return [
    h("h2", {}, from.name, h("span", { class: "arrow" }, " → "), to.name),
    h("p", { class: "verdict" }, pairText(from, to)),
    incompleteNote(from.namespace, to.namespace),
    longList(pairs, 40, (pair) => [line(pair), h("div", { class: "quiet" }, reachText(reachOf(pair.source, pair.destination)))], { class: "plain pairs" }),
    pairs.length >= 2000 ? h("p", { class: "quiet" }, "The first 2,000 open pairs are listed.") : null,
  ];
}

// Who is reached, or reaches, by namespace; a namespace that is open as a whole is one line.
function reachList(number, outgoing) {
  const byNamespace = [];
  for (const item of namespaceItems) {
    const found = [];
    let asked = 0;
    for (const other of item.members) {
      const [source, destination] = outgoing ? [number, other] : [other, number];
      if (isItself(source, destination)) continue;
      const state = stateOf(entityItems[source], entityItems[destination]);
      if (state === NOT_ASKED) continue;
      asked += 1;
      if (isOpen(state)) found.push({ source, destination, other, text: reachText(reachOf(source, destination)) });
    }
    if (found.length > 0) byNamespace.push({ item, found, whole: found.length === asked && new Set(found.map((f) => f.text)).size === 1 });
  }
  if (byNamespace.length === 0) return h("p", { class: "quiet" }, outgoing ? "It reaches nobody." : "Nobody reaches it.");
  const pairButton = ({ source, destination, other }) => button(entities[other].name, () => choose({ kind: "pair", from: entityItems[source], to: entityItems[destination] }), { class: "link" });
  const entry = ({ item, found, whole }) => {
    const self = entityItems[number];
    if (whole && found.length > 1) {
      const [from, to] = outgoing ? [self, item] : [item, self];
      const name = item.namespace === OUTSIDE ? "every address outside" : `${item.name}/*`;
      return [button(name, () => choose({ kind: "pair", from, to }), { class: "link" }), " ", h("span", { class: "quiet" }, found[0].text)];
    }
    return longList(found, 8, (one) => [pairButton(one), " ", h("span", { class: "quiet" }, one.text)], { class: "plain" });
  };
  return longList(byNamespace, 30, entry, { class: "plain" });
}

function isolationSection(number) {
  const entity = entities[number];
  if (entity.namespace === null) return null;
  const own = (direction) => sides[direction].groups[entity[direction]].policies;
  const part = (direction) => {
    const list = own(direction);
    return [h("dt", {}, direction), h("dd", {}, list.length === 0 ? (entity.host ? "not isolated: on the host's network" : "not isolated: everything is open")
      : longList(list, 8, (policy) => [policyButton(policy), " ", code(place(policies[policy].at))], { class: "plain" }))];
  };
  return [h("h3", {}, "Policies that select it"), h("dl", {}, part("ingress"), part("egress"))];
}

function entityDetails(number) {
  const entity = entities[number];
  const facts = entity.namespace === null ? "addresses outside the cluster"
    : [entity.single ? "1 pod" : entity.pods === 1 ? "the pods of a template" : `${count(entity.pods, "pod")} that no rule tells apart`, entity.host ? "on the host's network" : null].filter(Boolean).join(", ");
  return [
    h("h2", {}, entity.name), h("p", { class: "quiet" }, facts, entity.at ? [" · ", code(place(entity.at))] : null),
    incompleteNote(namespaceOf(entity)),
    isolationSection(number),
    entity.column === null ? null : [h("h3", {}, "Who reaches it"), reachList(number, false)],
    entity.row === null ? null : [h("h3", {}, "Whom it reaches"), reachList(number, true)],
  ];
}

function namespaceDetails(number) {
  const namespace = namespaces[number], own = policies.map((policy, at) => ({ policy, at })).filter(({ policy }) => policy.namespace === number);
  return [
    h("h2", {}, namespace.name),
    h("p", { class: "quiet" }, Object.entries(namespace.labels).map(([key, value]) => `${key}=${value}`).join(", ") || (namespace.defined ? "no labels" : "not defined in the input")),
    h("h3", {}, "Workloads"), longList(membersOf[number], 40, entityButton, { class: "plain" }),
    h("h3", {}, "Policies"), own.length === 0 ? h("p", { class: "quiet" }, "None.") : longList(own, 40, ({ policy, at }) => [policyButton(at), " ", code(place(policy.at))], { class: "plain" }),
  ];
}

function policyDetails(number) {
  const policy = policies[number], selected = selectedBy(number);
  const rules = (direction) => {
    if (policy[direction] === null) return null;
    return [
      h("h3", {}, direction === "ingress" ? "Ingress" : "Egress"),
      policy[direction].length === 0 ? h("p", {}, "No rules: everything is denied.") : h("ul", { class: "rules" }, policy[direction].map((rule, index) => h("li", { class: "rule" },
        h("p", {}, code(ruleName(direction, index)), " ", code(rulePlace(policy, rule))),
        h("p", {}, h("strong", {}, rulePortsText(sides[direction], rule))),
        longList(rulePeers(sides[direction], direction, rule), 8, (peer) => peer, { class: "plain quiet" })))),
    ];
  };
  return [
    h("h2", {}, policyName(policy)), h("p", { class: "quiet" }, "selects ", policy.selector, policy.at ? [" · ", code(place(policy.at))] : null),
    h("h3", {}, "Pods that it selects"), selected.length === 0 ? h("p", { class: "callout" }, "It selects no pod.") : longList(selected, 12, entityButton, { class: "plain" }),
    rules("ingress"), rules("egress"),
  ];
}

function tenantDetails({ from, to }) {
  const list = [];
  for (const a of from.members) {
    for (const b of to.members) {
      if (isOpen(stateOf(namespaceItems[a], namespaceItems[b]))) list.push([namespaceItems[a], namespaceItems[b]]);
    }
  }
  return [
    h("h2", {}, from.name, h("span", { class: "arrow" }, " → "), to.name),
    list.length === 0 ? h("p", {}, "No pair is open.") : longList(list, 60, ([a, b]) => [button(`${a.name} → ${b.name}`, () => choose({ kind: "pair", from: a, to: b }), { class: "link" }), h("div", { class: "quiet" }, pairText(a, b))], { class: "plain pairs" }),
  ];
}

function detailsOf(chosen) {
  if (chosen === null) return [h("p", { class: "empty" }, "Choose a cell, an arrow, a workload or a policy: what is known of it stands here.")];
  if (chosen.kind === "pair" && chosen.from.entity !== null && chosen.to.entity !== null) return entityPair(chosen.from.entity, chosen.to.entity);
  if (chosen.kind === "pair") return manyPairs(chosen.from, chosen.to);
  if (chosen.kind === "entity") return entityDetails(chosen.entity);
  if (chosen.kind === "namespace") return namespaceDetails(chosen.namespace);
  if (chosen.kind === "tenants") return tenantDetails(chosen);
  return policyDetails(chosen.policy);
}

const past = [];
let told = null;
function showDetails() {
  if (told !== null && told !== view.chosen) past.push(told);
  told = view.chosen;
  const back = past.length > 0 ? button("← Back", () => {
    told = null;
    choose(past.pop());
  }, { class: "link back" }) : null;
  byId("details").replaceChildren(...[back, detailsOf(view.chosen)].flat(Infinity).filter(Boolean));
  byId("details").scrollTop = 0;
  if (view.chosen !== null) say(byId("details").querySelector("h2")?.textContent + ": " + (byId("details").querySelector(".verdict")?.textContent ?? "details shown"));
}
