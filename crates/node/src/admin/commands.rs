//! Every command of `stockade admin`, in one table: the command line, its help, the node and its API read it.

use serde::Serialize;

use super::parameters::{
    CHANGE, EXPIRES, INTO, OBJECT, OF_PRINCIPAL, PASSWORD, PRINCIPAL, REALM, ROLES, SOURCE, TYPE, USER, VARIABLES,
    flag, need, text,
};

/// Something that can be asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    /// What it is done to.
    pub target: &'static str,
    /// What is done.
    pub command: &'static str,
    /// What that is, in a line.
    pub about: &'static str,
    /// What may be said with it.
    pub parameters: &'static [Parameter],
}

/// Something that may be said with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    /// How it is given.
    pub form: Form,
    /// Whether the command makes no sense without it.
    pub required: bool,
}

/// How a parameter is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `--name=TEXT`.
    Text,
    /// `--name`, or `--name=true`.
    Flag,
    /// `--name=FILE`: what is in the file is sent, not its name.
    File,
    /// The same, of a file that may be larger.
    Document,
    /// `--name=FILE`: what is answered is written into that new file; nothing of it is sent.
    Into,
    /// `--name-stdin` or `--name-file=FILE`; `--name=TEXT` only with `--insecure-argv`.
    Secret,
    /// `--name=TEXT`, which may hold secrets: it goes into no record.
    Values,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The targets of what no node is asked for.
pub const HERE: [&str; 2] = ["authentication", "secret"];

/// Every command, by target.
pub const COMMANDS: &[Command] = &[
    Command {
        target: "audit",
        command: "display",
        about: "Show the last records of the node's audit trail",
        parameters: &[text("most", "how many; 100 if left out")],
    },
    Command {
        target: "audit",
        command: "export",
        about: "Print the last records of the node's audit trail whole, for programs of others",
        parameters: &[
            text("most", "how many; 100 if left out"),
            Parameter { form: Form::Word(&["jsonl", "ocsf"]), ..text("form", "as they are kept, or as OCSF has them") },
            INTO,
        ],
    },
    Command {
        target: "audit",
        command: "verify",
        about: "Look for records that were changed, removed, reordered or cut off",
        parameters: &[
            text("key", "the key that it must be signed with, as it was shown before; the one beside it if left out"),
            text(
                "expect",
                "a record that must be in it, as NUMBER:HASH: the last one and its hash, as they were shown",
            ),
        ],
    },
    Command {
        target: "authentication",
        command: "display",
        about: "Show the realms in force and their users, of a node that is down; for the owner of its folder",
        parameters: &[text("realm", "only this one")],
    },
    Command {
        target: "authentication",
        command: "reset",
        about: "Put all of security out of force, of a node that is down; for the owner of its folder",
        parameters: &[text("realm", "only objects that have this realm")],
    },
    Command {
        target: "authorization",
        command: "explain",
        about: "Say whether a user may do something, and by which rule",
        parameters: &[
            text("user", "the user: NAME, or NAME@REALM; you if left out"),
            Parameter { about: "roles to go by: those that a directory or a provider gives", ..ROLES },
            need("privilege", "the privilege, such as Run"),
            text("resource", "on what, such as the name of a policy"),
        ],
    },
    Command {
        target: "certificate",
        command: "display",
        about: "Show at which addresses the node is asked over TLS, and the SHA-256 of the certificate that it shows",
        parameters: &[],
    },
    Command {
        target: "certificate",
        command: "replace",
        about: "Show another certificate from the next connection on; the next start reads --tls-certificate again",
        parameters: &[
            Parameter { form: Form::File, ..need("certificate", "the certificate with those above it, PEM") },
            Parameter { form: Form::Secret, ..need("key", "its key, PEM") },
        ],
    },
    Command {
        target: "cluster",
        command: "display",
        about: "Show the nodes of the cluster that the node knows: itself",
        parameters: &[],
    },
    Command {
        target: "configuration",
        command: "activate",
        about: "Put an object in force; another version of its name is replaced",
        parameters: &CHANGE,
    },
    Command {
        target: "configuration",
        command: "confirm",
        about: "Keep what is in force on trial; the privileges that it gives you decide",
        parameters: &[],
    },
    Command {
        target: "configuration",
        command: "deactivate",
        about: "Put an object out of force",
        parameters: &CHANGE,
    },
    Command {
        target: "configuration",
        command: "diff",
        about: "Show what differs between two versions of an object",
        parameters: &[OBJECT[0], OBJECT[1], OBJECT[2], text("with", "the other version; the active one if left out")],
    },
    Command {
        target: "configuration",
        command: "display",
        about: "Show which objects there are, and which are in force",
        parameters: &[TYPE, text("name", "only of this name")],
    },
    Command {
        target: "configuration",
        command: "export",
        about: "Show the text of an object; secrets as what they hash to",
        parameters: &[OBJECT[0], OBJECT[1], OBJECT[2], INTO],
    },
    Command {
        target: "configuration",
        command: "history",
        about: "Show what was done to objects, the last first",
        parameters: &[text("most", "how many; 100 if left out")],
    },
    Command {
        target: "configuration",
        command: "list",
        about: "Show which objects there are, and which are in force",
        parameters: &[TYPE, text("name", "only of this name")],
    },
    Command {
        target: "configuration",
        command: "load",
        about: "Keep the object of a file, inactive",
        parameters: &[SOURCE, VARIABLES[0], VARIABLES[1]],
    },
    Command { target: "configuration", command: "remove", about: "Forget an inactive object", parameters: &OBJECT },
    Command {
        target: "configuration",
        command: "validate",
        about: "Say what is wrong with a file, and whether it could be activated; nothing is kept",
        parameters: &[SOURCE, VARIABLES[0], VARIABLES[1]],
    },
    Command {
        target: "engine",
        command: "display",
        about: "Show what has an engine process now: runs and sessions of everybody",
        parameters: &[text("most", "how many of each; 100 if left out")],
    },
    Command {
        target: "environment",
        command: "display",
        about: "Show the environments that have names",
        parameters: &[text("name", "only this one")],
    },
    Command { target: "node", command: "display", about: "Show the node and its state", parameters: &[] },
    Command {
        target: "node",
        command: "drain",
        about: "Take no new runs; those under way go on, and idle sessions are closed",
        parameters: &[],
    },
    Command {
        target: "node",
        command: "getadminport",
        about: "Show at which ports the node is administered over TLS",
        parameters: &[],
    },
    Command {
        target: "node",
        command: "stop",
        about: "End the node when what is under way has ended",
        parameters: &[],
    },
    Command {
        target: "password",
        command: "change",
        about: "Change the password of a user",
        parameters: &[USER, REALM, Parameter { required: true, ..PASSWORD }],
    },
    Command {
        target: "policy",
        command: "display",
        about: "Show the policies of the node, and what they permit together",
        parameters: &[],
    },
    Command { target: "privilege", command: "display", about: "Show what there is to be granted", parameters: &[] },
    Command {
        target: "realm",
        command: "backup",
        about: "Print all users of a local realm as one document, with what their passwords hash to",
        parameters: &[REALM, INTO],
    },
    Command { target: "realm", command: "display", about: "Show the realms that are in force", parameters: &[] },
    Command {
        target: "realm",
        command: "getadmin",
        about: "Show the realm that administrators over the network are of",
        parameters: &[],
    },
    Command {
        target: "realm",
        command: "restore",
        about: "Put the users of such a document in the place of those of a local realm",
        parameters: &[
            Parameter { form: Form::Document, required: true, ..text("source", "the file of the document") },
            Parameter { about: "the realm; that of the document if left out", ..REALM },
        ],
    },
    Command {
        target: "realm",
        command: "setadmin",
        about: "Let only those of one realm administer the node over the network",
        parameters: &[
            text("realm", "the realm, which must be in force"),
            flag("any", "let those of any realm do it again"),
        ],
    },
    Command {
        target: "role",
        command: "display",
        about: "Show what each role may do",
        parameters: &[text("role", "only this one")],
    },
    Command {
        target: "run",
        command: "cancel",
        about: "End runs of anybody, waiting or under way",
        parameters: &[text("run", "only this one"), OF_PRINCIPAL],
    },
    Command {
        target: "run",
        command: "display",
        about: "Show runs of everybody, the youngest first; nothing of what they compute",
        parameters: &[text("run", "only this one"), PRINCIPAL, text("most", "how many; 100 if left out")],
    },
    Command {
        target: "secret",
        command: "create",
        about: "Make the node's key, in its folder; no node is asked",
        parameters: &[],
    },
    Command {
        target: "secret",
        command: "encrypt",
        about: "Print what configuration may have in the place of a secret; no node is asked",
        parameters: &[Parameter { form: Form::Secret, required: true, ..text("secret", "the secret, one line") }],
    },
    Command {
        target: "secret",
        command: "hash",
        about: "Print what a password hashes to, for a file of the configuration; no node is asked",
        parameters: &[Parameter { required: true, ..PASSWORD }],
    },
    Command {
        target: "security",
        command: "display",
        about: "Show trusted hosts, what roles may do, or realms, and whether a host can stand for a password",
        parameters: &[Parameter {
            form: Form::Word(&["hosts", "accesscontrol", "realms"]),
            ..text("type", "what to show; what holds for all if left out")
        }],
    },
    Command {
        target: "services",
        command: "browse",
        about: "Show what the node is found by; whoever reaches it may",
        parameters: &[],
    },
    Command {
        target: "services",
        command: "display",
        about: "Show what the node is found by; whoever reaches it may",
        parameters: &[],
    },
    Command {
        target: "session",
        command: "cancel",
        about: "Close sessions of anybody, with what waits in them",
        parameters: &[text("session", "only this one"), OF_PRINCIPAL],
    },
    Command {
        target: "session",
        command: "display",
        about: "Show sessions of everybody, the youngest first; nothing of what they compute",
        parameters: &[text("session", "only this one"), PRINCIPAL, text("most", "how many; 100 if left out")],
    },
    Command { target: "trusted", command: "display", about: "Show trusted hosts", parameters: &[] },
    Command {
        target: "trusted",
        command: "test",
        about: "Say whether an address is trusted, and by which entry",
        parameters: &[need("address", "the address")],
    },
    Command {
        target: "user",
        command: "add",
        about: "Add a user to a local realm",
        parameters: &[USER, REALM, PASSWORD, ROLES, EXPIRES, flag("locked", "it cannot log in until it is unlocked")],
    },
    Command {
        target: "user",
        command: "display",
        about: "Show the users of local realms",
        parameters: &[Parameter { required: false, ..USER }, REALM],
    },
    Command { target: "user", command: "lock", about: "Let a user log in no more", parameters: &[USER, REALM] },
    Command { target: "user", command: "remove", about: "Take a user away", parameters: &[USER, REALM] },
    Command { target: "user", command: "unlock", about: "Let a user log in again", parameters: &[USER, REALM] },
    Command {
        target: "user",
        command: "update",
        about: "Change the roles of a user, or how long its password lasts",
        parameters: &[USER, REALM, ROLES, EXPIRES],
    },
];

/// The command of this target and name.
#[must_use]
pub fn find(target: &str, command: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|known| known.target == target && known.command == command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_each_command_is_in_it_once() {
        let keys: Vec<_> = COMMANDS.iter().map(|command| (command.target, command.command)).collect();
        assert!(keys.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn names_are_such_as_can_be_written_on_a_command_line() {
        for command in COMMANDS {
            let names = command.parameters.iter().map(|parameter| parameter.name);
            for name in names.chain([command.target, command.command]) {
                assert!(
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                    "{name}"
                );
            }
            assert!(!command.about.is_empty() && !command.about.ends_with('.'));
        }
    }
}
