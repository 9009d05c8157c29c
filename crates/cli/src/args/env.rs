//! The flags of `stockade env`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is to be done about environments.
#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Build an environment and give it a name, or build it anew
    #[command(override_usage = "stockade env build [OPTIONS] NAME [FILE]", after_help = BUILD_EXAMPLES)]
    Build(Build),
    /// List the environments there are
    #[command(after_help = "Examples:\n  stockade env list\n  stockade env list --json")]
    List(Document),
    /// Show what is in an environment
    #[command(after_help = "Examples:\n  stockade env show analysis\n  stockade env show 3fa94c --json")]
    Show(Show),
    /// Show what differs between two environments
    #[command(after_help = "Example:\n  stockade env diff analysis approved/analysis")]
    Diff(Diff),
    /// Hash every file again and compare it with what was built
    #[command(
        after_help = "Examples:\n  stockade env verify analysis\n  stockade env verify --all\n\nEnds with status 1 when something is wrong."
    )]
    Verify(Verify),
    /// Take a name away, or an environment by its digest
    #[command(after_help = "Examples:\n  stockade env rm analysis\n  stockade env rm 3fa94c27b1e0")]
    Rm(Rm),
    /// Take away what nobody needs: no name, no recent use, no run at the moment
    #[command(after_help = "Examples:\n  stockade env gc --dry-run\n  stockade env gc --keep-days 7")]
    Gc(Gc),
    /// Write an environment as one file, for a machine without network
    #[command(after_help = "Example:\n  stockade env export analysis analysis.tar.gz")]
    Export(Export),
    /// Take an environment from such a file; what does not fit its digest is refused
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Print what an environment consists of, as CycloneDX 1.6 JSON
    #[command(after_help = "Example:\n  stockade env sbom analysis > analysis.cdx.json")]
    Sbom(Sbom),
    /// Hold an environment against known vulnerabilities, offline
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(Audit),
    /// Say which libraries are trusted with secrets and the like
    #[command(subcommand)]
    Trust(Trust),
}

/// What is to be done about the trust in libraries.
#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Vouch for libraries
    #[command(override_usage = "stockade env trust add [LIBRARY]... [--environment ENV] --reason TEXT", after_help = TRUST_EXAMPLES)]
    Add(TrustAdd),
    /// Take entries back, by their ids
    #[command(after_help = "Example:\n  stockade env trust remove 3fa94c27b1e0 --reason 'a flaw was found'")]
    Remove(TrustRemove),
    /// List who vouches for what
    #[command(after_help = "Examples:\n  stockade env trust list\n  stockade env trust list --json")]
    List(Document),
    /// Say whether an environment is trusted, and what stands against it
    #[command(
        after_help = "Example:\n  stockade env trust check analysis\n\nEnds with status 1 when it is not trusted."
    )]
    Check(Show),
    /// Print the public key with which your entries are signed
    #[command(
        after_help = "An administrator lets it count on a machine: a line of /etc/stockade/trust/keys/NAME@REALM."
    )]
    Key,
}

const TRUST_EXAMPLES: &str = "\
LIBRARY is one of
  NAME>=1.2,<2          versions of a Python package
  NAME --hash HASH      any version that has this hash
  pypi:/NAME@VERSION    exactly this, with --hash or from the lock of --environment
  cran:/NAME@VERSION    the same for R
  file:/PATH.whl        a wheel, hashed now
  env:/DIGEST           a whole environment

Examples:
  stockade env trust add --environment analysis --reason 'reviewed by the team' --expires 180d
  stockade env trust add pandas --environment analysis --reason 'reviewed'
  stockade env trust add 'numpy>=2,<3' --reason 'kept by people we know'";

#[derive(Debug, Args)]
pub(crate) struct TrustAdd {
    /// What is trusted
    #[arg(value_name = "LIBRARY", required_unless_present = "environment")]
    pub(crate) libraries: Vec<String>,

    /// Take versions and hashes from this environment; without LIBRARY, all that is in it
    #[arg(long, value_name = "NAME|DIGEST", conflicts_with_all = ["hashes", "index"])]
    pub(crate) environment: Option<String>,

    /// Only files with this SHA-256; may be repeated
    #[arg(long = "hash", value_name = "SHA256")]
    pub(crate) hashes: Vec<String>,

    /// Only files that came from this host
    #[arg(long, value_name = "HOST")]
    pub(crate) index: Option<String>,

    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    /// For how long, such as 180d; else until it is taken back
    #[arg(long, value_name = "DAYS")]
    pub(crate) expires: Option<String>,

    /// Write to the machine's list, /etc/stockade/trust, as root
    #[arg(long)]
    pub(crate) machine: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrustRemove {
    /// Entries
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,

    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    /// From the machine's list, /etc/stockade/trust, as root
    #[arg(long)]
    pub(crate) machine: bool,
}

const IMPORT_EXAMPLES: &str = "\
The digest is what `stockade env export` and `stockade env show` print; have it from elsewhere than the file.

Examples:
  stockade env import analysis.tar.gz --dry-run
  stockade env import analysis.tar.gz analysis --digest 3fa94c27b1e0";

const AUDIT_EXAMPLES: &str = "\
DIR holds advisories as OSV files (`.json`), in any folders.

Examples:
  stockade env audit analysis --advisories osv/
  stockade env audit analysis --advisories osv/ --json

Ends with status 0 when nothing is found, 1 when something is, 125 when an advisory cannot be understood.";

const BUILD_EXAMPLES: &str = "\
FILE is a requirements file, pyproject.toml, pylock.toml, uv.lock, Spotfire .spk or rlock.toml, told apart by its name.
An environment has packages of Python or of R.

Examples:
  stockade env build analysis --with 'pandas>=2,matplotlib'
  stockade env build analysis requirements.txt
  stockade env build service pyproject.toml --extra postgres
  stockade env build service uv.lock --python 3.12
  stockade env build careful --with pandas --min-age 7d
  stockade env build plots --r 'ggplot2>=3.4,dplyr'
  stockade env build plots --r ggplot2 --r-from-machine
  stockade run --environment analysis report.py";

/// What an environment is made of: the same for `env build` and for a run.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Packages {
    /// Packages from the package index, separated by commas
    #[arg(long, value_name = "PACKAGES", help_heading = "Packages")]
    pub(crate) with: Vec<String>,

    /// A requirements file, pyproject.toml, pylock.toml, uv.lock or Spotfire .spk
    #[arg(short = 'r', long = "requirements", value_name = "FILE", help_heading = "Packages")]
    pub(crate) requirements: Vec<PathBuf>,

    /// With a pyproject.toml or uv.lock, its optional dependencies of this name too
    #[arg(long, value_name = "EXTRA", help_heading = "Packages")]
    pub(crate) extra: Vec<String>,

    /// Let this package run its build, from source, in a jail without network
    #[arg(long, value_name = "PACKAGE", help_heading = "Packages")]
    pub(crate) allow_build: Vec<String>,

    /// Ignore releases younger than this, such as 7d or 12h
    #[arg(long, value_name = "AGE", help_heading = "Packages")]
    pub(crate) min_age: Option<String>,

    /// The interpreter to use: a program, or a version such as 3.12 of those on this machine
    #[arg(long, value_name = "PROGRAM|VERSION", help_heading = "Packages")]
    pub(crate) python: Option<PathBuf>,

    /// R packages, separated by commas, from the repository that STOCKADE_R_REPOSITORY names; each is compiled,
    /// which runs its code, in a jail without network
    #[arg(long, value_name = "PACKAGES", help_heading = "Packages")]
    pub(crate) r: Vec<String>,

    /// Take the packages of --r as they are installed on this machine; nothing is fetched or compiled
    #[arg(long, help_heading = "Packages")]
    pub(crate) r_from_machine: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The name it gets
    pub(crate) name: String,

    /// A file that says what is in it
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) packages: Packages,

    /// Print progress as JSON, one event a line, on standard error, and the result on standard output
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,

    /// Print nothing unless something goes wrong
    #[arg(short, long, help_heading = "Report")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Document {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A name, a digest, or its first digits
    #[arg(value_name = "NAME|DIGEST")]
    pub(crate) environment: String,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The first environment
    #[arg(value_name = "NAME|DIGEST")]
    pub(crate) from: String,

    /// The other one
    #[arg(value_name = "NAME|DIGEST")]
    pub(crate) to: String,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Names, digests, or their first digits
    #[arg(value_name = "NAME|DIGEST", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) environments: Vec<String>,

    /// Every environment of the store
    #[arg(long)]
    pub(crate) all: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Names; or digests of environments without a name
    #[arg(value_name = "NAME|DIGEST", required = true)]
    pub(crate) environments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Show what would be taken away, and take nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Keep what was used or built in the last days
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) keep_days: u32,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A name, a digest, or its first digits
    #[arg(value_name = "NAME|DIGEST")]
    pub(crate) environment: String,

    /// The file to write; there must be none of this name
    pub(crate) file: PathBuf,

    /// Print one JSON document
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print nothing unless something goes wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A file that `stockade env export` wrote
    pub(crate) file: PathBuf,

    /// The name it gets
    #[arg(conflicts_with = "dry_run")]
    pub(crate) name: Option<String>,

    /// Refuse anything but the environment of this digest, or of these first twelve digits or more
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<String>,

    /// Check every file and import nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The interpreter to use: a program, or a version such as 3.12 of those on this machine
    #[arg(long, value_name = "PROGRAM|VERSION")]
    pub(crate) python: Option<PathBuf>,

    /// Print progress as JSON, one event a line, on standard error, and the result on standard output
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print nothing unless something goes wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sbom {
    /// A name, a digest, or its first digits
    #[arg(value_name = "NAME|DIGEST")]
    pub(crate) environment: String,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// A name, a digest, or its first digits
    #[arg(value_name = "NAME|DIGEST")]
    pub(crate) environment: String,

    /// A folder of OSV files
    #[arg(long, value_name = "DIR")]
    pub(crate) advisories: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
