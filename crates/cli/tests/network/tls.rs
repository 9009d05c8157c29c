//! TLS greetings that ask for another server than the granted one.

use crate::support::{attack, in_a_world};

#[test]
fn the_greeting_must_name_the_granted_server() {
    in_a_world(|world, user| {
        let code = r#"
for name in ("evil.example.com", "other.example.com", "api.example.com.evil.example.com", "203.0.113.80", None):
    say(f"proxy {name}", secure(tunnel("api.example.com:443")[0], name, host="evil.example.com"))
    say(f"without {name}", secure(socket.create_connection(("api.example.com", 443), 20), name, host="evil.example.com"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        assert_eq!(over.said().len(), 10);
        for (what, how) in over.said() {
            assert!(!how.contains("hello") && !how.is_empty(), "{what}: {how}");
        }
        over.assert_refused(&[("api.example.com:443", "server-name"), ("api.example.com:443", "no-server-name")]);
        // Not even a connection: the greeting is read before the server is dialled.
        world.assert_unreached();
    });
}

#[test]
fn what_is_no_tls_does_not_pass_where_tls_was_granted() {
    in_a_world(|world, user| {
        let code = r#"
for what, data in (("http", b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"), ("ssh", b"SSH-2.0-x\r\n"), ("zeros", bytes(600)), ("almost", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), ("postgres", b"\0\0\0\x08\x04\xd2\x16\x2f")):
    stream, how = tunnel("api.example.com:443")
    stream.settimeout(5)
    stream.sendall(data)
    answer = read_all(stream)
    say(what, "answered" if b"hello" in answer or b"HTTP/1.1 200" in answer else "no")
"#;
        let over = attack(world, user, &["api.example.com"], code);
        assert!(over.said().values().all(|how| how == "no"), "{:?}", over.said());
        over.assert_reasons(&["not-tls", "bad-hello", "slow"]);
        world.assert_unreached();
    });
}

/// A server name in a second greeting, or in a greeting cut into small records, is the same name.
#[test]
fn a_greeting_in_pieces_is_read_whole() {
    in_a_world(|world, user| {
        let code = r#"
def greeting(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try: careless().wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError: pass
    return outgoing.read()
def in_records(hello, size):
    body = hello[5:]
    return b"".join(hello[:3] + struct.pack("!H", len(body[at:at + size])) + body[at:at + size] for at in range(0, len(body), size))
for name in ("evil.example.com", "api.example.com"):
    whole = greeting(name)
    for what, pieces in (("records", [in_records(whole, 40)]), ("packets", [whole[at:at + 7] for at in range(0, len(whole), 7)])):
        stream, how = tunnel("api.example.com:443")
        stream.settimeout(5)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                stream.sendall(piece); time.sleep(0.002)
            answer = stream.recv(5)
        except OSError: answer = b""
        say(f"{name} {what}", "server's hello" if answer[:1] == b"\x16" else "no")
"#;
        let over = attack(world, user, &["api.example.com"], code);
        assert_eq!(over.said()["evil.example.com records"], "no");
        assert_eq!(over.said()["evil.example.com packets"], "no");
        assert_eq!(over.said()["api.example.com records"], "server's hello");
        assert_eq!(over.said()["api.example.com packets"], "server's hello");
        assert!(over.refusals().contains(&("api.example.com:443".to_owned(), "server-name".to_owned())));
        assert!(world.requests("tls").iter().all(|one| one == "name api.example.com"), "{:?}", world.requests("tls"));
    });
}

#[test]
fn a_wildcard_does_not_let_one_of_its_names_stand_for_another() {
    in_a_world(|world, user| {
        let code = r#"
say("other", secure(tunnel("api.example.com:443")[0], "other.example.com"))
say("same", secure(tunnel("other.example.com:443")[0], "other.example.com"))
"#;
        let over = attack(world, user, &["*.example.com"], code);
        assert_eq!(over.said()["same"], "hello from other.example.com/");
        assert!(!over.said()["other"].contains("hello"));
        over.assert_refused(&[("api.example.com:443", "server-name")]);
        assert_eq!(world.requests("tls"), ["name other.example.com"]);
    });
}
