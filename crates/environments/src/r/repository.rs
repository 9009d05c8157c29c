//! Which CRAN-like repository this machine is configured for. No host name is written in this crate.
//!
//! R itself is mostly told by `options(repos = …)` in a profile, which is code: it would have to run
//! outside, with everything of the user's. So a variable of ours is read, and then the lists that R keeps
//! as plain tables for `setRepositories()`. One repository is used: several would let one package pose as
//! another.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::{self, Detail, Error};
use crate::machine::Machine;
use crate::quote::quote_path;
use crate::url::HttpsUrl;

/// The variable that names it.
const VARIABLE: &str = "STOCKADE_R_REPOSITORY";
/// Where R's own table of the whole machine is.
const TABLES: [&str; 3] = ["etc/R/repositories", "usr/lib/R/etc/repositories", "usr/lib64/R/etc/repositories"];
const TABLE_BYTES_MAX: u64 = 1 << 20;
const NEXT: &str = "set STOCKADE_R_REPOSITORY to the `https://` URL of a CRAN-like repository, the one that `options(repos = )` of \
     your R profile has; or take what is installed on this machine with --r-from-machine";

/// A CRAN-like repository of source packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository(HttpsUrl);

impl Repository {
    /// Its URL, without a slash at its end.
    pub(super) fn url(&self) -> &str {
        self.0.as_str()
    }

    /// The folder of its source packages.
    pub(super) fn sources(&self) -> String {
        format!("{}/src/contrib", self.url())
    }

    /// The only host that a step may reach.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        BTreeSet::from([self.0.host().to_owned()])
    }
}

/// The first one that is configured: the variable, the user's table, the machine's.
pub(super) fn choose(machine: &Machine) -> Result<Repository, Error> {
    let (url, origin) = configured(machine)?.ok_or_else(|| {
        Error::Index(Detail::new(
            "no R repository is known",
            format!("{VARIABLE} is not set, and no table of R's repositories names one"),
            NEXT,
        ))
    })?;
    let plain = url.trim().trim_end_matches('/');
    let parsed =
        if plain.contains(['?', '#', '%']) { Err("it is more than a host and a path") } else { HttpsUrl::parse(plain) };
    // The URL itself is not shown: it may hold a password.
    parsed.map(Repository).map_err(|why| {
        Error::Index(Detail::new(format!("the R repository named by {origin} cannot be used"), why, NEXT))
    })
}

fn configured(machine: &Machine) -> Result<Option<(String, String)>, Error> {
    if let Some(url) = machine.var(VARIABLE) {
        return Ok(Some((url.to_owned(), format!("the variable {VARIABLE}"))));
    }
    for path in tables(machine) {
        // One that is there and cannot be read may name a private repository: never passed over.
        let text = match fs::metadata(&path) {
            Ok(about) if about.is_file() && about.len() <= TABLE_BYTES_MAX => {
                fs::read_to_string(&path).map_err(|cause| unusable(&path, &error::said(&cause)))?
            }
            Ok(_) => return Err(unusable(&path, "it is no small file")),
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(cause) => return Err(unusable(&path, &error::said(&cause))),
        };
        if let Some(url) = of_table(&text) {
            return Ok(Some((url, quote_path(&path))));
        }
    }
    Ok(None)
}

/// As R looks for them: the one a variable names, else the user's, then the machine's.
fn tables(machine: &Machine) -> Vec<PathBuf> {
    let named = machine.var("R_REPOSITORIES").filter(|name| *name != "NULL").map(PathBuf::from);
    let user = named.or_else(|| machine.var("HOME").map(|home| PathBuf::from(home).join(".R/repositories")));
    user.into_iter().chain(TABLES.map(|table| machine.root.join(table))).collect()
}

/// The URL of the row `CRAN`, else of the first row that is a default. A row that leaves the URL open, as
/// the one R comes with, names none.
fn of_table(text: &str) -> Option<String> {
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let header: Vec<&str> = lines.next()?.split('\t').map(str::trim).collect();
    let place = |name: &str| header.iter().position(|cell| *cell == name);
    let (url, default) = (place("URL")?, place("default")?);
    let rows: Vec<Vec<&str>> =
        lines.map(|line| line.split('\t').map(|cell| cell.trim().trim_matches('"')).collect()).collect();
    // The header has no cell for the names of the rows.
    let cell = |row: &[&'_ str], at: usize, width: usize| {
        let shift = usize::from(width > header.len());
        row.get(at + shift).map(|cell| (*cell).to_owned())
    };
    let named = |row: &Vec<&str>| {
        let found = cell(row, url, row.len()).filter(|url| url.contains("://") && !url.contains('%'))?;
        let is_default = cell(row, default, row.len()).is_some_and(|cell| cell.eq_ignore_ascii_case("true"));
        Some((row.first().is_some_and(|name| *name == "CRAN"), is_default, found))
    };
    let found: Vec<(bool, bool, String)> = rows.iter().filter_map(named).collect();
    let first = |of: fn(&(bool, bool, String)) -> bool| found.iter().find(|row| of(row)).map(|(_, _, url)| url.clone());
    first(|row| row.0).or_else(|| first(|row| row.1))
}

fn unusable(path: &std::path::Path, why: &str) -> Error {
    Error::Index(Detail::new(format!("the table of R repositories {} cannot be used", quote_path(path)), why, NEXT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::machine;

    const HEADER: &str = "## x\nmenu_name\tURL\tdefault\tsource\twin.binary\tmac.binary\n";

    fn chosen(files: &[(&str, &str)], vars: &[(&str, &str)]) -> Result<String, Error> {
        let (_root, machine) = machine(files, vars);
        choose(&machine).map(|repository| repository.url().to_owned())
    }

    #[test]
    fn the_first_repository_that_is_configured_is_taken() {
        let shipped =
            format!("{HEADER}CRAN\tCRAN\t@CRAN@\tTRUE\tTRUE\tTRUE\tTRUE\nX\tX\t%bm/x/%v\tFALSE\tTRUE\tTRUE\tTRUE\n");
        let machines = shipped.replace("@CRAN@", "https://machine.invalid/cran/");
        let users = format!("{HEADER}own\t\"Own\"\thttps://user.invalid\tTRUE\tTRUE\tTRUE\tTRUE\n");
        let secret = machines.replace("https://", "https://user:secret@");
        let refused = chosen(&[("etc/R/repositories", &secret), ("home/.R/repositories", &shipped)], &[]).unwrap_err();
        assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        let (machines, users) = (("etc/R/repositories", &*machines), ("home/.R/repositories", &*users));
        let error = chosen(&[("etc/R/repositories", &shipped)], &[]).unwrap_err();
        assert_eq!(error.to_string(), "no R repository is known");
        assert!(error.next().contains("STOCKADE_R_REPOSITORY") && error.next().contains("--r-from-machine"));
        assert_eq!(chosen(&[machines], &[]).unwrap(), "https://machine.invalid/cran");
        assert_eq!(chosen(&[machines, users], &[]).unwrap(), "https://user.invalid");
        assert_eq!(chosen(&[machines, users], &[(VARIABLE, "https://a.invalid/x/")]).unwrap(), "https://a.invalid/x");
    }

    #[test]
    fn one_that_cannot_be_used_is_refused_without_showing_it() {
        for url in
            ["https://user:secret@a.invalid", "http://a.invalid/secret", "file:///secret", "https://a.invalid/?secret"]
        {
            let error = chosen(&[], &[(VARIABLE, url)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the R repository named by the variable STOCKADE_R_REPOSITORY cannot be used"
            );
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        let (root, machine) = machine(&[], &[]);
        fs::create_dir_all(root.path().join("home/.R/repositories")).unwrap();
        assert_eq!(choose(&machine).unwrap_err().why(), "it is no small file");
    }
}
