//! SOCKS5 spoken with the run: CONNECT without authentication, names and addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use fast_socks5::server::{Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::time::timeout_at;

use crate::flow::{Want, Way, admit};
use crate::inside::{Inside, deadline};
use crate::refusal::{Fault, Reason, Refusal};
use crate::run::Run;
use stockade_core::name::{BadHost, Host};

/// The address the gate dials from is nobody's business inside.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// Serves one connection to its end.
pub(crate) async fn serve(run: Arc<Run>, mut inside: Inside) {
    let until = deadline(run.budget.head_ms);
    let asked = match timeout_at(until, read(&mut inside)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(_)) => return refuse(&run, "a SOCKS request", Reason::BadRequest("the SOCKS request is not served")),
        Err(_) => return refuse(&run, "a SOCKS request", Reason::Slow),
    };
    let (reply, command, target) = asked;
    if command != Socks5Command::TCPConnect {
        // The client may be gone; the refusal stands either way.
        drop(reply.reply_error(&ReplyError::CommandNotSupported).await);
        return refuse(&run, &target.to_string(), Reason::BadRequest("SOCKS serves CONNECT only"));
    }
    let admitted = match want(&run, &target) {
        Ok(want) => admit(&run, want.clone()).await.map_err(|reason| want.refusal(reason)),
        Err(bad) => Err(Refusal::new(Way::Socks, &target.to_string(), bad)),
    };
    match admitted {
        Ok(passage) => {
            if reply.reply_success(NOWHERE).await.is_ok() {
                passage.carry(inside).await;
            }
        }
        Err(refusal) => {
            drop(reply.reply_error(&code(&refusal.reason)).await);
            run.refused(&refusal);
        }
    }
}

type Asked<'a> =
    (Socks5ServerProtocol<&'a mut Inside, fast_socks5::server::states::CommandRead>, Socks5Command, TargetAddr);

async fn read(inside: &mut Inside) -> Result<Asked<'_>, SocksServerError> {
    Socks5ServerProtocol::accept_no_auth(inside).await?.read_command().await
}

/// Many clients look the name up themselves, so that an address may be one that was made up.
fn want(run: &Run, target: &TargetAddr) -> Result<Want, BadHost> {
    let (host, port) = match target {
        TargetAddr::Ip(address) => (run.names.meant(address.ip()), address.port()),
        TargetAddr::Domain(text, port) => (Host::parse(text)?, *port),
    };
    if port == 0 { Err(BadHost::Port) } else { Ok(Want { host, port, way: Way::Socks }) }
}

const fn code(reason: &Reason) -> ReplyError {
    match reason.fault() {
        Fault::Request | Fault::Rules => ReplyError::ConnectionNotAllowed,
        Fault::Server => ReplyError::HostUnreachable,
        Fault::Gate => ReplyError::GeneralFailure,
    }
}

fn refuse(run: &Run, asked: &str, reason: Reason) {
    run.refused(&Refusal::new(Way::Socks, asked, reason));
}
