//! Whose runs come first, and how much each principal may have: an administrator's classes, with the machine's users
//! in them.
//!
//! Who is in which is read from `/etc/passwd` and `/etc/group` once, before the node can no longer open them: a class
//! holds for what waits, whoever connects. Of the classes that have somebody, the first one of the file counts.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use stockade_core::class::{Class, USUAL};

use crate::listen;
use crate::queue::Caps;
use crate::refusal::Refusal;

/// What each principal of a class may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The class.
    pub name: String,
    /// How many of its runs begin in a round.
    pub weight: u32,
    /// CPU time a day, milliseconds; none is no bound.
    pub cpu_day_ms: Option<i64>,
    /// Runs at once.
    pub running: usize,
    /// Runs that wait.
    pub waiting: usize,
    /// Sessions at once.
    pub sessions: usize,
}

/// All classes.
#[derive(Clone, Debug)]
pub struct Classes {
    /// The usual one first.
    shares: Vec<Share>,
    /// Whoever is in another one.
    of: HashMap<String, usize>,
}

impl Classes {
    /// Of everybody, what the flags say.
    #[must_use]
    pub fn new(caps: Caps, sessions: usize, cpu_day_ms: Option<i64>) -> Self {
        let usual = Share {
            name: USUAL.to_owned(),
            weight: 1,
            cpu_day_ms,
            running: caps.running_each,
            waiting: caps.waiting_each,
            sessions,
        };
        Self { shares: vec![usual], of: HashMap::new() }
    }

    /// With those of a file.
    ///
    /// # Errors
    /// The [`Refusal`] that says what is wrong with it.
    pub(crate) fn with_file(self, path: &Path) -> Result<Self, Refusal> {
        let shown = stockade_core::text::shown(&path.to_string_lossy(), 300);
        let what = format!("the classes `{shown}` are refused");
        let text = read(path).map_err(|error| {
            Refusal::invalid(&what, crate::system_text(&error), "name a file that the node's user may read")
        })?;
        let classes = stockade_config::parse_classes(&text)
            .map_err(|bad| Refusal::invalid(&what, bad.to_string(), bad.next()))?;
        let host = |path| std::fs::read_to_string(path).unwrap_or_default();
        self.with(&classes, &host("/etc/passwd"), &host("/etc/group"))
            .map_err(|why| Refusal::invalid(what, why, "name one of the machine's, or give its number"))
    }

    /// With these, whose members are in such files.
    fn with(mut self, classes: &[Class], passwords: &str, groups: &str) -> Result<Self, String> {
        for class in classes {
            let usual = self.usual().clone();
            let share = Share {
                name: class.name.clone(),
                weight: class.weight,
                cpu_day_ms: class.cpu_day_ms.map_or(usual.cpu_day_ms, |ms| Some(i64::try_from(ms).unwrap_or(i64::MAX))),
                running: class.runs.unwrap_or(usual.running),
                waiting: class.queue.unwrap_or(usual.waiting),
                sessions: class.sessions.unwrap_or(usual.sessions),
            };
            if class.name == USUAL {
                if let Some(first) = self.shares.first_mut() {
                    *first = share;
                }
                continue;
            }
            let number = self.shares.len();
            self.shares.push(share);
            for uid in members(class, passwords, groups)? {
                self.of.entry(listen::principal(uid).0).or_insert(number);
            }
        }
        Ok(self)
    }

    /// The number of a principal's class.
    #[must_use]
    pub fn number(&self, principal: &str) -> usize {
        self.of.get(principal).copied().unwrap_or(0)
    }

    /// What a principal may have.
    #[must_use]
    pub fn share(&self, principal: &str) -> &Share {
        self.shares.get(self.number(principal)).unwrap_or_else(|| self.usual())
    }

    /// All of them, the usual one first.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    #[expect(clippy::indexing_slicing, reason = "the usual one is there from the beginning")]
    fn usual(&self) -> &Share {
        &self.shares[0]
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One more than may be, so that what is too large is seen to be.
    let most = u64::try_from(stockade_config::BYTES_MAX).map_or(u64::MAX, |most| most + 1);
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    file.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Users of a class: those it names, and members of its groups, by either file.
fn members(class: &Class, passwords: &str, groups: &str) -> Result<Vec<u32>, String> {
    let user = |name: &str| {
        crate::user::look_up(name, passwords)
            .map(|(uid, _)| uid.as_raw())
            .map_err(|_| format!("class `{}`: there is no user `{}`", class.name, shown(name)))
    };
    let mut found = class.users.iter().map(|name| user(name)).collect::<Result<Vec<_>, _>>()?;
    for wanted in &class.groups {
        let group = groups.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members, ..] = fields.as_slice() else { return None };
            (name == wanted || gid == wanted).then(|| Some((gid.parse::<u32>().ok()?, *members)))?
        });
        // A number that no file has may be somebody's own group all the same.
        let (gid, listed) = group
            .or_else(|| wanted.parse().ok().map(|gid| (gid, "")))
            .ok_or_else(|| format!("class `{}`: there is no group `{}`", class.name, shown(wanted)))?;
        // A member that is no user any more is nobody.
        found.extend(listed.split(',').filter(|name| !name.is_empty()).filter_map(|name| user(name).ok()));
        found.extend(passwords.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, uid, own, ..] = fields.as_slice() else { return None };
            (own.parse() == Ok(gid)).then(|| uid.parse::<u32>().ok())?
        }));
    }
    Ok(found)
}

fn shown(name: &str) -> String {
    stockade_core::text::shown(name, 60)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const CAPS: Caps = Caps { running: 4, running_each: 3, waiting: 100, waiting_each: 10 };
    const PASSWORDS: &str =
        "ann:x:1000:1000::/:/bin/sh\nbob:x:1001:50::/:/bin/sh\ncyd:x:1002:1002::/:/bin/sh\nbroken\n";
    const GROUPS: &str = "analysts:x:60:cyd,gone\nstaff:x:50:\nbroken:x\n";

    pub(crate) fn class(name: &str, weight: u32, users: &[&str], groups: &[&str]) -> Class {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Class {
            name: name.to_owned(),
            weight,
            users: words(users),
            groups: words(groups),
            cpu_day_ms: None,
            runs: None,
            queue: None,
            sessions: None,
        }
    }

    /// Classes of users by their numbers.
    pub(crate) fn classes(caps: Caps, classes: &[Class]) -> Classes {
        Classes::new(caps, 4, None).with(classes, "", "").unwrap()
    }

    #[test]
    fn principals_are_in_the_first_class_that_names_them_or_their_group() {
        let few = Class { runs: Some(1), cpu_day_ms: Some(5), ..class("few", 1, &["ann", "1234"], &[]) };
        let many = class("many", 9, &["ann"], &["analysts", "staff", "777"]);
        let usual = Class { sessions: Some(2), ..class("usual", 3, &[], &[]) };
        let classes = Classes::new(CAPS, 4, Some(99)).with(&[few, many, usual], PASSWORDS, GROUPS).unwrap();
        let name = |uid| classes.share(&listen::principal(uid).0).name.clone();
        assert_eq!([1000, 1234, 1001, 1002, 5].map(name), ["few", "few", "many", "many", "usual"]);
        let few = classes.share("uid-1000@local");
        assert_eq!((few.running, few.waiting, few.cpu_day_ms), (1, 10, Some(5)));
        assert_eq!(classes.share("uid-1001@local").cpu_day_ms, Some(99));
        assert_eq!((classes.share("x").weight, classes.share("x").sessions), (3, 2));
    }

    #[test]
    fn who_is_nobody_here_is_no_member() {
        let base = || Classes::new(CAPS, 4, None);
        for class in
            [class("a", 1, &["dan"], &[]), class("a", 1, &[], &["nosuch"]), class("a", 1, &["4294967295"], &[])]
        {
            assert!(base().with(&[class], PASSWORDS, GROUPS).is_err());
        }
    }
}
