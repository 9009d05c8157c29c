//! `stockade env export` and `stockade env import`.

use std::process::ExitCode;

use serde::Serialize;
use stockade_core::text;
use stockade_environments::{Archive, Ecosystem, Environment, Importer, Limits, Machine, Name, Package, Progress};

use crate::args::{Export, Import};
use crate::environment::{self, Versions, short};
use crate::jail::BuildJail;
use crate::pipeline::Services;
use crate::printer;
use crate::problem::Problem;
use crate::progress::{Events, Shown};

/// Writes an environment as one file.
pub(crate) fn export(arguments: &Export) -> Result<ExitCode, Problem> {
    let environment = environment::store().environment(&arguments.environment)?;
    let exported = stockade_environments::export(
        &environment,
        &arguments.file,
        &mut Shown::new(arguments.quiet || arguments.json),
    )?;
    let document = Exported {
        digest: &environment.digest,
        files: exported.files,
        bytes: exported.bytes,
        archive_bytes: exported.archive_bytes,
    };
    let file = arguments.file.to_string_lossy();
    if arguments.json {
        printer::page(&(printer::document(&document) + "\n"));
    } else if !arguments.quiet {
        printer::page(&format!(
            "{}: {}, {} as one file of {}\n  digest: {}\n  next: tell the digest apart from the file, and import it with `stockade env import {} --digest DIGEST`\n",
            text::quoted(&*file, 200),
            text::count(exported.files, "file", "files"),
            text::bytes(exported.bytes),
            text::bytes(exported.archive_bytes),
            environment.digest,
            text::quoted(&*file, 200),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was written, for programs.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    digest: &'a str,
    files: usize,
    bytes: u64,
    archive_bytes: u64,
}

/// Takes an archive into the store, or only looks at it.
pub(crate) fn import(arguments: &Import) -> Result<ExitCode, Problem> {
    let name: Option<Name> = arguments.name.as_ref().map(|name| name.parse()).transpose()?;
    if arguments.file.extension().is_some_and(|end| end.eq_ignore_ascii_case("spk")) {
        let file = text::quoted(arguments.file.as_os_str(), 200);
        return Err(Problem::new(
            format!("{file} is not imported"),
            "it is a Spotfire package: nobody vouches for its files, and they are of no environment",
            format!("build what it names, from the package index: stockade env build NAME {file}"),
        ));
    }
    let archive = Archive::open(&arguments.file)?;
    if let Some(digest) = &arguments.digest {
        archive.expect(digest)?;
    }
    let mut progress: Box<dyn Progress> =
        if arguments.json { Box::new(Events) } else { Box::new(Shown::new(arguments.quiet)) };
    let (store, machine) = (environment::store(), Machine::of_this_process());
    let mut importer =
        Importer { store: &store, machine: &machine, limits: Limits::default(), progress: &mut *progress };
    let packages = archive.packages().to_vec();
    if arguments.dry_run {
        let interpreter = archive.interpreter();
        let checked = importer.check(archive)?;
        drop(progress);
        tell(
            arguments,
            &Taken {
                name: None,
                digest: &checked.digest,
                versions: Versions::of(&interpreter),
                runs_with: environment::runs_with(&interpreter),
                packages: &packages,
                imported: false,
            },
        );
        return Ok(ExitCode::SUCCESS);
    }
    let environment = taken(arguments, archive, &mut importer)?;
    drop(progress);
    if let Some(name) = &name {
        store.set_name(name, &environment)?;
    }
    tell(
        arguments,
        &Taken {
            name: name.map(|name| name.to_string()),
            digest: &environment.digest,
            versions: Versions::of(&environment.interpreter),
            runs_with: environment::runs_with(&environment.interpreter),
            packages: &packages,
            imported: true,
        },
    );
    Ok(ExitCode::SUCCESS)
}

fn taken(arguments: &Import, archive: Archive, importer: &mut Importer<'_>) -> Result<Environment, Problem> {
    let mut services = Services::of_user();
    if archive.interpreter().ecosystem() == Ecosystem::Cran {
        let interpreter = environment::r_for(&archive.interpreter(), archive.digest())?;
        let mut jail = BuildJail { interpreter: None, services: &mut services };
        return Ok(importer.import(archive, &interpreter, &mut jail)?);
    }
    let interpreter =
        environment::interpreter_for(&archive.interpreter(), archive.digest(), arguments.python.as_deref())?;
    let mut jail = BuildJail { interpreter: Some(&interpreter), services: &mut services };
    Ok(importer.import(archive, &environment::target(&interpreter), &mut jail)?)
}

/// What was taken or looked at, for programs.
#[derive(Debug, Serialize)]
struct Taken<'a> {
    name: Option<String>,
    digest: &'a str,
    #[serde(flatten)]
    versions: Versions,
    #[serde(skip)]
    runs_with: String,
    packages: &'a [Package],
    imported: bool,
}

fn tell(arguments: &Import, taken: &Taken<'_>) {
    if arguments.json {
        return printer::page(&(printer::document(taken) + "\n"));
    }
    if arguments.quiet {
        return;
    }
    let packages = text::count(taken.packages.len(), "package", "packages");
    let subject = match (&taken.name, taken.imported) {
        (Some(name), _) => format!("{name}: {}", short(taken.digest)),
        (None, true) => short(taken.digest).to_owned(),
        (None, false) => format!("good, and not imported: {}", short(taken.digest)),
    };
    printer::page(&format!("{subject}, {packages}, {}\n", taken.runs_with));
    if arguments.digest.is_none() {
        printer::page(
            "  note: its files fit its digest, and nothing says whose digest it is; compare it with `stockade env show` of where it was exported, or give --digest\n",
        );
    }
}
