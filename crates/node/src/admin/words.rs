//! The words of `stockade admin [global parameters] COMMAND TARGET [parameters]`, read by the table of commands.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::refusal::Refusal;

use super::commands::{COMMANDS, Command, Form, Parameter};

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// `[A.X] Column = value`.
    #[default]
    Text,
    /// One document.
    Json,
    /// Comma-separated values, a line of columns first.
    Csv,
}

/// What holds for any command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Globals {
    /// The sockets of the nodes that are asked; that of the caller's node where there is none.
    pub(crate) sockets: Vec<String>,
    /// The nodes that are asked over TLS.
    pub(crate) hosts: Vec<String>,
    /// The port of those of them that have none in their name.
    pub(crate) port: Option<u16>,
    /// Files with authorities that vouch for nodes.
    pub(crate) authorities: Vec<String>,
    /// SHA-256 of certificates of nodes.
    pub(crate) fingerprints: Vec<String>,
    /// Files with a certificate of whoever asks, and its key.
    pub(crate) own_certificate: Option<String>,
    pub(crate) own_key: Option<String>,
    /// Who asks, over TLS.
    pub(crate) user: Option<String>,
    /// His password; asked for at the terminal where it is left out.
    pub(crate) password: Option<Given>,
    /// How long a node may take.
    pub(crate) patience: Option<Duration>,
    /// Whether it is told what is asked (`--debug`).
    pub(crate) is_debugged: bool,
    /// The folder of the node.
    pub(crate) folder: Option<String>,
    /// The name that the node must have, `NODE.CLUSTER`.
    pub(crate) service: Option<String>,
    /// How answers are printed.
    pub(crate) format: Format,
    /// The only columns that are printed, in this order.
    pub(crate) columns: Vec<String>,
    /// Whether a node that refuses does not count (`--ignoreerrors`).
    pub(crate) ignore_errors: bool,
    /// Whether secrets may be words.
    pub(crate) insecure_argv: bool,
}

/// A value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The text itself.
    Text(String),
    /// What is in this file.
    File(String),
    /// What is answered goes into this new file.
    Into(String),
    /// What is in this file without the line's end: a secret.
    SecretFile(String),
    /// The first line of standard input.
    Stdin,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Help, of a target if one is named.
    Help { target: Option<String>, format: Format },
    /// A command of the table.
    Command { globals: Box<Globals>, command: &'static Command, parameters: BTreeMap<&'static str, Given> },
    /// The archive for a report of a bug; the rest is for its own reader.
    Bundle(Vec<String>),
}

const GLOBALS: &[(&str, bool)] = &[
    ("adminport", true),
    ("cafile", true),
    ("client-certificate", true),
    ("client-key", true),
    ("columns", true),
    ("debug", false),
    ("fingerprint", true),
    ("folder", true),
    ("format", true),
    ("hostname", true),
    ("ignoreerrors", false),
    ("insecure-argv", false),
    ("password", true),
    ("password-file", true),
    ("password-stdin", false),
    ("servicename", true),
    ("socket", true),
    ("timeout", true),
    ("username", true),
];
/// Longest that a node may take, in seconds.
const TIMEOUT_S_MAX: u16 = 3_600;

fn usage(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Refusal {
    Refusal::invalid(what, why, next)
}

/// Reads the words after `stockade admin`.
pub(crate) fn read(words: &[String]) -> Result<Asked, Refusal> {
    let mut words = words.iter().peekable();
    let mut globals = Globals::default();
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        if word == "--help" || word == "-h" {
            return Ok(Asked::Help { target: None, format: Format::Text });
        }
        let (name, value) = split(word);
        let (name, takes_value) = one_of("global parameter", name, GLOBALS, |known| known.0, "stockade admin help")?;
        let value = value.or_else(|| if *takes_value { words.next().cloned() } else { Some(String::new()) });
        let value = value.ok_or_else(|| {
            usage(format!("`--{name}` has no value"), "it needs one", format!("write --{name}=VALUE"))
        })?;
        globals.take(name, &value)?;
    }
    globals.check()?;
    let Some(first) = words.next() else { return Ok(Asked::Help { target: None, format: Format::Text }) };
    let rest: Vec<&String> = words.collect();
    match first.as_str() {
        "help" => help(&rest, globals.format),
        "support-bundle" => Ok(Asked::Bundle(rest.into_iter().cloned().collect())),
        "support" if rest.first().is_some_and(|word| *word == "bundle") => {
            Ok(Asked::Bundle(rest.into_iter().skip(1).cloned().collect()))
        }
        _ => command(globals, first, &rest),
    }
}

impl Globals {
    fn take(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        match name {
            "adminport" => self.port = Some(number(name, value, u16::MAX)?),
            "cafile" => self.authorities.push(value.to_owned()),
            "client-certificate" => self.own_certificate = Some(value.to_owned()),
            "client-key" => self.own_key = Some(value.to_owned()),
            "columns" => self.columns = value.split(',').map(str::to_owned).collect(),
            "debug" => self.is_debugged = true,
            "fingerprint" => self.fingerprints.push(value.to_owned()),
            "folder" => self.folder = Some(value.to_owned()),
            "format" => self.format = format(value)?,
            "hostname" => self.hosts.push(value.to_owned()),
            "ignoreerrors" => self.ignore_errors = true,
            "insecure-argv" => self.insecure_argv = true,
            "password" => self.password = Some(Given::Text(value.to_owned())),
            "password-file" => self.password = Some(Given::SecretFile(value.to_owned())),
            "password-stdin" => self.password = Some(Given::Stdin),
            "servicename" => self.service = Some(value.to_owned()),
            "timeout" => self.patience = Some(Duration::from_secs(number(name, value, TIMEOUT_S_MAX)?.into())),
            "username" => self.user = Some(value.to_owned()),
            _ => self.sockets.push(value.to_owned()),
        }
        Ok(())
    }

    /// Whether what is said fits together.
    fn check(&self) -> Result<(), Refusal> {
        if matches!(self.password, Some(Given::Text(_))) && !self.insecure_argv {
            return Err(usage(
                "`--password` cannot be used like that",
                "words of a command line can be read by others",
                "use --password-stdin or --password-file=FILE, or say --insecure-argv too",
            ));
        }
        if self.password.is_some() && self.user.is_none() {
            return Err(usage("whose password is that?", "nobody is named", "write --username=NAME too"));
        }
        if !self.authorities.is_empty() && !self.fingerprints.is_empty() {
            let next = "leave --cafile or --fingerprint out";
            return Err(usage("how is the node known?", "by its authority or by its own certificate", next));
        }
        if self.own_certificate.is_some() != self.own_key.is_some() {
            let next = "write --client-certificate=FILE and --client-key=FILE";
            return Err(usage("your certificate cannot be shown", "it takes a certificate and its key", next));
        }
        Ok(())
    }
}

fn number(name: &str, value: &str, most: u16) -> Result<u16, Refusal> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| {
        let why = format!("it is a number from 1 to {most}");
        usage(format!("`--{name}` cannot be used like that"), why, format!("write --{name}=NUMBER"))
    })
}

fn format(word: &str) -> Result<Format, Refusal> {
    match word {
        "text" | "readable" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        other => Err(usage(
            format!("there is no format `{}`", stockade_core::text::shown(other, 40)),
            "answers are printed as text, json or csv",
            "write --format=json",
        )),
    }
}

fn help(rest: &[&String], format_before: Format) -> Result<Asked, Refusal> {
    let mut target = None;
    let mut shown = format_before;
    for word in rest {
        if let Some(value) = word.strip_prefix("--format=") {
            shown = format(value)?;
        } else if word.as_str() != "targets" {
            let known = targets();
            target = Some((*one_of("target", word, &known, |known| known, "stockade admin help targets")?).to_owned());
        }
    }
    Ok(Asked::Help { target, format: shown })
}

/// Every target, once.
pub(crate) fn targets() -> Vec<&'static str> {
    let mut found: Vec<_> = COMMANDS.iter().map(|command| command.target).collect();
    found.dedup();
    found
}

/// What is done to a node that does not run, and whom to ask for it.
const OF_THE_MACHINE: [(&str, &str); 4] = [
    ("install", "stockade node install"),
    ("kill", "systemctl kill stockade-node, or end its process"),
    ("remove", "end its service, then remove its units and its folder"),
    ("start", "systemctl start stockade-node, or stockade node start"),
];

fn command(globals: Globals, name: &str, rest: &[&String]) -> Result<Asked, Refusal> {
    if let Some((_, next)) = OF_THE_MACHINE.iter().find(|(known, _)| *known == name && is_node(rest)) {
        return Err(usage(format!("`{name} node` asks no node"), "it is done on its machine", *next));
    }
    let mut names: Vec<_> = COMMANDS.iter().map(|command| command.command).collect();
    names.sort_unstable();
    names.dedup();
    let name = *one_of("command", name, &names, |known| known, "stockade admin help")?;
    let Some((target, rest)) = rest.split_first().filter(|(target, _)| !target.starts_with('-')) else {
        return Err(usage(
            format!("`{name}` of what?"),
            "a command has a target",
            format!("name one: {}", having(name).join(", ")),
        ));
    };
    let known = having(name);
    let target = *one_of("target", target, &known, |known| known, "stockade admin help targets")
        .map_err(|refusal| Refusal { what: format!("{}, for `{name}`", refusal.what), ..refusal })?;
    let command = COMMANDS.iter().find(|known| known.command == name && known.target == target);
    let command =
        command.ok_or_else(|| usage("there is no such command", "the table has none", "see stockade admin help"))?;
    let parameters = parameters(command, rest, globals.insecure_argv)?;
    Ok(Asked::Command { globals: Box::new(globals), command, parameters })
}

fn is_node(rest: &[&String]) -> bool {
    rest.first().is_some_and(|target| target.as_str() == "node")
}

fn having(command: &str) -> Vec<&'static str> {
    COMMANDS.iter().filter(|known| known.command == command).map(|known| known.target).collect()
}

fn parameters(command: &Command, words: &[&String], insecure: bool) -> Result<BTreeMap<&'static str, Given>, Refusal> {
    let help = format!("stockade admin help {}", command.target);
    let ways = ways(command);
    let mut given = BTreeMap::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            return Err(usage(
                format!("`{}` stands alone", stockade_core::text::shown(word, 60)),
                "what follows the target are parameters",
                format!("write --NAME=VALUE; see `{help}`"),
            ));
        }
        let (name, value) = split(word);
        let (name, parameter, way) = one_of("parameter", name, &ways, |way| &way.0, &help)?;
        let takes_value = *way != Way::Stdin && parameter.form != Form::Flag;
        let value = value.or_else(|| takes_value.then(|| words.next().map(|word| (*word).clone())).flatten());
        let value = way
            .given(parameter, value, insecure)
            .map_err(|why| usage(format!("`--{name}` cannot be used like that"), why, format!("see `{help}`")))?;
        if let Some(value) = value
            && given.insert(parameter.name, value).is_some()
        {
            return Err(usage(format!("`{}` is given twice", parameter.name), "it has one value", "leave one out"));
        }
    }
    match command.parameters.iter().find(|parameter| parameter.required && !given.contains_key(parameter.name)) {
        Some(missing) => {
            let stdin = if missing.form == Form::Secret { "-stdin" } else { "=…" };
            Err(usage(
                format!("`{}` is missing", missing.name),
                format!("it says {}", missing.about),
                format!("write --{}{stdin}", missing.name),
            ))
        }
        None => Ok(given),
    }
}

/// How a parameter can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Value,
    Stdin,
    FileOfSecret,
}

/// Every spelling there is of a command's parameters.
fn ways(command: &Command) -> Vec<(String, &'static Parameter, Way)> {
    let mut found = Vec::new();
    for parameter in command.parameters {
        found.push((parameter.name.to_owned(), parameter, Way::Value));
        if parameter.form == Form::Secret {
            found.push((format!("{}-stdin", parameter.name), parameter, Way::Stdin));
            found.push((format!("{}-file", parameter.name), parameter, Way::FileOfSecret));
        }
    }
    found
}

impl Way {
    fn given(self, parameter: &Parameter, value: Option<String>, insecure: bool) -> Result<Option<Given>, String> {
        if self == Self::Stdin {
            return value.map_or(Ok(Some(Given::Stdin)), |_| Err("it is read from standard input".to_owned()));
        }
        if parameter.form == Form::Flag {
            return match value.as_deref() {
                None | Some("true") => Ok(Some(Given::Text("true".to_owned()))),
                Some("false") => Ok(None),
                Some(_) => Err("it is true or false".to_owned()),
            };
        }
        let value = value.ok_or("it has no value")?;
        match parameter.form {
            Form::Secret if self == Self::FileOfSecret => Ok(Some(Given::SecretFile(value))),
            Form::Secret if !insecure => Err(format!(
                "words of a command line can be read by others: use --{0}-stdin or --{0}-file, or say --insecure-argv before the command",
                parameter.name
            )),
            Form::File | Form::Document => Ok(Some(Given::File(value))),
            Form::Into => Ok(Some(Given::Into(value))),
            Form::Word(known) if !known.contains(&value.as_str()) => Err(format!("it is one of {}", known.join(", "))),
            Form::Text | Form::Values | Form::Flag | Form::Secret | Form::Word(_) => Ok(Some(Given::Text(value))),
        }
    }
}

/// `--name=value`, or `--name`.
fn split(word: &str) -> (&str, Option<String>) {
    let word = word.trim_start_matches('-');
    word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())))
}

/// The one whose name this is, or begins with.
fn one_of<'a, T>(
    what: &str,
    word: &str,
    known: &'a [T],
    name_of: impl Fn(&T) -> &str,
    help: &str,
) -> Result<&'a T, Refusal> {
    // Some write hyphens where others write none: `substitutionfile` is `substitution-file`.
    let plain = |name: &str| name.replace('-', "");
    let (shown, sought) = (stockade_core::text::shown(word, 60), plain(word));
    if let Some(found) = known.iter().find(|known| plain(name_of(known)) == sought) {
        return Ok(found);
    }
    let begins = |known: &&T| !sought.is_empty() && plain(name_of(known)).starts_with(&sought);
    let begin: Vec<&T> = known.iter().filter(begins).collect();
    match begin.as_slice() {
        [only] => Ok(only),
        [] => {
            let names: Vec<_> = known.iter().map(&name_of).collect();
            let next = format!("{}; see `{help}`", stockade_core::near::next(word, &names));
            Err(usage(format!("there is no {what} `{shown}`"), "nothing is called like that", next))
        }
        several => {
            let names: Vec<_> = several.iter().map(|known| name_of(known)).collect();
            Err(usage(format!("`{shown}` is the beginning of several"), names.join(", "), "write more of it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Asked, Refusal> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn command_of(line: &str) -> (Globals, &'static str, &'static str, BTreeMap<&'static str, Given>) {
        match read_line(line).unwrap() {
            Asked::Command { globals, command, parameters } => (*globals, command.target, command.command, parameters),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn values_stand_after_an_equals_sign_or_in_the_next_word() {
        for line in
            ["--servicename=A.X display security --type=hosts", "--servicename A.X display security --type hosts"]
        {
            let (globals, target, command, parameters) = command_of(line);
            assert_eq!((globals.service.as_deref(), target, command), (Some("A.X"), "security", "display"));
            assert_eq!(parameters.get("type"), Some(&Given::Text("hosts".to_owned())));
        }
    }

    #[test]
    fn a_beginning_is_enough_where_one_word_has_it() {
        let (globals, target, command, parameters) =
            command_of("--serv=A.X --form=json add us --user=x --lock --role user");
        assert_eq!((target, command, globals.format), ("user", "add", Format::Json));
        assert_eq!(parameters.get("locked"), Some(&Given::Text("true".to_owned())));
        assert_eq!(parameters.get("roles"), Some(&Given::Text("user".to_owned())));
        let refused = read_line("d configuration").unwrap_err();
        assert!(refused.why.contains("deactivate, diff, display"), "{refused}");
    }

    #[test]
    fn hyphens_in_a_name_may_be_left_out() {
        for name in ["substitution-file", "substitutionfile", "substitution-f"] {
            let (.., parameters) = command_of(&format!("load configuration --source=a --{name}=b"));
            assert_eq!(parameters.get("substitution-file"), Some(&Given::File("b".to_owned())), "{name}");
        }
    }

    #[test]
    fn a_secret_is_no_word_unless_somebody_insists() {
        let refused = read_line("change password --username=ann --password=x").unwrap_err();
        assert!(refused.why.contains("--password-stdin"), "{refused}");
        let (.., parameters) = command_of("change password --username=ann --password-stdin");
        assert_eq!(parameters.get("password"), Some(&Given::Stdin));
        let (.., parameters) = command_of("change password --username=ann --password-file=f");
        assert_eq!(parameters.get("password"), Some(&Given::SecretFile("f".to_owned())));
        let (.., parameters) = command_of("--insecure-argv change password --username=ann --password=x");
        assert_eq!(parameters.get("password"), Some(&Given::Text("x".to_owned())));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_a_way_on() {
        for (line, part) in [
            ("display", "of what?"),
            ("dispaly node", "did you mean `display`"),
            ("display securty --type=hosts", "did you mean `security`"),
            ("explain authorization", "`privilege` is missing"),
            ("display security --type=all", "hosts, accesscontrol, realms"),
            ("display security --type=hosts --type=realms", "given twice"),
            ("display security hosts", "stands alone"),
            ("display node --wat=1", "no parameter `wat`"),
            ("--wat=1 display node", "no global parameter `wat`"),
            ("--format=xml display node", "no format `xml`"),
            ("--servicename", "has no value"),
            ("start node", "stockade node start"),
            ("remove node", "its machine"),
            ("lock configuration", "no target `configuration`, for `lock`"),
            ("add user --username=x --locked=maybe", "true or false"),
            ("load configuration --source", "has no value"),
            ("change password --username=ann", "--password-stdin"),
            ("--cafile=a --fingerprint=b display node", "leave --cafile or --fingerprint out"),
        ] {
            let refused = read_line(line).unwrap_err();
            assert!(refused.to_string().contains(part), "{line}: {refused}");
        }
    }

    #[test]
    fn help_is_of_everything_or_of_a_target() {
        assert_eq!(read_line("").unwrap(), Asked::Help { target: None, format: Format::Text });
        assert_eq!(read_line("help targets").unwrap(), Asked::Help { target: None, format: Format::Text });
        let asked = Asked::Help { target: Some("trusted".to_owned()), format: Format::Json };
        assert_eq!(read_line("help trus --format=json").unwrap(), asked);
        assert_eq!(read_line("support-bundle --out x").unwrap(), Asked::Bundle(vec!["--out".into(), "x".into()]));
        assert_eq!(read_line("support bundle --out x").unwrap(), Asked::Bundle(vec!["--out".into(), "x".into()]));
    }

    proptest::proptest! {
        #[test]
        fn no_words_are_more_than_refused(words in proptest::collection::vec("[-a-z=]{0,12}|--[a-z]{1,8}=.{0,8}", 0..8)) {
            drop(read(&words));
        }
    }
}
