//! A package index of wheels that a test makes. It stands where the jail does: the steps that would
//! reach an index are answered here, all others run behind walls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use stockade_environments::{Ended, Jail, JailFailure, JailOutcome, JailStep};

use crate::jail::BubblewrapJail;
use crate::place::Place;

/// One member of a wheel: its path, its kind and its content, as `make_wheel.py` takes them.
pub(crate) type Member<'a> = (&'a str, &'a str, serde_json::Value);

/// A text file in a wheel.
pub(crate) fn text<'a>(path: &'a str, text: &str) -> Member<'a> {
    (path, "text", text.into())
}

pub(crate) struct Shelf<'a> {
    pub(crate) inner: BubblewrapJail<'a>,
    /// Called for each file that is fetched: its name, and where it will stand.
    pub(crate) tamper: fn(&str, &std::path::Path),
    /// What fetching answers.
    pub(crate) fetched: Ended,
    folder: PathBuf,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        let folder = place.root.path().join("shelf");
        std::fs::create_dir_all(&folder).unwrap();
        let inner = BubblewrapJail { python: &place.python, steps: Vec::new() };
        Self { inner, tamper: |_, _| {}, fetched: Ended::Exited(0), folder }
    }

    /// Puts version 1.0 of a package on the shelf.
    pub(crate) fn put(&self, name: &str, members: &[Member<'_>]) {
        self.put_for("py3-none-any", name, members);
    }

    /// Puts one of the files of version 1.0 of a package on the shelf.
    pub(crate) fn put_for(&self, tags: &str, name: &str, members: &[Member<'_>]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/end_to_end/make_wheel.py");
        let mut command = Command::new("python3");
        command.args(["-I", script]).arg(&self.folder).args([name, tags]).arg(serde_json::to_string(members).unwrap());
        assert!(command.status().unwrap().success());
    }

    fn lock(&self) -> String {
        let mut packages: BTreeMap<String, String> = BTreeMap::new();
        for file in self.files() {
            let name = file.split('-').next().unwrap();
            let path = self.folder.join(&file);
            let said = String::from_utf8(Command::new("sha256sum").arg(&path).output().unwrap().stdout).unwrap();
            let sha256 = said.split(' ').next().unwrap();
            let size = path.metadata().unwrap().len();
            let wheels = packages.entry(name.to_owned()).or_default();
            wheels.push_str(&format!(
                "{{ url = \"https://files.invalid/{file}\", size = {size}, hashes = {{ sha256 = \"{sha256}\" }} }}, "
            ));
        }
        let mut text = "lock-version = \"1.0\"\n".to_owned();
        for (name, wheels) in packages {
            text.push_str(&format!("[[packages]]\nname = \"{name}\"\nversion = \"1.0\"\nwheels = [{wheels}]\n"));
        }
        text
    }

    fn files(&self) -> Vec<String> {
        let items = std::fs::read_dir(&self.folder).unwrap().flatten();
        let mut files: Vec<String> = items.map(|item| item.file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    fn fetch(&self, step: &JailStep<'_>) {
        let list = step.shown.iter().find(|shown| shown.inside.ends_with("/wheels.json")).unwrap();
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(&list.outside).unwrap()).unwrap();
        for wheel in list {
            let (name, sha256) = (wheel["name"].as_str().unwrap(), wheel["sha256"].as_str().unwrap());
            let folder = step.outputs.join("wheels").join(sha256);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(self.folder.join(name), folder.join(name)).unwrap();
            (self.tamper)(name, &folder.join(name));
        }
    }
}

impl Jail for Shelf<'_> {
    fn run(&mut self, step: JailStep<'_>) -> Result<JailOutcome, JailFailure> {
        let ended = match step.name {
            "index" => {
                std::fs::write(step.outputs.join("hosts"), "files.invalid\n").unwrap();
                Ended::Exited(0)
            }
            "resolve" => {
                std::fs::write(step.outputs.join("pylock.toml"), self.lock()).unwrap();
                Ended::Exited(0)
            }
            "fetch" => {
                self.fetch(&step);
                self.fetched
            }
            _ => return self.inner.run(step),
        };
        self.inner.steps.push(step.name.to_owned());
        Ok(JailOutcome { ended, denied: Vec::new() })
    }
}
