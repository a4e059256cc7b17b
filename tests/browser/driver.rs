//! A headless chromium, driven over HTTP by chromedriver (WebDriver). It ends with the test, whatever
//! becomes of that.

use netsim_testkit::command::Scratch;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const INSTALL: &str = "apt-get install -y --no-install-recommends chromium chromium-driver fonts-dejavu-core";
/// What is waited for, and every script, must be done by then.
const PATIENCE_MS: u64 = 60_000;

fn find(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    all.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("no {} on the PATH: `{INSTALL}`, or NETSIM_NO_BROWSER=1 to leave these tests out", names.join(" or "))
    })
}

/// A browser with one page.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// Its profile goes away after it.
    _scratch: Scratch,
}

impl Browser {
    /// Starts one.
    pub fn start() -> Browser {
        let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
        let scratch = Scratch::new();
        let home = scratch.path().display().to_string();
        let mut command = Command::new(find(&["chromedriver"]));
        // A group of its own, so that what it starts ends with it.
        command.arg("--port=0").process_group(0).env("HOME", &home).env("XDG_CONFIG_HOME", &home);
        command.env("XDG_CACHE_HOME", &home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().expect("chromedriver starts");
        let said = BufReader::new(driver.stdout.take().expect("a pipe"));
        let mut browser = Browser { driver, port: 0, session: String::new(), _scratch: scratch };
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            line.rsplit_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        browser.port = port.expect("chromedriver says its port").parse().expect("a port");
        let options = json!({
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--window-size=1400,1300", format!("--user-data-dir={home}/profile")],
            "perfLoggingPrefs": { "enableNetwork": true },
        });
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "script": PATIENCE_MS, "pageLoad": PATIENCE_MS },
        });
        let answer = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = answer["sessionId"].as_str().expect("a session").to_owned();
        browser.of_session("POST", "/url", &json!({ "url": "about:blank" }));
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|why| panic!("{method} {path}: {why}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| e.to_string())?;
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        for line in reader.by_ref().lines() {
            let line = line.map_err(|e| e.to_string())?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| line.clone())?,
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(|e| e.to_string())?;
        let mut answer: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let value = answer["value"].take();
        if value.get("error").is_some() { Err(value["message"].to_string()) } else { Ok(value) }
    }

    fn of_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    /// Opens a file and waits until its script has run to the end.
    pub fn open(&self, file: &str) {
        self.of_session("POST", "/url", &json!({ "url": format!("file://{file}") }));
        self.wait("document.documentElement.dataset.ready === 'true'");
    }

    /// The value of an expression.
    pub fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.of_session("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of an expression.
    pub fn text(&self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_else(|| panic!("{expression} is no text")).to_owned()
    }

    /// Waits until an expression is true; fails when it never is.
    pub fn wait(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const look = () => ({expression}) ? done(true) : requestAnimationFrame(look); \
             look();"
        );
        let path = format!("/session/{}/execute/async", self.session);
        if let Err(why) = self.try_ask("POST", &path, &json!({ "script": script, "args": [] })) {
            panic!("never: {expression}\n{why}\n{}", self.text("document.body.innerText"));
        }
    }

    /// Presses the mouse where an expression says: `[x, y]`.
    pub fn click_at(&self, place: &str) {
        let place = self.eval(place);
        let at = |number: usize| place[number].as_f64().unwrap_or_else(|| panic!("no place: {place}")).round();
        let actions = json!([
            { "type": "pointerMove", "duration": 0, "x": at(0), "y": at(1), "origin": "viewport" },
            { "type": "pointerDown", "button": 0 }, { "type": "pointerUp", "button": 0 },
        ]);
        let mouse =
            json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions });
        self.of_session("POST", "/actions", &json!({ "actions": [mouse] }));
    }

    /// Moves the mouse where an expression says.
    pub fn point_at(&self, place: &str) {
        let place = self.eval(place);
        let actions = json!([{ "type": "pointerMove", "duration": 0, "x": place[0].as_f64().unwrap_or_default().round(),
                               "y": place[1].as_f64().unwrap_or_default().round(), "origin": "viewport" }]);
        let mouse =
            json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions });
        self.of_session("POST", "/actions", &json!({ "actions": [mouse] }));
    }

    /// Clicks the middle of what a selector finds.
    pub fn click(&self, selector: &str) {
        let selector = serde_json::to_string(selector).expect("text");
        self.click_at(&format!(
            "(() => {{ const e = document.querySelector({selector}); e.scrollIntoView({{ block: 'nearest' }}); \
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        ));
    }

    /// Types on the keyboard; `\u{E015}` and others are WebDriver's names of keys.
    pub fn press(&self, keys: &str) {
        let strokes = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })));
        let board = json!({ "type": "key", "id": "keys", "actions": strokes.collect::<Vec<_>>() });
        self.of_session("POST", "/actions", &json!({ "actions": [board] }));
    }

    /// A command of the DevTools protocol.
    pub fn tools(&self, command: &str, parameters: &Value) -> Value {
        self.of_session("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the console said since it was last asked.
    pub fn console(&self) -> Vec<String> {
        let said = self.of_session("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = said.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// The addresses of everything that was requested since it was last asked.
    pub fn requests(&self) -> Vec<String> {
        let said = self.of_session("POST", "/se/log", &json!({ "type": "performance" }));
        let entries = said.as_array().cloned().unwrap_or_default();
        let events = entries.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| Some(event["message"]["params"]["request"]["url"].as_str()?.to_owned())).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Closed in order, the browser is gone when this returns.
            _ = self.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        // Whatever is left of the group that it was started in.
        let group = format!("kill -9 -{}", self.driver.id());
        _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
        _ = self.driver.wait();
    }
}
