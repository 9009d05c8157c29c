//! What to do when code missed something that lies outside: said by the code, checked here.

use std::path::{Path, PathBuf};

use stockade_core::request::Language;
use stockade_core::text;
use stockade_engines::Said;
use stockade_launch::Finished;

use crate::code::{Code, Engine};

/// One line each, with its `next:`.
pub(crate) fn hints(finished: &Finished, code: &Code) -> Vec<String> {
    // Code that ended well missed nothing; what it says is then no reason for advice in our name.
    if finished.outcome.cause.exit_status() == 0 {
        return Vec::new();
    }
    let beside = code.file.as_deref().and_then(Path::parent).map_or_else(PathBuf::new, Path::to_path_buf);
    stockade_engines::said(&finished.said)
        .into_iter()
        .filter_map(|said| hint(&said, &beside, &code.engine))
        .take(3)
        .collect()
}

fn hint(said: &Said, beside: &Path, engine: &Engine) -> Option<String> {
    match said {
        Said::Exception { name: Some(package), .. }
            if matches!(engine, Engine::R(_) | Engine::Session(Language::R)) =>
        {
            missing_r_package(package)
        }
        Said::Exception { name: Some(module), .. } => missing_module(module, beside),
        Said::Exception { path: Some(path), .. } => missing_file(path, beside),
        Said::Exception { .. } | Said::Figure { .. } | Said::Imported { .. } | Said::Attempt { .. } => None,
    }
}

/// A package of R that neither the machine nor an environment has.
fn missing_r_package(package: &str) -> Option<String> {
    let plain = package.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') && package.len() <= 100;
    plain.then(|| format!("no R package named {package}\n    next: --r {package}, or an environment of `stockade env build NAME --r {package}`"))
}

/// A module beside the script that was not given, or a package that no environment has.
fn missing_module(module: &str, beside: &Path) -> Option<String> {
    let top = module
        .split('.')
        .next()
        .filter(|top| (1..=100).contains(&top.len()) && top.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))?;
    for (name, what) in [(format!("{top}.py"), ""), (top.to_owned(), "a folder ")] {
        let path = beside.join(&name);
        if path.exists() {
            return Some(format!(
                "no module named {top}: {what}{name} lies beside the script but was not given\n    next: --project {} or --in {}",
                typed(beside),
                typed(&path)
            ));
        }
    }
    Some(format!("no module named {top}\n    next: --with PACKAGE (often named as the module: --with {top})"))
}

/// A path that exists outside but was not given.
fn missing_file(path: &str, beside: &Path) -> Option<String> {
    let outside = Path::new(path);
    let found = [outside.to_path_buf(), beside.join(outside)].into_iter().find(|candidate| candidate.exists())?;
    let how = if outside.is_absolute() {
        format!(
            "--in {} and read it by its name, `{}`",
            typed(&found),
            text::shown(&found.file_name()?.to_string_lossy(), 100)
        )
    } else if outside.components().count() > 1 {
        format!("--in {}={}", typed(&found), text::quoted(path, 200))
    } else {
        format!("--in {}", typed(&found))
    };
    Some(format!("no such file inside: `{}` exists here but was not given\n    next: {how}", text::shown(path, 200)))
}

/// A path as it can be typed.
fn typed(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { text::quoted(path, 200) }
}
