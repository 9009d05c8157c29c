//! Files that say what is wanted: projects and locks.

use std::fmt::Write;

use crate::{Place, refused};

/// The lock of an environment that was built, as PEP 751 has it.
fn lock_of(place: &Place, digest: &str) -> String {
    std::fs::read_to_string(place.environment(digest).join("pylock.toml")).unwrap()
}

/// The same as a `uv.lock` of a project that depends on all of it.
fn uv_lock_of(place: &Place, digest: &str) -> String {
    let lock: Vec<String> = lock_of(place, digest).lines().map(str::to_owned).collect();
    let value = |line: &str, key: &str| line.split(&format!("{key} = \"")).nth(1)?.split('"').next().map(str::to_owned);
    let (mut names, mut packages) = (Vec::new(), String::new());
    for (index, line) in lock.iter().enumerate().filter(|(_, line)| line.starts_with("name = ")) {
        let (name, version) = (value(line, "name").unwrap(), value(&lock[index + 1], "version").unwrap());
        write!(packages, "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = {{ registry = \"https://index.invalid/simple\" }}\nwheels = [\n").unwrap();
        for line in lock[index + 3..].iter().take_while(|line| line.starts_with("  {")) {
            let (url, sha256) = (value(line, "url").unwrap(), value(line, "sha256").unwrap());
            writeln!(packages, "{{ url = \"{url}\", hash = \"sha256:{sha256}\" }},").unwrap();
        }
        packages += "]\n";
        names.push(format!("{{ name = \"{name}\" }}"));
    }
    format!(
        "version = 1\nrevision = 3\nrequires-python = \">=3.8\"\n[[package]]\nname = \"demo\"\nversion = \"0\"\nsource = {{ virtual = \".\" }}\ndependencies = [{}]\n{packages}",
        names.join(", ")
    )
}

#[test]
fn a_lock_gives_the_environment_that_it_was_written_from() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six,idna"]);
    place.folder.write("pylock.toml", lock_of(&place, &digest));
    place.folder.write("uv.lock", uv_lock_of(&place, &digest));
    for file in ["pylock.toml", "uv.lock"] {
        let ran = place.ran(&["env", "build", "from-a-lock", file]).expect(0);
        assert!(!ran.stderr.contains("resolving"), "{}", ran.stderr);
        assert_eq!(place.document(&["env", "show", "--json", "from-a-lock"])["digest"], *digest, "{file}");
        let ran = place.ran(&["run", "--json", "-r", file, "-c", "import idna, six"]).expect(0);
        assert_eq!(ran.report()["environment"], *digest);
    }
    let other = place.built("other", &["pylock.toml", "--python", "3.12"]);
    assert_ne!(other, digest);
}

#[test]
fn a_project_and_its_optional_dependencies_are_built() {
    let place = Place::new();
    place.folder.write(
        "pyproject.toml",
        "[project]\nname = 'demo'\ndependencies = ['six']\n[project.optional-dependencies]\nmore = ['idna']\n",
    );
    place.built("plain", &["pyproject.toml"]);
    place.built("more", &["-r", "pyproject.toml", "--extra", "more"]);
    let found = place.document(&["env", "diff", "--json", "plain", "more"]);
    assert_eq!(found["added"][0]["name"], "idna");
}

#[test]
fn files_that_are_not_those_of_the_lock_are_refused() {
    let donor = Place::new();
    let digest = donor.built("x", &["--with", "six"]);
    let (lock, uv_lock) = (lock_of(&donor, &digest), uv_lock_of(&donor, &digest));
    let place = Place::new();
    let build = ["env", "build", "x", "pylock.toml"];
    place.folder.write("pylock.toml", lock.replace("sha256 = \"4", "sha256 = \"5"));
    refused(&place, &build, &["six-1.17.0", "is not the one that was locked", "the lock says sha256 5"]);
    place.folder.write("pylock.toml", lock.replace("url = \"https://", "url = \"https://evil.invalid/"));
    refused(&place, &build, &["`pylock.toml`, line 4: package `six`", "`evil.invalid`, which is no host of the index"]);
    place.folder.write("pylock.toml", lock.replace("py2.py3-none-any", "cp27-cp27-win_amd64"));
    refused(&place, &build, &["line 4: package `six` is for another platform or Python", "runs here"]);
    place.folder.write("pylock.toml", lock.replace("created-by", "requires-python = \">=4\"\ncreated-by"));
    refused(&place, &build, &["needs Python `>=4`"]);
    place.folder.write("pylock.toml", lock.replace("sha256 = ", "md5 = "));
    refused(&place, &build, &["line 4: package `six`", "no sha256 hash"]);
    place.folder.write("pylock.toml", &lock);
    refused(&place, &[&build[..], &["--with", "idna"]].concat(), &["a lock is installed as it is"]);
    refused(&place, &[&build[..], &["--min-age", "7d"]].concat(), &["a lock is installed as it is"]);
    refused(&place, &[&build[..], &["--allow-build", "six"]].concat(), &["a lock is installed as it is", "a build"]);
    refused(&place, &[&build[..], &["--extra", "more"]].concat(), &["--extra `more`"]);
    place.folder.write(
        "uv.lock",
        uv_lock.replace("registry = \"https://index.invalid/simple\"", "git = \"https://host.invalid/six\""),
    );
    refused(
        &place,
        &["env", "build", "x", "uv.lock"],
        &["`uv.lock`, line 12: package `six`", "not from the package index"],
    );
    refused(&place, &["env", "build", "x", "uv.lock", "-r", "pylock.toml"], &["package `six`"]);
    place.folder.write("pyproject.toml", "[project]\ndependencies = [\n'six @ file:///tmp/six.whl']\n");
    refused(&place, &["env", "build", "x", "pyproject.toml"], &["pyproject.toml`, line 3", "never from a URL"]);
}

/// Whoever writes a file of requirements, a project or a script chooses no place that packages come from, and
/// no build.
#[test]
fn files_of_strangers_choose_no_place_and_no_build() {
    let place = Place::new();
    let place = &place;
    let build = |file: &str, text: &str, parts: &[&str]| {
        place.folder.write(file, text);
        refused(place, &["env", "build", "x", file], parts);
    };
    for (line, part) in [
        ("--index-url https://evil.invalid/simple", "may not choose where packages come from"),
        ("--extra-index-url https://evil.invalid/simple", "may not choose where packages come from"),
        ("-f https://evil.invalid/", "may not choose where packages come from"),
        ("--no-binary :all:", "options are not accepted here"),
        ("-e .", "an editable install runs code"),
        ("six @ https://evil.invalid/six-1.0-py3-none-any.whl", "never from a URL"),
        ("https://evil.invalid/six-1.0-py3-none-any.whl", "never from a URL"),
        ("six @ git+https://evil.invalid/six", "never from a URL"),
        ("./six-1.0-py3-none-any.whl", "never from a local path"),
        ("-r /etc/passwd", "outside the folder of the first requirement file"),
    ] {
        build("requirements.txt", &format!("idna\n{line}\n"), &["`./requirements.txt`, line 2", part]);
    }
    let project = "[project]\nname = 'x'\ndependencies = ['six']\n";
    for (table, part) in [
        ("[[tool.uv.index]]\nurl = 'https://evil.invalid/simple'\n", "`index` does"),
        ("[tool.uv]\nindex-url = 'https://evil.invalid/simple'\n", "`index-url` does"),
        ("[tool.uv.sources]\nsix = { url = 'https://evil.invalid/six.whl' }\n", "`sources` does"),
        ("[tool.uv]\nno-binary = true\n", "`no-binary` does"),
    ] {
        build("pyproject.toml", &format!("{project}{table}"), &["pyproject.toml", "`[tool.uv]` may not choose", part]);
        let block: String =
            format!("dependencies = ['six']\n{table}").lines().map(|line| format!("# {line}\n")).collect();
        place.folder.write("script.py", format!("# /// script\n{block}# ///\n"));
        refused(place, &["run", "script.py"], &["script.py", "`[tool.uv]` may not choose"]);
    }
    place.folder.write("script.py", "# /// script\n# dependencies = ['six @ https://evil.invalid/six.whl']\n# ///\n");
    refused(place, &["run", "script.py"], &["script.py", "never from a URL"]);
}

#[test]
fn a_run_finds_the_interpreter_that_its_environment_was_built_for() {
    const OTHER: &str = "/usr/bin/python3";
    if !std::path::Path::new(OTHER).exists() {
        stockade_testkit::skipped("an environment of another interpreter", "there is no /usr/bin/python3");
        return;
    }
    let place = Place::new();
    place.built("x", &["--with", "six", "--python", OTHER]);
    let version =
        place.ran(&["run", "-q", "--environment", "x", "-c", "import six, sys; print(sys.version)"]).expect(0);
    let direct = place.ran(&["run", "-q", "--python", OTHER, "-c", "import sys; print(sys.version)"]).expect(0);
    assert_eq!(version.stdout, direct.stdout);
}
