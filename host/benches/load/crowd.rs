//! Measures how long a relay takes to send to all peers of a full room, on one core and on two. No
//! other process needs a core meanwhile: the peers read afterwards, and use the kernel's time
//! stamps of arrival.

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

/// Number of bursts of texts in a room.
const BURSTS: usize = 15;

/// Time after which all datagrams of a burst have arrived.
const BURST_TIME: Duration = Duration::from_millis(50);

/// Maximum time on a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// A relay with its peers.
struct Crowd {
    _server: Server,
    peers: Vec<UdpSocket>,
    text: Vec<u8>,
}

/// Measures the time from `texts` said at once until the last datagram for one of `peers` peers.
/// Returns the median with one core, divided by that with two cores; the two alternate.
///
/// # Errors
///
/// If the relay cannot be started, or loses something.
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

/// Returns the number of lines in the next datagram, and its time of arrival, if there is a
/// datagram.
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
