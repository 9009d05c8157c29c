//! Scripts of the build jail that read what strangers wrote, with a server of hostile pages.

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::process::{Command, Output};

    const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

    /// What `file_hosts.py` makes of one page of an index: its output, and the files it wrote.
    fn hosts_of(page: &'static str, kind: &'static str) -> Option<(Output, String, String)> {
        if !Path::new(CERTIFICATES).exists() {
            println!("SKIPPED: no certificate bundle at {CERTIFICATES}");
            return None;
        }
        // The script asks its proxy for plain `http`, so a proxy that answers itself is an index.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let _read = client.read(&mut head).unwrap();
                let length = page.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                client.write_all(format!("{head}{page}").as_bytes()).unwrap();
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("hosts");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/jail_scripts/file_hosts.py");
        let mut command = Command::new("python3");
        command.args(["-I", "-B", script]).arg(&output).args([
            "http://index.invalid/simple",
            &proxy,
            CERTIFICATES,
            "six",
        ]);
        let ended = command.output().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        Some((ended, read("hosts"), read("hosts.json")))
    }

    #[test]
    fn only_links_to_package_files_open_hosts() {
        let page = "<a href='https://files.invalid/six-1.0-py3-none-any.whl#sha256=aa'>six</a>
            <a href='../../six-1.0.tar.gz'>six</a> <a href='https://files.invalid/six-1.0.zip'>six</a>
            <a rel='homepage' href='https://evil.invalid/'>home</a>
            <a href='http://plain.invalid/six-1.1-py3-none-any.whl'>six</a>
            <a href='ftp://evil.invalid/six-1.1.zip'>six</a> <a href='https://[bad/six-1.1.zip'>six</a>";
        let Some((ended, hosts, files)) = hosts_of(page, "text/html") else { return };
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(hosts, "files.invalid\n");
        assert!(files.contains("six-1.0.zip") && !files.contains("evil") && !files.contains("1.1"), "{files}");
    }

    /// On a machine like this one that has no `make`, in folders of its own.
    #[test]
    fn r_code_without_a_compiler_is_said_to_need_one() {
        if !Path::new("/usr/bin/Rscript").exists() || !Path::new("/usr/bin/bwrap").exists() {
            return println!("SKIPPED: R or bubblewrap is not installed");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("coded/src")).unwrap();
        std::fs::write(folder.path().join("coded/DESCRIPTION"), "Package: coded\nVersion: 1.0\n").unwrap();
        std::fs::write(folder.path().join("coded/src/x.c"), "").unwrap();
        let mut tar = Command::new("tar");
        assert!(tar.args(["-czf", "coded.tar.gz", "coded"]).current_dir(folder.path()).status().unwrap().success());
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/jail_scripts");
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/mnt"]);
        command.arg("--ro-bind").arg(folder.path()).arg("/mnt/in").args(["--ro-bind", scripts, "/mnt/scripts"]);
        command.args(["--ro-bind", "/dev/null", "/usr/bin/make", "--chdir", "/tmp", "/usr/bin/Rscript", "--vanilla"]);
        let ended =
            command.args(["/mnt/scripts/r_install.R", "coded", "/mnt/in/coded.tar.gz", "/tmp/env"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "{said}");
        assert!(said.contains("has no 'make'") && said.contains("r-base-dev"), "{said}");
    }

    #[test]
    fn a_page_that_is_no_listing_is_said_to_be_none() {
        for page in ["[]", "{\"files\": [1]}", "{\"files\": 1}", "{\"files\": [{\"url\": 1}]}", "{", "null"] {
            let Some((ended, ..)) = hosts_of(page, "application/vnd.pypi.simple.v1+json") else { return };
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(said.starts_with("the package index did not answer as expected: "), "{page}: {said}");
        }
    }

    const INSTALL: &str =
        concat!(include_str!("../src/jail_scripts/modules.py"), include_str!("../src/jail_scripts/install.py"));
    const COMPILE: &str =
        concat!(include_str!("../src/jail_scripts/modules.py"), include_str!("../src/jail_scripts/compile.py"));

    /// Modules of all kinds, in a folder `prefix` of a new one.
    fn modules() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("one.py", "x = 1\n"),
            ("deep/two.py", "x = 2\n"),
            ("deep/tests/test_two.py", "x = 2\n"),
            ("bin/tool.py", "x = 2\n"),
            ("broken.py", "def\n"),
            ("deep/__pycache__/two.cpython-311.pyc", "evil"),
            ("deep/__pycache__/other.cpython-311.pyc", "evil"),
        ] {
            let path = root.path().join("prefix").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[track_caller]
    fn ran(folder: &Path, script: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("python3");
        command.args(["-I", "-B", "-c", script]).args(arguments).current_dir(folder);
        command.output().unwrap()
    }

    /// Every file that is bytecode, below a folder.
    fn bytecode(folder: &Path) -> Vec<String> {
        let listed = Command::new("find").args([".", "-name", "*.pyc"]).current_dir(folder).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let names = listed.lines().map(|line| line.split(".cpython-").next().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_installed_is_compiled_for_where_it_will_be_and_brought_bytecode_goes() {
        let root = modules();
        std::fs::create_dir(root.path().join("unpacked")).unwrap();
        let ended = ran(root.path(), INSTALL, &["60", "prefix", "/opt/inside", "unpacked", "true"]);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said == "compiling 3\n", "{said}");
        assert_eq!(bytecode(root.path()), ["./prefix/__pycache__/one", "./prefix/deep/__pycache__/two"]);
        assert!(!root.path().join("unpacked").exists());
        let standard = std::fs::read_to_string(root.path().join("stdlib")).unwrap();
        assert!(standard.lines().any(|name| name == "json") && !standard.lines().any(|name| name == "test"));
        // No times: a source that is newer is not looked at. The path inside is in it.
        std::fs::write(root.path().join("prefix/one.py"), "raise SystemExit(9)\n").unwrap();
        let code = "import marshal, sys; sys.path.insert(0, 'prefix'); import one
print(one.x, marshal.loads(open(one.__cached__, 'rb').read()[16:]).co_filename)";
        let ended = ran(root.path(), code, &[]);
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "1 /opt/inside/one.py\n");
    }

    #[test]
    fn an_install_that_fails_ends_as_it_did_and_compiles_nothing() {
        let root = modules();
        let ended = ran(root.path(), INSTALL, &["60", "prefix", "/opt/inside", "unpacked", "sh", "-c", "exit 7"]);
        assert_eq!(ended.status.code(), Some(7));
        assert!(ended.stderr.is_empty() && !root.path().join("stdlib").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_compiled_beside_itself() {
        let root = modules();
        let ended = ran(root.path(), COMPILE, &["prefix", "60"]);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(bytecode(&root.path().join("cache")), ["./__pycache__/one", "./deep/__pycache__/two"]);
        assert_eq!(std::fs::read(root.path().join("prefix/deep/__pycache__/two.cpython-311.pyc")).unwrap(), b"evil");
        assert!(root.path().join("stdlib").exists());
    }

    #[test]
    fn nothing_is_compiled_when_the_time_is_over() {
        let root = modules();
        let ended = ran(root.path(), COMPILE, &["prefix", "-1"]);
        assert!(ended.status.success());
        assert!(!root.path().join("cache").exists());
    }
}
