//! Any example that can run, is run: the commands of the README, `docs/start.md` and `docs/guides/`, in order.
//!
//! What a page has to say so that it can be run:
//! - a block ```` ```LANGUAGE file=NAME ```` is a file, made in the page's own folder;
//! - in a ```` ```console ```` block, a line `$ COMMAND` is run by a shell in that folder, with the built
//!   `stockade` first in `PATH`; `# exits N` at its end is the status that is expected instead of 0;
//! - the lines after it are all it prints, standard output first; a line `...` stands for any lines, and
//!   `...` within a line for any text. A block may also end with `...`: numbers and layers vary.
//!
//! The guide of the network is run in a network of its own (`stockade_testkit::world`), whose names are those
//! it shows, and whose authority the machine trusts.
//!
//! The tables of `docs/reference/` are held against the code, and links against the tree.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a page that cannot be read stops its test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::{Limit, Limits};
use stockade_core::policy::REQUIRED;
use stockade_testkit::cran::{Cran, Source};
use stockade_testkit::world::World;
use stockade_testkit::{Call, Folder, Ran, User, call, skipped};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");
const ANYTHING: &str = "...";
/// A line that not every machine prints; no page shows it.
const DEPENDS: &str = "  note: no cgroup: ";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(page: &str) -> String {
    std::fs::read_to_string(top().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// One fenced block of a page.
#[derive(Debug)]
struct Block {
    line: usize,
    about: String,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), inside) {
            (Some(about), false) => {
                found.push(Block { line: number, about: about.to_owned(), lines: Vec::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => found.last_mut().unwrap().lines.push(line.to_owned()),
            (None, false) => {}
        }
    }
    found
}

/// A command of a page, what it is to print and how it is to end.
#[derive(Debug)]
struct Example {
    line: usize,
    command: String,
    status: i32,
    shown: Vec<String>,
}

fn examples(block: &Block) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    for (number, line) in (block.line + 1..).zip(&block.lines) {
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, status) = command.split_once("# exits ").unwrap_or((command, "0"));
            let status = status.trim().parse().unwrap_or_else(|_| panic!("line {number}: `# exits` takes a number"));
            found.push(Example { line: number, command: command.trim().to_owned(), status, shown: Vec::new() });
        } else {
            let example = found.last_mut().unwrap_or_else(|| panic!("line {number}: output before any command"));
            example.shown.push(line.to_owned());
        }
    }
    found
}

/// Whether a line is the one that is shown; `...` in it stands for any text.
fn is_line(shown: &str, line: &str) -> bool {
    let (shown, line) = (shown.trim_end(), line.trim_end());
    match shown.split_once(ANYTHING) {
        None => shown == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_line(after, &rest[at..]))
        }),
    }
}

/// Whether lines are those that are shown; a line `...` stands for any of them.
fn are_lines(shown: &[String], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == ANYTHING => {
            (0..=lines.len()).any(|skipped| are_lines(rest, &lines[skipped..]))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, more)| is_line(first, line) && are_lines(rest, more))
        }
    }
}

/// Runs a page from its top to its end, each command by a new `shell`.
fn page(page: &str, shell: impl Fn() -> Call) {
    let folder = Folder::new();
    let programs = Folder::new();
    std::os::unix::fs::symlink(STOCKADE, programs.path().join("stockade")).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    let text = read(page);
    // Names of environments are the reader's own: a page that gives some has a store for itself, kept for the next time.
    let name = page.rsplit('/').next().unwrap_or(page);
    let cache = text
        .contains("$ stockade env ")
        .then(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guides-cache-{name}")));
    for block in blocks(&text) {
        if let Some((_, name)) = block.about.split_once("file=") {
            folder.write(name.trim(), block.lines.join("\n") + "\n");
        } else if block.about == "console" {
            for example in examples(&block) {
                let config = programs.path().join("config");
                let mut shell = shell().within(folder.path()).env("PATH", &path).env("STOCKADE_CONFIG_DIR", config);
                if let Some(cache) = &cache {
                    shell = shell.env("STOCKADE_CACHE_DIR", cache);
                }
                run(page, shell, &example);
                ran += 1;
            }
        }
    }
    assert!(ran > 0, "{page} shows no command");
}

fn run(page: &str, shell: Call, example: &Example) {
    let Ran { status, stdout, stderr } = shell.args(["-c", &example.command]).run();
    let said = format!("{stdout}{stderr}");
    let depends = |line: &str| line.trim().is_empty() || line.starts_with(DEPENDS);
    let lines: Vec<&str> = said.lines().filter(|line| !depends(line)).collect();
    let shown: Vec<String> = example.shown.iter().filter(|line| !line.trim().is_empty()).cloned().collect();
    let place = format!("{page}:{}: $ {}", example.line, example.command);
    assert_eq!(status, example.status, "{place}\n{said}");
    assert!(are_lines(&shown, &lines), "{place}\nshown:\n{}\nprinted:\n{said}", shown.join("\n"));
}

macro_rules! pages {
    ($($name:ident: $page:literal,)*) => {
        $(#[test]
        fn $name() {
            page($page, || call("sh", User::Caller));
        })*

        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    readme: "README.md",
    start: "docs/start.md",
    files: "docs/guides/files.md",
    packages: "docs/guides/packages.md",
    trust: "docs/guides/trust.md",
    notebooks_r_sql: "docs/guides/notebooks-r-sql.md",
    limits: "docs/guides/limits.md",
    policies: "docs/guides/policies.md",
    reports: "docs/guides/reports.md",
    data_functions: "docs/guides/data-functions.md",
    ci: "docs/guides/ci.md",
    where_namespaces_are_blocked: "docs/guides/where-namespaces-are-blocked.md",
}

const NETWORK: &str = "docs/guides/network.md";

#[test]
fn network() {
    let Some(world) = World::trusted() else { return };
    page(NETWORK, || world.call("sh", User::Caller));
}

/// In a network with a repository of R packages.
const R_PACKAGES: &str = "docs/guides/r-packages.md";

#[test]
fn r_packages() {
    let needed = ["/usr/bin/Rscript", "/usr/bin/make", "/usr/bin/gcc", "/usr/lib/R/site-library/magrittr"];
    if let Some(missing) = needed.into_iter().find(|needed| !Path::new(needed).exists()) {
        return skipped(R_PACKAGES, &format!("there is no {missing}"));
    }
    let Some(world) = World::new() else { return };
    let native = |name: &str, code: &str| {
        let source = Source::new(name).field("NeedsCompilation", "yes").file("src/code.c", code);
        source.code(&format!("useDynLib({name})"), "one <- function() .Call(\"C_one\")")
    };
    let code = "#include <Rinternals.h>\nSEXP C_one(void) { return ScalarInteger(1); }\n";
    let greet = Source::new("greet").version("1.2").field("Imports", "counts (>= 0.5)");
    Cran::new(&world)
        .put(&native("counts", code).version("0.5-1"))
        .put(&greet.code("import(counts)", "greet <- function(whom) rep(paste('hello', whom), one())"))
        .put(&native("broken", "this is no C"));
    page(R_PACKAGES, || {
        let call = world.call("sh", User::Caller).env("SSL_CERT_FILE", world.authority());
        call.env("STOCKADE_R_REPOSITORY", Cran::URL)
    });
}

/// They need a node, so the tests of the node run them.
const OF_A_NODE: [&str; 2] = ["docs/guides/sessions.md", "docs/guides/tables.md"];

/// Container runtimes, which a machine may lack.
const OUTER_TIERS: &str = "docs/guides/outer-tiers.md";

#[test]
fn outer_tiers() {
    for program in ["runsc", "runc"] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
            skipped(OUTER_TIERS, &format!("{program} is not installed"));
            return;
        }
    }
    page(OUTER_TIERS, || call("sh", User::Caller));
}

/// The README's first command, with the built `stockade` in place of what builds it.
#[test]
fn the_first_command_of_the_readme_prints_what_is_shown() {
    const CARGO: &str = "cargo build --release && cargo run --release --quiet -- ";
    let folder = Folder::new();
    folder.write("examples/flights.py", read("examples/flights.py"));
    let blocks = blocks(&read("README.md"));
    let command = blocks.iter().find_map(|block| block.lines[0].strip_prefix(CARGO)).unwrap();
    let shown = &blocks.iter().find(|block| block.about == "text").unwrap().lines;
    let ran = call(STOCKADE, User::Caller).within(folder.path()).args(command.split_whitespace()).run().expect(0);
    let printed: Vec<&str> = ran.stdout.lines().collect();
    let of_the_code = shown.iter().position(|line| line.starts_with("stockade: done")).unwrap();
    assert!(are_lines(&shown[..of_the_code], &printed), "{}", ran.stdout);
    let report = shown[of_the_code..].iter().filter_map(|line| line.strip_prefix("    created "));
    for name in report.map(|line| line.split(' ').next().unwrap()) {
        assert!(folder.path().join("results").join(name).is_file(), "{name}: {}", ran.stderr);
    }
}

#[test]
fn every_guide_is_run() {
    let guides: BTreeSet<String> = std::fs::read_dir(top().join("docs/guides"))
        .unwrap()
        .flatten()
        .map(|entry| format!("docs/guides/{}", entry.file_name().to_string_lossy()))
        .collect();
    let known: BTreeSet<String> = PAGES
        .iter()
        .chain([&NETWORK, &R_PACKAGES, &OUTER_TIERS])
        .chain(&OF_A_NODE)
        .filter(|page| page.starts_with("docs/guides/"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(guides, known);
}

/// The cells of every table row of a page, code marks taken off the first cell.
fn rows(page: &str) -> Vec<Vec<String>> {
    read(page)
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cells| !cells.iter().all(|cell| cell.chars().all(|one| one == '-' || one == ' ')))
        .collect()
}

/// The row whose first cell is `name` in code marks.
fn row(page: &str, name: &str) -> Vec<String> {
    let wanted = format!("`{name}`");
    rows(page).into_iter().find(|cells| cells[0] == wanted).unwrap_or_else(|| panic!("{page} lacks {wanted}"))
}

/// Rows of a page whose first cell is in code marks.
fn named_rows(page: &str) -> usize {
    rows(page).iter().filter(|cells| cells[0].starts_with('`')).count()
}

#[test]
fn the_reference_of_limits_is_that_of_the_code() {
    const PAGE: &str = "docs/reference/limits.md";
    for limit in Limit::ALL {
        let default = limit.show(Limits::default().of(limit));
        assert_eq!(row(PAGE, limit.name())[1], default, "default of `{limit}`");
    }
    assert_eq!(named_rows(PAGE), Limit::ALL.len());
}

#[test]
fn the_reference_of_layers_is_that_of_the_code() {
    const PAGE: &str = "docs/reference/layers.md";
    for layer in Layer::ALL {
        let row = row(PAGE, layer.name());
        assert_eq!(row[1], layer.purpose(), "purpose of `{layer}`");
        assert_eq!(row[2], if REQUIRED.has(layer) { "always" } else { "with `--require`" }, "need of `{layer}`");
    }
    assert_eq!(named_rows(PAGE), Layer::ALL.len());
    assert!(Layers::parse("namespaces").is_some() && read(PAGE).contains("`namespaces`"));
}

#[test]
fn the_reference_of_exit_statuses_is_that_of_the_code() {
    use stockade_core::outcome::Cause;
    const PAGE: &str = "docs/reference/exit-statuses.md";
    for cause in [
        Cause::Limit { limit: Limit::Time },
        Cause::Limit { limit: Limit::Memory },
        Cause::NotExecutable,
        Cause::NotFound,
        Cause::Cancelled,
    ] {
        row(PAGE, &cause.exit_status().to_string());
    }
    assert_eq!(Cause::Signalled { signal: 9 }.exit_status(), 137, "128+n as the page says");
}

#[test]
fn the_reference_of_variables_is_what_code_sees() {
    const PAGE: &str = "docs/reference/variables.md";
    let seen = |arguments: &[&str]| -> BTreeSet<String> {
        let plan = call(STOCKADE, User::Caller).arg("plan").args(arguments).run().expect(0).stdout;
        let vars = plan.lines().filter_map(|line| line.strip_prefix("var"));
        vars.map(|line| line.trim().split('=').next().unwrap().to_owned()).collect()
    };
    let looked_into = seen(&["--net", "GET https://api.example.com/", "--", "true"]);
    for name in seen(&["--", "true"]).union(&seen(&["-c", "1"])).chain(&looked_into) {
        row(PAGE, name);
    }
}

#[test]
fn the_guide_of_reports_names_every_field() {
    let ran = call(STOCKADE, User::Caller).args(["run", "--json", "-c", "1"]).run().expect(0);
    for name in ran.report().as_object().unwrap().keys() {
        row("docs/guides/reports.md", name);
    }
}

fn pages_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            pages_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = Vec::new();
    for folder in ["docs", "profiles", "examples"] {
        pages_below(&top().join(folder), &mut pages);
    }
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
        pages.push(top().join(page));
    }
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            let there = file.is_empty() || page.parent().unwrap().join(file).exists();
            assert!(there, "{}: the link to {target} leads nowhere", page.display());
        }
    }
}

#[test]
fn a_line_that_is_shown_is_matched_whole() {
    assert!(is_line("a ... c", "a b b c") && is_line("...", "anything") && is_line("a", "a"));
    assert!(!is_line("a", "ab") && !is_line("a ... c", "a b") && !is_line("b...", "ab"));
    let shown = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert!(are_lines(&shown(&["a", "...", "c"]), &["a", "b", "b", "c"]));
    assert!(!are_lines(&shown(&["a", "c"]), &["a", "b", "c"]));
    assert!(!are_lines(&shown(&["a"]), &[]));
}
