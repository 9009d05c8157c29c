//! `type = "stockade.classes"`: whose runs come first at a node, and how much each principal may have.

use stockade_core::class::{self, CLASSES_MAX, Class, USUAL, WEIGHT_MAX};
use stockade_core::limits::Limit;

use crate::document::Document;
use crate::refused::{Refused, Wrong};
use crate::value::{Fields, Value};

const TYPE: &str = "stockade.classes";
const FILE_KEYS: &[&str] = &["name", "version", "type", "configuration"];
const KEYS: &[&str] = &["classes"];
const CLASS_KEYS: &[&str] = &["name", "weight", "users", "groups", "cpuPerDay", "runs", "queue", "sessions"];
/// Most of anything at once that a class can give, as of the flags.
const COUNT_MAX: u64 = 1_000;
const LIST: &str = "a list of classes such as [{name = batch, users = [ann]}]";

/// Parses the text of a file of classes.
///
/// # Errors
/// [`Refused`], with the place.
pub fn parse(text: &str) -> Result<Vec<Class>, Refused> {
    let document = Document::parse(text)?;
    let mut file = Fields::of_document(&document, FILE_KEYS)?;
    let kind = file.need("type")?;
    let written = kind.text("a text such as \"stockade.classes\"")?;
    if written != TYPE {
        return Err(kind.refuse(Wrong::Word { what: "type", word: written.to_owned(), known: vec![TYPE] }));
    }
    file.need("name")?.text("a text")?;
    file.need("version")?.amount("a text such as \"1.0\"")?;
    let mut objects = file.need("configuration")?.object("`configuration`", &["StockadeClasses"])?;
    let mut fields = objects.need("StockadeClasses")?.object("`StockadeClasses`", KEYS)?;
    let list = fields.need("classes")?;
    let mut classes: Vec<Class> = Vec::new();
    for item in list.list(LIST)? {
        let class = class(&item)?;
        if classes.iter().any(|other| other.name == class.name) {
            return Err(item.refuse(Wrong::Repeated(class.name)));
        }
        classes.push(class);
    }
    if classes.len() > CLASSES_MAX {
        return Err(list.refuse(amount(&classes.len().to_string(), &format!("the most are {CLASSES_MAX} classes"))));
    }
    Ok(classes)
}

fn class(value: &Value<'_>) -> Result<Class, Refused> {
    let mut fields = value.object("a class", CLASS_KEYS)?;
    let named = fields.need("name")?;
    let name = named.text("a text")?.to_owned();
    if !class::is_name(&name) {
        return Err(named.refuse(amount(&name, "a name has 1 to 40 letters, digits, dashes and underscores")));
    }
    let class = Class {
        weight: fields.take("weight").map_or(Ok(1), |value| weight(&value))?,
        users: members(&mut fields, "users")?,
        groups: members(&mut fields, "groups")?,
        cpu_day_ms: fields.take("cpuPerDay").map(|value| span(&value)).transpose()?,
        runs: count(&mut fields, "runs")?,
        queue: count(&mut fields, "queue")?,
        sessions: count(&mut fields, "sessions")?,
        name,
    };
    let has_members = !(class.users.is_empty() && class.groups.is_empty());
    if has_members == (class.name == USUAL) {
        let why = if has_members {
            "this class is of everybody whom no other one names, and has no list of members"
        } else {
            "nobody is in it: give it `users` or `groups`"
        };
        return Err(named.refuse(amount(&class.name, why)));
    }
    Ok(class)
}

fn amount(value: &str, why: &str) -> Wrong {
    Wrong::Amount { value: value.to_owned(), why: why.to_owned() }
}

/// A number from one on.
fn number(value: &Value<'_>, expected: &'static str, most: u64) -> Result<u64, Refused> {
    let text = value.amount(expected)?;
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| value.refuse(amount(text, &format!("this is not {expected}"))))
}

fn weight(value: &Value<'_>) -> Result<u32, Refused> {
    let weight = number(value, "a number from 1 to 100", WEIGHT_MAX.into())?;
    Ok(u32::try_from(weight).unwrap_or(WEIGHT_MAX))
}

fn count(fields: &mut Fields<'_>, key: &str) -> Result<Option<usize>, Refused> {
    let Some(value) = fields.take(key) else { return Ok(None) };
    Ok(usize::try_from(number(&value, "a number from 1 to 1000", COUNT_MAX)?).ok())
}

fn span(value: &Value<'_>) -> Result<u64, Refused> {
    let text = value.amount("a time such as 10h or 600s")?;
    Limit::CpuTime.parse(text).map_err(|bad| value.refuse(amount(text, &bad.to_string())))
}

/// Names and numbers of users or groups, each once.
fn members(fields: &mut Fields<'_>, key: &str) -> Result<Vec<String>, Refused> {
    let mut found: Vec<String> = Vec::new();
    let Some(value) = fields.take(key) else { return Ok(found) };
    for item in value.list("a list of names and numbers")? {
        let member = item.amount("a name or a number")?;
        if found.iter().any(|other| other == member) {
            return Err(item.refuse(Wrong::Repeated(member.to_owned())));
        }
        found.push(member.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(classes: &str) -> String {
        format!(
            "name = n\nversion = 1\ntype = \"stockade.classes\"\nconfiguration {{ StockadeClasses {{ classes = [\n{classes}\n] }} }}"
        )
    }

    #[test]
    fn classes_are_read_as_they_are_written() {
        let text = "{ name = interactive, weight = 4, users = [ann, 1001], groups = [analysts], cpuPerDay = 10h, runs = 2 }\n\
                    { name = usual, cpuPerDay = 30m, sessions = 1, queue = 9 }";
        let classes = parse(&file(text)).unwrap();
        let interactive = Class {
            name: "interactive".to_owned(),
            weight: 4,
            users: vec!["ann".to_owned(), "1001".to_owned()],
            groups: vec!["analysts".to_owned()],
            cpu_day_ms: Some(36_000_000),
            runs: Some(2),
            queue: None,
            sessions: None,
        };
        assert_eq!(classes.first(), Some(&interactive));
        let usual = classes.get(1).unwrap();
        assert_eq!(
            (usual.weight, usual.cpu_day_ms, usual.sessions, usual.queue),
            (1, Some(1_800_000), Some(1), Some(9))
        );
        assert_eq!(parse(&file("")), Ok(Vec::new()));
    }

    #[test]
    fn the_example_of_the_operators_page_is_understood() {
        let page = include_str!("../../../docs/operate/node.md");
        let (_, example) = page.split_once("```hocon file=classes.conf\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        assert_eq!(parse(example).unwrap().len(), 3);
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_place() {
        for (classes, why) in [
            ("{ name = a, users = [x], wieght = 3 }", "no key `wieght`"),
            ("{ name = a, users = [x], weight = 0 }", "`0`: this is not a number from 1 to 100"),
            ("{ name = a, users = [x], weight = 101 }", "`101`"),
            ("{ name = a, users = [x], runs = -1 }", "`-1`"),
            ("{ name = a, users = [x], cpuPerDay = soon }", "`soon`"),
            ("{ name = a, users = [x, x] }", "`x` is in the list twice"),
            ("{ name = a }", "nobody is in it"),
            ("{ name = usual, users = [x] }", "everybody whom no other one names"),
            ("{ name = \"a b\", users = [x] }", "1 to 40 letters"),
            ("{ name = a, users = [x] }\n{ name = a, users = [y] }", "`a` is in the list twice"),
            ("{ users = [x] }", "a class has no key `name`"),
            ("{ name = a, users = x }", "`users` is a text"),
        ] {
            let refused = parse(&file(classes)).unwrap_err();
            assert!(refused.to_string().contains(why), "{classes}: {refused}");
            assert!(refused.place().is_some() && !refused.next().is_empty());
        }
        let many: String = (0..33).map(|number| format!("{{ name = c{number}, users = [x] }}\n")).collect();
        assert!(parse(&file(&many)).unwrap_err().to_string().contains("the most are 32"));
        assert!(parse("type = \"stockade.policy\"").unwrap_err().to_string().contains("no type"));
    }
}
