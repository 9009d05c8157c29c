//! What is to be run, as both processes of the node understand it. Each of them checks it by itself: the node before
//! it accepts a run, the launcher before it starts one.
//!
//! An order names no path and no flag. Everything that becomes a word of a command line is held against a narrow
//! grammar here, and [`crate::launcher`] puts it behind a `=`, where it cannot be taken for a flag.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stockade_core::limits::{Limit, Limits};
use stockade_core::plan::TABLES_MAX;
use stockade_core::session::{self, NAME_BYTES_MAX};
use stockade_launch::table::BYTES_MAX;

use crate::refusal::Refusal;

/// Most files of one run, its script included; they lie beside one frame.
pub const FILES_MAX: usize = 200;
/// The description of a data function, as a file.
pub const FUNCTION: &str = "function.json";
/// Most words that the script is given.
const ARGUMENTS_MAX: usize = 256;
/// Most packages.
const PACKAGES_MAX: usize = 64;
/// Longest name of a file, and longest requirement.
const WORD_BYTES_MAX: usize = 200;
/// Longest order as JSON; a frame holds a little more.
pub const ORDER_BYTES_MAX: usize = 128 << 10;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The script's name, whose ending tells the engine. Its content lies beside the order.
    pub script: String,
    /// What the script is given.
    pub arguments: Vec<String>,
    /// Names of the inputs; their contents lie beside the order.
    pub inputs: Vec<String>,
    /// Packages of the environment, as `--with` takes them.
    pub with: Vec<String>,
    /// An environment by its name or digest.
    pub environment: Option<String>,
    /// Limits by name, every one of them.
    pub limits: BTreeMap<String, u64>,
    /// Tables; their memory lies beside the order, after the inputs.
    // Left out where there are none, as below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// Whether the script describes a data function, whose files are the inputs.
    // Left out where it is not, so that a key of a former node still stands for the same request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_function: bool,
    /// Whether its code may name no packages: who asks has no right to have any built.
    // Left out where it may, as above.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_built: bool,
}

/// A table that is handed over as a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The name in the working folder that leads to it.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What a node lets one run have at most.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// For who asks for nothing.
    pub usual: Limits,
    /// For who asks for more.
    pub most: Limits,
}

impl Default for Bounds {
    fn default() -> Self {
        let usual = Limits {
            wall_ms: 600_000,
            cpu_ms: 1_200_000,
            memory_bytes: 1 << 30,
            scratch_bytes: 512 << 20,
            file_bytes: 512 << 20,
            output_bytes: 256 << 20,
            output_files: 2_000,
            stream_bytes: 16 << 20,
            ..Limits::default()
        };
        Self { usual, most: Limits { stream_bytes: 64 << 20, ..Limits::default() } }
    }
}

impl Bounds {
    /// With less, or more, of what an administrator names. The launcher holds every order against the widest ones.
    #[must_use]
    pub fn with(time_ms: Option<u64>, memory_bytes: Option<u64>) -> Self {
        let mut bounds = Self::default();
        if let Some(time) = time_ms {
            (bounds.usual.wall_ms, bounds.most.wall_ms) = (time, time);
        }
        if let Some(memory) = memory_bytes {
            (bounds.usual.memory_bytes, bounds.most.memory_bytes) = (memory, memory);
        }
        bounds
    }
}

impl Order {
    /// Holds the order against what any node takes, and this one.
    ///
    /// # Errors
    /// The [`Refusal`] that says which part cannot be had.
    pub fn check(&self, bounds: &Bounds) -> Result<(), Refusal> {
        let tables = self.tables.iter().map(|table| &table.name);
        check_files(&mut std::iter::once(&self.script).chain(&self.inputs).chain(tables))?;
        self.check_tables()?;
        self.check_ending()?;
        self.check_arguments()?;
        check_packages(&self.with, self.environment.as_deref())?;
        check_limits(&self.limits, bounds)?;
        check_length(self)
    }

    fn check_tables(&self) -> Result<(), Refusal> {
        if self.tables.len() > TABLES_MAX {
            let why = format!("the most is {TABLES_MAX}");
            return Err(Refusal::invalid("there are too many tables", why, "put some into one"));
        }
        if self.data_function && !self.tables.is_empty() {
            let why = "its description names files";
            return Err(Refusal::invalid("a data function takes no tables by descriptor", why, "send them as inputs"));
        }
        if self.tables.iter().any(|table| table.bytes == 0 || table.bytes > BYTES_MAX) {
            let why = format!("a table has 1 to {BYTES_MAX} bytes");
            return Err(Refusal::invalid("a table cannot be of that size", why, "hand over less"));
        }
        Ok(())
    }

    fn check_ending(&self) -> Result<(), Refusal> {
        if self.data_function {
            return if self.script == FUNCTION && self.arguments.is_empty() {
                Ok(())
            } else {
                let why = "its description has all that is run";
                Err(Refusal::invalid("a data function has no script and no arguments", why, "leave them out"))
            };
        }
        let ending = self.script.rsplit_once('.').map(|(_, ending)| ending);
        if !ending.is_some_and(|ending| ["py", "pyw", "ipynb", "R", "r", "sql"].contains(&ending)) {
            return Err(Refusal::invalid(
                format!("cannot tell what runs `{}`", shown(&self.script)),
                "its name ends in none of .py, .ipynb, .R and .sql",
                "give the script such a name, or name its language",
            ));
        }
        Ok(())
    }

    fn check_arguments(&self) -> Result<(), Refusal> {
        if self.arguments.len() > ARGUMENTS_MAX {
            let why = format!("the most is {ARGUMENTS_MAX}");
            return Err(Refusal::invalid("there are too many arguments", why, "put them into an input"));
        }
        if self.arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(Refusal::invalid("an argument holds a zero byte", "no program can be given one", "remove it"));
        }
        Ok(())
    }
}

/// Holds every limit that there is against the most that is given.
pub(crate) fn check_limits(limits: &BTreeMap<String, u64>, bounds: &Bounds) -> Result<(), Refusal> {
    for limit in Limit::ALL {
        let most = bounds.most.of(limit);
        match limits.get(limit.name()) {
            Some(value) if *value <= most => {}
            Some(_) => return Err(too_much(limit, most)),
            None => return Err(Refusal::invalid("the order lacks a limit", limit.name(), "name every limit")),
        }
    }
    if limits.len() != Limit::ALL.len() {
        return Err(Refusal::invalid("the order has a limit that does not exist", "it is none of ours", LIMITS));
    }
    Ok(())
}

/// Holds what fits into a frame against its length.
pub(crate) fn check_length(order: &impl Serialize) -> Result<(), Refusal> {
    let bytes = serde_json::to_vec(order).map_or(usize::MAX, |text| text.len());
    if bytes > ORDER_BYTES_MAX {
        let why = format!("names, arguments and packages come to {bytes} bytes, the most is {ORDER_BYTES_MAX}");
        return Err(Refusal::invalid("the request is too long", why, "put long arguments into an input"));
    }
    Ok(())
}

/// Files of one folder: plain names, each once.
pub(crate) fn check_files(names: &mut dyn Iterator<Item = &String>) -> Result<(), Refusal> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if seen.len() >= FILES_MAX {
            let why = format!("the most is {} files", FILES_MAX - 1);
            return Err(Refusal::invalid("there are too many inputs", why, "put them into one archive"));
        }
        check_name(name)?;
        if !seen.insert(name) {
            return Err(Refusal::invalid(
                format!("two files are called `{}`", shown(name)),
                "the script and its inputs lie in one folder",
                "give each a name of its own",
            ));
        }
    }
    Ok(())
}

/// Packages of an index, or an environment.
pub(crate) fn check_packages(with: &[String], environment: Option<&str>) -> Result<(), Refusal> {
    if with.len() > PACKAGES_MAX {
        let why = format!("the most is {PACKAGES_MAX}");
        return Err(Refusal::invalid("there are too many packages", why, "name only those that the code imports"));
    }
    if let Some(package) = with.iter().find(|package| !is_requirement(package)) {
        return Err(Refusal::invalid(
            format!("`{}` is no package of an index", shown(package)),
            "a node takes names and versions, as in `pandas>=2`; no paths, addresses or markers",
            "name the package as the index has it",
        ));
    }
    let Some(environment) = environment else { return Ok(()) };
    if !is_reference(environment) {
        return Err(Refusal::invalid(
            format!("`{}` is no name of an environment", shown(environment)),
            "names consist of letters, digits and . _ - /",
            "`stockade env list` shows those of the node",
        ));
    }
    if !with.is_empty() {
        return Err(Refusal::invalid(
            "`environment` and `with` contradict each other",
            "an environment is taken as it is: nothing is added to it",
            "leave out one of them",
        ));
    }
    Ok(())
}

/// What the request says of limits, over what is usual.
///
/// # Errors
/// [`Refusal`] when one does not exist, makes no sense, or is more than the node gives.
pub fn limits(asked: &BTreeMap<String, String>, bounds: &Bounds) -> Result<BTreeMap<String, u64>, Refusal> {
    let mut limits: BTreeMap<String, u64> =
        Limit::ALL.iter().map(|limit| (limit.name().to_owned(), bounds.usual.of(*limit))).collect();
    for (name, value) in asked {
        let limit = Limit::ALL.into_iter().find(|limit| limit.name() == name).ok_or_else(|| {
            let names = Limit::ALL.map(Limit::name).join(", ");
            let why = format!("the limits are {names}");
            Refusal::invalid(format!("there is no limit `{}`", shown(name)), why, "use one of them")
        })?;
        let value = limit.parse(value).map_err(|bad| {
            Refusal::invalid(format!("`{}` is no value of `{name}`", shown(value)), bad.to_string(), LIMITS)
        })?;
        let most = bounds.most.of(limit);
        if value > most {
            return Err(too_much(limit, most));
        }
        limits.insert(limit.name().to_owned(), value);
    }
    Ok(limits)
}

const LIMITS: &str = "write limits as `stockade run --limit` takes them";

fn too_much(limit: Limit, most: u64) -> Refusal {
    Refusal::invalid(
        format!("limit `{}` is more than this node gives", limit.name()),
        format!("the most is {}", limit.show(most)),
        "ask for less, or run it elsewhere",
    )
}

/// The plain name of a file: nothing that leads elsewhere, hides, or means something on a command line.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    if !session::is_file_name(name) {
        return Err(Refusal::invalid(
            format!("`{}` cannot be the name of a file", shown(name)),
            format!(
                "a name has 1 to {NAME_BYTES_MAX} bytes, no slash, backslash, equals sign or control character, and begins with neither dot nor dash"
            ),
            "rename it",
        ));
    }
    Ok(())
}

/// A requirement that can only mean packages of an index: a name, extras, versions.
fn is_requirement(text: &str) -> bool {
    let mut characters = text.chars();
    text.len() <= WORD_BYTES_MAX
        && characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|character| character.is_ascii_alphanumeric() || "._-[],<>=!~*+ ".contains(character))
}

fn is_reference(text: &str) -> bool {
    let mut characters = text.chars();
    text.len() <= WORD_BYTES_MAX
        && !text.contains("..")
        && characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|character| character.is_ascii_alphanumeric() || "._-/".contains(character))
}

fn shown(text: &str) -> String {
    stockade_core::text::shown(text, 100)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn order() -> Order {
        Order {
            script: "main.py".to_owned(),
            arguments: Vec::new(),
            inputs: Vec::new(),
            with: Vec::new(),
            environment: None,
            limits: limits(&BTreeMap::new(), &Bounds::default()).unwrap(),
            tables: Vec::new(),
            data_function: false,
            only_built: false,
        }
    }

    #[test]
    fn a_data_function_is_its_description_and_nothing_else() {
        let bounds = Bounds::default();
        let function = || Order { script: FUNCTION.to_owned(), data_function: true, ..order() };
        function().check(&bounds).unwrap();
        assert!(Order { script: "other.json".to_owned(), ..function() }.check(&bounds).is_err());
        assert!(Order { arguments: vec!["x".to_owned()], ..function() }.check(&bounds).is_err());
        assert!(Order { data_function: false, ..function() }.check(&bounds).is_err(), "a script has another ending");
        // One of a former node's state is none, and is written as it was.
        let text = serde_json::to_string(&order()).unwrap();
        assert!(!serde_json::from_str::<Order>(&text).unwrap().data_function && !text.contains("data_function"));
    }

    #[test]
    fn tables_are_few_plain_names_beside_the_files() {
        let bounds = Bounds::default();
        let with = |tables: &[(&str, u64)]| {
            let tables = tables.iter().map(|(name, bytes)| Table { name: (*name).to_owned(), bytes: *bytes }).collect();
            Order { tables, ..order() }
        };
        with(&[("a.arrow", 1), ("b.arrow", BYTES_MAX)]).check(&bounds).unwrap();
        for bad in [
            with(&[("main.py", 1)]),
            with(&[("a.arrow", 1), ("a.arrow", 1)]),
            with(&[("../a.arrow", 1)]),
            with(&[("--out", 1)]),
            with(&[("a.arrow", 0)]),
            with(&[("a.arrow", BYTES_MAX + 1)]),
            with(&(0..=TABLES_MAX).map(|_| ("a.arrow", 1)).collect::<Vec<_>>()),
            Order { script: FUNCTION.to_owned(), data_function: true, ..with(&[("a.arrow", 1)]) },
        ] {
            assert!(bad.check(&bounds).is_err(), "{:?}", bad.tables);
        }
        assert!(!serde_json::to_string(&order()).unwrap().contains("tables"), "a key of a former node still counts");
    }

    #[test]
    fn names_that_lead_elsewhere_or_look_like_flags_are_refused() {
        for name in [
            "",
            "..",
            ".x.py",
            "a/b.py",
            "/etc/passwd",
            "-x.py",
            "--out.py",
            "a=b.py",
            "a\nb.py",
            "a\0.py",
            "a\\b.py",
            "a\u{202e}b.py",
        ] {
            let order = Order { script: name.to_owned(), ..order() };
            assert!(order.check(&Bounds::default()).is_err(), "{name:?} as a script");
            let order = Order { inputs: vec![name.to_owned()], ..self::order() };
            assert!(order.check(&Bounds::default()).is_err(), "{name:?} as an input");
        }
        for name in ["main.py", "Übersicht 2026.ipynb", "a b.sql", "x.R"] {
            let order = Order { script: name.to_owned(), ..order() };
            assert!(order.check(&Bounds::default()).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn packages_are_names_and_versions_and_nothing_else() {
        for package in [
            "./x.whl",
            "-r",
            "--index-url=x",
            "file:///etc",
            "a @ git+https://x",
            "a;os_name=='x'",
            "a'b",
            "",
            "../a",
            "$(id)",
        ] {
            assert!(!is_requirement(package), "{package:?}");
        }
        for package in ["pandas", "pandas>=2,<3", "uvicorn[standard]", "a==1.*", "a~=1.0+local"] {
            assert!(is_requirement(package), "{package:?}");
        }
        for reference in ["../x", "/etc", "-x", "a..b", "a b", ""] {
            assert!(!is_reference(reference), "{reference:?}");
        }
    }

    #[test]
    fn a_limit_is_never_more_than_the_node_gives() {
        let bounds = Bounds::default();
        let asked = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(limits(&asked("time", "5s"), &bounds).unwrap().get("time"), Some(&5_000));
        for (name, value) in [("time", "2h"), ("streams", "1g"), ("time", "many"), ("speed", "1")] {
            assert!(limits(&asked(name, value), &bounds).is_err(), "{name}={value}");
        }
        let mut order = order();
        order.limits.insert("time".to_owned(), u64::MAX);
        assert!(order.check(&bounds).is_err(), "also when the other process let it pass");
        order.limits.remove("time");
        assert!(order.check(&bounds).is_err(), "none is left to chance");
    }

    #[test]
    fn two_files_of_one_name_and_too_many_words_are_refused() {
        let bounds = Bounds::default();
        assert!(Order { inputs: vec!["main.py".to_owned()], ..order() }.check(&bounds).is_err());
        assert!(Order { arguments: vec!["x".repeat(ORDER_BYTES_MAX)], ..order() }.check(&bounds).is_err());
        assert!(Order { arguments: vec!["\0".to_owned()], ..order() }.check(&bounds).is_err());
        assert!(Order { inputs: (0..FILES_MAX).map(|n| n.to_string()).collect(), ..order() }.check(&bounds).is_err());
        assert!(Order { script: "main.sh".to_owned(), ..order() }.check(&bounds).is_err());
    }
}
