//! Reads and parses the head of a CONNECT request; hostile bytes, bounded in size and time.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::jail::HostPort;
use crate::url::is_host;

const HEAD_BYTES_MAX: usize = 8 << 10;
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The head up to its empty line, and the bytes that came after it.
pub(super) fn read(client: &TcpStream) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let deadline = Instant::now() + HEAD_TIME;
    let mut head = Vec::new();
    let mut piece = [0_u8; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || client.set_read_timeout(Some(left)).is_err() {
            return Err("the request head took too long");
        }
        let count = (&*client).read(&mut piece).map_err(|_| "the request head did not arrive")?;
        if count == 0 {
            return Err("the request head did not end");
        }
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let early = head.split_off(at + 4);
            return Ok((head, early));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err("the request head is larger than 8 KiB");
        }
    }
}

/// Where a CONNECT request wants to go; else what was asked and why it is refused.
pub(super) fn target(head: &[u8]) -> Result<HostPort, (String, &'static str)> {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let asked = String::from_utf8_lossy(line).into_owned();
    let mut words = asked.split(' ');
    let parts = (words.next(), words.next(), words.next(), words.next());
    let (Some("CONNECT"), Some(authority), Some("HTTP/1.1" | "HTTP/1.0"), None) = parts else {
        return Err((asked, "only CONNECT is served"));
    };
    let parsed = authority.rsplit_once(':').and_then(|(host, port)| {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| port.parse::<u16>().ok()).flatten()?;
        is_host(host).then(|| HostPort { host: host.to_ascii_lowercase(), port })
    });
    parsed.ok_or((asked.clone(), "the target is not a plain host name and port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_connect_is_parsed() {
        let good = target(b"CONNECT Files.invalid:443 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(good, HostPort::https("files.invalid"));
        for line in [
            "GET https://files.invalid/ HTTP/1.1",
            "CONNECT files.invalid HTTP/1.1",
            "CONNECT files.invalid:443",
            "CONNECT files.invalid:443 HTTP/1.1 x",
            "CONNECT files.invalid:+443 HTTP/1.1",
            "CONNECT files.invalid:99999 HTTP/1.1",
            "CONNECT a@files.invalid:443 HTTP/1.1",
            "CONNECT files.invalid.:443 HTTP/1.1",
            "CONNECT [::1]:443 HTTP/1.1",
            "CONNECT files.invalid%00:443 HTTP/1.1",
            "connect files.invalid:443 HTTP/1.1",
            "CONNECT  files.invalid:443 HTTP/1.1",
            "\u{0}",
        ] {
            assert!(target(format!("{line}\r\n\r\n").as_bytes()).is_err(), "{line}");
        }
    }
}
