//! What can be asked for, told to people and to programs.

use std::fmt::Write;

use super::commands::{COMMANDS, Command, Form, Parameter};
use super::words::{Format, targets};

const HEAD: &str = "Look after a node.\n\n\
    Usage: stockade admin [GLOBAL PARAMETERS] COMMAND TARGET [PARAMETERS]\n\n\
    Values are written --name=value or --name value; the beginning of a word is enough where one word has it.\n\n";
const GLOBALS: &str = "Global parameters, before the command:\n  \
    --servicename=NODE.CLUSTER  the name that the node must have; CLUSTER alone is any node of it\n  \
    --socket=PATH               the node's socket; several times for several nodes. Your own node's, else the machine's, if left out\n  \
    --folder=DIR                the node's folder\n  \
    --hostname=HOST[:PORT]      a node that is asked over TLS; several times for several nodes\n  \
    --adminport=PORT            its port; 8443 if left out\n  \
    --username=USER[@REALM]     who asks it; whoever `stockade login` was for if left out\n  \
    --password-stdin            his password is the first line of standard input\n  \
    --password-file=FILE        his password is in this file; asked for at the terminal if left out\n  \
    --fingerprint=SHA256        the SHA-256 of its certificate; of several nodes, several times\n  \
    --cafile=FILE               who vouches for it, as PEM; the authorities of this machine if left out\n  \
    --client-certificate=FILE   a certificate of whoever asks, as PEM, for a node that wants one\n  \
    --client-key=FILE           its key\n  \
    --timeout=SECONDS           how long a node may take\n  \
    --debug                     tell what is asked, and where\n  \
    --format=text|json|csv      how answers are printed\n  \
    --columns=NAME,NAME         only these columns\n  \
    --ignoreerrors              a node that refuses does not count\n  \
    --insecure-argv             secrets may be words, which others can read\n\n";
const EXAMPLES: &str = "Examples:\n  \
    stockade admin display node\n  \
    stockade admin load configuration --source=trusted-hosts.conf\n  \
    stockade admin activate configuration --type=security --name=trusted-hosts\n  \
    stockade admin --format=json display security --type=hosts\n  \
    stockade admin --hostname=node.example --username=ann@acme display node\n  \
    stockade admin support-bundle --out bundle.tar\n\n\
    Exit status: 0 done, 1 failed, 2 usage, 3 not authenticated, 4 denied, 5 unreachable, 6 done on some nodes only.\n";

/// The help of everything, or of one target.
pub(crate) fn help(target: Option<&str>, format: Format) -> String {
    let commands: Vec<&Command> =
        COMMANDS.iter().filter(|command| target.is_none_or(|target| command.target == target)).collect();
    if format == Format::Json {
        return serde_json::to_string_pretty(&commands).unwrap_or_default() + "\n";
    }
    match target {
        Some(target) => of_target(target, &commands),
        None => of_everything(&commands),
    }
}

fn of_everything(commands: &[&Command]) -> String {
    let mut text = format!("{HEAD}Targets and their commands; `stockade admin help TARGET` says more:\n");
    for target in targets() {
        let names: Vec<_> =
            commands.iter().filter(|command| command.target == target).map(|command| command.command).collect();
        // Writing into a text does not fail.
        let _infallible = writeln!(text, "  {target:<15} {}", names.join(" "));
    }
    text.push('\n');
    text + GLOBALS + EXAMPLES
}

fn of_target(target: &str, commands: &[&Command]) -> String {
    let mut text = String::new();
    for command in commands {
        let _infallible = writeln!(text, "stockade admin {} {target}\n    {}", command.command, command.about);
        for parameter in command.parameters {
            let needed = if parameter.required { "" } else { " (may be left out)" };
            let _infallible = writeln!(text, "    {:<40} {}{needed}", written(parameter), parameter.about);
        }
        text.push('\n');
    }
    text
}

fn written(parameter: &Parameter) -> String {
    let name = parameter.name;
    match parameter.form {
        Form::Text | Form::Values => format!("--{name}=TEXT"),
        Form::Flag => format!("--{name}"),
        Form::File | Form::Document | Form::Into => format!("--{name}=FILE"),
        Form::Secret => format!("--{name}-stdin, --{name}-file=FILE"),
        Form::Word(words) => format!("--{name}={}", words.join("|")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_help_of_its_target() {
        for command in COMMANDS {
            let text = help(Some(command.target), Format::Text);
            assert!(text.contains(&format!("admin {} {}\n", command.command, command.target)), "{text}");
            assert!(command.parameters.iter().all(|parameter| text.contains(parameter.about)), "{text}");
            assert!(help(None, Format::Text).contains(command.target));
        }
        let all: serde_json::Value = serde_json::from_str(&help(None, Format::Json)).unwrap();
        assert_eq!(all.as_array().map(Vec::len), Some(COMMANDS.len()));
    }
}
