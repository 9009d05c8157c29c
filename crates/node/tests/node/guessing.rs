//! Ten thousand guesses at once: the others are served, and the administrator gets in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::tls::{Served, basic};

const GUESSERS: u32 = 16;
const GUESSES: u32 = 10_000;
const GUESSER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OFFICE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection that is asked several times.
struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    fn to(served: &Served, from: Ipv4Addr) -> Self {
        Self(BufReader::new(served.tls(served.from(from))))
    }

    fn ask(&mut self, served: &Served, (method, path): (&str, &str), shown: &str) -> u16 {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {shown}\r\ncontent-length: 0\r\n\r\n",
            served.at
        );
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        status
    }
}

#[test]
fn ten_thousand_guesses_at_once_keep_nobody_from_working() {
    let served = Served::start(&["--connections", "128"]);
    let login = ("POST", "/v1/login");
    let left = AtomicU32::new(GUESSES);
    let [admitted, refused, early, other] = [const { AtomicU32::new(0) }; 4];
    // Each second guess is at the administrator, the others at somebody new every time.
    let guess = |number: u32| {
        let user = if number.is_multiple_of(2) { "ann".to_owned() } else { format!("user{number}") };
        basic(&user, "twelve horses")
    };
    let guesser = || {
        let mut connection = Connection::to(&served, GUESSER);
        while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            let counted = match connection.ask(&served, login, &guess(number)) {
                200 => &admitted,
                401 => &refused,
                429 => &early,
                _ => &other,
            };
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let slowest = std::thread::scope(|scope| {
        for _ in 0..GUESSERS {
            scope.spawn(guesser);
        }
        let mut slowest = Duration::ZERO;
        while left.load(Ordering::Relaxed) > 0 {
            let began = Instant::now();
            let mut office = Connection::to(&served, OFFICE);
            assert_eq!(office.ask(&served, ("GET", "/livez"), "Basic"), 200);
            let mut office = Connection::to(&served, OFFICE);
            assert_eq!(office.ask(&served, login, &basic("ann", "correct horse")), 200, "from where nobody guesses");
            slowest = slowest.max(began.elapsed());
        }
        slowest
    });
    let counts = [&admitted, &refused, &early, &other].map(|count| count.load(Ordering::Relaxed));
    println!("admitted, refused, too early, other: {counts:?}; the administrator waited {slowest:?} at most");
    assert_eq!((counts[0], counts[3]), (0, 0));
    assert_eq!(counts[1] + counts[2], GUESSES);
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}
