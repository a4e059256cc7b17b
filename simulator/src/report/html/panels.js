// The other views: overview, policies, findings, tenants.

const isPod = (entity) => entity.namespace !== null;
const totals = { pods: 0, open: 0, all: 0, unknown: 0, pairs: 0 };

function countAll() {
  totals.pods = entities.filter(isPod).reduce((sum, entity) => sum + entity.pods, 0);
  const states = statesFor(null), before = view.states;
  [view.states, sums] = [states, new Map()];
  for (const from of namespaceItems) {
    for (const to of namespaceItems) {
      const { total, byState } = sumOf(from, to);
      totals.pairs += total;
      totals.all += byState[ALL_PORTS];
      totals.open += byState[ALL_PORTS] + byState[SOME_PORTS];
      totals.unknown += byState[UNKNOWN];
    }
  }
  [view.states, sums] = [before, new Map()];
}

// How many pods of a namespace no policy isolates.
function openPods(number) {
  const found = { pods: 0, ingress: 0, egress: 0, both: 0, hosts: 0 };
  for (const member of membersOf[number]) {
    const entity = entities[member];
    found.pods += entity.pods;
    if (entity.host) found.hosts += entity.pods;
    else {
      if (entity.ingress === 0) found.ingress += entity.pods;
      if (entity.egress === 0) found.egress += entity.pods;
      if (entity.ingress === 0 && entity.egress === 0) found.both += entity.pods;
    }
  }
  return found;
}

const card = (value, name, kind = "", act = null) =>
  h(act ? "button" : "div", { class: `card ${kind}`, ...(act ? { type: "button", onclick: act } : {}) },
    h("strong", {}, typeof value === "number" ? value.toLocaleString("en") : value), h("span", {}, name));
const percent = (part, whole) => (whole === 0 ? "0 %" : part > 0 && part / whole < 0.01 ? "< 1 %" : `${Math.round((100 * part) / whole)} %`);

function share(part, whole) {
  const filled = h("span", { class: "filled" });
  filled.style.width = whole === 0 ? "0" : `${(100 * part) / whole}%`;
  return h("td", { class: "share" }, h("span", { class: "number" }, part.toLocaleString("en")), h("span", { class: "track", "aria-hidden": "true" }, filled));
}

function overviewPanel() {
  const rows = namespaces.map((namespace, number) => ({ namespace, number, ...openPods(number) }));
  const sum = (field) => rows.reduce((total, row) => total + row[field], 0);
  const own = new Map();
  policies.forEach((policy) => own.set(policy.namespace, (own.get(policy.namespace) ?? 0) + 1));
  const notes = [...page.notes];
  const undefinedOnes = namespaces.filter((namespace) => !namespace.defined).map((namespace) => namespace.name);
  if (undefinedOnes.length > 0) notes.push(`The input does not define the namespaces ${undefinedOnes.slice(0, 8).join(", ")}${undefinedOnes.length > 8 ? ` and ${undefinedOnes.length - 8} more` : ""}: of their labels only the name is known.`);
  const errors = page.findings.length;
  return [
    h("div", { class: "cards" },
      card(namespaces.length, namespaces.length === 1 ? "namespace" : "namespaces"), card(entities.filter(isPod).length, "workloads"), card(totals.pods, "pods or templates"),
      card(policies.length, policies.length === 1 ? "policy" : "policies", "", () => openTab("policies")),
      card(percent(totals.open, totals.pairs), `of pairs open (${totals.open.toLocaleString("en")} of ${totals.pairs.toLocaleString("en")})`, "", () => openTab("matrix")),
      card(percent(totals.all, totals.pairs), "open on every port"),
      card(errors, errors === 1 ? "finding" : "findings", errors > 0 ? "warn" : "", () => openTab("findings")),
      totals.unknown > 0 ? card(totals.unknown, "pairs unknown", "warn", () => openTab("matrix")) : null,
      page.incomplete.length > 0 ? card(page.incomplete.length, "policies not understood", "warn") : null),
    totals.unknown > 0 ? h("p", { class: "callout" }, `${count(totals.unknown, "pair")} cannot be told from the input. They are marked with ? and not counted as denied.`) : null,
    page.incomplete.length > 0 ? h("div", { class: "callout" },
      h("p", {}, "These policies were not understood. Every verdict that they could change is incomplete:"),
      longList(page.incomplete, 10, (policy) => [`${policy.kind} (${policy.apiVersion}) ${policy.namespace === null ? "" : `${policy.namespace}/`}${policy.name}`, " ", h("code", {}, policy.at ?? "")])) : null,
    notes.map((note) => h("p", { class: "callout quiet" }, note)),
    h("h2", {}, "Pods that no policy isolates"),
    h("table", { class: "rows" },
      h("thead", {}, h("tr", {}, ["Namespace", "Workloads", "Pods", "Policies", "Open for ingress", "Open for egress", "Open both ways"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {},
        h("th", { scope: "row" }, button(row.namespace.name, () => choose({ kind: "namespace", namespace: row.number }), { class: "link" }),
          row.hosts > 0 ? h("span", { class: "quiet" }, ` ${count(row.hosts, "pod")} on the host's network`) : null),
        h("td", {}, membersOf[row.number].length.toLocaleString("en")), h("td", {}, row.pods.toLocaleString("en")), h("td", {}, (own.get(row.number) ?? 0).toLocaleString("en")),
        share(row.ingress, row.pods), share(row.egress, row.pods), share(row.both, row.pods)))),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "All"), h("td", {}, entities.filter(isPod).length.toLocaleString("en")), h("td", {}, sum("pods").toLocaleString("en")), h("td", {}, policies.length.toLocaleString("en")),
        share(sum("ingress"), sum("pods")), share(sum("egress"), sum("pods")), share(sum("both"), sum("pods"))))),
  ];
}

const selectedBy = (number) => [...new Set([...(isolatedIn.ingress.get(number) ?? []), ...(isolatedIn.egress.get(number) ?? [])])].sort((a, b) => a - b);
const podsOf = (members) => members.reduce((sum, number) => sum + entities[number].pods, 0);

function policiesPanel() {
  const shown = policies.map((policy, number) => ({ policy, number })).filter(({ policy, number }) => view.words.length === 0 || matches(policyName(policy)) || selectedBy(number).some(entityMatches));
  const row = ({ policy, number }) => h("tr", {},
    h("th", { scope: "row" }, button(policyName(policy), () => choose({ kind: "policy", policy: number }), { class: "link" })),
    h("td", {}, policy.selector), h("td", { class: "number" }, podsOf(selectedBy(number)).toLocaleString("en")),
    ["ingress", "egress"].map((direction) => h("td", {}, policy[direction] === null ? "" : policy[direction].length === 0 ? "denies all" : count(policy[direction].length, "rule"))),
    h("td", {}, h("code", {}, place(policy.at))));
  const most = 200, body = h("tbody", {}, shown.slice(0, most).map(row));
  const rest = shown.length > most ? button(`Show ${shown.length - most} more`, (event) => {
    body.append(...shown.slice(most).map(row));
    event.target.remove();
  }) : null;
  return [
    shown.length === 0 ? h("p", { class: "empty" }, policies.length === 0 ? "There is no NetworkPolicy: everything is open." : "No policy fits the search.")
      : h("table", { class: "rows" }, h("thead", {}, h("tr", {}, ["Policy", "Selects", "Pods", "Ingress", "Egress", "Where"].map((name) => h("th", { scope: "col" }, name)))), body),
    rest,
  ];
}

function findingsPanel() {
  if (page.findings.length === 0) return [h("p", { class: "empty" }, "No findings.")];
  const shown = page.findings.filter((finding) => view.words.length === 0 || matches([finding.rule, finding.namespace, finding.object, finding.message].join(" ")));
  const entry = (finding) => h("article", { class: `finding ${finding.severity}` },
    h("p", { class: "line" }, h("span", { class: `badge ${finding.severity}` }, finding.severity), h("strong", {}, finding.message)),
    h("p", { class: "quiet" }, h("code", {}, finding.rule), " ", finding.object, finding.file ? [" ", h("code", {}, finding.line === null ? finding.file : `${finding.file}:${finding.line}`)] : null),
    finding.help ? h("p", {}, finding.help) : null);
  return [h("p", { class: "quiet" }, `${shown.length.toLocaleString("en")} of ${count(page.findings.length, "finding")}`), longList(shown, 200, entry, { class: "plain" })];
}

// Tenants are groups of namespaces with the same value of a label.
function tenants(label) {
  const groups = new Map();
  namespaces.forEach((namespace, number) => {
    if (membersOf[number].length === 0) return;
    const value = namespace.labels[label] ?? null;
    groups.set(value, [...(groups.get(value) ?? []), number]);
  });
  const list = [...groups].map(([value, members]) => ({ name: value ?? "without", tenant: value !== null, members }));
  list.sort((a, b) => Number(b.tenant) - Number(a.tenant) || (a.name < b.name ? -1 : 1));
  if (membersOf[OUTSIDE].length > 0) list.push({ name: "outside", tenant: false, members: [OUTSIDE] });
  return list;
}

function between(a, b) {
  const sum = { total: 0, byState: [0, 0, 0, 0] };
  for (const from of a.members) {
    for (const to of b.members) {
      const part = sumOf(namespaceItems[from], namespaceItems[to]);
      sum.total += part.total;
      part.byState.forEach((value, state) => (sum.byState[state] += value));
    }
  }
  return sum;
}

function tenantsPanel() {
  const labels = [...new Set(namespaces.flatMap((namespace) => Object.keys(namespace.labels)))].sort();
  const label = view.tenantLabel;
  if (label !== null && !labels.includes(label)) labels.unshift(label);
  const select = h("select", { onchange: (event) => {
    view.tenantLabel = event.target.value === "" ? null : event.target.value;
    changed();
  } }, h("option", { value: "" }, "none"), labels.map((name) => h("option", { value: name, selected: name === label }, name)));
  const head = h("label", { class: "field" }, h("span", {}, "Namespaces belong to the tenant named by their label"), select);
  if (label === null) return [head, h("p", { class: "empty" }, "Choose a label to see which tenants reach which.")];
  const list = tenants(label);
  const cell = (from, to) => {
    const { total, byState } = between(from, to), open = byState[ALL_PORTS] + byState[SOME_PORTS];
    if (total === 0) return h("td", { class: "none" }, "–");
    const crosses = from !== to && from.tenant && to.tenant && open > 0;
    const text = byState[UNKNOWN] > 0 ? `${open} + ${byState[UNKNOWN]}?` : open.toLocaleString("en");
    const name = `${from.name} to ${to.name}: ${open} of ${count(total, "pair")} open${byState[UNKNOWN] > 0 ? `, ${byState[UNKNOWN]} unknown` : ""}`;
    const marker = open === 0 && byState[UNKNOWN] === 0 ? "none" : open === total ? "all" : "pairs";
    return h("td", { class: `${marker}${crosses ? " crosses" : ""}` }, button(text, () => choose({ kind: "tenants", label, from, to }), { "aria-label": name, title: name }));
  };
  return [head,
    h("p", { class: "quiet" }, "How many pairs of workloads are open, from the tenant of the row to that of the column. A frame marks what crosses from one tenant to another."),
    h("div", { class: "canvas" }, h("table", { class: "tenants" },
      h("thead", {}, h("tr", {}, h("td", {}), list.map((to) => h("th", { scope: "col" }, to.name)))),
      h("tbody", {}, list.map((from) => h("tr", {}, h("th", { scope: "row" }, from.name, h("span", { class: "quiet" }, ` ${from.members[0] === OUTSIDE ? "" : from.members.length}`)), list.map((to) => cell(from, to)))))))];
}
