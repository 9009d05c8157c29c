//! The functions that Python calls, and those of Python that are called.
#![expect(unsafe_code, reason = "the boundary to C")]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use stockade_launch::warm::Sealing;
use stockade_launch::warm::enter::{Around, Served, serve};

unsafe extern "C" {
    fn PyOS_BeforeFork();
    fn PyOS_AfterFork_Parent();
}

/// The template is over.
const OVER: c_int = -1;
/// It could not serve.
const BROKEN: c_int = -2;

/// Says on `orders` that the template is ready, and forks engines on the orders that come there, which seal
/// themselves with the file `sealing`. Returns in each engine, with its socket to the launcher; in the template,
/// when nobody orders any more, a negative number.
///
/// In an engine `PyOS_AfterFork_Child` is left to the caller, who has the interpreter.
///
/// # Safety
/// The caller holds the interpreter's lock, `orders` is open and stays so, `sealing` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockade_serve(orders: c_int, sealing: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(sealing) };
    // SAFETY: the caller's promise.
    let orders = unsafe { BorrowedFd::borrow_raw(orders) };
    let sealing = std::fs::read(OsStr::from_bytes(path.to_bytes())).ok().and_then(|bytes| Sealing::parse(&bytes));
    let Some(sealing) = sealing else { return BROKEN };
    // SAFETY: the interpreter's lock is held, here and where they are called.
    let around = Around { before: || unsafe { PyOS_BeforeFork() }, after: || unsafe { PyOS_AfterFork_Parent() } };
    match serve(orders, &sealing, around) {
        Ok(Served::Engine(socket)) => socket,
        Ok(Served::Over) => OVER,
        Err(_) => BROKEN,
    }
}
