//! From a request to an import, with the real package index of this machine, behind walls.
//!
//! `STOCKADE_TEST_WITH=pandas,matplotlib` measures another set.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use stockade_environments::{Builder, Environment, Error, Limits, Machine, Request, Store, find};

    use crate::support::{BubblewrapJail, Python, Seen, bwrap_is_here};

    struct Place {
        _root: tempfile::TempDir,
        store: Store,
        machine: Machine,
        python: Python,
    }

    fn place() -> Option<Place> {
        if !bwrap_is_here() {
            println!("skipped: bubblewrap is not installed or may not make namespaces here");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let mut machine = Machine::of_this_process();
        // The pinned uv is fetched, whatever the machine has.
        machine.vars.remove("PATH");
        Some(Place { store: Store::at(root.path()), _root: root, machine, python: Python::of_this_machine() })
    }

    impl Place {
        fn build(&self, request: &Request) -> Result<(Environment, Vec<String>, Seen), Error> {
            let mut jail = BubblewrapJail { python: &self.python, steps: Vec::new() };
            let mut seen = Seen::default();
            let mut builder = Builder {
                store: &self.store,
                interpreter: &self.python.interpreter,
                machine: &self.machine,
                limits: Limits::default(),
                jail: &mut jail,
                progress: &mut seen,
            };
            let environment = builder.find_or_build(request)?;
            Ok((environment, jail.steps, seen))
        }

        fn find(&self, request: &Request) -> Option<Environment> {
            find(request, &self.python.interpreter, &self.machine, &self.store).unwrap()
        }

        fn run(&self, environment: &Environment, program: &[&str]) -> String {
            let mut command = self.python.walls();
            command.arg("--ro-bind").arg(&environment.folder).arg("/opt/stockade/env");
            let output = command.args(program).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        }
    }

    fn request(list: &str) -> Request {
        let mut request = Request::new();
        request.with(list).unwrap();
        for name in std::env::var("STOCKADE_TEST_ALLOW_BUILD").iter() {
            request.allow_build(name).unwrap();
        }
        request
    }

    #[test]
    fn packages_are_built_once_found_after_and_imported_behind_walls() {
        let Some(place) = place() else { return };
        let list = std::env::var("STOCKADE_TEST_WITH").unwrap_or_else(|_| "six,idna>=3".to_owned());
        let request = request(&list);
        assert!(place.find(&request).is_none());
        let started = Instant::now();
        let (environment, steps, seen) = place.build(&request).unwrap();
        println!("first build {:?}: {steps:?}\n{:#?}", started.elapsed(), seen.steps);
        println!("{:?} dropped {:?}", environment.packages, environment.dropped_pth);
        assert_eq!(seen.bytes.map(|(done, total)| done == total), Some(true));

        let found = place.find(&request);
        let took = (0..200).map(|_| {
            let started = Instant::now();
            let _found = place.find(&request);
            started.elapsed()
        });
        println!("find, best of 200: {:?}", took.min());
        assert_eq!(found.as_ref(), Some(&environment));

        let names: Vec<String> = environment.packages.iter().map(|p| p.name.clone()).collect();
        let script = "import sys, importlib.metadata as m; print(sys.prefix); print(*sorted(d.metadata['Name'].lower() for d in m.distributions()))";
        let said = place.run(&environment, &["/opt/stockade/env/bin/python", "-I", "-c", script]);
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("/opt/stockade/env"));
        assert_eq!(lines.next().map(|line| line.split(' ').count()), Some(names.len()));

        // Another request with the same answer: nothing is fetched, and the digest is the same.
        let again = self::request(&format!("{list},{}", names[0]));
        let started = Instant::now();
        let (second, steps, seen) = place.build(&again).unwrap();
        println!("second build {:?}: {steps:?}\n{:#?}", started.elapsed(), seen.steps);
        assert_eq!(second.digest, environment.digest);
        assert_eq!(steps, ["resolve", "install"]);
        assert_eq!(std::fs::read_dir(place.store.root().join("building")).unwrap().count(), 0);
    }

    #[test]
    fn startup_code_is_taken_out_and_launchers_start() {
        let Some(place) = place() else { return };
        let (environment, ..) = place.build(&request("setuptools==80.9.0,pygments")).unwrap();
        assert_eq!(environment.dropped_pth, ["distutils-precedence.pth"]);
        let said = place.run(&environment, &["/opt/stockade/env/bin/pygmentize", "-V"]);
        assert!(said.starts_with("Pygments version"), "{said}");
        let script = "import pygments; print(pygments.__cached__, __import__('os').path.exists(pygments.__cached__))";
        let said = place.run(&environment, &["/opt/stockade/env/bin/python", "-c", script]);
        assert!(said.trim().ends_with("True"), "{said}");
        // Nothing in it can be written, by anybody but root.
        let writable = std::process::Command::new("find")
            .arg(&environment.folder)
            .args(["-not", "-type", "l", "-perm", "/222"])
            .output();
        assert_eq!(String::from_utf8(writable.unwrap().stdout).unwrap(), "");
    }

    #[test]
    fn a_source_distribution_is_built_only_when_it_is_named() {
        let Some(place) = place() else { return };
        let mut request = request("docopt==0.6.2");
        let refused = place.build(&request).unwrap_err();
        assert!(refused.next().contains("--allow-build"), "{}", refused.next());
        request.allow_build("docopt").unwrap();
        let (environment, steps, _) = place.build(&request).unwrap();
        println!("{steps:?}");
        let said = place
            .run(&environment, &["/opt/stockade/env/bin/python", "-c", "import docopt; print(docopt.__version__)"]);
        assert_eq!(said.trim(), "0.6.2");
        let lock = std::fs::read_to_string(environment.folder.join("pylock.toml")).unwrap();
        assert!(lock.contains("sdist = { name = \"docopt-0.6.2.tar.gz\""), "{lock}");
    }

    #[test]
    fn what_cannot_be_resolved_is_said_plainly() {
        let Some(place) = place() else { return };
        let error = place.build(&request("six==0.0.1.dev7")).unwrap_err();
        assert_eq!(error.to_string(), "no set of packages meets the requirements");
        assert!(error.why().contains("six"), "{}", error.why());
        let mut script = Request::new();
        script.script(b"# /// script\n# requires-python = '>=4'\n# dependencies = ['six']\n# ///\n", "a.py").unwrap();
        assert!(matches!(place.build(&script), Err(Error::Python(_))));
    }
}
