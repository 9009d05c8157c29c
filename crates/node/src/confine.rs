//! What the process that speaks with strangers may still do: keep its state, and nothing else of the host.
//!
//! Should somebody take it over: it opens no file of a run, of a user or of the system, executes nothing, and neither
//! dials nor listens over TCP. What it can still ask for is what the launcher checks.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::refusal::Refusal;

/// Gives up every file but those of `store`, reading those of `secrets`, and removing its own socket from its folder. Counts for threads that are
/// started from now on.
///
/// # Errors
/// [`Refusal`] when that cannot be had; the process must not serve then.
pub(crate) fn confine(store: &Path, socket_folder: &Path, secrets: Option<&Path>) -> Result<(), Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::invalid("the node cannot be confined", error.to_string(), "run `stockade doctor`: Landlock is needed")
    };
    let abi = ABI::V6;
    let of_store = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate;
    let rules: [(&Path, BitFlags<AccessFs>); 2] = [(store, of_store), (socket_folder, AccessFs::RemoveFile.into())];
    let of_secrets = secrets.map(|secrets| (secrets, AccessFs::ReadFile.into()));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
        .and_then(|ruleset| ruleset.scope(Scope::AbstractUnixSocket))
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    for (folder, access) in rules.into_iter().chain(of_secrets) {
        let folder = PathFd::new(folder).map_err(|error| failed(&error))?;
        ruleset = ruleset.add_rule(PathBeneath::new(folder, access)).map_err(|error| failed(&error))?;
    }
    let status = ruleset.restrict_self().map_err(|error| failed(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(failed(&"the kernel does not enforce it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_the_state_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        std::fs::write(folder.path().join("other"), "x").unwrap();
        let secrets = folder.path().join("secrets");
        std::fs::create_dir(&secrets).unwrap();
        std::fs::write(secrets.join("a"), "x").unwrap();
        // Of one thread, which ends.
        std::thread::spawn(move || {
            let other = folder.path().join("other");
            assert!(File::open(&other).is_ok());
            confine(&store, folder.path(), Some(&secrets)).unwrap();
            std::fs::write(store.join("a"), "x").unwrap();
            assert_eq!(std::fs::read_to_string(store.join("a")).unwrap(), "x");
            assert_eq!(std::fs::read_to_string(secrets.join("a")).unwrap(), "x");
            assert!(std::fs::write(secrets.join("a"), "y").is_err() && std::fs::read_dir(&secrets).is_err());
            assert!(File::open(&other).is_err() && File::create(folder.path().join("new")).is_err());
            assert!(File::open("/etc/passwd").is_err() && std::fs::read_dir("/").is_err());
            assert!(std::process::Command::new("/bin/true").spawn().is_err());
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
            std::fs::remove_file(&other).unwrap();
        })
        .join()
        .unwrap();
    }
}
