//! Memory for tables: made here, written and sealed by callers, read by the code of their runs.
//!
//! Callers are given descriptors and send none: what a stranger sends may be of anything, and even closing it may wait
//! for a file system of theirs. The memory is charged to whoever writes it; nothing of it is copied, and nobody here
//! reads it. It stays with the node until the run that it is for has ended, or nobody has asked for one in time; a
//! node that ends has none of it any more.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, Mode, SealFlags};
use stockade_launch::table::{self, Unfit};

use crate::listen::Principal;
use crate::refusal::{Kind, Refusal};

/// How long a table waits for the run that it is for.
pub(crate) const LIFE: Duration = Duration::from_secs(300);
/// Most tables of one principal.
const COUNT_EACH: usize = 64;
/// Most tables in all.
const COUNT_ALL: usize = 256;
/// In all there may be this many times as many bytes as one principal may have.
const PRINCIPALS: u64 = 4;

/// Every table that the node has.
#[derive(Clone, Debug)]
pub(crate) struct Tables(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes_each: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Those that no run has, by their tokens.
    waiting: HashMap<Token, Waiting>,
    all: Taken,
    each: HashMap<Principal, Taken>,
}

#[derive(Debug)]
struct Waiting {
    principal: Principal,
    table: Table,
    since: Instant,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    tables: usize,
    bytes: u64,
}

/// What stands for a table until a run has it; nobody can guess it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(String);

impl Token {
    fn random() -> Result<Self, Refusal> {
        let mut bytes = [0_u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Refusal::failed("the table was not taken", errno))?;
        Ok(Self(format!("{:032x}", u128::from_ne_bytes(bytes))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One table: sealed memory, which nobody can write to.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) bytes: u64,
    /// `None` only while it is dropped.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    // Dropped in this order: what it takes is free when it is closed.
    memory: OwnedFd,
    _place: Place,
}

impl Table {
    /// A descriptor of its memory for a run; none while it is dropped.
    pub(crate) fn for_run(&self) -> std::io::Result<OwnedFd> {
        self.memory().ok_or(std::io::ErrorKind::NotFound)?.try_clone_to_owned()
    }

    fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(|kept| kept.memory.as_fd())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        // Who closes the last descriptor of a gigabyte waits for the kernel to take it apart.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(kept)));
        }
    }
}

/// What a table takes of its principal's bounds, until it is dropped.
#[derive(Debug)]
struct Place {
    tables: Tables,
    principal: Principal,
    bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.tables.lock();
        held.all.less(self.bytes);
        if let Some(taken) = held.each.get_mut(&self.principal) {
            taken.less(self.bytes);
            if *taken == Taken::default() {
                held.each.remove(&self.principal);
            }
        }
    }
}

impl Taken {
    const fn less(&mut self, bytes: u64) {
        self.tables = self.tables.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    const fn with(self, bytes: u64) -> Self {
        Self { tables: self.tables + 1, bytes: self.bytes.saturating_add(bytes) }
    }

    const fn is_within(self, tables: usize, bytes: u64) -> bool {
        self.tables <= tables && self.bytes <= bytes
    }
}

impl Tables {
    /// At most so many bytes of one principal.
    pub(crate) fn new(bytes_each: u64) -> Self {
        Self(Arc::new(Inner { bytes_each, held: Mutex::default() }))
    }

    /// Makes memory of so many bytes for a principal to write to; tells its token.
    ///
    /// # Errors
    /// The [`Refusal`] that says that there is too much, or that the system has none.
    pub(crate) fn make(&self, principal: &Principal, bytes: u64) -> Result<(Token, OwnedFd), Refusal> {
        if bytes == 0 || bytes > table::BYTES_MAX {
            return Err(unfit(Unfit::Size(bytes)));
        }
        let place = self.place(principal, bytes)?;
        let token = Token::random()?;
        let (memory, theirs) =
            memory(bytes).map_err(|errno| Refusal::failed("there is no memory", crate::system_text(&errno.into())))?;
        let table = Table { bytes, kept: Some(Kept { memory, _place: place }) };
        let waiting = Waiting { principal: principal.clone(), table, since: Instant::now() };
        self.lock().waiting.insert(token.clone(), waiting);
        Ok((token, theirs))
    }

    fn place(&self, principal: &Principal, bytes: u64) -> Result<Place, Refusal> {
        let too_many = |why: String| {
            let next = "wait until a run that has one is over, or send less";
            Refusal::new(Kind::TooMany, "the table cannot be taken", why, next)
        };
        let most = self.0.bytes_each;
        if bytes > most {
            let why = format!("it has {bytes} bytes, the most is {most}");
            return Err(Refusal::new(Kind::TooLarge, "the table is too large", why, "hand over less at once"));
        }
        let mut held = self.lock();
        let mine = held.each.get(principal).copied().unwrap_or_default().with(bytes);
        if !mine.is_within(COUNT_EACH, most) {
            return Err(too_many(format!("you have {} tables, {} bytes, with it", mine.tables, mine.bytes)));
        }
        let all = held.all.with(bytes);
        if !all.is_within(COUNT_ALL, most.saturating_mul(PRINCIPALS)) {
            return Err(too_many("the node has as many as it takes".to_owned()));
        }
        held.all = all;
        held.each.insert(principal.clone(), mine);
        drop(held);
        Ok(Place { tables: self.clone(), principal: principal.clone(), bytes })
    }

    /// Gives out a table, once, to who has written it.
    ///
    /// # Errors
    /// [`Refusal`], the same for one that is not known and somebody else's; or what it lacks, and then it is gone, too.
    pub(crate) fn take(&self, principal: &Principal, token: &str) -> Result<Table, Refusal> {
        let token = Token(token.to_owned());
        let mut held = self.lock();
        let is_theirs = held.waiting.get(&token).is_some_and(|waiting| waiting.principal == *principal);
        let found = if is_theirs { held.waiting.remove(&token) } else { None };
        drop(held);
        let table = found.map(|waiting| waiting.table).ok_or_else(|| {
            let why = format!("you have none of this token: it was used, or not within {} s", LIFE.as_secs());
            Refusal::invalid("there is no such table", why, "ask for memory anew, and write it there")
        })?;
        // From now on it cannot change any more.
        match table.memory().map(table::check) {
            Some(Ok(_)) => Ok(table),
            Some(Err(lacks)) => Err(unfit(lacks)),
            None => Err(unfit(Unfit::NotMemory)),
        }
    }

    /// Lets go of tables that no run has had in time.
    pub(crate) fn outdate(&self, now: Instant) {
        let is_old = |waiting: &Waiting| now.saturating_duration_since(waiting.since) >= LIFE;
        let old: Vec<Waiting> =
            self.lock().waiting.extract_if(|_, waiting| is_old(waiting)).map(|(_, old)| old).collect();
        // Not while the lock is held, which their places take.
        drop(old);
    }

    /// How many there are, and their bytes.
    pub(crate) fn taken(&self) -> (usize, u64) {
        let all = self.lock().all;
        (all.tables, all.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory of a length that nobody can change: our end of it, for reading only, and the one to write to.
fn memory(bytes: u64) -> Result<(OwnedFd, OwnedFd), rustix::io::Errno> {
    let may_seal = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 there is no memory that can never be executed; its mode says so, too.
    let theirs = rustix::fs::memfd_create("table", may_seal | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create("table", may_seal))?;
    rustix::fs::ftruncate(&theirs, bytes)?;
    rustix::fs::fcntl_add_seals(&theirs, SealFlags::GROW | SealFlags::SHRINK)?;
    rustix::fs::fchmod(&theirs, Mode::from_raw_mode(0o444))?;
    Ok((table::reopen(&theirs)?, theirs))
}

fn unfit(unfit: Unfit) -> Refusal {
    let kind = if matches!(unfit, Unfit::Size(1..)) { Kind::TooLarge } else { Kind::Invalid };
    let next = "write all of the memory that you were given, unmap it, and add F_SEAL_WRITE and F_SEAL_SEAL";
    Refusal::new(kind, "the memory is no table yet", unfit.to_string(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn who(name: &str) -> Principal {
        Principal(name.to_owned())
    }

    /// Writes all of it, and seals it.
    fn fill(memory: &OwnedFd, bytes: u64) {
        let mut file = std::fs::File::from(memory.try_clone().unwrap());
        std::io::Write::write_all(&mut file, &vec![1; usize::try_from(bytes).unwrap()]).unwrap();
        rustix::fs::fcntl_add_seals(memory, SealFlags::WRITE | SealFlags::SEAL).unwrap();
    }

    fn made(tables: &Tables, principal: &str, bytes: u64) -> Token {
        let (token, memory) = tables.make(&who(principal), bytes).unwrap();
        fill(&memory, bytes);
        token
    }

    #[test]
    fn a_token_is_good_once_and_for_its_principal_only() {
        let tables = Tables::new(10 * MIB);
        let token = made(&tables, "a", MIB);
        assert_eq!(token.as_str().len(), 32);
        let of_other = tables.take(&who("b"), token.as_str()).unwrap_err();
        assert_eq!(of_other, tables.take(&who("b"), "0").unwrap_err(), "nobody learns that there is one");
        drop(tables.take(&who("a"), token.as_str()).unwrap());
        assert!(tables.take(&who("a"), token.as_str()).is_err());
        let token = made(&tables, "a", MIB);
        tables.outdate(Instant::now());
        assert_eq!(tables.taken(), (1, MIB), "it may still be asked for");
        tables.outdate(Instant::now() + LIFE);
        assert!(tables.take(&who("a"), token.as_str()).is_err());
        assert_eq!(tables.taken(), (0, 0));
    }

    #[test]
    fn memory_is_a_table_when_all_of_it_is_written_and_nobody_can_write_to_it_any_more() {
        let tables = Tables::new(10 * MIB);
        let taken = |token: &Token| tables.take(&who("a"), token.as_str()).map(|table| table.bytes);
        let (unsealed, memory) = tables.make(&who("a"), MIB).unwrap();
        std::io::Write::write_all(&mut std::fs::File::from(memory), &vec![1; 1 << 20]).unwrap();
        assert!(taken(&unsealed).unwrap_err().why.contains("seals"));
        assert!(taken(&unsealed).is_err(), "its token is used");
        let (empty, memory) = tables.make(&who("a"), MIB).unwrap();
        rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::SEAL).unwrap();
        assert!(taken(&empty).unwrap_err().why.contains("holes"));
        let (whole, memory) = tables.make(&who("a"), MIB).unwrap();
        assert!(rustix::fs::ftruncate(&memory, 2 * MIB).is_err() && rustix::fs::ftruncate(&memory, 1).is_err());
        fill(&memory, MIB);
        assert_eq!(taken(&whole).unwrap(), MIB);
        assert!(rustix::io::pwrite(&memory, b"x", 0).is_err());
        for bytes in [0, table::BYTES_MAX + 1, u64::MAX] {
            assert!(tables.make(&who("a"), bytes).is_err());
        }
        assert_eq!(tables.taken(), (0, 0));
    }

    #[test]
    fn what_one_principal_has_is_bounded_and_free_again_when_it_is_dropped() {
        let tables = Tables::new(2 * MIB);
        assert_eq!(tables.make(&who("a"), 3 * MIB).unwrap_err().kind, Kind::TooLarge);
        let first = made(&tables, "a", MIB);
        let first = tables.take(&who("a"), first.as_str()).unwrap();
        tables.make(&who("a"), MIB).unwrap();
        assert_eq!(tables.make(&who("a"), 1).unwrap_err().kind, Kind::TooMany);
        drop(first);
        tables.make(&who("a"), MIB).unwrap();
        for name in ["b", "c", "d"] {
            tables.make(&who(name), 2 * MIB).unwrap();
        }
        assert_eq!(tables.make(&who("e"), 1).unwrap_err().kind, Kind::TooMany, "of all together");
        assert_eq!(tables.taken(), (5, 8 * MIB));
    }

    #[test]
    fn the_number_of_tables_is_bounded_whatever_they_hold() {
        let tables = Tables::new(1 << 30);
        for name in ["a", "b", "c", "d"] {
            for _ in 0..COUNT_EACH {
                tables.make(&who(name), 1).unwrap();
            }
            assert_eq!(tables.make(&who(name), 1).unwrap_err().kind, Kind::TooMany);
        }
        assert_eq!(tables.make(&who("e"), 1).unwrap_err().kind, Kind::TooMany);
    }
}
