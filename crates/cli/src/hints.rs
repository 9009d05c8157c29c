//! What to do when code missed something that lies outside: said by the code, checked here.

use std::path::{Path, PathBuf};

use stockade_core::text;
use stockade_engines::Said;
use stockade_launch::Finished;

use crate::code::Code;

/// One line each, with its `next:`.
pub(crate) fn hints(finished: &Finished, code: &Code) -> Vec<String> {
    let beside = code.file.as_deref().and_then(Path::parent).map_or_else(PathBuf::new, Path::to_path_buf);
    stockade_engines::said(&finished.said).into_iter().filter_map(|said| hint(&said, &beside)).take(3).collect()
}

fn hint(said: &Said, beside: &Path) -> Option<String> {
    match said {
        Said::Exception { name: Some(module), .. } => missing_module(module, beside),
        Said::Exception { path: Some(path), .. } => missing_file(path, beside),
        Said::Exception { .. } | Said::Figure { .. } => None,
    }
}

/// A module beside the script that was not given, or a package that no environment has.
fn missing_module(module: &str, beside: &Path) -> Option<String> {
    let top = module
        .split('.')
        .next()
        .filter(|top| !top.is_empty() && top.chars().all(|c| c.is_alphanumeric() || c == '_'))?;
    let file = format!("{top}.py");
    if beside.join(&file).is_file() {
        return Some(format!(
            "no module named {top}: {file} lies beside the script but was not given\n    next: --project {} or --in {}",
            shown(beside),
            shown(&beside.join(&file))
        ));
    }
    if beside.join(top).is_dir() {
        return Some(format!(
            "no module named {top}: a folder {top} lies beside the script but was not given\n    next: --project {} or --in {}",
            shown(beside),
            shown(&beside.join(top))
        ));
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
            shown(&found),
            text::shown(&found.file_name()?.to_string_lossy(), 100)
        )
    } else if outside.components().count() > 1 {
        format!("--in {}={}", shown(&found), text::shown(path, 200))
    } else {
        format!("--in {}", shown(&found))
    };
    Some(format!("no such file inside: `{}` exists here but was not given\n    next: {how}", text::shown(path, 200)))
}

fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { text::shown(&path.to_string_lossy(), 200) }
}
