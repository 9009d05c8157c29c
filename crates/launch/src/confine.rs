//! Child, inside, trusts nothing: Landlock, the wall of files below the mounts.

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use stockade_core::ground::Ground;
use stockade_core::layer::Layer;
use stockade_core::plan::Permits;

use crate::failure::Step;
use crate::hooks;
use crate::inside::{At, Carried, Failed};
use crate::{root, sys};

/// Landlock: what the kernel's ABI knows, all of it handled, and only the plan's paths permitted.
pub(crate) fn to_plan(carried: &mut Carried<'_>) -> Result<(), Failed> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
        RulesetCreatedAttr, Scope,
    };
    let known = sys::landlock_abi();
    if hooks::removed(Layer::Landlock) || known == 0 || carried.plan.ground.runtime().is_some() {
        return Ok(());
    }
    hooks::fault("landlock").at(Step::Landlock)?;
    let abi = ABI::V7;
    let refused = |_| Errno::OPNOTSUPP;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .map_err(refused)
        .at(Step::Landlock)?;
    if matches!(carried.plan.ground, Ground::Host { .. }) {
        // A second wall: no socket can be made anyhow. A network of its own may be used as it likes.
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(refused).at(Step::Landlock)?;
    }
    if !hooks::removed(Layer::Scopes) {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(refused).at(Step::Landlock)?;
    }
    let mut created = ruleset.create().map_err(refused).at(Step::Landlock)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(abi) & !BitFlags::from(AccessFs::MakeChar) & !BitFlags::from(AccessFs::MakeBlock);
    for rule in &carried.plan.landlock {
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
    let status = created.restrict_self().map_err(refused).at(Step::Landlock)?;
    if status.ruleset != landlock::RulesetStatus::NotEnforced {
        carried.enforce(Layer::Landlock);
        // Scopes exist from ABI 6 on (Linux 6.12).
        if known >= 6 && !hooks::removed(Layer::Scopes) {
            carried.enforce(Layer::Scopes);
        }
    }
    Ok(())
}
