//! Child, inside, trusts nothing: from its birth to sealed code, without a namespace.
//!
//! [`Born`] → [`Lowered`] → [`Apart`], and from there on the phases of every run: [`Rooted`], sealed,
//! executed. Where `Lowered` becomes `Apart` the process splits: one half stays as the init.

use std::convert::Infallible;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use stockade_core::layer::Layer;
use stockade_core::paths::{self, InsidePath};
use stockade_core::plan::{Groups, Permits, Plan};

use crate::failure::Step;
use crate::handover::{self, Handover};
use crate::inside::{At, Carried, Failed, Rest, Rooted, born, connect_streams, enter_groups, set_rlimits};
use crate::sys::{self, Forked};
use crate::{hooks, init, root};

pub(crate) fn set_up(plan: &Plan, kit: Rest, control: BorrowedFd<'static>) -> Result<Infallible, Failed> {
    Born::new(plan, kit, control)?.lower()?.split()?.prepare()?.seal()?.execute()
}

/// Just forked, with the caller's rights.
struct Born<'p>(Carried<'p>);

impl<'p> Born<'p> {
    fn new(plan: &'p Plan, kit: Rest, control: BorrowedFd<'static>) -> Result<Self, Failed> {
        Ok(Self(born(plan, kit, control)?))
    }

    /// Root becomes a user of no one; whoever it is has no capability from here on, nor gets one.
    fn lower(self) -> Result<Lowered<'p>, Failed> {
        let Self(mut carried) = self;
        sys::set_no_new_privileges().at(Step::NoNewPrivileges)?;
        carried.enforce(Layer::NoNewPrivileges);
        // The bounding set and the secure bits are root's to change. An ordinary user has them as they
        // were; with no_new_privs no execution takes a capability from them.
        sys::empty_bounding_set().or_else(unless_privileged).at(Step::Capabilities)?;
        sys::lock_secure_bits().or_else(unless_privileged).at(Step::Capabilities)?;
        if carried.plan.identity.groups == Groups::Dropped {
            sys::become_user(carried.plan.identity.outside_uid, true).at(Step::User)?;
            carried.enforce(Layer::ThrowAwayUser);
        }
        sys::clear_ambient_capabilities().at(Step::Capabilities)?;
        sys::drop_capabilities().at(Step::Capabilities)?;
        carried.enforce(Layer::NoCapabilities);
        Ok(Lowered(carried))
    }
}

fn unless_privileged(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::PERM { Ok(()) } else { Err(errno) }
}

/// Without rights over anything but the user's own.
struct Lowered<'p>(Carried<'p>);

impl<'p> Lowered<'p> {
    /// Splits: this process becomes the init, reaper of the tree, and never returns; its child goes on
    /// to the code.
    fn split(self) -> Result<Apart<'p>, Failed> {
        let Self(carried) = self;
        sys::become_reaper().at(Step::Fork)?;
        // Before there is anybody who could look into it.
        sys::set_dumpable(false).at(Step::ParentDeath)?;
        let (inits, codes) = handover::pair().at(Step::Fork)?;
        match sys::clone_into(0, None).at(Step::Fork)? {
            Forked::Child => drop(inits),
            Forked::Parent { pid, pidfd } => {
                drop(codes);
                init::run_bare(&carried, &init::Code { pid, pidfd, handover: inits })
            }
        }
        Ok(Apart { carried, handover: codes })
    }
}

/// The code's own process.
struct Apart<'p> {
    carried: Carried<'p>,
    handover: Handover,
}

impl<'p> Apart<'p> {
    fn prepare(self) -> Result<Rooted<'p>, Failed> {
        let Self { mut carried, handover } = self;
        sys::die_with_parent().at(Step::ParentDeath)?;
        // The init stays outside: what is in the group is the code's, and can be killed as one.
        enter_groups(&mut carried.kit)?;
        sys::start_session().at(Step::Session)?;
        set_rlimits(&mut carried)?;
        check_trees(carried.plan)?;
        let job = root::c_path(carried.plan.ground.place(&InsidePath::fixed(paths::JOB)).as_str())?;
        rustix::process::chdir(&*job).at(Step::WorkingFolder)?;
        connect_streams(&carried, None)?;
        Ok(Rooted::new(carried, handover))
    }
}

/// What was found as the caller may be closed to the throw-away user: below root's home, for example.
fn check_trees(plan: &Plan) -> Result<(), Failed> {
    for rule in &plan.landlock {
        if rule.permits == Permits::Execute {
            hooks::fault("access").at(Step::Closed)?;
            match rustix::fs::access(rule.path.as_str(), rustix::fs::Access::READ_OK) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at(Step::Closed),
            }
        }
    }
    Ok(())
}
