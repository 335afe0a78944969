//! A program that links only if no call of the core can panic. `prove.sh` builds it.
//!
//! Its panic handler calls a function that does not exist. A panic that the optimiser cannot
//! exclude is a call of the handler, and then the linker reports the missing function.
//!
//! The program is never run. Its input would choose one call, the state of the relay and all
//! arguments. So the optimiser knows nothing about them except their types (not even that a
//! vector's length is at most its capacity). A call that cannot panic in any state cannot panic
//! after any sequence of calls.
//!
//! The proof says nothing about stack overflow, endless loops, `Debug` implementations, or
//! arithmetic overflow in a debug build.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "an entry point, and a function that does not exist"
)]

use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::panic::PanicInfo;
use core::time::Duration;

use kilochat_core::framed::{Data, Frame, Hello, Malformed, Reason, Texts};
use kilochat_core::{
    Client, ClientEvent, ClientStats, Config, Delivery, Departed, Departure, Dropped, Event,
    Expired, Fanout, Farewell, Instant, LINE_MAX, Network, Notice, Path, PostError, PostId, Reader,
    Received, Refusal, Relay, Reply, Restored, Rule, Seat, State, Stats, Transmit, Unreachable,
    clean, is_blank,
};
#[cfg(feature = "link")]
use kilochat_core::{Fresh, LinkBatch, LinkLine, LinkLines, LinkNotice, LinkSeen, Place, is_place};

// on Cortex-M3, as the docs of `Relay` say
#[cfg(all(target_arch = "arm", not(feature = "link")))]
const _: () = {
    assert!(size_of::<Relay<32, 8192, 8>>() == 20400);
    assert!(size_of::<Relay<64, 65536, 32>>() == 96816);
    assert!(size_of::<Relay<4096, 1048576, 32>>() == 2902320);
};

// SAFETY: nothing calls it in a program that links
unsafe extern "C" {
    safe fn the_core_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    the_core_can_panic()
}

/// The input of the program, which may be anything.
struct Anything {
    size: Size,
    call: Call,
    small: Of<32, { 8 << 10 }, 8, 4, 512>,
    middle: Of<64, { 64 << 10 }, 32, 8, 4096>,
    large: Of<4096, { 1 << 20 }, 32, 32, { 64 << 10 }>,
    values: Values,
}

/// A relay, a fan-out that may belong to another relay, and a client.
struct Of<
    const PEERS: usize,
    const RING: usize,
    const WINDOW: usize,
    const HELD: usize,
    const OUT: usize,
> {
    relay: Relay<PEERS, RING, WINDOW>,
    fanout: Fanout<'static, 'static, PEERS, RING, WINDOW>,
    client: Client<HELD, OUT>,
}

/// The sizes of relay that ship.
#[expect(dead_code, reason = "nothing here makes one")]
enum Size {
    Small,
    Middle,
    Large,
}

/// A value of each type, for arguments and results.
struct Values {
    now: Instant,
    then: Option<Instant>,
    duration: Duration,
    config: Config,
    key: [u8; 16],
    network: Network,
    rule: Rule,
    ip: IpAddr,
    address: SocketAddr,
    bytes: &'static [u8],
    buffer: &'static mut [u8],
    text: &'static str,
    character: char,
    number: u64,
    index: usize,
    truth: bool,
    reply: Reply,
    event: Event,
    refusal: Refusal,
    departure: Departure,
    unreachable: Unreachable,
    departed: Option<Departed>,
    expired: Option<Expired>,
    seat: Seat,
    found: Option<Seat>,
    delivery: Option<Delivery>,
    stats: Stats,
    farewell: Farewell,
    frame: Result<Frame<'static>, Malformed>,
    data: Data<'static>,
    texts: Texts<'static>,
    notice: Notice<'static>,
    reason: Reason,
    path: Path,
    received: Received,
    transmit: Option<Transmit>,
    posted: Result<PostId, PostError>,
    state: State,
    told: Option<ClientEvent<'static>>,
    client_stats: ClientStats,
    dropped: Dropped,
    reader: Reader,
    line: [u8; LINE_MAX],
    restored: Restored<'static>,
    #[cfg(feature = "link")]
    secs: u32,
    #[cfg(feature = "link")]
    texts_of_others: [&'static str; 2],
    #[cfg(feature = "link")]
    places: &'static [Place],
    #[cfg(feature = "link")]
    lines: LinkLines<'static>,
    #[cfg(feature = "link")]
    link_line: Option<LinkLine<'static>>,
    #[cfg(feature = "link")]
    link_notice: LinkNotice<'static>,
    #[cfg(feature = "link")]
    seen: LinkSeen<8>,
    #[cfg(feature = "link")]
    fresh: Fresh,
    #[cfg(feature = "link")]
    batch: LinkBatch,
}

/// The call: one variant for each public function of the core, which `tests/calls.rs` checks.
#[expect(dead_code, reason = "nothing here makes one")]
enum Call {
    RelayNew,
    RelayDefault,
    RelayConfigure,
    RelayStir,
    RelaySetNetworks,
    RelaySetRelayName,
    RelaySetRules,
    RelayOrder,
    RelaySayAsHost,
    RelayHandleDatagram,
    RelayHandleUnreachable,
    RelayHandleTimeout,
    RelayPollTimeout,
    RelayPollFanout,
    FanoutPayload,
    FanoutNext,
    RelayHandleRefused,
    RelayHandleBlocked,
    RelayHandleWritable,
    RelayCanReceive,
    RelayStop,
    RelayIsSettled,
    RelayEpoch,
    RelayRead,
    RelayRestore,
    RelayFind,
    RelayPeer,
    RelayPeers,
    RelayPeerCount,
    RelayStats,
    StatsRefused,
    EventSeat,
    RefusalAsStr,
    DepartureAsStr,
    ConfigNew,
    ConfigIsLocal,
    NetworkContains,
    SeatIndex,
    InstantFromMillis,
    InstantAsMillis,
    InstantSince,
    InstantAfter,
    InstantAsSecs,
    Clean,
    IsBlank,
    NoticeOf,
    EventAside,
    ExpiredFarewell,
    FarewellAsBytes,
    FrameDecode,
    MalformedFmt,
    FrameEncode,
    HelloForeignNonce,
    DataEntries,
    DataBytes,
    TextsCollect,
    TextsIter,
    TextsAsBytes,
    ReasonAsStr,
    ClientNew,
    ClientHandleDatagram,
    ClientHandleTimeout,
    ClientPollTimeout,
    ClientPollTransmit,
    ClientPollEvent,
    ClientPost,
    PostErrorFmt,
    ClientUnanswered,
    ClientJoinUnannounced,
    ClientIsSlowed,
    ClientSetOperator,
    DepartedFarewell,
    ClientLeave,
    ClientReconnect,
    ClientHandleUnreachable,
    ClientState,
    ClientStats,
    ClientStatsDropped,
    DroppedAsStr,
    #[cfg(feature = "link")]
    RelayPollLink,
    #[cfg(feature = "link")]
    RelayLinkWaiting,
    #[cfg(feature = "link")]
    RelayHandleElsewhere,
    #[cfg(feature = "link")]
    RelayHandleNoticeElsewhere,
    #[cfg(feature = "link")]
    RelaySetPlaces,
    #[cfg(feature = "link")]
    LinkLinesNew,
    #[cfg(feature = "link")]
    LinkLinesNext,
    #[cfg(feature = "link")]
    LinkNoticeFmt,
    #[cfg(feature = "link")]
    LinkNoticePlace,
    #[cfg(feature = "link")]
    LinkSeenNew,
    #[cfg(feature = "link")]
    LinkSeenDefault,
    #[cfg(feature = "link")]
    LinkSeenTake,
    #[cfg(feature = "link")]
    LinkSeenLast,
    #[cfg(feature = "link")]
    IsPlace,
    #[cfg(feature = "planted")]
    Planted,
}

// SAFETY: nothing else has this name
#[unsafe(no_mangle)]
extern "C" fn _start(anything: &mut Anything) {
    let Anything {
        size,
        call,
        small,
        middle,
        large,
        values,
    } = anything;
    match size {
        Size::Small => small.call(call, values),
        Size::Middle => middle.call(call, values),
        Size::Large => large.call(call, values),
    }
}

impl<
    const PEERS: usize,
    const RING: usize,
    const WINDOW: usize,
    const HELD: usize,
    const OUT: usize,
> Of<PEERS, RING, WINDOW, HELD, OUT>
{
    #[expect(clippy::too_many_lines, reason = "an arm for each call")]
    fn call(&mut self, call: &Call, v: &mut Values) {
        let Self {
            relay,
            fanout,
            client,
        } = self;
        match call {
            Call::RelayNew => *relay = Relay::new(),
            Call::RelayDefault => *relay = Relay::default(),
            Call::RelayConfigure => relay.configure(v.config.clone()),
            Call::RelayStir => relay.stir(v.number),
            Call::RelayHandleDatagram => {
                v.event = relay.handle_datagram(v.now, v.address, v.bytes, &mut v.reply);
            }
            Call::RelaySetNetworks => relay.set_networks(v.config.networks.iter().copied()),
            Call::RelaySetRelayName => relay.set_relay_name(v.config.name.clone()),
            Call::RelaySetRules => relay.set_rules([v.rule; 17]),
            Call::RelayOrder => v.departed = relay.order(v.now, v.text, &mut v.reply),
            Call::RelaySayAsHost => v.index = relay.say_as_host(v.now, v.text).into(),
            Call::RelayHandleUnreachable => {
                v.departed = relay.handle_unreachable(v.now, v.seat, v.unreachable);
            }
            Call::RelayHandleTimeout => v.expired = relay.handle_timeout(v.now),
            Call::RelayPollTimeout => v.then = relay.poll_timeout(),
            Call::RelayPollFanout => {
                if let Some(mut fanout) = relay.poll_fanout(v.now, v.buffer) {
                    v.number = fanout.payload().iter().copied().map(u64::from).sum();
                    v.delivery = fanout.next();
                }
            }
            Call::FanoutPayload => v.bytes = fanout.payload(),
            Call::FanoutNext => v.delivery = fanout.next(),
            Call::RelayHandleRefused => {
                if let Some(delivery) = v.delivery {
                    relay.handle_refused(delivery);
                }
            }
            Call::RelayHandleBlocked => relay.handle_blocked(v.seat),
            Call::RelayHandleWritable => relay.handle_writable(v.seat),
            Call::RelayCanReceive => v.truth = relay.can_receive(),
            Call::RelayStop => relay.stop(v.now),
            Call::RelayIsSettled => v.truth = relay.is_settled(),
            Call::RelayEpoch => v.number = relay.epoch().map_or(0, u64::from),
            Call::RelayRead => {
                if let Some((sequence, entry)) = relay.read(&mut v.reader, &mut v.line) {
                    (v.number, v.index) = (sequence, entry.line.len());
                }
            }
            Call::RelayRestore => v.found = relay.restore(v.now, v.restored),
            Call::RelayFind => v.found = relay.find(&v.address),
            Call::RelayPeer => {
                if let Some(peer) = relay.peer(v.seat) {
                    v.number = peer.owed;
                }
            }
            Call::RelayPeers => v.number = relay.peers().map(|peer| peer.owed).max().unwrap_or(0),
            Call::RelayPeerCount => v.index = relay.peer_count(),
            Call::RelayStats => v.stats = relay.stats().clone(),
            Call::StatsRefused => v.number = v.stats.refused(v.refusal),
            Call::EventSeat => v.found = v.event.seat(),
            Call::RefusalAsStr => v.text = v.refusal.as_str(),
            Call::DepartureAsStr => v.text = v.departure.as_str(),
            Call::ConfigNew => v.config = Config::new(v.key),
            Call::ConfigIsLocal => v.truth = v.config.is_local(v.ip),
            Call::NetworkContains => v.truth = v.network.contains(v.ip),
            Call::SeatIndex => v.index = v.seat.index(),
            Call::InstantFromMillis => v.now = Instant::from_millis(v.number),
            Call::InstantAsMillis => v.number = v.now.as_millis(),
            Call::InstantSince => v.duration = v.then.unwrap_or_default().since(v.now),
            Call::InstantAfter => v.now = v.now.after(v.duration),
            Call::InstantAsSecs => v.number = v.now.as_secs().into(),
            Call::Clean => v.character = clean(v.text).max().unwrap_or(' '),
            Call::NoticeOf => v.notice = Notice::of(v.text),
            Call::IsBlank => v.truth = is_blank(v.text),
            Call::EventAside => {
                if let Some((seat, address, bytes)) = v.event.aside() {
                    (v.seat, v.address, v.index) = (seat, address, bytes.len());
                }
            }
            Call::ExpiredFarewell => {
                if let Some((seat, address, bytes)) =
                    v.expired.as_ref().and_then(|expired| expired.farewell())
                {
                    (v.seat, v.address, v.index) = (seat, address, bytes.len());
                }
            }
            Call::FarewellAsBytes => v.index = v.farewell.as_bytes().len(),
            Call::FrameDecode => v.frame = Frame::decode(v.bytes),
            Call::MalformedFmt => v.truth = v.reply.write_fmt(format_args!("{Malformed}")).is_ok(),
            Call::FrameEncode => {
                if let Ok(frame) = &v.frame {
                    v.index = frame.encode(v.buffer).unwrap_or(0);
                }
            }
            Call::HelloForeignNonce => v.number = Hello::foreign_nonce(v.bytes).unwrap_or(0),
            Call::DataBytes => v.bytes = v.data.bytes(),
            Call::TextsAsBytes => v.bytes = v.texts.as_bytes(),
            Call::DataEntries => v.index = v.data.entries().map(|entry| entry.line.len()).sum(),
            Call::TextsCollect => {
                let (texts, count) = Texts::collect([v.text, v.text], v.buffer);
                (v.truth, v.index) = (texts == v.texts, count);
            }
            Call::TextsIter => v.index = v.texts.iter().map(<[u8]>::len).sum(),
            Call::ReasonAsStr => v.text = v.reason.as_str(),
            Call::ClientNew => *client = Client::new(v.text, v.number, v.path.0),
            Call::ClientHandleDatagram => {
                v.received = client.handle_datagram(v.now, v.path, v.bytes);
            }
            Call::ClientHandleTimeout => client.handle_timeout(v.now),
            Call::ClientPollTimeout => v.then = client.poll_timeout(),
            Call::ClientPollTransmit => v.transmit = client.poll_transmit(v.now, v.buffer),
            Call::ClientPollEvent => v.truth = client.poll_event() == v.told,
            Call::ClientPost => v.posted = client.post(v.text),
            Call::PostErrorFmt => {
                if let Err(error) = v.posted {
                    v.truth = v.reply.write_fmt(format_args!("{error}")).is_ok();
                }
            }
            Call::ClientUnanswered => v.index = client.unanswered(),
            Call::ClientJoinUnannounced => client.join_unannounced(),
            Call::ClientSetOperator => client.set_operator(v.key),
            Call::DepartedFarewell => {
                if let Some((seat, address, bytes)) =
                    v.departed.as_ref().and_then(|departed| departed.farewell())
                {
                    (v.seat, v.address, v.index) = (seat, address, bytes.len());
                }
            }
            Call::ClientIsSlowed => v.truth = client.is_slowed(),
            Call::ClientLeave => client.leave(v.now),
            Call::ClientReconnect => client.reconnect(v.now),
            Call::ClientHandleUnreachable => client.handle_unreachable(v.now),
            Call::ClientState => v.state = client.state(),
            Call::ClientStats => v.client_stats = client.stats().clone(),
            Call::ClientStatsDropped => v.number = v.client_stats.dropped(v.dropped),
            Call::DroppedAsStr => v.text = v.dropped.as_str(),
            #[cfg(feature = "link")]
            Call::RelayPollLink => {
                if let Some(batch) = relay.poll_link(v.buffer) {
                    v.batch = batch;
                }
            }
            #[cfg(feature = "link")]
            Call::RelayLinkWaiting => {
                if let Some(waiting) = relay.link_waiting() {
                    (v.number, v.now) = (waiting.lines, waiting.oldest);
                }
            }
            #[cfg(feature = "link")]
            Call::RelayHandleElsewhere => {
                let [place, name] = v.texts_of_others;
                v.index = relay.handle_elsewhere(v.now, place, name, v.text).into();
            }
            #[cfg(feature = "link")]
            Call::RelayHandleNoticeElsewhere => {
                v.truth = relay.handle_notice_elsewhere(v.now, v.link_notice);
            }
            #[cfg(feature = "link")]
            Call::RelaySetPlaces => relay.set_places(v.secs, v.places),
            #[cfg(feature = "link")]
            Call::LinkLinesNew => v.lines = LinkLines::new(v.bytes),
            #[cfg(feature = "link")]
            Call::LinkLinesNext => v.link_line = v.lines.next(),
            #[cfg(feature = "link")]
            Call::LinkNoticeFmt => {
                v.truth = v.reply.write_fmt(format_args!("{}", v.link_notice)).is_ok();
            }
            #[cfg(feature = "link")]
            Call::LinkNoticePlace => v.truth = v.link_notice.place().is_some(),
            #[cfg(feature = "link")]
            Call::LinkSeenNew => v.seen = LinkSeen::new(),
            #[cfg(feature = "link")]
            Call::LinkSeenDefault => v.seen = LinkSeen::default(),
            #[cfg(feature = "link")]
            Call::LinkSeenTake => {
                v.fresh = v.seen.take(v.text, v.number, v.batch);
            }
            #[cfg(feature = "link")]
            Call::LinkSeenLast => v.number = v.seen.last(v.text, v.number).unwrap_or(0),
            #[cfg(feature = "link")]
            Call::IsPlace => v.truth = is_place(v.text),
            // a panic that depends on the state of the relay, to show that the proof finds it
            #[cfg(feature = "planted")]
            Call::Planted => v.character = ['a', 'b', 'c'][relay.peer_count()],
        }
    }
}
