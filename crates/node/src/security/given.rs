//! What is given with a command, held against the table of commands: whoever asks, nobody has to use our command line.

use stockade_config::security::BYTES_MAX;

use super::commands::Values;
use super::realm;
use crate::admin::commands::{Command, Form};
use crate::refusal::Refusal;

/// Most bytes of a parameter that is no file.
const VALUE_BYTES_MAX: usize = 4_096;

/// What is given is what the command takes; the same as on the command line, which nobody has to use.
pub(crate) fn check(command: &Command, values: &Values) -> Result<(), Refusal> {
    for (name, value) in values {
        let shown = stockade_core::text::shown(name, 60);
        let Some(known) = command.parameters.iter().find(|known| known.name == name) else {
            let names: Vec<_> = command.parameters.iter().map(|known| known.name).collect();
            let next = stockade_core::near::next(name, &names);
            return Err(Refusal::invalid(
                format!("there is no parameter `{shown}`"),
                "the command has none of this name",
                next,
            ));
        };
        let most = match known.form {
            Form::File => BYTES_MAX,
            Form::Document => realm::BYTES_MAX,
            Form::Text | Form::Flag | Form::Secret | Form::Values | Form::Word(_) | Form::Into => VALUE_BYTES_MAX,
        };
        let bad = match known.form {
            _ if value.len() > most => Some("it is too long".to_owned()),
            Form::Word(words) if !words.contains(&value.as_str()) => Some(format!("it is one of {}", words.join(", "))),
            Form::Flag if value != "true" => Some("it is true, or left out".to_owned()),
            Form::Into => Some("it is for who asks, not for the node".to_owned()),
            Form::Text | Form::Flag | Form::File | Form::Document | Form::Secret | Form::Values | Form::Word(_) => None,
        };
        if let Some(why) = bad {
            return Err(Refusal::invalid(format!("`{shown}` cannot be used"), why, "see stockade admin help"));
        }
    }
    match command.parameters.iter().find(|known| known.required && !values.contains_key(known.name)) {
        Some(missing) => Err(Refusal::invalid(
            format!("`{}` is missing", missing.name),
            format!("it says {}", missing.about),
            "see stockade admin help",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use stockade_core::audit::Parameter;

    use super::*;
    use crate::admin::commands::find;
    use crate::security::trail::Recording;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn no_secret_and_no_text_of_a_file_goes_on_record() {
        let recorded = |target, name, given: &Values| {
            let recording = Recording::new(find(target, name).unwrap(), given);
            let secret =
                |(name, value): (&&str, &Parameter<'_>)| (*value == Parameter::Secret).then(|| (*name).to_owned());
            recording.parameters.iter().filter_map(secret).collect::<Vec<_>>()
        };
        let given = values(&[("username", "ann"), ("password", "hunter2"), ("roles", "user")]);
        assert_eq!(recorded("user", "add", &given), ["password"]);
        let given =
            values(&[("source", "x"), ("substitutions", "A=x"), ("substitution-file", "B=x"), ("unknown", "x")]);
        assert_eq!(recorded("configuration", "load", &given), ["source", "substitution-file", "substitutions"]);
    }

    #[test]
    fn what_a_command_does_not_take_is_refused_whoever_asks() {
        let show = find("security", "display").unwrap();
        for (given, part) in [
            (values(&[("type", "everything")]), "hosts, accesscontrol, realms"),
            (values(&[("type", "hosts"), ("typo", "x")]), "no parameter `typo`"),
        ] {
            let refused = check(show, &given).unwrap_err();
            assert!(refused.to_string().contains(part), "{refused}");
        }
        let add = find("user", "add").unwrap();
        assert!(check(add, &values(&[])).unwrap_err().to_string().contains("`username` is missing"));
        assert!(check(add, &values(&[("username", "a"), ("locked", "no")])).is_err());
        assert!(check(add, &values(&[("username", &"a".repeat(5_000))])).is_err());
        assert!(check(add, &values(&[("username", "a"), ("locked", "true")])).is_ok());
    }
}
