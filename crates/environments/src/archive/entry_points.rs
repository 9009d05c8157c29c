//! Launchers of packages, made anew from their `entry_points.txt`: the digest covers that file, and
//! not what an installer made of it.

use std::collections::BTreeMap;

/// What a launcher of this name starts: a module, and what to call in it.
pub(crate) type Launchers = BTreeMap<String, (String, String)>;

/// The launchers that the text of an `entry_points.txt` asks for; what is not plain is passed over.
pub(crate) fn parse(text: &str) -> Launchers {
    let mut launchers = Launchers::new();
    let mut wanted = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            wanted = matches!(section.trim_end_matches(']').trim(), "console_scripts" | "gui_scripts");
        } else if let (true, Some((name, object))) = (wanted, line.split_once('=')) {
            let object = object.split('[').next().unwrap_or_default();
            if let Some((module, attribute)) = object.split_once(':') {
                let (name, module, attribute) = (name.trim(), module.trim(), attribute.trim());
                if is_file_name(name) && is_dotted(module) && is_dotted(attribute) {
                    launchers.insert(name.to_owned(), (module.to_owned(), attribute.to_owned()));
                }
            }
        }
    }
    launchers
}

/// The text of a launcher.
pub(crate) fn text(executable: &str, (module, attribute): &(String, String)) -> String {
    let first = attribute.split('.').next().unwrap_or_default();
    format!(
        "#!{executable}\nimport sys\nfrom {module} import {first}\n\nif __name__ == \"__main__\":\n    sys.exit({attribute}())\n"
    )
}

fn is_file_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    plain && !name.is_empty() && name.len() <= 100 && !name.starts_with('.')
}

/// Names with dots between them, as Python writes them.
fn is_dotted(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c == '_' || c.is_alphabetic())
            && name.chars().all(|c| c == '_' || c.is_alphanumeric())
    };
    text.len() <= 300 && text.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_those_of_the_entry_points_and_nothing_else() {
        let said = "[console_scripts]\ntool = pkg.cli:main [extra]\nother=pkg:Class.run\n../evil = a:b\n\
                    x = os;import evil:main\ny = a:b()\n.z = a:b\n[other]\nno = a:b\n[gui_scripts]\nw = a:b\n";
        let found = parse(said);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["other", "tool", "w"]);
        let text = text("/p/bin/python3", &found["other"]);
        assert!(text.starts_with("#!/p/bin/python3\nimport sys\nfrom pkg import Class\n"), "{text}");
        assert!(text.ends_with("sys.exit(Class.run())\n"), "{text}");
    }
}
