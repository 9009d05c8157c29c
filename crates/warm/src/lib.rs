//! What a Python template loads: a shared library with one function, which forks engines on orders.
//!
//! In the template, whose interpreter calls it through `ctypes.PyDLL`; returns in every engine, behind its walls.
//! All that it does is in [`stockade_launch::warm::enter`]; here is only the way from Python and back.

mod sys;

pub use sys::stockade_serve;
