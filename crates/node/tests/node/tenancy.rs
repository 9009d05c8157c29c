//! Who asks is whom the kernel names, and sees nothing of others.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use stockade_testkit::skipped;

use crate::http::{Whole, send};
use crate::support::Node;

/// A request of another user; only root can make one.
pub(crate) fn as_user(
    socket: PathBuf,
    user: u32,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Whole> {
    send(connect_as(socket, user)?, method, path, headers, body.as_bytes())?.whole()
}

/// A connection of a user's.
pub(crate) fn connect_as(socket: PathBuf, user: u32) -> std::io::Result<UnixStream> {
    let connecting = std::thread::spawn(move || {
        let id = rustix::process::Uid::from_raw(user);
        // Of this thread alone, which ends.
        rustix::thread::set_thread_res_uid(id, id, id).unwrap();
        UnixStream::connect(socket)
    });
    connecting.join().unwrap()
}

#[test]
fn a_principal_sees_and_touches_only_its_own_runs() {
    if !rustix::process::geteuid().is_root() {
        skipped("tenancy", "only root can ask as several users");
        return;
    }
    let node = Node::start(&[]);
    let mine = node.run("open('a', 'w').write('secret')\nprint('secret')");
    let id = mine["id"].as_str().unwrap();
    let ask = |method: &str, path: &str| as_user(node.socket(), 61_240, method, path, &[], "").unwrap();
    for path in [
        format!("/v1/runs/{id}"),
        format!("/v1/runs/{id}/events"),
        format!("/v1/runs/{id}/outputs"),
        format!("/v1/runs/{id}/outputs/a"),
    ] {
        let foreign = ask("GET", &path).expect(404);
        let missing = ask("GET", &path.replace(id, "0123456789abcdef")).expect(404);
        assert_eq!(foreign.json()["title"], missing.json()["title"], "nobody learns that it exists");
        assert_eq!(foreign.json()["detail"], missing.json()["detail"]);
        assert!(!foreign.text().contains("secret"));
    }
    ask("DELETE", &format!("/v1/runs/{id}")).expect(404);
    ask("DELETE", &format!("/v1/runs/{id}?forget=true")).expect(404);
    assert_eq!(ask("GET", "/v1/runs").json()["runs"].as_array().unwrap().len(), 0);
    let json = [("content-type", "application/json"), ("idempotency-key", "k")];
    let theirs = as_user(node.socket(), 61_240, "POST", "/v1/runs", &json, r#"{"code":"print(2)"}"#).unwrap().json();
    assert_eq!(theirs["stdout"], "2\n");
    node.get(&format!("/v1/runs/{}", theirs["id"].as_str().unwrap())).expect(404);
    assert_eq!(node.show(id)["stdout"], "secret\n");
}

/// A header cannot say who asks.
#[test]
fn nothing_in_a_request_changes_who_asks() {
    let node = Node::start(&[]);
    let id = node.run("1")["id"].as_str().unwrap().to_owned();
    let headers = [("x-forwarded-user", "uid-1@local"), ("authorization", "Basic dWlkLTE="), ("x-principal", "uid-1")];
    let run = node.send("GET", &format!("/v1/runs/{id}"), &headers, b"").whole().unwrap();
    run.expect(200);
}

#[test]
fn a_socket_of_mode_600_is_closed_to_others() {
    if !rustix::process::geteuid().is_root() {
        skipped("the socket's mode", "only root can ask as several users");
        return;
    }
    let node = Node::start(&["--socket-mode", "600"]);
    let refused = as_user(node.socket(), 61_240, "GET", "/livez", &[], "").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    node.get("/livez").expect(200);
}
