//! The page of `netsim report` in a real browser: it shows what it should, fetches nothing, and runs nothing
//! of what names say. `NETSIM_NO_BROWSER=1` leaves these tests out, and says so.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::Browser;
use netsim_testkit::command::{Answer, Scratch, quiet, run, words};
use netsim_testkit::synthetic::{Format, Synthetic};
use serde_json::json;
use std::io::Write;

const TABS: [&str; 6] = ["overview", "matrix", "graph", "policies", "findings", "tenants"];

fn netsim(arguments: &str) -> Answer {
    run(&format!("netsim {arguments}"), quiet(env!("CARGO_BIN_EXE_netsim")).args(words(arguments)))
}

/// A browser, unless none is wanted.
fn browser() -> Option<Browser> {
    if std::env::var_os("NETSIM_NO_BROWSER").is_some_and(|value| value == "1") {
        // Past the capture of the test harness: nobody shall think that it was tested.
        _ = std::io::stderr().write_all(b"\nNOT RUN: the report in a browser (NETSIM_NO_BROWSER=1)\n");
        return None;
    }
    Some(Browser::start())
}

/// Writes a report and opens it.
fn open(browser: &Browser, scratch: &Scratch, arguments: &str) -> String {
    let file = scratch.path().join("report.html").display().to_string();
    let answer = netsim(&format!("report {arguments} --out {file}"));
    assert!(answer.code == 0 || answer.code == 3, "{answer}");
    browser.requests();
    browser.open(&file);
    file
}

/// The place of a cell of the matrix: where the row of one label meets the column of another.
fn cell(row: &str, column: &str) -> String {
    format!(
        "(() => {{ const middle = (of, name) => {{ \
           const label = [...document.querySelectorAll(`.matrix text.label[${{of}}]`)].find(t => t.querySelector('title').textContent === name); \
           const b = label.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }}; \
         return [middle('data-column', '{column}')[0], middle('data-row', '{row}')[1]]; }})()"
    )
}

fn labels(browser: &Browser, of: &str) -> Vec<String> {
    let found = browser.eval(&format!(
        "[...document.querySelectorAll('.matrix text.label[data-{of}] title')].map(t => t.textContent)"
    ));
    found.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn details(browser: &Browser) -> String {
    browser.text("document.getElementById('details').innerText")
}

#[test]
fn it_loads_without_a_word_and_fetches_nothing() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    let file = open(&browser, &scratch, "-f examples/shop");
    for tab in TABS {
        browser.click(&format!("#tab-{tab}"));
        browser.wait(&format!("!document.getElementById('panel-{tab}').hidden"));
        let shown = browser.text(&format!("document.getElementById('panel-{tab}').innerText"));
        assert!(tab == "matrix" || tab == "graph" || !shown.trim().is_empty(), "{tab} is empty");
    }
    assert_eq!(browser.console(), Vec::<String>::new());
    assert_eq!(browser.requests(), [format!("file://{file}")]);
    assert_eq!(browser.eval("performance.getEntriesByType('resource').length"), json!(0));
    let overview = browser.text("document.getElementById('panel-overview').textContent");
    assert!(overview.contains("6namespaces") && overview.contains("27policies"), "{overview}");
    // What the page's policy does not know by its hash does not run.
    browser.eval("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); })()");
    assert_eq!(browser.eval("window.ran === undefined"), json!(true));
}

#[test]
fn a_click_on_a_cell_explains_the_pair() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    open(&browser, &scratch, "-f examples/shop");
    browser.click("#tab-matrix");
    browser.wait("document.querySelector('.matrix text.label')");
    browser.point_at(&cell("payments/deploy/gateway", "analytics/deploy/collector"));
    browser.wait("!document.getElementById('tip').hidden");
    let tip = browser.text("document.getElementById('tip').innerText");
    assert!(tip.contains("payments/deploy/gateway → analytics/deploy/collector") && tip.contains("TCP 4318"), "{tip}");
    browser.click_at(&cell("payments/deploy/gateway", "analytics/deploy/collector"));
    browser.wait("document.querySelector('#details .verdict')");
    let shown = details(&browser);
    // What the command says of it, with file and line, stands there too.
    let told =
        netsim("can-reach -f examples/shop payments/deploy/gateway analytics/deploy/collector:4318 --explain").exits(0);
    let rules: Vec<&str> = told.out.lines().filter(|line| line.contains(" spec.")).collect();
    assert_eq!(rules.len(), 2, "{told}");
    for part in rules.iter().flat_map(|rule| rule.split_whitespace()) {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(shown.contains("TCP 4318"), "{shown}");

    browser.click_at(&cell("shop/deploy/frontend", "shop/sts/db"));
    browser.wait("document.querySelector('#details .verdict')?.textContent.includes('denied')");
    let shown = details(&browser);
    let told = netsim("can-reach -f examples/shop shop/deploy/frontend shop/sts/db:5432").exits(1);
    assert!(shown.contains("shop/default-deny") && told.out.contains("shop/default-deny"), "{shown}\n{told}");
    assert!(shown.contains("examples/shop/shop.yaml:"), "{shown}");

    // A policy that stands there leads to what it selects, and back.
    browser.click("#details ul.plain button.link");
    browser.wait("document.querySelector('#details h3')?.textContent === 'Pods that it selects'");
    browser.click("#details button.back");
    browser.wait("document.querySelector('#details .verdict')");
}

#[test]
fn it_is_used_by_keyboard_alone() {
    const DOWN: char = '\u{e015}';
    const RIGHT: char = '\u{e014}';
    const ENTER: char = '\u{e007}';
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    open(&browser, &scratch, "-f examples/shop");
    browser.eval("document.getElementById('tab-overview').focus()");
    browser.press(&RIGHT.to_string());
    browser.wait("document.activeElement.id === 'tab-matrix' && !document.getElementById('panel-matrix').hidden");
    browser.eval("document.querySelector('.matrix').focus()");
    browser.press(&format!("{DOWN}{RIGHT}{RIGHT}"));
    browser.wait("document.getElementById('said').textContent === 'analytics/cronjob/loader to analytics/deploy/collector: TCP 8888'");
    browser.press(&ENTER.to_string());
    browser.wait("document.querySelector('#details .verdict')?.textContent.includes('TCP 8888')");
    assert_eq!(browser.eval("document.activeElement.className"), json!("matrix"), "the focus stays");
    browser.press("-");
    browser.wait(
        "![...document.querySelectorAll('.matrix text title')].some(t => t.textContent === 'analytics/cronjob/loader')",
    );
    browser.press("+");
    browser.wait(
        "[...document.querySelectorAll('.matrix text title')].some(t => t.textContent === 'analytics/cronjob/loader')",
    );
    browser.press("/db");
    browser.wait("document.activeElement.id === 'search' && document.activeElement.value === 'db'");
    // Every control has a name.
    let nameless = browser.eval(
        "[...document.querySelectorAll('button, input, select, [role=button], [tabindex=\"0\"]')].filter(e => \
         !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn search_and_port_narrow() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    open(&browser, &scratch, "-f examples/shop");
    browser.click("#tab-matrix");
    browser.wait("document.querySelector('.matrix text.label')");
    assert!(labels(&browser, "row").contains(&"monitoring".to_owned()));
    browser.click("#search");
    browser.press("payments");
    browser.wait("document.getElementById('matches').textContent === '3 of 17 workloads'");
    let whole = ["payments", "payments/deploy/gateway", "payments/deploy/ledger", "payments/sts/db"];
    assert_eq!(labels(&browser, "row"), whole);
    assert_eq!(labels(&browser, "column"), whole);
    browser.eval("(() => { const r = document.getElementById('role'); r.value = 'destination'; r.dispatchEvent(new Event('input', { bubbles: true })); })()");
    assert_eq!(labels(&browser, "column"), whole);
    assert!(labels(&browser, "row").contains(&"monitoring/deploy/prometheus".to_owned()));
    // The graph follows.
    browser.click("#tab-graph");
    browser.wait("document.querySelector('.graph .pill')");
    let drawn = browser.eval("[...document.querySelectorAll('.graph .hit.pill')].map(e => e.dataset.name).sort()");
    assert_eq!(drawn, json!(whole[1..]));
    browser.click("#tab-matrix");
    browser.click("#port");
    browser.press("5432");
    browser.point_at(&cell("monitoring/deploy/prometheus", "payments/sts/db"));
    browser.wait("document.getElementById('tip').innerText.includes('TCP 5432 denied')");
    browser.point_at(&cell("payments/deploy/ledger", "payments/sts/db"));
    browser.wait("document.getElementById('tip').innerText.includes('TCP 5432 open')");
    browser.click("#port");
    browser.press("x");
    browser.wait("document.getElementById('port-error').textContent.includes('write 5432')");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn namespaces_open_and_close() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    open(&browser, &scratch, "-f examples/shop");
    browser.click("#tab-graph");
    browser.wait("document.querySelector('.graph .pill')");
    let edges = "document.querySelectorAll('.graph .edge').length";
    let before = browser.eval(edges).as_u64().unwrap();
    assert!(before > 10, "{before}");
    browser.click(".graph .head[data-name=shop]");
    browser.wait("!document.querySelector('.graph .pill[data-name=\"shop/deploy/api\"]')");
    assert!(browser.eval(edges).as_u64().unwrap() < before);
    browser.click(".graph .head[data-name=shop]");
    browser.wait("document.querySelector('.graph .pill[data-name=\"shop/deploy/api\"]')");
    assert_eq!(browser.eval(edges).as_u64().unwrap(), before);
    browser.click(".graph .pill[data-name=\"shop/deploy/api\"]");
    browser.wait("document.querySelector('#details h2')?.textContent === 'shop/deploy/api'");
    let shown = details(&browser);
    for part in ["shop/deploy/frontend", "TCP 8080", "payments/deploy/gateway", "TCP 8443", "shop/default-deny"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Names, labels, ports and files that would run if any of them became markup.
#[test]
fn what_names_say_does_not_run() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    let evil = "</script><img src=x onerror=\\\"window.ran=1\\\"><svg/onload=window.ran=1>";
    let shown = evil.replace('\\', "");
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: \"{evil}\", labels: {{\"{evil}\": \"{evil}\"}}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: \"{evil}\", namespace: \"{evil}\", labels: {{app: \"{evil}\"}}}}\n\
         spec: {{containers: [{{name: c}}]}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: other, namespace: \"{evil}\"}}\nspec: {{containers: [{{name: c}}]}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \"{evil}\", namespace: \"{evil}\"}}\n\
         spec: {{podSelector: {{matchLabels: {{app: \"{evil}\"}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: \"{evil}\"}}}}}}]}}]}}\n---\n\
         apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: \"{evil}\", namespace: \"{evil}\"}}\nspec: {{}}\n"
    );
    let file = scratch.file("a<img src=x onerror=window.ran=1>.yaml", &manifest);
    open(&browser, &scratch, &format!("-f '{file}'"));
    let title = browser.text("document.title");
    assert!(title.contains("<img src=x"), "{title}");
    for tab in TABS {
        browser.click(&format!("#tab-{tab}"));
        browser.wait(&format!("!document.getElementById('panel-{tab}').hidden"));
        // Whatever can be pressed is pressed, here and in what it leads to.
        browser.eval(
            "(() => { for (let i = 0; i < 40; i += 1) { const all = document.querySelectorAll('section:not([hidden]) button, section:not([hidden]) [role=button], #details button'); \
             if (i < all.length) all[i].dispatchEvent(new MouseEvent('click', { bubbles: true })); } })()",
        );
        assert_eq!(browser.eval("window.ran === undefined"), json!(true), "{tab}");
        assert_eq!(browser.eval("document.images.length"), json!(0), "{tab}");
    }
    let all = browser.text("document.body.textContent");
    assert!(all.contains(&shown), "the name is shown as it is");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn it_follows_the_scheme_and_prints() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    open(&browser, &scratch, "-f examples/shop");
    let colours = |scheme: &str| {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.tools("Emulation.setEmulatedMedia", &features);
        let shade = |property: &str| {
            let code = format!(
                "getComputedStyle(document.body).{property}.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3"
            );
            browser.eval(&code).as_f64().unwrap()
        };
        (shade("backgroundColor"), shade("color"))
    };
    let ((paper, ink), (dark_paper, dark_ink)) = (colours("light"), colours("dark"));
    assert!(paper > 230.0 && ink < 60.0, "{paper} {ink}");
    assert!(dark_paper < 40.0 && dark_ink > 200.0, "{dark_paper} {dark_ink}");
    let printed = browser.tools("Page.printToPDF", &json!({ "printBackground": true }));
    let pdf = printed["data"].as_str().unwrap();
    // A document of several pages, and the page is as it was.
    assert!(pdf.starts_with("JVBERi") && pdf.len() > 20_000, "{} characters", pdf.len());
    assert_eq!(browser.eval("document.querySelectorAll('section:not([hidden])').length"), json!(1));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn many_workloads_stay_usable() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    let cluster = scratch.path().join("cluster");
    std::fs::create_dir(&cluster).unwrap();
    Synthetic { owners: true, ..Synthetic::new(1000, 20, 8) }.write_to(Format::Yaml, &cluster).unwrap();
    open(&browser, &scratch, &format!("-f {} --tenant-label team", cluster.display()));
    let workloads = browser.text("document.querySelectorAll('.card')[1].textContent");
    let workloads: u32 = workloads.trim_end_matches("workloads").replace(',', "").parse().unwrap();
    assert!(workloads >= 500, "{workloads}");
    browser.click("#tab-matrix");
    browser.wait("document.querySelector('.matrix text.label')");
    // It starts with namespaces.
    assert!(labels(&browser, "row").iter().all(|name| !name.contains('/')), "{:?}", labels(&browser, "row"));
    browser.eval(
        "[...document.querySelectorAll('#panel-matrix button')].find(b => b.textContent === 'Expand all').click()",
    );
    browser.wait("document.querySelector('.matrix').scrollHeight > 500 * 15");
    // Only what is in sight is drawn.
    assert!(browser.eval("document.querySelectorAll('.matrix text').length").as_u64().unwrap() < 2000);
    browser.eval("(() => { const m = document.querySelector('.matrix'); m.scrollTop = 4000; m.scrollLeft = 3000; })()");
    browser.wait("![...document.querySelectorAll('.matrix text.label[data-row] title')].some(t => t.textContent.startsWith('ns-00'))");
    let (row, column) = (labels(&browser, "row")[12].clone(), labels(&browser, "column")[12].clone());
    browser.click_at(&cell(&row, &column));
    browser.wait("document.querySelector('#details .verdict')");
    assert!(details(&browser).contains(&row), "{row}");
    browser.click("#tab-graph");
    browser.wait("document.querySelector('.graph .pill')");
    browser.eval("document.querySelector('.graph .pill').dispatchEvent(new MouseEvent('click', { bubbles: true }))");
    browser.wait("document.querySelectorAll('.graph .edge').length > 0");
    browser.click("#tab-tenants");
    browser.wait("document.querySelectorAll('.tenants tbody tr').length >= 3");
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Findings come with the data; none, and many with hostile words, are shown alike.
#[test]
fn findings_are_listed() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    let file = open(&browser, &scratch, "-f examples/shop");
    browser.click("#tab-findings");
    // The namespace without a default-deny, for both directions, and the allow with one side only.
    browser.wait("document.querySelectorAll('.finding').length === 3");
    let shown = browser.text("document.getElementById('panel-findings').innerText");
    assert!(shown.contains("NS026") && shown.contains("examples/shop/shop.yaml:248"), "{shown}");
    let evil = "<img src=x onerror='window.ran=1'>";
    let findings: Vec<_> = (0..500)
        .map(|i| {
            json!({ "rule": "open-to-all", "severity": if i % 2 == 0 { "error" } else { "warning" },
                    "message": format!("finding {i} {evil}"), "object": "NetworkPolicy/web", "namespace": "shop",
                    "file": "shop.yaml", "line": i, "help": evil })
        })
        .collect();
    let page = std::fs::read_to_string(&file).unwrap();
    let with = |findings: serde_json::Value| {
        let (head, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        let (data, tail) = rest.split_once("</script>").unwrap();
        let mut data: serde_json::Value = serde_json::from_str(data).unwrap();
        data["findings"] = findings;
        let data = data.to_string().replace('<', "\\u003c");
        format!("{head}<script type=\"application/json\" id=\"data\">{data}</script>{tail}")
    };
    browser.open(&scratch.file("none.html", &with(json!([]))));
    browser.click("#tab-findings");
    browser.wait("document.getElementById('panel-findings').innerText.includes('No findings.')");
    let changed = with(json!(findings));
    assert_ne!(page, changed);
    browser.open(&scratch.file("many.html", &changed));
    browser.click("#tab-findings");
    browser.wait("document.querySelectorAll('.finding').length === 200");
    let shown = browser.text("document.querySelector('.finding').innerText");
    assert!(shown.contains("finding 0") && shown.contains("shop.yaml:0") && shown.contains(evil), "{shown}");
    browser.eval("[...document.querySelectorAll('#panel-findings button')].at(-1).click()");
    browser.wait("document.querySelectorAll('.finding').length === 500");
    assert_eq!(browser.eval("window.ran === undefined && document.images.length === 0"), json!(true));
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// An answer that is not the whole truth says so on the page.
#[test]
fn what_is_unknown_or_incomplete_is_said() {
    let (Some(browser), scratch) = (browser(), Scratch::new()) else { return };
    let fixture = "tests/fixtures/clause-D2-own-node";
    let nodes = ["cluster", "plain", "nodes", "deny-all"].map(|name| format!("-f {fixture}/{name}.yaml")).join(" ");
    open(&browser, &scratch, &nodes);
    let shown = browser.text("document.getElementById('panel-overview').innerText");
    assert!(shown.contains("cannot be told from the input"), "{shown}");
    browser.click("#tab-matrix");
    browser.wait("document.querySelector('.matrix .mark')");
    let fixture = "tests/fixtures/clause-H2-kinds-not-understood";
    let foreign = ["cluster", "policies", "foreign"].map(|name| format!("-f {fixture}/{name}.yaml")).join(" ");
    open(&browser, &scratch, &foreign);
    let shown = browser.text("document.getElementById('panel-overview').innerText");
    assert!(
        shown.contains("not understood") && shown.contains("NetworkPolicy (crd.antrea.io/v1beta1) x/foreign"),
        "{shown}"
    );
    browser.click("#tab-graph");
    browser.wait("document.querySelector('.graph .pill')");
    browser.click(".graph .pill[data-name=\"x/a\"]");
    browser.wait("document.getElementById('details').innerText.includes('Incomplete')");
    assert_eq!(browser.console(), Vec::<String>::new());
}
