//! Which warm engines an order could be served by, if any: what its runs have in common with others.
//!
//! Pure, and only a guess where it looks at code: what is not served well by one engine is by another, and what an
//! engine cannot serve it says before it begins. Nothing is decided here that walls depend on.

use std::collections::BTreeMap;

use stockade_core::limits::{Limit, Limits};

use crate::opening::{Language, Opening};
use crate::order::{Bounds, Order};

/// As much of a script as is looked at.
pub(super) const LOOKED_AT_BYTES: usize = 64 << 10;
/// By this a script says itself what packages it needs (PEP 723).
const NAMES_PACKAGES: &[u8] = b"# /// script";

/// What engines of one template have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) environment: Option<String>,
    pub(super) tier: Tier,
}

/// What a template has imported: a smaller one forks faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Bare,
    Numpy,
    /// And with it numpy.
    Pandas,
}

impl Tier {
    /// The modules.
    pub(super) const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Bare => &[],
            Self::Numpy => &["numpy"],
            Self::Pandas => &["pandas"],
        }
    }

    fn of(code: &[u8]) -> Self {
        code.split(|byte| *byte == b'\n').map(of_line).max().unwrap_or(Self::Bare)
    }
}

fn of_line(line: &[u8]) -> Tier {
    let line = line.trim_ascii();
    let Some(rest) = line.strip_prefix(b"import ").or_else(|| line.strip_prefix(b"from ")) else { return Tier::Bare };
    let names = rest.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    names
        .map(|name| match name {
            b"pandas" => Tier::Pandas,
            b"numpy" => Tier::Numpy,
            _ => Tier::Bare,
        })
        .max()
        .unwrap_or(Tier::Bare)
}

impl Kind {
    /// The kind of engines for an order whose script begins so; `None` for what no engine serves.
    pub(super) fn of(order: &Order, beginning: &[u8], bounds: &Bounds) -> Option<Self> {
        let is_python = order.script.ends_with(".py") || order.script.ends_with(".pyw");
        let names_packages = beginning.windows(NAMES_PACKAGES.len()).any(|part| part == NAMES_PACKAGES);
        // What packages come to may change from run to run; an environment is named, and looked at again.
        // A table is given to a process when it begins.
        let is_cold = !is_python || names_packages || !order.with.is_empty() || !order.tables.is_empty();
        if is_cold || !are_usual(&order.limits, &bounds.usual) {
            return None;
        }
        Some(Self { environment: order.environment.clone(), tier: Tier::of(beginning) })
    }

    /// The kind of engines for a session, of whose code nothing is known yet: with all that there is, so that what it
    /// imports is shared.
    pub(super) fn of_session(opening: &Opening, bounds: &Bounds) -> Option<Self> {
        let is_python = opening.language == Language::Python;
        if !is_python || !opening.with.is_empty() || !are_usual(&opening.limits, &bounds.usual) {
            return None;
        }
        Some(Self { environment: opening.environment.clone(), tier: Tier::Pandas })
    }
}

/// Walls that stand have the usual limits; others are watched from outside, and may differ.
fn are_usual(limits: &BTreeMap<String, u64>, usual: &Limits) -> bool {
    Limit::ALL.into_iter().all(|limit| {
        let (asked, usual) = (limits.get(limit.name()).copied(), usual.of(limit));
        match limit {
            Limit::Time | Limit::Output | Limit::OutputFiles | Limit::OutputDepth | Limit::Streams => true,
            Limit::CpuTime => asked.is_some_and(|asked| asked <= usual),
            Limit::Cpus
            | Limit::Memory
            | Limit::Processes
            | Limit::OpenFiles
            | Limit::Scratch
            | Limit::ScratchFiles
            | Limit::FileSize => asked == Some(usual),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::order;

    fn kind(script: &str, code: &str) -> Option<Kind> {
        Kind::of(&Order { script: script.to_owned(), ..order() }, code.as_bytes(), &Bounds::default())
    }

    #[test]
    fn the_tier_is_that_of_the_largest_import() {
        for (code, tier) in [
            ("print(1)", Tier::Bare),
            ("import numpy as np", Tier::Numpy),
            ("    from numpy.random import default_rng", Tier::Numpy),
            ("import os, pandas", Tier::Pandas),
            ("import numpy\nfrom pandas import DataFrame", Tier::Pandas),
            ("important = 'pandas'\nimport pandas_like", Tier::Bare),
            ("# pandas\nx = 'import pandas'", Tier::Bare),
        ] {
            assert_eq!(kind("main.py", code).unwrap().tier, tier, "{code}");
        }
    }

    #[test]
    fn what_no_engine_serves_has_no_kind() {
        assert!(kind("main.py", "").is_some());
        assert!(kind("main.sql", "").is_none());
        assert!(kind("main.ipynb", "").is_none());
        assert!(kind("main.py", "# /// script\n# dependencies = [\"x\"]\n# ///").is_none());
        let limited = |name: &str, value| {
            let mut order = order();
            order.limits.insert(name.to_owned(), value);
            Kind::of(&order, b"", &Bounds::default())
        };
        assert!(limited("time", 1_000).is_some());
        assert!(limited("cpu-time", 1_000).is_some());
        assert!(limited("memory", 64 << 20).is_none());
        let tables = vec![crate::order::Table { name: "a.arrow".to_owned(), bytes: 1 }];
        assert!(Kind::of(&Order { tables, ..order() }, b"", &Bounds::default()).is_none());
        assert!(Kind::of(&Order { with: vec!["six".to_owned()], ..order() }, b"", &Bounds::default()).is_none());
        let mut order = order();
        order.limits.remove("memory");
        assert!(Kind::of(&order, b"", &Bounds::default()).is_none());
    }
}
