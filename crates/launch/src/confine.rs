//! Child, inside, trusts nothing: Landlock, the wall of files below the mounts.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use stockade_core::ground::Ground;
use stockade_core::layer::{Layer, Layers};
use stockade_core::plan::{Permits, Plan};
use stockade_core::warm::Role;

use crate::failure::Step;
use crate::hooks;
use crate::inside::{At, Carried, Failed};
use crate::{root, sys};

/// The ABI that brought scopes (Linux 6.12).
pub(crate) const SCOPES_SINCE: u32 = 6;

/// Landlock: what the kernel's ABI knows, all of it handled, and only the plan's paths permitted.
pub(crate) fn to_plan(carried: &mut Carried<'_>) -> Result<(), Failed> {
    if let Some(rules) = rules(carried.plan)? {
        let given = rules.given;
        restrict_self(rules)?;
        carried.enforced = carried.enforced.and(given);
    }
    Ok(())
}

/// Rules that hold for nobody yet.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) made: OwnedFd,
    /// The layers that they are for whom they hold for.
    pub(crate) given: Layers,
}

/// They hold for this process and its children from here on.
fn restrict_self(rules: Rules) -> Result<(), Failed> {
    sys::set_no_new_privileges().at(Step::Landlock)?;
    sys::restrict_self(rules.made.as_fd()).at(Step::Landlock)
}

/// Makes the rules of a plan, of the files that are there now.
pub(crate) fn rules(plan: &Plan) -> Result<Option<Rules>, Failed> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
        RulesetCreatedAttr, Scope,
    };
    let known = sys::landlock_abi();
    if hooks::removed(Layer::Landlock) || known == 0 || plan.ground.runtime().is_some() {
        return Ok(None);
    }
    // Rules on files hold for children too, whatever they are; an engine's are of other files.
    let is_for_others = matches!(plan.role, Role::Template(_));
    if is_for_others && (known < SCOPES_SINCE || hooks::removed(Layer::Scopes)) {
        return Ok(None);
    }
    hooks::fault("landlock").at(Step::Landlock)?;
    let abi = ABI::V7;
    let refused = |_| Errno::OPNOTSUPP;
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if !is_for_others {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi)).map_err(refused).at(Step::Landlock)?;
    }
    if matches!(plan.ground, Ground::Host { .. }) {
        // A second wall: no socket can be made anyhow. A network of its own may be used as it likes.
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(refused).at(Step::Landlock)?;
    }
    if !hooks::removed(Layer::Scopes) {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(refused).at(Step::Landlock)?;
    }
    let mut created = ruleset.create().map_err(refused).at(Step::Landlock)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(abi) & !BitFlags::from(AccessFs::MakeChar) & !BitFlags::from(AccessFs::MakeBlock);
    for rule in &plan.landlock {
        let access = match rule.permits {
            Permits::List => AccessFs::ReadDir.into(),
            Permits::Read => read,
            Permits::Execute => read | AccessFs::Execute,
            Permits::Write => write,
            Permits::Devices => read | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate,
        };
        let path = root::c_path(rule.path.as_str())?;
        let folder = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty()) {
            // `/opt` exists only when something is mounted there.
            Err(Errno::NOENT) => continue,
            other => other.at(Step::Landlock)?,
        };
        let status = rustix::fs::fstat(&folder).at(Step::Landlock)?;
        let is_folder = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        // The kernel refuses rights that a file cannot have.
        let access = if is_folder { access } else { access & AccessFs::from_file(abi) };
        created = created.add_rule(PathBeneath::new(folder, access)).map_err(refused).at(Step::Landlock)?;
    }
    let made: Option<OwnedFd> = created.into();
    let files = if is_for_others { Layers::NONE } else { Layers::of(&[Layer::Landlock]) };
    let has_scopes = known >= SCOPES_SINCE && !hooks::removed(Layer::Scopes);
    let given = if has_scopes { files.with(Layer::Scopes) } else { files };
    Ok(made.map(|made| Rules { made, given }))
}
