//! Tables on their way through the launcher, which holds them against all that a table must be, whatever the node did.

use std::os::fd::{AsFd, OwnedFd};

use stockade_launch::table;

use crate::order::Table;
use crate::refusal::Refusal;

/// Checks that what lies beside an order are the tables that it names.
pub(super) fn check(named: &[Table], given: &[OwnedFd]) -> Result<(), Refusal> {
    for (Table { name, bytes }, memory) in named.iter().zip(given) {
        if check_one(name, memory)? != *bytes {
            return Err(failed(name, "it is not the one that the run was accepted with".to_owned()));
        }
    }
    if named.len() == given.len() { Ok(()) } else { Err(Refusal::failed("the run has other tables", "their number")) }
}

/// Checks that it is a table, and tells its bytes.
pub(super) fn check_one(name: &str, memory: &OwnedFd) -> Result<u64, Refusal> {
    let bytes = table::check(memory).map_err(|unfit| failed(name, unfit.to_string()))?;
    match table::is_read_only(memory.as_fd()) {
        Ok(true) => Ok(bytes),
        Ok(false) | Err(_) => Err(failed(name, "its descriptor is not for reading only".to_owned())),
    }
}

fn failed(name: &str, why: String) -> Refusal {
    let shown = stockade_core::text::shown(name, 100);
    Refusal::failed(format!("the table `{shown}` cannot be given to the code"), why)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, Mode, SealFlags};

    use super::*;

    fn memory(seals: SealFlags) -> OwnedFd {
        let memory = rustix::fs::memfd_create("t", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&memory, b"ARROW1").unwrap();
        rustix::fs::fchmod(&memory, Mode::from_raw_mode(0o444)).unwrap();
        rustix::fs::fcntl_add_seals(&memory, seals).unwrap();
        memory
    }

    #[test]
    fn the_launcher_takes_no_table_on_the_word_of_the_node() {
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        let named = |bytes| [Table { name: "t.arrow".to_owned(), bytes }];
        let writable = memory(all);
        let table = table::reopen(&writable).unwrap();
        check(&named(6), &[table.try_clone().unwrap()]).unwrap();
        assert!(check(&named(5), &[table.try_clone().unwrap()]).is_err(), "of another size");
        assert!(check(&named(6), &[writable]).is_err(), "still the client's own open file");
        assert!(check(&named(6), &[table::reopen(memory(SealFlags::GROW)).unwrap()]).is_err(), "not sealed");
        assert!(check(&named(6), &[tempfile::tempfile().unwrap().into()]).is_err(), "no memory");
        assert!(check(&named(6), &[table.try_clone().unwrap(), table]).is_err(), "one too many");
        assert!(check(&named(6), &[]).is_err(), "none");
    }
}
