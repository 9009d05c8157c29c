//! Outside: what a process gives up that serves sandboxes, before it hears the first of them.
//!
//! The egress gate speaks with strangers on both sides. Should one of them take it over, they are a user of no one
//! that starts nothing, writes no file, reads only what a resolver and TLS need, and listens on no port.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::Resource;
use stockade_core::layer::{Layer, Layers};
use stockade_core::plan::service_id;
use stockade_core::syscalls::{Architecture, Profile};

use crate::failure::Failure;
use crate::outside::failed;
use crate::seccomp::{self, Telling};
use crate::sys;

/// Gives up everything but standard input, output and error, the calls of `profile` (the grammar of `profiles/seccomp.txt`) and reading below
/// `readable`, as far as that exists. A caller that is root becomes a user of no one: `user`, or one by its process id.
///
/// # Errors
/// [`Failure`] when something cannot be given up; the process must not serve then.
pub fn confine(profile: &str, readable: &[&str], user: Option<u32>) -> Result<(), Failure> {
    if !sys::single_threaded() {
        return Err(Failure::Threads);
    }
    let step = |what| failed(what, "this service");
    // Whoever started it may have left more open than its three.
    sys::close_all_but(&[]).map_err(step("close what is not for"))?;
    if rustix::process::geteuid().is_root() {
        sys::empty_bounding_set().map_err(step("take capabilities from"))?;
        let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        sys::become_user(user.unwrap_or(service_id(own)), true).map_err(step("take the user from"))?;
    }
    sys::drop_capabilities().map_err(step("take capabilities from"))?;
    // After the change of user, which clears it. It ends by itself too, when its socket closes.
    sys::die_with_parent().map_err(step("tie to its caller's life"))?;
    sys::set_no_new_privileges().map_err(step("take privileges from"))?;
    // Others of its user may not read its memory: it holds secrets.
    sys::set_dumpable(false).map_err(step("hide the memory of"))?;
    // Not 0, as for code: see `inside::set_rlimits`.
    sys::limit(Resource::Core, 1).map_err(step("limit"))?;
    restrict_files(readable)?;
    let architecture = Architecture::native().ok_or_else(|| step("find a profile for")(Errno::NOTSUP))?;
    let profile = Profile::parse(profile, architecture).map_err(|_| step("parse the profile of")(Errno::INVAL))?;
    let filter =
        seccomp::compile(&profile, Telling::Silent).map_err(|_| step("compile the profile of")(Errno::TOOBIG))?;
    sys::load_filter(&filter, false).map_err(step("filter the calls of")).map(drop)
}

/// Landlock: no file but these, for reading; no TCP port to listen on; no signal or abstract socket of others.
fn restrict_files(readable: &[&str]) -> Result<(), Failure> {
    let missing = |_| Failure::Missing { missing: Layers::of(&[Layer::Landlock]) };
    let abi = ABI::V7;
    let mut created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::BindTcp))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .map_err(missing)?;
    for path in readable {
        let Ok(folder) = PathFd::new(path) else { continue };
        let rule = PathBeneath::new(folder, AccessFs::ReadFile | AccessFs::ReadDir);
        created = created.add_rule(rule).map_err(missing)?;
    }
    let status = created.restrict_self().map_err(missing)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(Failure::Missing { missing: Layers::of(&[Layer::Landlock]) });
    }
    Ok(())
}
