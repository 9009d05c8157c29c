//! A provider that says what it is told to, and signs whatever it is given.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// When everything happens, in seconds and in milliseconds.
pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const NOW_MS: u64 = NOW_S * 1_000;

const DOCUMENT: &str = "/.well-known/openid-configuration";

#[derive(Clone)]
pub(crate) enum Says {
    Json(Value),
    /// A no with a reason.
    No(&'static str),
    /// These bytes, whole.
    Raw(Vec<u8>),
    /// A good beginning, then more and more of it.
    Endless,
    /// When the test comes to it, too.
    Held(Arc<Barrier>, Value),
    Nothing,
}

#[derive(Default)]
struct Shared {
    says: Mutex<HashMap<String, Says>>,
    asked: Mutex<Vec<(String, String)>>,
}

/// It has a document and one key, unless it is told otherwise.
pub(crate) struct Fake {
    port: u16,
    shared: Arc<Shared>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, shared: Arc::default() };
        fake.says(DOCUMENT, Says::Json(fake.its_document()));
        fake.has_keys(&[1]);
        let shared = Arc::clone(&fake.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream.unwrap(), &shared));
            }
        });
        fake
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn document(&self) -> String {
        self.issuer() + DOCUMENT
    }

    pub(crate) fn its_document(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer());
        json!({
            "issuer": self.issuer(), "jwks_uri": at("/jwks"), "token_endpoint": at("/token"),
            "authorization_endpoint": at("/auth"), "device_authorization_endpoint": at("/device"),
        })
    }

    /// Its document with these members.
    pub(crate) fn has(&self, members: &Value) {
        let mut document = self.its_document();
        document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.says(DOCUMENT, Says::Json(document));
    }

    pub(crate) fn says_document(&self, says: Says) {
        self.says(DOCUMENT, says);
    }

    pub(crate) fn says(&self, path: &str, says: Says) {
        self.shared.says.lock().unwrap().insert(path.to_owned(), says);
    }

    pub(crate) fn has_keys(&self, seeds: &[u8]) {
        let keys: Vec<_> = seeds.iter().map(|seed| public(*seed)).collect();
        self.says("/jwks", Says::Json(json!({ "keys": keys })));
    }

    /// How often this was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|(asked, _)| asked == path).count()
    }

    /// The last form that came to this path, and the headers with it.
    pub(crate) fn heard(&self, path: &str) -> String {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().rfind(|(asked, _)| asked == path).unwrap().1.clone()
    }

    /// A good token of its first key, but for these claims.
    pub(crate) fn token(&self, other: &Value) -> String {
        self.token_of(1, other)
    }

    pub(crate) fn token_of(&self, seed: u8, other: &Value) -> String {
        let mut claims = json!({
            "iss": self.issuer(), "aud": "node", "iat": NOW_S, "exp": NOW_S + 300, "preferred_username": "ada",
            "groups": ["analysts"],
        });
        claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        signed(seed, &json!({"alg": "EdDSA", "kid": format!("key {seed}")}), &claims)
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// The key of a seed, as it is published.
pub(crate) fn public(seed: u8) -> Value {
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair(seed).public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": format!("key {seed}"), "use": "sig", "alg": "EdDSA"})
}

pub(crate) fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header and these claims.
pub(crate) fn signed(seed: u8, head: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", part(head), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(pair(seed).sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn answer(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    shared.asked.lock().unwrap().push((path.clone(), head + &String::from_utf8(body).unwrap()));
    let says = shared.says.lock().unwrap().get(&path).cloned();
    drop(say(&stream, says.unwrap_or_else(|| Says::Raw(b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()))));
}

fn say(mut stream: &TcpStream, says: Says) -> std::io::Result<()> {
    match says {
        Says::Json(value) => stream.write_all(&whole("200 OK", &value.to_string())),
        Says::No(word) => stream.write_all(&whole("400 Bad Request", &json!({ "error": word }).to_string())),
        Says::Raw(bytes) => stream.write_all(&bytes),
        Says::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"issuer\": \"")?;
            loop {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Says::Held(both, value) => {
            both.wait();
            stream.write_all(&whole("200 OK", &value.to_string()))
        }
        Says::Nothing => stream.read(&mut [0]).map(drop),
    }
}

pub(crate) fn whole(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
