//! How long a relay takes to send to everybody in a full room, on one core and on two. Nobody takes
//! part in it who would need a core: the peers read when it is over, and the kernel has noted when
//! what they read arrived.

use core::time::Duration;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::args::Setup;
use crate::client::{join_plain, udp_socket};
use crate::report::Report;
use crate::server::{Kind, Server};
use crate::turns::median;

/// How often something is said in a room.
const BURSTS: usize = 15;

/// When everything has long arrived.
const BURST_TIME: Duration = Duration::from_millis(50);

/// How long it may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everybody in a room.
struct Crowd {
    _server: Server,
    peers: Vec<UdpSocket>,
    text: Vec<u8>,
}

/// How many times longer it takes, from `texts` said at once to the last of their datagrams for
/// `peers` peers, with a relay on one core than on two: the ratio of the medians, in turns.
///
/// # Errors
///
/// When the relay cannot be started, or loses something.
pub(crate) fn measure(
    setup: &Setup,
    turns: usize,
    (peers, texts): (usize, usize),
    report: &mut Report,
) -> io::Result<f64> {
    let one = [setup.server_core];
    let two = [setup.server_core, setup.client_core];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..turns {
        for (cores, times) in [&one[..], &two[..]].into_iter().zip(&mut times) {
            let crowd = Crowd::open(setup, cores, peers)?;
            for _ in 0..BURSTS {
                times.push(crowd.burst(texts)?.as_secs_f64());
            }
        }
    }
    let [one, two] = times.map(|times| median(times.into_iter()));
    report.line(format!(
        "\n{} receivers, {texts} at once: {:.2} ms on one core, {:.2} ms on two",
        peers - 1,
        one * 1e3,
        two * 1e3
    ));
    Ok(one / two)
}

impl Crowd {
    fn open(setup: &Setup, cores: &[usize], peers: usize) -> io::Result<Self> {
        let server = Server::start(Kind::Relay, setup, cores, peers)?;
        let join = |peer: usize| {
            let socket = udp_socket(server.address)?;
            join_plain(&socket, &format!("p{peer:04}"))?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            Ok(socket)
        };
        let peers = (0..peers).map(join).collect::<io::Result<_>>()?;
        Ok(Self {
            _server: server,
            peers,
            text: vec![b'x'; 56],
        })
    }

    fn burst(&self, texts: usize) -> io::Result<Duration> {
        let start = TimeSpec::from(since_epoch()?);
        for _ in 0..texts {
            self.peers[0].send(&self.text)?;
        }
        std::thread::sleep(BURST_TIME);
        let mut last = start;
        for peer in &self.peers[1..] {
            let deadline = Instant::now() + PATIENCE;
            let mut lines = 0;
            while lines < texts {
                if let Some((more, at)) = receive(peer)? {
                    lines += more;
                    last = last.max(at);
                } else if Instant::now() > deadline {
                    return Err(io::Error::other("lines were lost"));
                }
            }
        }
        Ok((last - start).into())
    }
}

/// How many lines a datagram holds that is there, and when it arrived.
fn receive(peer: &UdpSocket) -> io::Result<Option<(usize, TimeSpec)>> {
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(TimeSpec, [u8; 64]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(peer.as_raw_fd(), &mut parts, Some(&mut control), flags);
    let (length, at) = match received {
        Ok(message) => {
            let mut at = None;
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmTimestampns(time) = control {
                    at = Some(time);
                }
            }
            let at = at.ok_or_else(|| io::Error::other("the kernel does not tell when"))?;
            (message.bytes, at)
        }
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let lines = buffer[..length].split(|byte| *byte == b'\n');
    Ok(Some((lines.count(), at)))
}

fn since_epoch() -> io::Result<Duration> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_err(io::Error::other)
}
