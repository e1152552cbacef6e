//! The dashboard in a real browser, while clients are at work.
//!
//! Where the variable `NUTHATCH_PICTURES` names a directory, pictures of all views are left there.

use crate::browser::Browser;
use crate::harness::Running;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};

const VIEWS: &[&str] = &[
    "overview",
    "commands",
    "memory",
    "durability",
    "clients",
    "slow-log",
    "hot-keys",
    "big-keys",
    "settings",
];

/// A key that would be a script, if a page took text for markup.
const HOSTILE: &str =
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\n\u{202e}";

/// Clients that read, write, expire, fail and are slow until told to stop.
fn load<'scope>(
    scope: &'scope Scope<'scope, '_>,
    server: &'scope Running,
    stop: &'scope AtomicBool,
) {
    scope.spawn(move || {
        let mut client = server.client();
        client.send_request(&["HELLO", "2", "SETNAME", "<b>loader</b>"]);
        drop(client.read());
        let mut random = fastrand::Rng::with_seed(3);
        let mut round = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            let key = format!("user:{}", random.u32(0..20_000).min(random.u32(0..20_000)));
            let value = "v".repeat(random.usize(10..8000));
            let px = random.u32(500..60_000).to_string();
            let size = 100_000.to_string();
            for request in [
                &["SET", &key, &value, "PX", &px][..],
                &["GET", HOSTILE],
                &["GET", &key],
                &["GET", "user:0"],
                &["MGET", "user:1", "user:2", &key],
                &["HSET", "session:1", &key, "x"],
                &["SETRANGE", HOSTILE, &size, "x"],
                &["SET", "n", "not a number"],
                &["INCR", "n"],
            ] {
                client.send_request(request);
                drop(client.read());
            }
            if round.is_multiple_of(1000) {
                client.send_request(&["HGETALL", "session:1"]);
                drop(client.read());
            }
        }
    });
}

fn text_of(browser: &mut Browser, selector: &str) -> String {
    let text = browser.evaluate(&format!("document.querySelector({selector:?}).textContent"));
    text.as_str().expect("a text").to_owned()
}

fn open(browser: &mut Browser, view: &str) {
    browser.evaluate(&format!(
        "document.querySelector('nav a[href=\"#{view}\"]').click()"
    ));
    browser.wait_for("!document.querySelector('main').hasAttribute('aria-busy')");
}

#[test]
fn every_view_lives_under_load_and_asks_nobody_else() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = Running::with(&[
        ("http-port", "free"),
        ("data-dir", directory.path().to_str().unwrap()),
        ("slowlog-log-slower-than", "500"),
        ("maxmemory", "80mb"),
    ]);
    let origin = format!("http://127.0.0.1:{}/", server.server().config().http_port);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // A panic below must end the load too.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        load(scope, &server, &stop);
        browser.look(1280, 900, "light");
        browser.call("Page.navigate", serde_json::json!({"url": origin}));
        browser.wait_for("document.querySelector('#status')?.textContent === 'live'");

        // Numbers move, and lines are drawn from several samples.
        browser.wait_for("document.querySelectorAll('path.line').length >= 6");
        browser.wait_for("(document.querySelector('path.line')?.getAttribute('d').match(/L/g) ?? []).length >= 2");
        let before = text_of(&mut browser, "dl dd");
        browser.wait_for(&format!(
            "document.querySelector('dl dd').textContent !== {before:?}"
        ));

        // Arrow keys move through time.
        browser.evaluate("document.querySelector('.plot').focus()");
        browser.press("ArrowLeft");
        browser.wait_for("document.querySelector('.chart .time').textContent !== ''");

        for view in VIEWS {
            open(&mut browser, view);
            let current = text_of(&mut browser, "nav a[aria-current=page]");
            assert_eq!(text_of(&mut browser, "h2"), current);
            if *view != "overview" {
                browser.wait_for("document.querySelectorAll('tbody tr').length > 0");
            }
        }

        // What is on disk grows.
        open(&mut browser, "durability");
        browser.wait_for("document.querySelector('.state.good') !== null");
        browser.wait_for("document.querySelectorAll('path.line').length >= 8");
        browser.wait_for("[...document.querySelectorAll('.tile')].some(tile => /^Written.*[1-9].*B\\/s/.test(tile.textContent))");
        assert_eq!(
            browser.evaluate("document.querySelector('#alarm').hidden"),
            true
        );

        // Rows are sorted as asked.
        open(&mut browser, "commands");
        browser.evaluate("document.querySelector('th button').click()");
        browser.wait_for("document.querySelector('th').getAttribute('aria-sort') === 'ascending'");
        let names = browser.evaluate(
            "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent)",
        );
        let names: Vec<String> = serde_json::from_value(names).unwrap();
        assert!(
            names.is_sorted() && names.contains(&"get".to_owned()),
            "{names:?}"
        );

        // What clients chose stays text.
        for view in ["hot-keys", "big-keys", "slow-log"] {
            open(&mut browser, view);
            browser.wait_for("document.querySelector('tbody')?.textContent.includes('<script>window.hacked=1</script>')");
        }
        open(&mut browser, "clients");
        browser.wait_for("document.querySelector('tbody')?.textContent.includes('<b>loader</b>')");
        assert!(browser.evaluate("window.hacked ?? null").is_null());
        assert_eq!(
            browser.evaluate("document.querySelectorAll('main script, main img, main b').length"),
            0
        );

        // A filter leaves what matches.
        open(&mut browser, "settings");
        browser.evaluate(
            "(() => { const box = document.querySelector('input'); box.value = 'http-port'; \
             box.dispatchEvent(new Event('input')); })()",
        );
        assert_eq!(
            browser.evaluate("document.querySelectorAll('tbody tr').length"),
            1
        );

        // No view is wider than a phone.
        browser.look(390, 844, "dark");
        for view in VIEWS {
            open(&mut browser, view);
            let width = browser.evaluate("document.documentElement.scrollWidth");
            assert_eq!(width, 390, "{view}");
        }
        take_pictures(&mut browser);

        // A disk that fails is told on every view but the one that has it anyway.
        // The server may put a file there in between.
        let is_removed = (0..100).any(|_| std::fs::remove_dir_all(directory.path()).is_ok());
        assert!(is_removed, "the directory of the data can be removed");
        let mut client = server.client();
        client.send_request(&["BGSAVE"]);
        // One may be under way already; it fails as well.
        drop(client.read());
        open(&mut browser, "commands");
        browser.wait_for("!document.querySelector('#alarm').hidden");
        assert_ne!(text_of(&mut browser, "#alarm"), "");
        browser.evaluate("document.querySelector('#alarm a').click()");
        browser.wait_for(
            "document.querySelector('nav a[aria-current=page]').textContent === 'Durability'",
        );
        browser.wait_for("document.querySelector('.state.warn, .state.bad') !== null");
        browser.wait_for("document.querySelector('#alarm').hidden");
        assert_peace(&mut browser, &origin);
    });

    // A server that is gone is said to be, and what it told stays to be read.
    open(&mut browser, "commands");
    drop(server);
    browser.wait_for("document.querySelector('#status').textContent.startsWith('no answer')");
    assert_ne!(
        browser.evaluate("document.querySelectorAll('tbody tr').length"),
        0
    );
}

/// The page has reported no error and asked nobody but its server.
fn assert_peace(browser: &mut Browser, origin: &str) {
    let exceptions = browser.take_events("Runtime.exceptionThrown");
    assert!(exceptions.is_empty(), "{exceptions:?}");
    let entries = browser.take_events("Log.entryAdded");
    assert!(entries.is_empty(), "{entries:?}");
    let calls = browser.take_events("Runtime.consoleAPICalled");
    assert!(calls.is_empty(), "{calls:?}");
    let requests = browser.take_events("Network.requestWillBeSent");
    assert!(requests.len() > 10);
    for request in requests {
        let url = request["params"]["request"]["url"]
            .as_str()
            .expect("an address");
        assert!(url.starts_with(origin), "{url}");
    }
}

fn take_pictures(browser: &mut Browser) {
    let Some(directory) = std::env::var_os("NUTHATCH_PICTURES").map(PathBuf::from) else {
        return;
    };
    for (width, height) in [(1280, 900), (390, 844)] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme);
            for view in VIEWS {
                open(browser, view);
                browser.wait_for("new Promise(done => setTimeout(() => done(true), 300))");
                let name = format!("{view}-{width}-{scheme}.png");
                std::fs::write(directory.join(name), browser.picture()).expect("a picture is kept");
            }
        }
    }
}
