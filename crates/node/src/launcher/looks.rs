//! Looks: processes of the command that run nothing, and tell one thing.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::command::{self, Task};
use super::supervisor::Supervisor;
use super::{Launcher, is_principal, not_spooled};
use crate::look::Look;
use crate::refusal::{Kind, Refusal};
use crate::wire::RunId;

/// At once; the node asks for fewer.
const LOOKS_MAX: usize = 4;
/// How long one may take.
const LOOKING: Duration = Duration::from_secs(20);

impl Launcher {
    /// Begins to look. Beside it: where the answer goes, then the files of a run.
    pub(super) fn look(
        &mut self,
        run: &RunId,
        principal: &str,
        look: &Look,
        descriptors: &[OwnedFd],
    ) -> Result<(), Refusal> {
        look.check(&self.bounds)?;
        if !is_principal(principal) {
            return Err(Refusal::failed("nobody asks", "the principal has another form"));
        }
        if self.looks.len() >= LOOKS_MAX {
            return Err(Refusal::new(Kind::Unavailable, "too many ask at once", "as many look as may", "ask again"));
        }
        if self.is_there(run) {
            return Err(Refusal::failed("this was asked before", "its name is taken"));
        }
        let task = Task::Look(look);
        let [report, files @ ..] = descriptors else {
            return Err(Refusal::failed("it cannot be looked", "descriptors are missing"));
        };
        if files.len() != task.files().count() {
            return Err(Refusal::failed("it cannot be looked", "the files are not those that are named"));
        }
        // The plan is to be that of a run; nothing ever has this user.
        let user = self.settings.users.map(|range| range.first());
        let place = self.folders.make_inputs_alone(run).map_err(|error| not_spooled(&error))?;
        let started = place.spool(task.files(), files).and_then(|()| {
            let nowhere: OwnedFd = OpenOptions::new().write(true).open("/dev/null")?.into();
            let streams = command::Streams { out: &nowhere, error: &nowhere, report };
            let asker = command::Asker { principal, user };
            let given = command::Given { streams, inputs: place.inputs(), tables: &[] };
            let child = command::spawn(&self.settings, asker, task, given)?;
            Supervisor::of(child, None, Instant::now() + LOOKING)
        });
        match started {
            Ok(supervisor) => {
                self.runs.insert(run.clone(), supervisor);
                self.looks.insert(run.clone());
                Ok(())
            }
            Err(error) => {
                self.folders.remove(run);
                Err(not_spooled(&error))
            }
        }
    }
}
