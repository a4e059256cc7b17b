// The page put together: tabs, filters, what is said.

const TABS = [
  { id: "overview", name: "Overview", fill: overviewPanel, once: true },
  { id: "matrix", name: "Matrix", fill: matrixPanel, after: showMatrix },
  { id: "graph", name: "Graph", fill: graphPanel, after: drawGraph },
  { id: "policies", name: "Policies", fill: policiesPanel },
  { id: "findings", name: "Findings", fill: findingsPanel },
  { id: "tenants", name: "Tenants", fill: tenantsPanel },
];

const say = (text) => (byId("said").textContent = text);

function showTip(event, lines) {
  const tip = byId("tip");
  tip.replaceChildren(h("strong", {}, lines[0]), h("span", {}, lines[1]));
  tip.hidden = false;
  const x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const y = event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, y)}px`;
}
const hideTip = () => (byId("tip").hidden = true);

function openTab(id) {
  view.tab = id;
  for (const tab of TABS) {
    byId(`tab-${tab.id}`).setAttribute("aria-selected", String(tab.id === id));
    byId(`tab-${tab.id}`).tabIndex = tab.id === id ? 0 : -1;
    byId(`panel-${tab.id}`).hidden = tab.id !== id;
  }
  hideTip();
  fillTab();
}

function fillTab(tab = TABS.find(({ id }) => id === view.tab)) {
  const panel = byId(`panel-${tab.id}`);
  const chosen = view.chosen;
  if (!(tab.once && panel.hasChildNodes())) {
    // What has the focus is put back with it: the matrix must not lose it when it is drawn again.
    const focused = document.activeElement === scroller;
    panel.replaceChildren(h("h2", { class: "title" }, tab.name), ...tab.fill().flat(Infinity).filter(Boolean));
    if (focused && tab.id === "matrix") scroller.focus({ preventScroll: true });
  }
  tab.after?.();
  if (chosen !== view.chosen) showDetails();
}

function buildTabs() {
  const list = byId("tabs");
  TABS.forEach((tab, at) => {
    const number = tab.id === "findings" && page.findings.length > 0 ? h("span", { class: "count" }, page.findings.length) : null;
    const element = h("button", { type: "button", role: "tab", id: `tab-${tab.id}`, "aria-controls": `panel-${tab.id}`, onclick: () => openTab(tab.id) }, tab.name, number);
    element.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = TABS[(at + step + TABS.length) % TABS.length];
      openTab(next.id);
      byId(`tab-${next.id}`).focus();
      event.preventDefault();
    });
    list.append(element);
    byId("main").append(h("section", { role: "tabpanel", id: `panel-${tab.id}`, "aria-labelledby": `tab-${tab.id}`, hidden: true }));
  });
}

function readFilter() {
  const text = byId("port").value.trim();
  const port = text === "" ? null : readPort(text);
  const wrong = text !== "" && port === null;
  byId("port").setAttribute("aria-invalid", String(wrong));
  byId("port-error").textContent = wrong ? "write 5432 or 53/udp" : "";
  view.words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  view.role = byId("role").value;
  const found = entities.filter((_, number) => entityMatches(number)).length;
  byId("matches").textContent = view.words.length > 0 ? `${found.toLocaleString("en")} of ${count(entities.length, "workload")}` : "";
  if (wrong || (port?.port === view.port?.port && port?.protocol === view.port?.protocol)) changed();
  else setPort(port);
}

byId("input").textContent = page.title;
countAll();
buildTabs();
onChange(() => fillTab());
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", readFilter);
document.addEventListener("keydown", (event) => {
  const writes = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !writes) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape" && writes?.id === "search") {
    byId("search").value = "";
    readFilter();
  }
});
window.addEventListener("beforeprint", () => TABS.filter((tab) => tab.id !== view.tab).forEach((tab) => fillTab(tab)));
openTab("overview");
showDetails();
document.documentElement.dataset.ready = "true";
