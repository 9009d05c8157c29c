//! Made-up addresses: what the names that a run looks up stand for inside, and back again.
//!
//! Nothing is asked outside for them: an address here is only the number under which a later connection says which
//! name it means. Each run has its own, so one run's addresses mean nothing to another.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use stockade_core::name::{Host, Name};
use stockade_core::network::MADE_UP;

/// The first address that is given to a name; the one before it is the interface's own.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 2]);
/// How many names one run may look up.
const NAMES_MAX: usize = 4_096;

/// The names of one run.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    addresses: HashMap<Name, Ipv4Addr>,
    /// In the order of their addresses.
    names: Vec<Name>,
}

impl Names {
    /// The address of `name`, the same for as long as the run lasts; `None` when there are too many names.
    pub(crate) fn address(&self, name: &Name) -> Option<Ipv4Addr> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = known.addresses.get(name) {
            return Some(*address);
        }
        if known.names.len() >= NAMES_MAX {
            return None;
        }
        let address = Ipv4Addr::from(FIRST.checked_add(u32::try_from(known.names.len()).ok()?)?);
        known.names.push(name.clone());
        known.addresses.insert(name.clone(), address);
        Some(address)
    }

    /// What a run means by `address`: the name that it was made up for, or itself.
    pub(crate) fn meant(&self, address: IpAddr) -> Host {
        let address = address.to_canonical();
        self.name(address).map_or_else(|| Host::from(address), Host::Name)
    }

    /// The name that `address` was made up for.
    fn name(&self, address: IpAddr) -> Option<Name> {
        let IpAddr::V4(address) = address else { return None };
        let place = usize::try_from(u32::from(address).checked_sub(FIRST)?).ok()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).names.get(place).cloned()
    }
}

/// Whether `address` can only be one that was made up.
pub(crate) fn is_made_up(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if MADE_UP.contains(&v4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let names = Names::default();
        let (one, two): (Name, Name) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        assert_eq!(names.address(&one), Some(Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!(names.address(&two), Some(Ipv4Addr::new(198, 18, 0, 3)));
        assert_eq!(names.address(&one), Some(Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!(names.name("198.18.0.3".parse().unwrap()), Some(two));
        for unknown in ["198.18.0.0", "198.18.0.1", "198.18.0.4", "198.18.255.255", "127.0.0.1", "::1", "0.0.0.0"] {
            assert_eq!(names.name(unknown.parse().unwrap()), None, "{unknown}");
        }
    }

    #[test]
    fn a_run_has_not_more_names_than_fit() {
        let names = Names::default();
        for number in 0..NAMES_MAX {
            let address = names.address(&format!("n{number}.example").parse().unwrap()).unwrap();
            assert!(is_made_up(address.into()));
        }
        assert_eq!(names.address(&"one.more.example".parse().unwrap()), None);
        assert!(names.address(&"n7.example".parse().unwrap()).is_some());
    }
}
