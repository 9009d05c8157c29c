//! A trail from outside: what is appended is there, and what was done to it is found.

mod exports;
mod many;
mod repairs;
mod rotation;
mod scene;
mod tamper;
