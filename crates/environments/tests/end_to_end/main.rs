//! From a request to an import, behind walls: with the real package index of this machine, and with
//! wheels that no honest index has.

#[cfg(test)]
mod jail;
#[cfg(test)]
mod place;
#[cfg(test)]
mod real_index;
#[cfg(test)]
mod shelf;
#[cfg(test)]
mod strange_wheels;
